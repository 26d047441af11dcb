//! A tool without its type, for servers that hold many.

use futures_util::{TryFutureExt as _, future::lazy};
use serde_json::{Map, Value};

use crate::{
    BoxFuture, CallContext, Governor, Grant, Refusal, RefusalKind, State, Tool, ToolReturn,
    ToolSpec,
    output::Rendered,
    tool::{self, Authorized, Described, InvalidArguments, Secrets},
};

/// A tool that a server can offer: its metadata, its schemas, and a way to
/// call it that is always governed.
#[derive(Clone, Copy)]
pub struct Route {
    spec: &'static ToolSpec,
    input_schema: fn() -> Map<String, Value>,
    output_schema: fn() -> Option<Map<String, Value>>,
    governor: fn() -> Option<Governor>,
    begin: fn(Call) -> Result<Begun, Unanswered>,
}

/// One call by a client.
pub(crate) struct Call {
    pub(crate) governor: Governor,
    pub(crate) arguments: Map<String, Value>,
    pub(crate) state: State,
    pub(crate) context: CallContext,
}

/// A call that fits its tool, and is to be governed.
struct Begun {
    governor: Governor,
    described: Described,
    context: CallContext,
    /// Runs the body, on the very arguments that were described.
    run: Run,
}

type Run = Box<dyn FnOnce(Grant, Secrets, CallContext) -> Running + Send>;
type Running = BoxFuture<'static, Result<Rendered, String>>;

/// A body that ran.
pub(crate) struct Answer {
    pub(crate) result: Result<Rendered, String>,
    pub(crate) governance: Value,
}

/// Why there is no answer of a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    InvalidArguments(#[from] InvalidArguments),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    MissingState(#[from] crate::MissingState),
    #[error("the tool panicked while it ran; what it had done by then is not known")]
    Panicked { governance: Value },
}

impl Route {
    /// The route to the tool `T`.
    #[must_use]
    pub const fn of<T: Tool>() -> Self {
        Self {
            spec: T::SPEC,
            input_schema: tool::input_schema::<T>,
            output_schema: <T::Return as ToolReturn>::output_schema,
            governor: T::governor,
            begin: begin::<T>,
        }
    }

    /// The tool's metadata.
    #[must_use]
    pub const fn spec(&self) -> &'static ToolSpec {
        self.spec
    }

    /// The JSON Schema of the arguments.
    #[must_use]
    pub fn input_schema(&self) -> Map<String, Value> {
        (self.input_schema)()
    }

    /// The JSON Schema of the structured content; `None` when there is none.
    #[must_use]
    pub fn output_schema(&self) -> Option<Map<String, Value>> {
        (self.output_schema)()
    }

    /// The governor that the tool is bound to by itself.
    #[must_use]
    pub fn governor(&self) -> Option<Governor> {
        (self.governor)()
    }

    pub(crate) fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, Unanswered>> {
        let begin = self.begin;
        // What is the tool's own can panic, which only a future may.
        Box::pin(lazy(move |_| begin(call).map(answer)).try_flatten())
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// All of a call that is compiled for each tool, besides its body.
fn begin<T: Tool>(call: Call) -> Result<Begun, Unanswered> {
    let Call { governor, arguments, state, context } = call;
    let arguments = tool::decode::<T>(arguments)?;
    let state = T::state(&state)?;
    let governor = T::governor().unwrap_or(governor);
    let described = tool::described(&governor, &arguments);
    let run: Run = Box::new(move |grant, secrets, context| {
        Box::pin(Authorized::new(grant, secrets, arguments, state, context).run_and_render())
    });
    Ok(Begun { governor, described, context, run })
}

fn answer(call: Begun) -> impl Future<Output = Result<Answer, Unanswered>> + Send {
    let Begun { governor, described, context, run } = call;
    tool::authorize(governor, described, context, run)
        .err_into()
        .and_then(|(grant, secrets, context, run)| run_apart(grant, secrets, context, run))
}

/// Runs the body in a task of its own: when the client goes away the body is offered to
/// stop through its context, and never torn down half-way.
async fn run_apart(
    grant: Grant,
    secrets: Secrets,
    context: CallContext,
    run: Run,
) -> Result<Answer, Unanswered> {
    let governance = grant.governance();
    let running = tokio::spawn(async move {
        if context.is_cancelled() {
            // The caller went away since the decision was claimed.
            return Err(Refusal::new(RefusalKind::Cancelled));
        }
        Ok(run(grant, secrets, context).await)
    });
    match running.await {
        Ok(Ok(result)) => Ok(Answer { result, governance }),
        Ok(Err(refusal)) => Err(refusal.into()),
        Err(_) => Err(Unanswered::Panicked { governance }),
    }
}

/// The tools of a server, in the order in which they are listed.
#[derive(Debug, Clone, Default)]
pub struct Tools(Vec<Route>);

impl Tools {
    /// No tools yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds the tool `T`.
    #[must_use]
    pub fn with<T: Tool>(mut self) -> Self {
        self.0.push(Route::of::<T>());
        self
    }

    /// The routes.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.0
    }
}

impl Extend<Route> for Tools {
    fn extend<I: IntoIterator<Item = Route>>(&mut self, routes: I) {
        self.0.extend(routes);
    }
}

impl IntoIterator for Tools {
    type Item = Route;
    type IntoIter = std::vec::IntoIter<Route>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The governed functions of a server, by their names or paths.
///
/// ```
/// use ascend_sdk::{Refusal, mcp_governance, tools};
///
/// /// Tells the time.
/// #[mcp_governance(action_type = "clock.read", resource = "clock")]
/// async fn time() -> Result<u64, Refusal> {
///     Ok(0)
/// }
///
/// assert_eq!(tools![time].routes()[0].spec().name, "time");
/// ```
#[macro_export]
macro_rules! tools {
    ($($tool:path),* $(,)?) => {
        $crate::Tools::new()$(.with::<$tool>())*
    };
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        Action, ActionId, Authority, AuthorityError, Claim, Decision, Digest, Evaluation, Outcome,
        Review, RiskLevel, SessionContext,
    };

    static RAN: AtomicBool = AtomicBool::new(false);

    #[crate::mcp_governance(
        action_type = "test.touch",
        resource = "test",
        description = "Says that it ran."
    )]
    async fn touch() -> Result<(), Refusal> {
        RAN.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Grants the claim, and at that very moment the caller goes away.
    #[derive(Clone)]
    struct Leaving {
        caller: CancellationToken,
        reported: Arc<Mutex<Vec<Outcome>>>,
    }

    impl Authority for Leaving {
        fn evaluate<'a>(
            &'a self,
            _: &'a Action,
        ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
            Box::pin(async {
                Ok(Evaluation {
                    decision: Decision::Allow,
                    action_id: ActionId::new("1").ok_or(AuthorityError::RateLimited(None))?,
                    risk_score: 0,
                    risk_level: RiskLevel::Low,
                    reason: None,
                    refusal: None,
                    approval: None,
                    estimated_approval_time: None,
                    expires_in: None,
                    in_client_approval: false,
                })
            })
        }

        fn await_review<'a>(
            &'a self,
            _: &'a ActionId,
        ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
            Box::pin(std::future::pending())
        }

        fn claim<'a>(
            &'a self,
            _: &'a ActionId,
            _: &'a Digest,
        ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
            Box::pin(async {
                self.caller.cancel();
                Ok(Claim::Granted)
            })
        }

        fn report<'a>(
            &'a self,
            _: &'a ActionId,
            outcome: &'a Outcome,
        ) -> BoxFuture<'a, Result<(), AuthorityError>> {
            Box::pin(async {
                self.reported.lock().expect("no panic holds it").push(outcome.clone());
                Ok(())
            })
        }

        fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
            Box::pin(async { Ok(()) })
        }

        fn describe(&self) -> String {
            String::new()
        }
    }

    #[tokio::test]
    async fn a_caller_that_leaves_between_claim_and_run_is_withdrawn() {
        let caller = CancellationToken::new();
        let authority = Leaving { caller: caller.clone(), reported: Arc::default() };
        let governor = Governor::new(authority.clone());
        let call = Call {
            governor: governor.clone(),
            arguments: Map::new(),
            state: State::default(),
            context: CallContext::new(SessionContext::default(), caller),
        };
        let answer = Route::of::<touch>().call(call).await;
        assert!(
            matches!(&answer, Err(Unanswered::Refused(refusal)) if refusal.kind() == RefusalKind::Cancelled)
        );
        assert!(governor.close(std::time::Duration::from_secs(5)).await);
        assert!(!RAN.load(Ordering::SeqCst));
        let reported = authority.reported.lock().expect("no panic holds it");
        assert!(matches!(reported[..], [Outcome::Withdrawn { .. }]), "{reported:?}");
    }
}
