//! A governed tool, and the permit without which its body cannot run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
};

use schemars::{JsonSchema, Schema};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tracing::Instrument as _;

use crate::{
    Action, ArgumentError, Arguments, CallContext, Governor, Grant, MissingState, Refusal,
    RefusalKind, State, ToolReturn, ToolSpec, Verb,
    output::{GovernedReturn, Rendered, plain_schema},
};

/// A governed tool: the type is its arguments.
///
/// The attributes write this for an `async fn`; nothing keeps you from writing
/// it by hand. The body, [`run`](Self::run), takes a [`Permit`], which only a
/// [`Governor`] makes.
pub trait Tool: Arguments {
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
    note = "derive what callers and approvers need: `#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]`",
    note = "for a type of another crate, turn on its feature `serde`, and that of schemars 1 for it, such as `uuid1`"
)]
pub trait ToolParameter: Serialize + DeserializeOwned + JsonSchema + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + JsonSchema + Send + 'static> ToolParameter for T {}

/// The right to run a tool's body once, with these arguments.
///
/// INVARIANT: only `Grant::permit` makes one, from a grant, which it uses up,
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
impl<T: Tool> fmt::Debug for Permit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("tool", &T::SPEC.name).finish_non_exhaustive()
    }
}

/// The JSON Schema of a tool's arguments.
pub(crate) fn input_schema<T: Tool>() -> Map<String, Value> {
    finished(T::schema())
}

fn finished(schema: Schema) -> Map<String, Value> {
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
    let secrets = Secrets::among(&arguments, |name| T::SPEC.may_be_sensitive(name));
    T::read(arguments).map_err(|error| invalid(T::SPEC, &secrets, &error))
}

fn invalid(spec: &ToolSpec, secrets: &Secrets, error: &ArgumentError) -> InvalidArguments {
    let ArgumentError { key, path, error } = error;
    let scrubbed = || secrets.scrub(&error.to_string());
    let message = match (key, path) {
        (Some(key), Some(path)) if spec.is_sensitive(key) => {
            format!("`{path}`: the value does not have the type that the schema asks for")
        }
        (_, Some(path)) => format!("`{path}`: {}", scrubbed()),
        (_, None) => scrubbed(),
    };
    InvalidArguments { tool: spec.name, message }
}

/// A call that was authorized and has not run yet.
pub(crate) struct Authorized<T: Tool> {
    grant: Grant,
    permit: Permit<T>,
    secrets: Secrets,
}

/// Has a call evaluated, and waits for a person where one must decide. With the grant
/// comes back what the body is to have, `rest` in particular.
#[expect(clippy::manual_async_fn, reason = "that has room for each argument twice")]
pub(crate) fn authorize<R: Send>(
    governor: Governor,
    described: Described,
    context: CallContext,
    rest: R,
) -> impl Future<Output = Result<(Grant, Secrets, CallContext, R), Refusal>> + Send {
    async move {
        let (action, secrets) = described?;
        let grant = governor.authorize_boxed(action, &context).await?;
        Ok((grant, secrets, context, rest))
    }
}

/// What an authority is asked about a call, and what must not be told of it.
pub(crate) type Described = Result<(Box<Action>, Secrets), Refusal>;

/// Describes the call of `T` with `arguments`.
pub(crate) fn described<T: Tool>(governor: &Governor, arguments: &T) -> Described {
    describe(governor, T::SPEC, arguments.verb(), arguments.write())
}

/// The part of [`described`] that is the same for all tools.
pub(crate) fn describe(
    governor: &Governor,
    spec: &'static ToolSpec,
    verb: Verb,
    arguments: Result<Value, serde_json::Error>,
) -> Described {
    let invalid = |error: &dyn fmt::Display| {
        Refusal::new(RefusalKind::Invalid).with_reason(error.to_string())
    };
    let arguments = arguments.map_err(|error| invalid(&error))?;
    let secrets = Secrets::of(spec, &arguments);
    let action = Action::keyed(spec, verb, arguments, governor.digest_key())
        .map_err(|error| invalid(&error))?;
    Ok((Box::new(action), secrets))
}

impl<T: Tool> Authorized<T> {
    /// Of the very arguments that were [`described`] for the grant.
    pub(crate) fn new(
        grant: Grant,
        secrets: Secrets,
        arguments: T,
        state: T::State,
        context: CallContext,
    ) -> Self {
        let (grant, permit) = grant.permit(arguments, state, context);
        Self { grant, permit, secrets }
    }

    /// Runs the body and reports the outcome.
    pub(crate) fn run(self) -> impl Future<Output = T::Return> + Send {
        let Self { grant, permit, secrets } = self;
        let (grant, span) = grant.begin();
        let body = grant.governor().clone().scoped(T::run(permit)).instrument(span);
        reported(body, grant, secrets)
    }

    /// Runs the body, reports the outcome, and renders the result for a client.
    pub(crate) fn run_and_render(self) -> impl Future<Output = Result<Rendered, String>> + Send {
        let secrets = self.secrets.clone();
        rendered(self.run(), secrets)
    }
}

// These know what a body returns and no tool: where bodies are boxed, as the attributes
// do, they are compiled once for all tools that return the same.

async fn reported<R: GovernedReturn>(
    body: impl Future<Output = R>,
    grant: Grant,
    secrets: Secrets,
) -> R {
    let result = body.await;
    grant.finish(result.failure().map(|error| secrets.scrub(&error)));
    result
}

async fn rendered<R: ToolReturn>(
    running: impl Future<Output = R>,
    secrets: Secrets,
) -> Result<Rendered, String> {
    running.await.render().map_err(|error| secrets.scrub(&error))
}

/// The sensitive values of one call, to keep them out of error texts.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<Value>);

/// The most distinct secrets that a text is searched for, and the most of the
/// text that is searched. Callers choose both.
const SECRETS_LIMIT: usize = 1_000;
const SCRUBBED_LIMIT: usize = 1 << 16;

impl Secrets {
    pub(crate) fn of(spec: &ToolSpec, arguments: &Value) -> Self {
        arguments
            .as_object()
            .map(|arguments| Self::among(arguments, |name| spec.is_sensitive(name)))
            .unwrap_or_default()
    }

    pub(crate) fn among(arguments: &Map<String, Value>, is_secret: impl Fn(&str) -> bool) -> Self {
        let secret = arguments.iter().filter(|(name, _)| is_secret(name));
        Self(secret.map(|(_, value)| value.clone()).collect())
    }

    /// `text` with every sensitive value in it masked.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let mut found = BTreeSet::new();
        self.0.iter().for_each(|value| collect_leaves(value, text, &mut found));
        if found.is_empty() {
            return text.to_owned();
        }
        if found.len() > SECRETS_LIMIT {
            return "the tool failed; its error is not shown, since it may quote any of the many sensitive values of the call".to_owned();
        }
        // Longer ones first, so that none is left half-masked by a part of it.
        let mut by_first: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
        for secret in &found {
            by_first.entry(secret.as_bytes()[0]).or_default().push(secret);
        }
        for secrets in by_first.values_mut() {
            secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
        let mut scrubbed = String::with_capacity(text.len().min(SCRUBBED_LIMIT));
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if text.len() - rest.len() >= SCRUBBED_LIMIT {
                scrubbed.push('…');
                break;
            }
            let secrets = by_first.get(&rest.as_bytes()[0]).into_iter().flatten();
            match secrets.copied().find(|secret| rest.starts_with(secret)) {
                Some(secret) => {
                    scrubbed.push_str(crate::action::MASK);
                    rest = &rest[secret.len()..];
                }
                None => {
                    scrubbed.push(character);
                    rest = &rest[character.len_utf8()..];
                }
            }
        }
        scrubbed
    }
}

/// The leaves of `value` that fit into `text`, in each form that it may have
/// there, up to one more than the limit.
fn collect_leaves(value: &Value, text: &str, found: &mut BTreeSet<String>) {
    if found.len() > SECRETS_LIMIT {
        return;
    }
    match value {
        Value::String(leaf) if !leaf.is_empty() && leaf.len() <= text.len() => {
            // As it stands, as JSON shows it, and as `{:?}` shows it.
            let json = Value::from(leaf.as_str()).to_string();
            let debug = format!("{leaf:?}");
            found.extend([&json[1..json.len() - 1], &debug[1..debug.len() - 1]].map(str::to_owned));
            found.insert(leaf.clone());
        }
        Value::Number(number) => {
            found.insert(number.to_string());
        }
        Value::Array(items) => items.iter().for_each(|item| collect_leaves(item, text, found)),
        Value::Object(entries) => {
            entries.values().for_each(|item| collect_leaves(item, text, found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sensitive_value_that_does_not_fit_is_not_quoted_whatever_its_name() {
        #[ascend_sdk::mcp_governance(
            action_type = "door.open",
            resource = "door",
            description = "Opens the door."
        )]
        async fn open(
            #[sensitive]
            #[serde(rename = "door.pin", alias = "pin")]
            pin: u32,
            floor: u32,
        ) -> Result<u32, crate::Refusal> {
            Ok(pin + floor)
        }
        let message = |arguments: Value| match arguments {
            Value::Object(arguments) => match decode::<open>(arguments) {
                Ok(_) => panic!("it fits"),
                Err(error) => error.to_string(),
            },
            _ => panic!("no object"),
        };
        for name in ["door.pin", "pin"] {
            let text = message(json!({ name: "hunter2", "floor": 1 }));
            assert!(!text.contains("hunter2") && text.contains(name), "{text}");
        }
        let text = message(json!({ "pin": 1, "floor": "cellar" }));
        assert!(text.contains("`floor`: invalid type: string \"cellar\""), "{text}");
        let text = message(json!({ "pin": 1, "flor": 2 }));
        assert!(text.contains("unknown field `flor`"), "{text}");
    }
}
