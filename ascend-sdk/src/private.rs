//! All that the attributes' expansions may name. Not for people: anything here
//! may change in any release.

pub use schemars;
pub use serde;
pub use serde_json;

use tracing::Instrument as _;

use crate::{
    CallContext, Facts, Governor, MissingState, Refusal, RefusalKind, State, Tool, ToolParameter,
    ToolSpec, Verb, exact,
    tool::{self, Authorized},
};
pub use crate::{
    arguments::{Field, Given, Properties, Unchecked},
    output::GovernedReturn,
};

/// [`ToolParameter`], with a lifetime that makes it fit for conditions that
/// may not hold.
pub trait Parameter<'a>: ToolParameter {}

#[diagnostic::do_not_recommend]
impl<T: ToolParameter> Parameter<'_> for T {}

/// Insists that `T` can be a parameter.
pub const fn parameter<T: ToolParameter>() {}

/// A type whose schema can be made.
#[derive(Debug)]
pub struct Checked<T>(std::marker::PhantomData<T>);

impl<T: schemars::JsonSchema> Checked<T> {
    /// The schema.
    pub fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// Stands in where the schema cannot be made, so that the compiler speaks of
/// that once. Code that names it never gets past the compiler.
pub trait Undescribed: Sized {
    /// Stands in for the schema.
    #[must_use]
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::Schema::from(false)
    }
}

impl<T> Undescribed for Checked<T> {}

/// What a `#[state]` parameter may be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a `#[state]` parameter",
    label = "not shared by calls",
    note = "each call gets a clone: it must be `Clone + Send + Sync + 'static`; an `Arc` around it is"
)]
pub trait Shared: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + 'static> Shared for T {}

/// Takes a `#[state]` parameter from the server's state.
pub fn state<T: Shared>(state: &State) -> Result<T, MissingState> {
    state.get()
}

/// What the `verb = …` expression of an attribute may yield.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a verb",
    label = "not a verb",
    note = "yield a word, such as `\"read\"`, or an `ascend_sdk::Verb`"
)]
pub trait IsVerb: Into<Verb> {}

#[diagnostic::do_not_recommend]
impl<T: Into<Verb>> IsVerb for T {}

/// The verb that an expression yields.
pub fn verb(verb: impl IsVerb) -> Verb {
    verb.into()
}

/// What the `facts = …` expression of an attribute may yield.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not facts for a policy",
    label = "not facts",
    note = "yield an `ascend_sdk::Facts`, or what converts to it: `SqlFacts`, `ShellFacts`, `FileFacts`, a classification"
)]
pub trait IsFacts: Into<Facts> {}

#[diagnostic::do_not_recommend]
impl<T: Into<Facts>> IsFacts for T {}

/// The verb that is a word, with the facts that an expression yields.
pub fn verb_with_facts(verb: &'static str, facts: impl IsFacts) -> Verb {
    Verb::from(verb).with_facts(facts)
}

/// What rmcp lists as the metadata of a governed method.
#[cfg(feature = "server")]
#[must_use]
pub fn governed(
    meta: Option<rmcp::model::MetaObject>,
    spec: &'static ToolSpec,
) -> rmcp::model::MetaObject {
    use crate::server::marks::{Mark, marked};

    marked(meta, Mark::Governed(spec))
}

/// What rmcp lists as the metadata of an ungoverned method.
#[cfg(feature = "server")]
#[must_use]
pub fn ungoverned(
    meta: Option<rmcp::model::MetaObject>,
    name: &'static str,
    reason: &'static str,
) -> rmcp::model::MetaObject {
    use crate::server::marks::{Mark, marked};

    marked(meta, Mark::Ungoverned { name, reason })
}

/// Without a server nobody reads what is listed.
#[cfg(not(feature = "server"))]
pub fn governed<M: Default>(meta: Option<M>, _: &'static ToolSpec) -> M {
    meta.unwrap_or_default()
}

/// Without a server nobody reads what is listed.
#[cfg(not(feature = "server"))]
pub fn ungoverned<M: Default>(meta: Option<M>, _: &'static str, _: &'static str) -> M {
    meta.unwrap_or_default()
}

/// Lets `&LazyLock<Governor>`, `&Arc<Governor>` and `&Governor` all be given
/// as `governor = …`, by deref coercion.
#[must_use]
pub fn bound(governor: &Governor) -> Governor {
    governor.clone()
}

/// The call's context.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a `#[context]` parameter",
    label = "not the context of a call",
    note = "give the parameter the type `ascend_sdk::CallContext`"
)]
pub trait Context: Sized {
    /// As the body takes it.
    fn of(context: CallContext) -> Self;

    /// As a direct call gives it.
    fn given(self) -> CallContext;
}

impl Context for CallContext {
    fn of(context: CallContext) -> Self {
        context
    }

    fn given(self) -> CallContext {
        self
    }
}

/// A direct call of the governed function `T`.
pub async fn call<T: Tool>(
    arguments: T,
    state: T::State,
    context: Option<CallContext>,
) -> T::Return {
    let Some(governor) = T::governor().or_else(Governor::current) else {
        return T::Return::from_refusal(Refusal::new(RefusalKind::NoGovernor));
    };
    let context = context.unwrap_or_default();
    let described = tool::described(&governor, &arguments);
    match tool::authorize(governor, described, context, (arguments, state)).await {
        Ok((grant, secrets, context, (arguments, state))) => {
            Authorized::new(grant, secrets, arguments, state, context).run().await
        }
        Err(refusal) => T::Return::from_refusal(refusal),
    }
}

/// A `#[context]` parameter of a governed method. Of those that know the call's
/// session and cancellation (rmcp's `RequestContext`, a [`CallContext`]) the
/// inherent `tell` is found; of all others, that of [`Untold`].
#[derive(Debug)]
pub struct Told<'a, T>(pub &'a T);

impl Told<'_, CallContext> {
    /// The context that it is.
    #[must_use]
    pub fn tell(&self, _: CallContext) -> CallContext {
        self.0.clone()
    }
}

/// See [`Told`].
pub trait Untold {
    /// The context as it was.
    #[must_use]
    fn tell(&self, context: CallContext) -> CallContext {
        context
    }
}

impl<T> Untold for Told<'_, T> {}

/// A call of a governed method, whose arguments were serialised by
/// [`arguments`]. `body` is called at most once, and only under a grant.
pub async fn guard<R: GovernedReturn, F: Future<Output = R>>(
    governor: Option<Governor>,
    spec: &'static ToolSpec,
    verb: Verb,
    arguments: Result<serde_json::Value, serde_json::Error>,
    context: CallContext,
    body: impl FnOnce() -> F,
) -> R {
    let Some(governor) = governor.or_else(Governor::current) else {
        return R::from_refusal(Refusal::new(RefusalKind::NoGovernor));
    };
    let (action, secrets) = match tool::describe(&governor, spec, verb, arguments) {
        Ok(described) => described,
        Err(refusal) => return R::from_refusal(refusal),
    };
    match context.attended(governor.authorize_boxed(action, &context)).await {
        Ok(grant) => {
            let (grant, span) = grant.begin();
            let result = governor.scope(body()).instrument(span).await;
            let failure = result.failure().map(|error| secrets.scrub(&error));
            let result = result.with_governance(|| grant.governance());
            grant.finish(failure);
            result
        }
        Err(refusal) => R::from_refusal(refusal),
    }
}

/// A parameter of a governed method, as JSON.
#[derive(Debug)]
pub struct Argument {
    /// `None` for one whose entries are arguments themselves.
    name: Option<&'static str>,
    value: Result<serde_json::Value, serde_json::Error>,
}

impl Argument {
    /// One argument.
    pub fn one<T: Shown + ?Sized>(name: &'static str, value: &T) -> Self {
        Self { name: Some(name), value: exact::to_value(value) }
    }

    /// All the fields of rmcp's `Parameters<T>`.
    pub fn fields<T: Shown + ?Sized>(value: &T) -> Self {
        Self { name: None, value: exact::to_value(value) }
    }

    /// Makes sure that a sensitive field goes by the name under which it is
    /// masked: `serde` may have given it another one.
    #[must_use]
    pub fn sensitive<T: serde::Serialize + ?Sized>(self, name: &str, field: &T) -> Self {
        let known = |value: &serde_json::Value| value.get(name).is_some();
        let absent = || serde_json::to_value(field).is_ok_and(|value| value.is_null());
        let value = self.value.and_then(|value| {
            if known(&value) || absent() {
                Ok(value)
            } else {
                Err(serde::ser::Error::custom(format_args!(
                    "the sensitive field `{name}` goes by another name in JSON"
                )))
            }
        });
        Self { value, ..self }
    }
}

/// What a parameter of a governed method may be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be shown to an authority",
    label = "not an argument",
    note = "derive what approvers need: `#[derive(serde::Serialize)]`",
    note = "or mark the parameter `#[context]` if it is not an argument of the tool"
)]
pub trait Shown: serde::Serialize {}

#[diagnostic::do_not_recommend]
impl<T: serde::Serialize + ?Sized> Shown for T {}

/// The arguments of a governed method, in one object.
pub fn arguments<const N: usize>(
    parameters: [Argument; N],
) -> Result<serde_json::Value, serde_json::Error> {
    let mut merged = serde_json::Map::new();
    for Argument { name, value } in parameters {
        let entries = match (name, value?) {
            (Some(name), value) => serde_json::Map::from_iter([(name.to_owned(), value)]),
            (None, serde_json::Value::Object(entries)) => entries,
            (None, serde_json::Value::Null) => continue,
            (None, _) => return Err(serde::ser::Error::custom("the arguments are no object")),
        };
        for (name, value) in entries {
            // The one that stays would hide the other from whoever approves.
            if merged.contains_key(&name) {
                let text = format_args!("two arguments are called `{name}` in JSON");
                return Err(serde::ser::Error::custom(text));
            }
            merged.insert(name, value);
        }
    }
    Ok(merged.into())
}

/// Stands in for a tool whose attribute holds a mistake, so that registering
/// it is not another one.
#[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub enum Unfinished {}

impl Tool for Unfinished {
    type State = ();
    type Return = Result<(), Refusal>;

    const SPEC: &'static ToolSpec = &ToolSpec {
        name: "",
        title: None,
        description: "",
        namespace: "",
        verb: None,
        resource: crate::Template(&[]),
        summary: None,
        floor: crate::Floor::HIGH_RISK,
        approval_timeout: None,
        metadata: &[],
        parameters: &[],
        state: &[],
        hints: crate::Hints {
            read_only: None,
            destructive: None,
            idempotent: None,
            open_world: None,
        },
        location: crate::Location { file: "", line: 0 },
    };

    fn state(_: &State) -> Result<(), MissingState> {
        Ok(())
    }

    async fn run(permit: crate::Permit<Self>) -> Self::Return {
        match permit.into_parts().0 {}
    }
}
