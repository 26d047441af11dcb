//! Decisions that were claimed for a run.

use std::{fmt, time::Instant};

use serde_json::Value;
use tracing::Span;

use super::Governor;
use crate::{
    ActionId, Approval, CallContext, Decision, Evaluation, Outcome, Permit, Tool,
    decision::governance_object, observe::Granted,
};

/// A decision that was claimed for one run. It cannot be copied, and what
/// becomes of it is reported, whatever happens.
#[must_use = "a grant that is dropped is reported as not run"]
pub struct Grant {
    governor: Governor,
    id: ActionId,
    /// `None` when the call runs without an answer ([`FailMode::Open`](super::FailMode::Open)).
    evaluation: Option<Box<Evaluation>>,
    approval: Option<Approval>,
    watch: Granted,
    started: Option<Instant>,
    /// In which the body runs.
    run: Option<Span>,
    finished: bool,
}

/// A decision that was claimed.
pub(super) struct Allowed {
    pub(super) id: ActionId,
    pub(super) evaluation: Option<Box<Evaluation>>,
    pub(super) approval: Option<Approval>,
}

impl Grant {
    pub(super) fn new(governor: Governor, allowed: Allowed, watch: Granted) -> Self {
        let Allowed { id, evaluation, approval } = allowed;
        Self {
            governor,
            id,
            evaluation,
            approval,
            watch,
            started: None,
            run: None,
            finished: false,
        }
    }

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

    /// Starts the clock of the run, which is to be in the span.
    pub(crate) fn begin(mut self) -> (Self, Span) {
        self.started = Some(Instant::now());
        let span = self.watch.runs(&self.id);
        self.run = Some(span.clone());
        (self, span)
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
        self.watch.ended(self.run.as_ref(), &outcome);
        // Without an answer there is no action to report on.
        if self.evaluation.is_some() {
            self.watch.in_scope(|| drop(self.governor.report(self.id.clone(), outcome)));
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
