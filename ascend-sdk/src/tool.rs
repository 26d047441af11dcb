//! A governed tool, and the permit without which its body cannot run.

use std::future::Future;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    Action, CallContext, Governor, Grant, MissingState, Refusal, RefusalKind, State, ToolReturn,
    ToolSpec, Verb,
    output::{GovernedReturn, Rendered, plain_schema, schema_settings},
};

/// A governed tool: the type is its arguments.
///
/// The attributes write this for an `async fn`; nothing keeps you from writing
/// it by hand. The body, [`run`](Self::run), takes a [`Permit`], which only a
/// [`Governor`] makes.
pub trait Tool: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// The `#[state]` parameters, in order, as a tuple.
    type State: Send + 'static;
    /// What the body returns: `Result<T, E>`.
    type Return: ToolReturn;

    /// What is known before any call.
    const SPEC: &'static ToolSpec;

    /// What this call does. The default is the verb of the [`SPEC`](Self::SPEC).
    fn verb(&self) -> Verb {
        Verb::from(Self::SPEC.verb.unwrap_or_default())
    }

    /// The governor that this tool is bound to; `None` for the server's, or
    /// the current one.
    #[must_use]
    fn governor() -> Option<Governor> {
        None
    }

    /// Takes the `#[state]` parameters from a server's state.
    ///
    /// # Errors
    ///
    /// When the server has none of a type.
    fn state(state: &State) -> Result<Self::State, MissingState>;

    /// The body.
    fn run(permit: Permit<Self>) -> impl Future<Output = Self::Return> + Send;
}

/// What a parameter of a governed tool may be: any owned type that can be read
/// and written with serde, described by a schema, and sent to another thread.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a governed tool",
    label = "not a tool's parameter",
    note = "derive what callers and approvers need: `#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]`"
)]
pub trait ToolParameter: Serialize + DeserializeOwned + JsonSchema + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + JsonSchema + Send + 'static> ToolParameter for T {}

/// The right to run a tool's body once, with these arguments.
///
/// INVARIANT: only [`Grant::permit`] makes one, from a grant, which it uses up,
/// and from the arguments whose digest was evaluated. It cannot be copied.
///
/// ```compile_fail
/// fn forge<T: ascend_sdk::Tool>(arguments: T, state: T::State) -> ascend_sdk::Permit<T> {
///     ascend_sdk::Permit { arguments, state, context: Default::default() }
/// }
/// ```
///
/// ```compile_fail
/// async fn twice<T: ascend_sdk::Tool>(permit: ascend_sdk::Permit<T>) {
///     T::run(permit).await;
///     T::run(permit).await;
/// }
/// ```
#[must_use = "a permit that is not used means that the tool did not run"]
pub struct Permit<T: Tool> {
    arguments: T,
    state: T::State,
    context: CallContext,
}

impl<T: Tool> Permit<T> {
    pub(crate) fn new(arguments: T, state: T::State, context: CallContext) -> Self {
        Self { arguments, state, context }
    }

    /// What the body works with. The permit is used up.
    #[must_use]
    pub fn into_parts(self) -> (T, T::State, CallContext) {
        (self.arguments, self.state, self.context)
    }
}

/// Without the arguments, some of which may be sensitive.
impl<T: Tool> std::fmt::Debug for Permit<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("tool", &T::SPEC.name).finish_non_exhaustive()
    }
}

/// The JSON Schema of a tool's arguments.
pub(crate) fn input_schema<T: Tool>() -> Map<String, Value> {
    let schema = schema_settings().for_deserialize().into_generator().into_root_schema_for::<T>();
    let mut schema = plain_schema(schema).unwrap_or_default();
    schema.insert("type".to_owned(), "object".into());
    schema.entry("properties").or_insert_with(|| Map::new().into());
    schema
}

/// Arguments that do not fit a tool's schema. The tool was not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid arguments for `{tool}`: {message}")]
pub(crate) struct InvalidArguments {
    tool: &'static str,
    message: String,
}

/// Reads a tool's arguments. What is wrong with a sensitive one is not quoted.
pub(crate) fn decode<T: Tool>(arguments: Map<String, Value>) -> Result<T, InvalidArguments> {
    let tool = T::SPEC.name;
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let path = error.path().to_string();
        let field = path.split(['.', '[']).next().unwrap_or_default();
        let message = if T::SPEC.is_sensitive(field) {
            format!("`{path}`: the value does not have the type that the schema asks for")
        } else if path == "." {
            error.inner().to_string()
        } else {
            format!("`{path}`: {}", error.inner())
        };
        InvalidArguments { tool, message }
    })
}

/// A call that was authorized and has not run yet.
pub(crate) struct Authorized<T: Tool> {
    grant: Grant,
    permit: Permit<T>,
    secrets: Secrets,
}

/// Evaluates the call of `T` with `arguments`, and waits for a person where
/// one must decide.
pub(crate) async fn authorize<T: Tool>(
    governor: &Governor,
    arguments: T,
    state: T::State,
    context: CallContext,
) -> Result<Authorized<T>, Refusal> {
    let verb = arguments.verb();
    let value = serde_json::to_value(&arguments)
        .map_err(|error| Refusal::new(RefusalKind::Invalid).with_reason(error.to_string()))?;
    let secrets = Secrets::of(T::SPEC, &value);
    let grant = describe_and_authorize(governor, T::SPEC, verb, value, &context).await?;
    let (grant, permit) = grant.permit(arguments, state, context);
    Ok(Authorized { grant, permit, secrets })
}

/// The part of [`authorize`] that is the same for all tools.
pub(crate) async fn describe_and_authorize(
    governor: &Governor,
    spec: &'static ToolSpec,
    verb: Verb,
    arguments: Value,
    context: &CallContext,
) -> Result<Grant, Refusal> {
    let action = Action::new(spec, verb, arguments)
        .map_err(|error| Refusal::new(RefusalKind::Invalid).with_reason(error.to_string()))?;
    governor.authorize(action, context).await
}

impl<T: Tool> Authorized<T> {
    pub(crate) fn governance(&self) -> Value {
        self.grant.governance()
    }

    /// Runs the body and reports the outcome.
    pub(crate) async fn run(self) -> T::Return {
        let Self { grant, permit, secrets } = self;
        let result = grant.governor().clone().scope(T::run(permit)).await;
        grant.finish(result.failure().map(|error| secrets.scrub(&error)));
        result
    }

    /// Runs the body, reports the outcome, and renders the result for a client.
    pub(crate) async fn run_and_render(self) -> Result<Rendered, String> {
        let secrets = self.secrets.clone();
        self.run().await.render().map_err(|error| secrets.scrub(&error))
    }
}

/// The sensitive values of one call, to keep them out of error texts.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    pub(crate) fn of(spec: &ToolSpec, arguments: &Value) -> Self {
        let mut found = Vec::new();
        for (name, value) in arguments.as_object().into_iter().flatten() {
            if spec.is_sensitive(name) {
                collect_leaves(value, &mut found);
            }
        }
        // Longer ones first, so that none is left half-masked by a part of it.
        found.sort_by_key(|text| std::cmp::Reverse(text.len()));
        found.dedup();
        Self(found)
    }

    /// `text` with every sensitive value in it masked.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let mut scrubbed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let secret = self.0.iter().find(|secret| rest.starts_with(secret.as_str()));
            scrubbed.push_str(match secret {
                Some(_) => crate::action::MASK,
                None => &rest[..character.len_utf8()],
            });
            rest = &rest[secret.map_or(character.len_utf8(), String::len)..];
        }
        scrubbed
    }
}

fn collect_leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => {
            // As it stands, as JSON shows it, and as `{:?}` shows it.
            let json = Value::from(text.as_str()).to_string();
            let debug = format!("{text:?}");
            for form in [text.as_str(), &json[1..json.len() - 1], &debug[1..debug.len() - 1]] {
                if !form.is_empty() && !found.iter().any(|known| known == form) {
                    found.push(form.to_owned());
                }
            }
        }
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect_leaves(item, found)),
        Value::Object(entries) => entries.values().for_each(|item| collect_leaves(item, found)),
        _ => {}
    }
}
