//! What a tool's body may know of its call.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Action, ActionId, Approval, BoxFuture, RiskLevel, SessionContext, TraceContext, digest::Salt,
};

/// The context of one call, taken by a `#[context]` parameter.
///
/// ```
/// use ascend_sdk::CallContext;
/// let context = CallContext::default();
/// assert!(!context.is_cancelled());
/// ```
#[derive(Clone, Default)]
pub struct CallContext {
    session: Arc<SessionContext>,
    cancellation: CancellationToken,
    action_id: Option<ActionId>,
    approval: Option<Arc<Approval>>,
    progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
    patience: Option<Arc<Patience>>,
    /// The action that this call goes on waiting for; it opens no other.
    resumes: Option<ActionId>,
    attendant: Option<Arc<Mutex<Option<Attendant>>>>,
    trace: Option<Arc<TraceContext>>,
}

/// Keeps the client while a call waits.
type Attendant = BoxFuture<'static, Infallible>;

/// How a client waits for its call.
#[derive(Debug)]
pub(crate) struct Patience {
    /// What the server wishes while the call waits.
    pub(crate) wish: watch::Receiver<Wish>,
    /// Where the server sees what the call waits for.
    pub(crate) waiting: watch::Sender<Option<Waiting>>,
    /// Filled when the body begins: who approved, where that is known.
    pub(crate) begun: Arc<OnceLock<Option<String>>>,
    /// The call, which may take several requests.
    pub(crate) call: CallNumber,
    /// Who calls: only their calls that are held are the same one.
    pub(crate) principal: String,
    /// Whether the server wants to show what waits to the client's user.
    pub(crate) needs_card: bool,
}

/// Tells calls apart that hold promises, also where servers take over each
/// other's calls: numbers begin anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CallNumber(u64);

impl CallNumber {
    pub(crate) fn next() -> Self {
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
            let random = Salt::random();
            let bytes = random.public().first_chunk().copied().unwrap_or_default();
            AtomicU64::new(u64::from_le_bytes(bytes))
        });
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What is to become of a call that waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It goes on waiting, and is withdrawn when it is dropped.
    Hold,
    /// It goes on waiting, and its action lives on without it: so it was
    /// promised to its agent.
    Keep,
    /// The same, and the call is answered as pending now.
    Leave,
    /// Its agent does not want it any more, though it was promised: it lives on
    /// for others to whom it was promised too.
    Abandon,
}

/// What a call waits for, as long as it waits for a person.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) action_id: ActionId,
    /// The summary, or the tool's name.
    pub(crate) what: String,
    pub(crate) risk_score: u8,
    pub(crate) risk_level: RiskLevel,
    pub(crate) until: Instant,
    /// Who decides, and how to approve.
    pub(crate) approvers: String,
    /// Whether its action lives on without it.
    pub(crate) promised: bool,
    /// What the client's user may be shown, where the authority takes their word.
    pub(crate) card: Option<Arc<Card>>,
}

/// A call, for the person at the client that makes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Card {
    pub(crate) tool: String,
    pub(crate) action_type: String,
    pub(crate) resource: String,
    /// Sensitive values masked.
    pub(crate) parameters: Map<String, Value>,
    /// Why a person must decide.
    pub(crate) reason: Option<String>,
    /// What the tool and its arguments say of the risk.
    pub(crate) least_risk: RiskLevel,
}

impl Card {
    pub(crate) fn of(action: &Action) -> Self {
        Self {
            tool: action.tool.clone(),
            action_type: action.action_type(),
            resource: action.resource.clone(),
            parameters: action.parameters.clone(),
            reason: None,
            least_risk: action
                .floor
                .risk_level
                .max(action.facts.risk_level)
                .unwrap_or(RiskLevel::Low),
        }
    }
}

/// Ends a wait in the eyes of whoever watches, however it ends.
pub(crate) struct Watched<'a>(Option<&'a watch::Sender<Option<Waiting>>>);

impl Watched<'_> {
    /// The action lives on without the call, for so long.
    pub(crate) fn promised(&self, left: Duration) {
        if let Some(watched) = self.0 {
            watched.send_modify(|waiting| {
                if let Some(waiting) = waiting {
                    waiting.until = waiting.until.min(Instant::now() + left);
                    waiting.promised = true;
                }
            });
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.0 {
            waiting.send_replace(None);
        }
    }
}

/// One report of progress: MCP's `notifications/progress`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress {
    pub(crate) progress: f64,
    pub(crate) total: Option<f64>,
    pub(crate) message: Option<String>,
}

impl CallContext {
    /// The context of a call in `session`, cancelled by `cancellation`.
    #[must_use]
    pub fn new(session: SessionContext, cancellation: CancellationToken) -> Self {
        Self {
            session: Arc::new(session),
            cancellation,
            action_id: None,
            approval: None,
            progress: None,
            patience: None,
            resumes: None,
            attendant: None,
            trace: None,
        }
    }

    pub(crate) fn on_progress(mut self, report: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(report));
        self
    }

    pub(crate) fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = Some(Arc::new(patience));
        self
    }

    /// Lets the call go on waiting for the action that it opened before.
    pub(crate) fn resuming(mut self, action: Option<ActionId>) -> Self {
        self.resumes = action;
        self
    }

    /// The action that this call goes on waiting for.
    pub(crate) fn resumes(&self) -> Option<&ActionId> {
        self.resumes.as_ref()
    }

    /// Makes the call a part of `trace`.
    #[must_use]
    pub fn in_trace(mut self, trace: Option<TraceContext>) -> Self {
        self.trace = trace.map(Arc::new);
        self
    }

    /// Lets `attendant` keep the client while the call waits, where no server does.
    pub(crate) fn attended_by(
        mut self,
        attendant: impl Future<Output = Infallible> + Send + 'static,
    ) -> Self {
        self.attendant = Some(Arc::new(Mutex::new(Some(Box::pin(attendant)))));
        self
    }

    /// Waits for `work`, and lets the attendant work meanwhile.
    pub(crate) async fn attended<T>(&self, work: impl Future<Output = T>) -> T {
        let take = |attendant: &Arc<Mutex<Option<Attendant>>>| {
            attendant.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        match self.attendant.as_ref().and_then(take) {
            Some(attendant) => tokio::select! {
                biased;
                done = work => done,
                never = attendant => match never {},
            },
            None => work.await,
        }
    }

    /// How the client waits; `None` for a direct call, which just waits.
    pub(crate) fn patience(&self) -> Option<&Patience> {
        self.patience.as_deref()
    }

    /// What the server wishes now.
    pub(crate) fn wish(&self) -> Wish {
        self.patience().map_or(Wish::Hold, |patience| *patience.wish.borrow())
    }

    /// The server's next wish to promise the action, other than `known`.
    pub(crate) async fn wish_after(&self, known: Wish) -> Wish {
        let Some(patience) = self.patience() else { return std::future::pending().await };
        let is_new = |wish: &Wish| *wish != known && matches!(wish, Wish::Keep | Wish::Leave);
        let wish = patience.wish.clone().wait_for(is_new).await.map(|wish| *wish);
        // The server let go of the call, and drops it.
        let Ok(wish) = wish else { return std::future::pending().await };
        wish
    }

    /// Tells whoever watches that the call waits, until the value is dropped.
    pub(crate) fn waits(&self, waiting: impl FnOnce() -> Waiting) -> Watched<'_> {
        let watched = self.patience().map(|patience| &patience.waiting);
        if let Some(watched) = watched {
            watched.send_replace(Some(waiting()));
        }
        Watched(watched)
    }

    pub(crate) fn granted(mut self, id: &ActionId, approval: Option<&Approval>) -> Self {
        self.action_id = Some(id.clone());
        self.approval = approval.cloned().map(Arc::new);
        // What the body calls is a call of its own.
        self.resumes = None;
        if let Some(patience) = self.patience() {
            // Only the call's own body is told, not those that it calls.
            let _ = patience.begun.set(self.reviewed_by().map(str::to_owned));
        }
        self
    }

    /// The calling session.
    #[must_use]
    pub fn session(&self) -> &SessionContext {
        &self.session
    }

    /// The authority's name for the action; `None` before it has one.
    #[must_use]
    pub fn action_id(&self) -> Option<&ActionId> {
        self.action_id.as_ref()
    }

    /// The approval under which the body runs; `None` when none was needed.
    #[must_use]
    pub fn approval(&self) -> Option<&Approval> {
        self.approval.as_deref()
    }

    /// Who approved; `None` when nobody had to, or the authority does not say.
    #[must_use]
    pub fn reviewed_by(&self) -> Option<&str> {
        self.approval.as_ref()?.reviewed_by.as_deref()
    }

    /// The trace that the call belongs to; `None` where its client tells of
    /// none. Pass it on to whoever the body asks.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_deref()
    }

    /// Whether the caller no longer wants the result. A body that runs is never
    /// torn down; this offers it to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    /// Waits until the caller no longer wants the result.
    pub async fn cancelled(&self) {
        self.cancellation.cancelled().await;
    }

    /// The token behind [`is_cancelled`](Self::is_cancelled).
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Tells the caller how far the work is, where it asked to know. `progress`
    /// must grow from report to report; `total` is in the same unit. Never waits.
    pub fn report_progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        if let Some(report) = &self.progress {
            report(Progress { progress, total, message: message.map(str::to_owned) });
        }
    }
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("session", &self.session)
            .field("action_id", &self.action_id)
            .field("approval", &self.approval)
            .finish_non_exhaustive()
    }
}
