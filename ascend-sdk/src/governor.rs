//! Evaluate, await approval, run once, report.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, RwLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Action, ActionId, Approval, Authority, AuthorityError, BoxFuture, CallContext, Claim, Decision,
    Evaluation, Outcome, Permit, Refusal, RefusalKind, Review, Tool,
    context::Waiting,
    decision::governance_object,
    refusal::Wait,
    room::{Open, Place, Room},
};

/// What happens when the authority cannot be reached at evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailMode {
    /// The call is refused.
    #[default]
    Closed,
    /// The call runs, unless its floor requires a person's approval. A denial,
    /// a kill switch, a failure, a malformed answer or a pending approval is
    /// never passed over.
    Open,
}

/// How long an action that an agent was promised can be joined once the time
/// for its approval is over: agents come back late.
const TIME_TO_JOIN: Duration = Duration::from_secs(15 * 60);
/// How long a call that joins late waits to hear how the action stands.
const TIME_TO_LOOK: Duration = Duration::from_secs(10);
/// How long a promise may take: the client's time is almost over then.
const TIME_TO_PROMISE: Duration = Duration::from_secs(5);

/// ASCEND's time for an approval.
const DEFAULT_APPROVAL_TIMEOUT: Duration = Duration::from_secs(300);

/// How many reports and evaluations that nobody waits for may be under way
/// before evaluations of callers that leave are dropped. Each holds its
/// arguments, and a client can ask and leave as often as it likes.
const UNATTENDED_LIMIT: usize = 16_384;

/// Stands between callers and bodies. Cheap to clone; clones are the same governor.
#[derive(Clone)]
pub struct Governor(Arc<Inner>);

struct Inner {
    authority: Arc<dyn Authority>,
    server_id: String,
    fail_mode: FailMode,
    approval_timeout: Duration,
    user_context: Map<String, Value>,
    reports: TaskTracker,
    closing: CancellationToken,
    executed: Arc<Mutex<Executed>>,
    room: Arc<Room>,
}

/// The decisions that were already used by this process: a second wall behind
/// the authority's own claim, for those that have none. It forgets the oldest.
#[derive(Default)]
struct Executed {
    ids: HashSet<ActionId>,
    order: VecDeque<ActionId>,
}

impl Executed {
    const LIMIT: usize = 65_536;

    fn insert(&mut self, id: &ActionId) -> bool {
        if !self.ids.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id.clone());
        if self.order.len() > Self::LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

tokio::task_local! {
    static SCOPED: Governor;
}

static INSTALLED: RwLock<Option<Governor>> = RwLock::new(None);

impl Governor {
    /// A governor over `authority`, all else by default.
    pub fn new(authority: impl Authority) -> Self {
        Self::builder(authority).build()
    }

    /// Starts the settings of a governor over `authority`.
    pub fn builder(authority: impl Authority) -> GovernorBuilder {
        GovernorBuilder {
            authority: Arc::new(authority),
            server_id: "ascend-sdk".to_owned(),
            fail_mode: FailMode::default(),
            approval_timeout: DEFAULT_APPROVAL_TIMEOUT,
            user_context: Map::new(),
        }
    }

    /// Makes this the governor of direct calls in the whole process, in the
    /// place of an earlier one.
    pub fn install(&self) {
        *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    /// The governor of a direct call made here: that of the tool whose body
    /// this is, else the installed one.
    #[must_use]
    pub fn current() -> Option<Self> {
        SCOPED
            .try_with(Self::clone)
            .ok()
            .or_else(|| INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Runs `future` with this as the governor of its direct calls.
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        SCOPED.scope(self.clone(), future).await
    }

    /// The id of the server, as authorities see it.
    #[must_use]
    pub fn server_id(&self) -> &str {
        &self.0.server_id
    }

    /// Who decides.
    #[must_use]
    pub fn authority(&self) -> &dyn Authority {
        &*self.0.authority
    }

    pub(crate) fn with_server_id(&self, server_id: &str) -> Self {
        let inner = &self.0;
        Self(Arc::new(Inner {
            authority: inner.authority.clone(),
            server_id: server_id.to_owned(),
            fail_mode: inner.fail_mode,
            approval_timeout: inner.approval_timeout,
            user_context: inner.user_context.clone(),
            reports: inner.reports.clone(),
            closing: inner.closing.clone(),
            executed: inner.executed.clone(),
            room: inner.room.clone(),
        }))
    }

    /// Evaluates `action`, waits for a person where one must decide, and claims
    /// the decision. The future can be dropped at any time: what it left
    /// pending is withdrawn then.
    ///
    /// # Errors
    ///
    /// When the action may not run.
    pub async fn authorize(
        &self,
        mut action: Action,
        context: &CallContext,
    ) -> Result<Grant, Refusal> {
        let inner = &*self.0;
        action.server_id.clone_from(&inner.server_id);
        action.session_context = context.session().clone();
        action.user_context.clone_from(&inner.user_context);
        if action.approval_timeout.is_zero() {
            action.approval_timeout = inner.approval_timeout;
        }
        let floor = action.floor;
        let timeout = action.approval_timeout;
        let digest = action.digest;
        let tool = action.tool.clone();
        let what = action.summary.clone().unwrap_or_else(|| tool.clone());

        let cancelled = async {
            tokio::select! {
                () = context.cancellation().cancelled() => {}
                () = inner.closing.cancelled() => {}
            }
        };
        tokio::pin!(cancelled);
        let by_caller = || Refusal::new(RefusalKind::Cancelled);

        let place = context.patience().and(action.call).map(|call| Place {
            server_id: action.server_id.clone(),
            session_id: action.session_context.session_id.clone(),
            call,
        });
        let joined = place.as_ref().and_then(|place| inner.room.join(place));
        let is_late = joined.is_some();
        let open = match joined {
            Some(open) => {
                tracing::info!(%tool, action_id = %open.id, "joined an action that waits");
                open
            }
            None => {
                let key = action.idempotency_key.clone();
                let evaluation = tokio::select! {
                    biased;
                    () = &mut cancelled => return Err(by_caller()),
                    evaluation = Evaluating::start(self, action) => evaluation,
                };
                let evaluation = match evaluation {
                    Ok(evaluation) => evaluation,
                    Err(error) => {
                        return self.without_answer(
                            error,
                            floor.require_human_approval,
                            &key,
                            &tool,
                        );
                    }
                };
                tracing::info!(
                    %tool, action_id = %evaluation.action_id, decision = %evaluation.decision,
                    risk_score = evaluation.risk_score, "evaluated"
                );
                let waits = evaluation.decision == Decision::RequireApproval;
                self.enter(Open {
                    id: evaluation.action_id.clone(),
                    digest,
                    evaluation,
                    what,
                    until: tokio::time::Instant::now() + timeout,
                    place: place.filter(|_| waits),
                })
            }
        };
        let Open { id, evaluation, .. } = &*open;
        let answered = |refusal: Refusal| {
            refusal
                .with_action_id(id.clone())
                .with_risk_score(evaluation.risk_score)
                .with_decision(evaluation.decision)
        };

        if evaluation.decision == Decision::Deny {
            let kind = evaluation.refusal.unwrap_or(RefusalKind::Denied);
            return Err(answered(with_reason(Refusal::new(kind), evaluation.reason.clone())));
        }

        // From here on the authority holds something open for us.
        let mut pending = Pending::new(self, open.clone());

        let approval = if evaluation.decision == Decision::RequireApproval {
            let now = tokio::time::Instant::now();
            let until = if is_late { open.until.max(now + TIME_TO_LOOK) } else { open.until };
            tracing::info!(%tool, action_id = %id, time = ?(until - now), "waiting for approval");
            let _watched = context.waits(|| Waiting {
                action_id: id.clone(),
                what: open.what.clone(),
                risk_score: evaluation.risk_score,
                risk_level: evaluation.risk_level,
                until,
                approvers: inner.authority.describe(),
            });
            let reviewing = tokio::time::timeout_at(until, inner.authority.await_review(id));
            tokio::pin!(reviewing);
            let mut held = context.patience().and_then(|patience| patience.until);
            let review = loop {
                tokio::select! {
                    biased;
                    () = &mut cancelled => {
                        pending.reason = "the call was cancelled";
                        return Err(answered(by_caller()));
                    }
                    review = &mut reviewing => break review,
                    () = until_instant(held) => held = None,
                }
                // The client cannot be kept any longer.
                let promised = tokio::select! {
                    () = &mut cancelled => None,
                    promised = self.promise(&open) => promised,
                };
                if let Some(left) = promised {
                    let wait = Wait { what: open.what.clone(), left };
                    return Err(answered(Refusal::new(RefusalKind::Pending).with_wait(wait)));
                }
            };
            match review {
                Err(_) => {
                    pending.give_up("nobody decided in time");
                    return Err(answered(
                        Refusal::new(RefusalKind::TimedOut).with_reason("Approval timeout"),
                    ));
                }
                Ok(Err(error)) => {
                    pending.reason = "the review could not be read";
                    return Err(answered(
                        Refusal::new(error.refusal_kind()).with_reason(error.to_string()),
                    ));
                }
                Ok(Ok(Review::Rejected(rejection))) => {
                    pending.decided();
                    return Err(answered(rejected(rejection)));
                }
                Ok(Ok(Review::Approved(approval))) => Some(approval),
                Ok(Ok(Review::AutoApproved)) => None,
            }
        } else {
            evaluation.approval.clone()
        };

        if floor.require_human_approval && approval.is_none() {
            pending.give_up("a person's approval is required, and none was recorded");
            return Err(answered(Refusal::new(RefusalKind::ApprovalMissing)));
        }

        let claim = tokio::select! {
            biased;
            () = &mut cancelled => {
                pending.reason = "the call was cancelled";
                return Err(answered(by_caller()));
            }
            claim = inner.authority.claim(id, &open.digest) => claim,
        };
        match claim {
            Ok(Claim::Granted) => {}
            Ok(Claim::Refused(rejection)) => {
                pending.decided();
                return Err(answered(rejected(rejection)));
            }
            Err(error) => {
                pending.reason = "the decision could not be claimed";
                return Err(answered(
                    Refusal::new(error.refusal_kind()).with_reason(error.to_string()),
                ));
            }
        }
        pending.decided();
        let fresh = inner.executed.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        if !fresh {
            return Err(answered(Refusal::new(RefusalKind::AlreadyExecuted)));
        }
        Ok(Grant {
            governor: self.clone(),
            id: id.clone(),
            evaluation: Some(Box::new(evaluation.clone())),
            approval,
            started: None,
            finished: false,
        })
    }

    /// Opens an action, or finds that an identical call was faster.
    fn enter(&self, open: Open) -> Arc<Open> {
        let id = open.id.clone();
        let entered = self.0.room.enter(open);
        if entered.id != id {
            let reason = format!("an identical call waits for action {}", entered.id);
            self.report(id, Outcome::Withdrawn { reason });
        }
        entered
    }

    /// Lets the action go on waiting without its call, and says for how long;
    /// `None` when it was decided meanwhile.
    async fn promise(&self, open: &Arc<Open>) -> Option<Duration> {
        let inner = &*self.0;
        if inner.room.promise(open)? {
            inner.reports.spawn(self.clone().keep(open.clone()));
        }
        let promised = tokio::time::timeout(TIME_TO_PROMISE, inner.authority.promise(&open.id));
        let kept = promised.await.unwrap_or(Ok(None)).unwrap_or_else(|error| {
            tracing::warn!(action_id = %open.id, %error, "not promised");
            None
        });
        let left = open.until.saturating_duration_since(tokio::time::Instant::now());
        tracing::info!(action_id = %open.id, durable = kept.is_some(), "answered as pending");
        Some(kept.unwrap_or(left))
    }

    /// Keeps a promised action for the call that joins it, and withdraws it when
    /// none comes, or this process ends: an authority that made the promise its
    /// own takes no withdrawal.
    async fn keep(self, open: Arc<Open>) {
        let inner = &*self.0;
        let mut end = open.until + TIME_TO_JOIN;
        loop {
            let closing = tokio::select! {
                () = inner.closing.cancelled() => true,
                () = tokio::time::sleep_until(end) => false,
            };
            match inner.room.clear_deserted(&open) {
                Some(true) => break,
                Some(false) if !closing => end = tokio::time::Instant::now() + TIME_TO_LOOK,
                // Whoever waits for it withdraws it, or has done so.
                Some(false) | None => return,
            }
        }
        let outcome = Outcome::Withdrawn { reason: "nobody came back for it".to_owned() };
        if let Err(error) = inner.authority.report(&open.id, &outcome).await {
            tracing::warn!(action_id = %open.id, %error, "not withdrawn");
        }
    }

    fn without_answer(
        &self,
        error: AuthorityError,
        human_required: bool,
        key: &str,
        tool: &str,
    ) -> Result<Grant, Refusal> {
        let open = self.0.fail_mode == FailMode::Open
            && matches!(error, AuthorityError::Unreachable(_))
            && !human_required;
        let id = open.then(|| ActionId::new(format!("fail_open_{key}"))).flatten();
        let Some(id) = id else {
            tracing::warn!(%tool, %error, "refused: no answer from the authority");
            return Err(Refusal::new(error.refusal_kind()).with_reason(error.to_string()));
        };
        tracing::warn!(%tool, action_id = %id, %error, "running without an answer: fail mode is open");
        Ok(Grant {
            governor: self.clone(),
            id,
            evaluation: None,
            approval: None,
            started: None,
            finished: false,
        })
    }

    /// Tells the authority what became of an action, off the caller's path.
    fn report(&self, id: ActionId, outcome: Outcome) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            tracing::warn!(action_id = %id, "outcome not reported: no async runtime");
            return;
        };
        let authority = self.0.authority.clone();
        self.0.reports.spawn_on(
            async move {
                if let Err(error) = authority.report(&id, &outcome).await {
                    tracing::warn!(action_id = %id, %error, "outcome not reported");
                }
            },
            &runtime,
        );
    }

    /// Stops: calls that wait are refused as cancelled and withdrawn, new ones
    /// are refused, and reports under way get up to `within` to arrive.
    /// Returns whether they all did.
    pub async fn close(&self, within: Duration) -> bool {
        self.0.closing.cancel();
        self.0.reports.close();
        tokio::time::timeout(within, self.0.reports.wait()).await.is_ok()
    }
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governor")
            .field("server_id", &self.0.server_id)
            .field("fail_mode", &self.0.fail_mode)
            .finish_non_exhaustive()
    }
}

fn with_reason(refusal: Refusal, reason: Option<String>) -> Refusal {
    match reason {
        Some(reason) => refusal.with_reason(reason),
        None => refusal,
    }
}

pub(crate) fn rejected(rejection: crate::Rejection) -> Refusal {
    let refusal = with_reason(Refusal::new(rejection.kind), rejection.reason);
    match rejection.reviewed_by {
        Some(reviewer) => refusal.with_reviewed_by(reviewer),
        None => refusal,
    }
}

/// Settings of a [`Governor`].
#[must_use = "call `build`"]
pub struct GovernorBuilder {
    authority: Arc<dyn Authority>,
    server_id: String,
    fail_mode: FailMode,
    approval_timeout: Duration,
    user_context: Map<String, Value>,
}

impl GovernorBuilder {
    /// The id that the authority knows this server by. Default: `ascend-sdk`.
    pub fn server_id(mut self, id: impl Into<String>) -> Self {
        self.server_id = id.into();
        self
    }

    /// What happens when the authority cannot be reached. Default: [`FailMode::Closed`].
    pub fn fail_mode(mut self, mode: FailMode) -> Self {
        self.fail_mode = mode;
        self
    }

    /// How long calls wait for a person, unless the tool says otherwise.
    /// Default: 300 s.
    pub fn approval_timeout(mut self, timeout: Duration) -> Self {
        self.approval_timeout = timeout;
        self
    }

    /// On whose behalf the server runs, for the authority's policies.
    pub fn user_context(mut self, context: Map<String, Value>) -> Self {
        self.user_context = context;
        self
    }

    /// The governor.
    #[must_use]
    pub fn build(self) -> Governor {
        Governor(Arc::new(Inner {
            authority: self.authority,
            server_id: self.server_id,
            fail_mode: self.fail_mode,
            approval_timeout: self.approval_timeout,
            user_context: self.user_context,
            reports: TaskTracker::new(),
            closing: CancellationToken::new(),
            executed: Arc::default(),
            room: Arc::default(),
        }))
    }
}

impl fmt::Debug for GovernorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GovernorBuilder")
            .field("server_id", &self.server_id)
            .field("fail_mode", &self.fail_mode)
            .finish_non_exhaustive()
    }
}

/// An evaluation under way. Dropped early, it goes on by itself, so that an
/// action which the authority opened meanwhile is not left pending.
struct Evaluating<'a> {
    governor: &'a Governor,
    future: Option<BoxFuture<'static, Result<Evaluation, AuthorityError>>>,
}

impl<'a> Evaluating<'a> {
    fn start(governor: &'a Governor, action: Action) -> Self {
        let authority = governor.0.authority.clone();
        let future = Box::pin(async move { authority.evaluate(&action).await });
        Self { governor, future: Some(future) }
    }
}

impl Future for Evaluating<'_> {
    type Output = Result<Evaluation, AuthorityError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Taken out, so that one which panics is not polled again by the drop.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let result = future.as_mut().poll(context);
        if result.is_pending() {
            self.future = Some(future);
        }
        result
    }
}

impl Drop for Evaluating<'_> {
    fn drop(&mut self) {
        let (Some(future), Ok(runtime)) =
            (self.future.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        if self.governor.0.reports.len() >= UNATTENDED_LIMIT {
            tracing::warn!("an evaluation was dropped; its action stays open until it expires");
            return;
        }
        let authority = self.governor.0.authority.clone();
        self.governor.0.reports.spawn_on(
            async move {
                if let Ok(evaluation) = future.await
                    && evaluation.decision != Decision::Deny
                {
                    let outcome = Outcome::Withdrawn { reason: "the caller went away".to_owned() };
                    if let Err(error) = authority.report(&evaluation.action_id, &outcome).await {
                        tracing::warn!(action_id = %evaluation.action_id, %error, "not withdrawn");
                    }
                }
            },
            &runtime,
        );
    }
}

/// One call's part in an action that the authority holds open. When the last
/// part is dropped, the action is withdrawn, unless it was promised.
struct Pending<'a> {
    governor: &'a Governor,
    open: Option<Arc<Open>>,
    reason: &'static str,
}

impl<'a> Pending<'a> {
    fn new(governor: &'a Governor, open: Arc<Open>) -> Self {
        Self { governor, open: Some(open), reason: "the caller went away" }
    }

    /// It was decided: nothing is left to withdraw, or to join.
    fn decided(&mut self) {
        if let Some(open) = self.open.take() {
            self.governor.0.room.clear(&open);
        }
    }

    /// Nobody can have it any more.
    fn give_up(&mut self, reason: &'static str) {
        if let Some(open) = self.open.take()
            && self.governor.0.room.clear(&open)
        {
            self.reason = reason;
            self.withdraw(&open);
        }
    }

    fn withdraw(&self, open: &Open) {
        tracing::info!(action_id = %open.id, reason = self.reason, "withdrawn");
        let reason = self.reason.to_owned();
        self.governor.report(open.id.clone(), Outcome::Withdrawn { reason });
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(open) = self.open.take()
            && self.governor.0.room.leave(&open, self.governor.0.closing.is_cancelled())
        {
            self.withdraw(&open);
        }
    }
}

async fn until_instant(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// A decision that was claimed for one run. It cannot be copied, and what
/// becomes of it is reported, whatever happens.
#[must_use = "a grant that is dropped is reported as not run"]
pub struct Grant {
    governor: Governor,
    id: ActionId,
    /// `None` when the call runs without an answer ([`FailMode::Open`]).
    evaluation: Option<Box<Evaluation>>,
    approval: Option<Approval>,
    started: Option<Instant>,
    finished: bool,
}

impl Grant {
    /// The authority's name for the action.
    #[must_use]
    pub fn action_id(&self) -> &ActionId {
        &self.id
    }

    /// The person's approval; `None` when none was needed.
    #[must_use]
    pub fn approval(&self) -> Option<&Approval> {
        self.approval.as_ref()
    }

    pub(crate) fn governor(&self) -> &Governor {
        &self.governor
    }

    /// The governance object of a call that ran.
    #[must_use]
    pub fn governance(&self) -> Value {
        let evaluation = self.evaluation.as_deref();
        let decision = evaluation.map_or(Decision::Allow, |evaluation| evaluation.decision);
        let reviewed_by = self.approval.as_ref().and_then(|approval| approval.reviewed_by.clone());
        governance_object(
            "approved",
            [
                ("decision", Some(decision.as_str().into())),
                ("action_id", Some(self.id.as_str().into())),
                ("risk_score", evaluation.map(|evaluation| evaluation.risk_score.into())),
                ("risk_level", evaluation.map(|evaluation| evaluation.risk_level.as_str().into())),
                (
                    "reason",
                    evaluation.and_then(|evaluation| evaluation.reason.clone()).map(Value::from),
                ),
                ("reviewed_by", reviewed_by.map(Value::from)),
                ("fail_open", self.evaluation.is_none().then_some(Value::Bool(true))),
            ],
        )
    }

    /// Starts the clock of the run.
    pub(crate) fn begin(mut self) -> Self {
        self.started = Some(Instant::now());
        self
    }

    /// Turns the arguments that were evaluated into a permit. Only the runtime
    /// calls this, with the very value that was hashed.
    pub(crate) fn permit<T: Tool>(
        self,
        arguments: T,
        state: T::State,
        context: CallContext,
    ) -> (Self, Permit<T>) {
        let context = context.granted(&self.id, self.approval.as_ref());
        (self, Permit::new(arguments, state, context))
    }

    /// Reports that the body returned, with its error's text if it failed.
    pub(crate) fn finish(mut self, failure: Option<String>) {
        self.finished = true;
        let duration = self.started.map(|started| started.elapsed()).unwrap_or_default();
        let outcome = match failure {
            None => Outcome::Completed { duration },
            Some(error) => Outcome::Failed { duration, error },
        };
        self.report(outcome);
    }

    fn report(&self, outcome: Outcome) {
        // Without an answer there is no action to report on.
        if self.evaluation.is_some() {
            self.governor.report(self.id.clone(), outcome);
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let outcome = match self.started {
            None => Outcome::Withdrawn { reason: "the caller went away".to_owned() },
            Some(started) => Outcome::Failed {
                duration: started.elapsed(),
                error: if std::thread::panicking() {
                    "the tool panicked"
                } else {
                    "the call was dropped while the tool ran"
                }
                .to_owned(),
            },
        };
        self.report(outcome);
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("action_id", &self.id).finish_non_exhaustive()
    }
}
