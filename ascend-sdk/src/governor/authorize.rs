//! One call's way to a grant: evaluate, await approval, claim.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{FailMode, Governor, Grant, evaluating::Evaluating, grant::Allowed, pending::Pending};
use crate::{
    Action, ActionId, Approval, AuthorityError, CallContext, Claim, Decision, LONGEST, Outcome,
    Refusal, RefusalKind, Review, Status,
    context::{Card, Waiting, Wish},
    observe::{self, Watch},
    refusal::Wait,
    room::{Open, Place},
};

/// How long a call that joins late waits to hear how the action stands.
pub(super) const TIME_TO_LOOK: Duration = Duration::from_secs(10);

/// How long after the end that an authority names it is still asked for: it tells better
/// than this process how its action ended.
const TIME_TO_HEAR: Duration = Duration::from_secs(2);

/// What a call waits for, or runs without.
enum Opened {
    Action {
        open: Arc<Open>,
        /// Whether an identical call opened it.
        is_joined: bool,
        /// Where it was claimed with the evaluation.
        claim: Option<Claim>,
    },
    /// The authority gave no answer, and the call may run without.
    Unanswered(Allowed),
}

impl Governor {
    /// Evaluates `action`, waits for a person where one must decide, and claims
    /// the decision. The future can be dropped at any time: what it left
    /// pending is withdrawn then.
    ///
    /// # Errors
    ///
    /// When the action may not run.
    pub fn authorize<'a>(
        &'a self,
        action: Action,
        context: &'a CallContext,
    ) -> impl Future<Output = Result<Grant, Refusal>> + Send + 'a {
        // What is large is put on the heap, and let go before the wait.
        self.authorize_boxed(Box::new(action), context)
    }

    pub(crate) async fn authorize_boxed(
        &self,
        action: Box<Action>,
        context: &CallContext,
    ) -> Result<Grant, Refusal> {
        let watch = Watch::of(&action);
        // On the heap once: every caller's future would be as large otherwise.
        match Box::pin(self.grant(action, context, &watch)).await {
            Ok(granted) => Ok(Grant::new(self.clone(), granted, watch.granted())),
            Err(refusal) => {
                watch.refused(&refusal);
                Err(refusal)
            }
        }
    }

    async fn grant(
        &self,
        mut action: Box<Action>,
        context: &CallContext,
        watch: &Watch,
    ) -> Result<Allowed, Refusal> {
        let inner = &*self.0;
        action.server_id.clone_from(&inner.server_id);
        action.session_context = context.session().clone();
        action.user_context.clone_from(&inner.user_context);
        if action.approval_timeout.is_zero() {
            action.approval_timeout = inner.approval_timeout;
        }
        action.approval_timeout = action.approval_timeout.min(LONGEST);
        action.trace = context.trace().cloned();
        let floor = action.floor;
        let card = context
            .patience()
            .filter(|patience| patience.needs_card && !floor.require_human_approval)
            .map(|_| Box::new(Card::of(&action)));

        let (opening, resumed) = {
            let place = context.patience().zip(action.call).map(|(patience, call)| Place {
                server_id: action.server_id.clone(),
                principal: patience.principal.clone(),
                call,
            });
            let resumes = context.resumes().is_some();
            let resumed = place.as_ref().filter(|_| resumes).cloned().map(Box::new);
            (Box::pin(self.open(action, place, context, watch)), resumed)
        };
        let mut gone = pin!(self.gone(context));
        let opened = tokio::select! {
            biased;
            () = &mut gone => {
                self.give_up_resumed(resumed.as_deref(), context);
                return Err(Refusal::new(RefusalKind::Cancelled));
            }
            opened = opening => opened?,
        };
        let (open, is_joined, claim) = match opened {
            Opened::Action { open, is_joined, claim } => (open, is_joined, claim),
            Opened::Unanswered(allowed) => return Ok(allowed),
        };
        let Open { id, evaluation, .. } = &*open;
        if evaluation.decision == Decision::Deny {
            let kind = evaluation.refusal.unwrap_or(RefusalKind::Denied);
            let refusal = open.refusal(kind);
            return Err(match &evaluation.reason {
                Some(reason) => refusal.with_reason(reason),
                None => refusal,
            });
        }

        // From here on the authority holds something open for us.
        let mut pending = Pending::new(self, open.clone(), context);

        let approval = if evaluation.decision == Decision::RequireApproval {
            let wait = watch.waits(id);
            let review = self.review(&open, is_joined, card, context, gone.as_mut(), &mut pending);
            let review = Box::pin(review.instrument(wait.span())).await;
            wait.ended(&review);
            review?
        } else {
            evaluation.approval.clone()
        };
        if floor.require_human_approval && approval.is_none() {
            pending.give_up("a person's approval is required, and none was recorded");
            return Err(open.refusal(RefusalKind::ApprovalMissing));
        }

        // Only a decision that allows can have been claimed with its evaluation.
        let claim = match claim.filter(|_| evaluation.decision == Decision::Allow) {
            Some(claim) => Ok(claim),
            None => {
                let claiming = watch.claims(id);
                let claim = inner.authority.claim(id, &open.digest).instrument(claiming.clone());
                let claim = tokio::select! {
                    biased;
                    () = &mut gone => {
                        pending.cancelled().await;
                        return Err(open.refusal(RefusalKind::Cancelled));
                    }
                    claim = claim => claim,
                };
                watch.claimed(&claiming, &claim);
                claim
            }
        };
        match claim {
            Ok(Claim::Granted) => {}
            Ok(Claim::Refused(rejection)) => {
                pending.decided();
                return Err(open.describe(Refusal::rejected(rejection)));
            }
            Err(error) => {
                pending.reason = "the decision could not be claimed";
                return Err(unanswered(&open, &error));
            }
        }
        pending.decided();
        if !self.used().insert(id) {
            return Err(open.refusal(RefusalKind::AlreadyExecuted));
        }
        Ok(Allowed { id: id.clone(), evaluation: Some(Box::new(evaluation.clone())), approval })
    }

    /// Resolves when the caller no longer wants the result, or this stops.
    async fn gone(&self, context: &CallContext) {
        tokio::select! {
            () = context.cancellation().cancelled() => {}
            () = self.0.closing.cancelled() => {}
        }
    }

    /// Joins the action that an identical call waits for, or has this one evaluated.
    async fn open(
        &self,
        mut action: Box<Action>,
        place: Option<Place>,
        context: &CallContext,
        watch: &Watch,
    ) -> Result<Opened, Refusal> {
        let inner = &*self.0;
        let tool = action.tool.clone();
        let resumed = context.resumes();
        if let Some(open) = place.as_ref().and_then(|place| inner.room.join(place)) {
            if let Some(id) = resumed.filter(|id| **id != open.id) {
                drop(Pending::new(self, open, context));
                return Err(self.over(id).await);
            }
            tracing::info!(%tool, action_id = %open.id, "joined an action that waits");
            watch.joined(&open.id, open.trace.as_ref());
            return Ok(Opened::Action { open, is_joined: true, claim: None });
        }
        if let Some(id) = resumed
            && matches!(
                self.status(id).await,
                Some(Status::Claimed | Status::Completed | Status::Failed)
            )
        {
            // Nobody is asked anew.
            return Err(Refusal::new(RefusalKind::AlreadyExecuted).with_action_id(id.clone()));
        }

        let require_human_approval = action.floor.require_human_approval;
        let key = action.idempotency_key.clone();
        let digest = action.digest;
        let what = action.summary.clone().unwrap_or_else(|| tool.clone());
        let timeout = action.approval_timeout;
        let runs_at_once = !require_human_approval && resumed.is_none();
        let evaluating = watch.evaluates(&action);
        if let Some(trace) = observe::context_of(&evaluating) {
            action.trace = Some(trace);
        }
        let trace = action.trace.clone();
        let evaluation = Evaluating::start(self, action, runs_at_once, &evaluating).await;
        watch.evaluated(&evaluating, evaluation.as_ref().map(|(evaluation, _)| evaluation));
        let (evaluation, claim) = match evaluation {
            Ok(evaluated) => evaluated,
            Err(error) => {
                // What was left waiting for a person never runs without one.
                let require_human_approval = require_human_approval || resumed.is_some();
                let allowed = self.without_answer(error, require_human_approval, &key, &tool)?;
                return Ok(Opened::Unanswered(allowed));
            }
        };
        tracing::info!(
            %tool, action_id = %evaluation.action_id, decision = %evaluation.decision,
            risk_score = evaluation.risk_score, "evaluated"
        );
        let allowed = evaluation.decision != Decision::Deny;
        if let Some(id) = resumed.filter(|id| allowed && **id != evaluation.action_id) {
            let reason = format!("the call continued action {id}, which is over");
            self.report(evaluation.action_id, Outcome::Withdrawn { reason });
            return Err(self.over(id).await);
        }
        let waits = evaluation.decision == Decision::RequireApproval;
        let claim = claim.filter(|_| evaluation.decision == Decision::Allow);
        let id = evaluation.action_id.clone();
        // What policy gives more time than the caller asked for is waited for as long.
        let longer = evaluation.expires_in.filter(|left| *left > timeout);
        let timeout = longer.map_or(timeout, |left| left.min(LONGEST) + TIME_TO_HEAR);
        let (open, is_joined) = inner.room.enter(Open {
            id: id.clone(),
            digest,
            evaluation,
            what,
            trace,
            until: Instant::now() + timeout,
            place: place.filter(|_| waits),
            over: CancellationToken::new(),
        });
        if is_joined {
            watch.joined(&open.id, open.trace.as_ref());
        }
        if open.id != id {
            let reason = format!("an identical call waits for action {}", open.id);
            self.report(id, Outcome::Withdrawn { reason });
        }
        Ok(Opened::Action { open, is_joined, claim })
    }

    /// Lets a call that was to go on waiting give up its action, as if it had
    /// begun to.
    fn give_up_resumed(&self, place: Option<&Place>, context: &CallContext) {
        if let Some(open) = place.and_then(|place| self.0.room.join(place)) {
            drop(Pending::new(self, open, context));
        }
    }

    /// The answer to a call that continues an action which is over.
    async fn over(&self, id: &ActionId) -> Refusal {
        let refusal = match self.status(id).await {
            Some(Status::Claimed | Status::Completed | Status::Failed) => {
                Refusal::new(RefusalKind::AlreadyExecuted)
            }
            Some(Status::Refused(rejection)) => Refusal::rejected(rejection),
            _ => Refusal::new(RefusalKind::Expired),
        };
        refusal.with_action_id(id.clone())
    }

    /// How an action stands, as far as this process knows, or the authority says
    /// in time.
    async fn status(&self, id: &ActionId) -> Option<Status> {
        if self.used().contains(id) {
            return Some(Status::Claimed);
        }
        let standing = timeout(TIME_TO_LOOK, self.0.authority.status(id)).await.ok()?;
        let standing = standing.unwrap_or_else(|error| {
            tracing::warn!(action_id = %id, %error, "how it stands is not known");
            None
        });
        standing.map(|standing| standing.status)
    }

    /// Whether nobody decided on an action whose time is over, as far as the authority
    /// can tell; false where it does not answer.
    async fn is_undecided(&self, id: &ActionId) -> bool {
        let Ok(Ok(standing)) = timeout(TIME_TO_LOOK, self.0.authority.status(id)).await else {
            return false;
        };
        !standing.is_some_and(|standing| matches!(standing.status, Status::Approved { .. }))
    }

    /// Waits for a person to decide, as the caller wishes: the approval, or
    /// `None` where the authority let the action pass without.
    async fn review(
        &self,
        open: &Arc<Open>,
        is_joined: bool,
        card: Option<Box<Card>>,
        context: &CallContext,
        mut gone: Pin<&mut (impl Future<Output = ()> + Send)>,
        pending: &mut Pending<'_>,
    ) -> Result<Option<Approval>, Refusal> {
        let authority = &self.0.authority;
        let Open { id, evaluation, .. } = &**open;
        let now = Instant::now();
        // It only comes to see what became of it.
        let is_late = is_joined && open.until <= now;
        let until = if is_joined { open.until.max(now + TIME_TO_LOOK) } else { open.until };
        tracing::info!(action_id = %id, time = ?(until - now), "waiting for approval");
        let watched = context.waits(|| Waiting {
            action_id: id.clone(),
            what: open.what.clone(),
            risk_score: evaluation.risk_score,
            risk_level: evaluation.risk_level,
            until,
            approvers: authority.describe(),
            promised: false,
            card: card
                .filter(|_| evaluation.in_client_approval)
                .map(|card| Arc::new(Card { reason: evaluation.reason.clone(), ..*card })),
        });
        let mut reviewing = pin!(timeout_at(until, authority.await_review(id)));
        let mut known = Wish::Hold;
        let review = loop {
            let wish = tokio::select! {
                biased;
                () = &mut gone => {
                    pending.cancelled().await;
                    return Err(open.refusal(RefusalKind::Cancelled));
                }
                review = &mut reviewing => break review,
                wish = context.wish_after(known) => wish,
            };
            known = wish;
            let Some(call) = context.patience().map(|patience| patience.call) else { continue };
            let promised = tokio::select! {
                () = &mut gone => {
                    pending.cancelled().await;
                    return Err(open.refusal(RefusalKind::Cancelled));
                }
                promised = self.promise(open, call) => promised,
            };
            let Some(left) = promised else { continue };
            watched.promised(left);
            if wish == Wish::Leave {
                let wait = Wait { what: open.what.clone(), left };
                return Err(open.refusal(RefusalKind::Pending).with_wait(wait));
            }
        };
        match review {
            Err(_) if is_late && !self.is_undecided(id).await => {
                // It may be approved, and a later call may hear it.
                pending.reason = "how it stands could not be learned";
                let reason = "the authority did not say in time how it stands; call again";
                Err(open.refusal(RefusalKind::Unreachable).with_reason(reason))
            }
            Err(_) => {
                pending.give_up("nobody decided in time");
                Err(open.refusal(RefusalKind::TimedOut).with_reason("Approval timeout"))
            }
            Ok(Err(error)) => {
                pending.reason = "the review could not be read";
                Err(unanswered(open, &error))
            }
            Ok(Ok(Review::Rejected(rejection))) => {
                pending.decided();
                Err(open.describe(Refusal::rejected(rejection)))
            }
            Ok(Ok(Review::Approved(approval))) => Ok(Some(approval)),
            Ok(Ok(Review::AutoApproved)) => Ok(None),
        }
    }

    fn without_answer(
        &self,
        error: AuthorityError,
        require_human_approval: bool,
        key: &str,
        tool: &str,
    ) -> Result<Allowed, Refusal> {
        let passes = self.0.fail_mode == FailMode::Open
            && matches!(error, AuthorityError::Unreachable(_))
            && !require_human_approval;
        let id = passes.then(|| ActionId::new(format!("fail_open_{key}"))).flatten();
        let Some(id) = id else {
            tracing::warn!(%tool, %error, "refused: no answer from the authority");
            return Err(Refusal::new(error.refusal_kind()).with_reason(error.to_string()));
        };
        tracing::warn!(%tool, action_id = %id, %error, "running without an answer: fail mode is open");
        Ok(Allowed { id, evaluation: None, approval: None })
    }
}

impl Open {
    /// A refusal that names the action.
    fn refusal(&self, kind: RefusalKind) -> Refusal {
        self.describe(Refusal::new(kind))
    }

    fn describe(&self, refusal: Refusal) -> Refusal {
        refusal
            .with_action_id(self.id.clone())
            .with_risk_score(self.evaluation.risk_score)
            .with_decision(self.evaluation.decision)
    }
}

fn unanswered(open: &Open, error: &AuthorityError) -> Refusal {
    open.refusal(error.refusal_kind()).with_reason(error.to_string())
}
