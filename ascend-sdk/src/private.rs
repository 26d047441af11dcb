//! All that the attributes' expansions may name. Not for people: anything here
//! may change in any release.

pub use schemars;
pub use serde;
pub use serde_json;

pub use crate::output::GovernedReturn;
use crate::{
    CallContext, Governor, MissingState, Refusal, RefusalKind, State, Tool, ToolParameter,
    ToolSpec, Verb, tool,
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

/// Stands in where a type lacks an ability, so that the compiler speaks of
/// that once. Code that names it never gets past the compiler.
pub trait Unchecked: Sized {
    /// Stands in for the schema.
    #[must_use]
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::Schema::from(false)
    }
}

impl<T> Unchecked for T {}

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

/// Lets `&LazyLock<Governor>`, `&Arc<Governor>` and `&Governor` all be given
/// as `governor = …`, by deref coercion.
#[must_use]
pub fn bound(governor: &Governor) -> Governor {
    governor.clone()
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
    match tool::authorize(&governor, arguments, state, context).await {
        Ok(authorized) => authorized.run().await,
        Err(refusal) => T::Return::from_refusal(refusal),
    }
}

/// A call of a governed method, whose arguments were serialised by
/// [`arguments`]. `body` is called at most once, and only under a grant.
pub async fn guard<R: GovernedReturn, F: Future<Output = R>>(
    governor: Option<Governor>,
    spec: &'static ToolSpec,
    verb: Verb,
    arguments: Result<serde_json::Value, serde_json::Error>,
    body: impl FnOnce() -> F,
) -> R {
    let refused = |kind| R::from_refusal(Refusal::new(kind));
    let Some(governor) = governor.or_else(Governor::current) else {
        return refused(RefusalKind::NoGovernor);
    };
    let Ok(arguments) = arguments else { return refused(RefusalKind::Invalid) };
    let context = CallContext::default();
    match tool::describe_and_authorize(&governor, spec, verb, arguments, &context).await {
        Ok(grant) => {
            let grant = grant.begin();
            let result = governor.scope(body()).await;
            grant.finish(result.failure());
            result
        }
        Err(refusal) => R::from_refusal(refusal),
    }
}

/// Merges a method's serialised parameters into one object: those that are
/// objects themselves (rmcp's `Parameters<T>`) by their entries, the others by name.
pub fn arguments<const N: usize>(
    parameters: [(&str, Result<serde_json::Value, serde_json::Error>); N],
) -> Result<serde_json::Value, serde_json::Error> {
    let mut merged = serde_json::Map::new();
    for (name, value) in parameters {
        match value? {
            serde_json::Value::Object(entries) if N == 1 => merged.extend(entries),
            value => {
                merged.insert(name.to_owned(), value);
            }
        }
    }
    Ok(merged.into())
}
