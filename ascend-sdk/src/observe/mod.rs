//! What a governed call tells of itself: spans, and with OpenTelemetry metrics.
//!
//! INVARIANT: of a call's arguments only those are in them that are marked
//! `#[traced]`, nor anything that can quote another: no summary, resource, reason,
//! error text or result. Names that a
//! client chooses are in them only where they are names of ours too.
//!
//! Where nobody subscribes, a span costs one look at a static.

#[cfg(feature = "opentelemetry")]
mod otel;
#[cfg(not(feature = "opentelemetry"))]
#[path = "plain.rs"]
mod otel;
#[cfg(feature = "ascend")]
mod request;
#[cfg(feature = "server")]
mod served;

use tracing::{Span, debug_span};

#[cfg(all(feature = "server", feature = "opentelemetry"))]
pub(crate) use self::otel::ClientsId;
pub(crate) use self::otel::context_of;
#[cfg(not(feature = "opentelemetry"))]
use self::otel::link;
use self::otel::{Instant, Tool, arguments, fail, flag, meter, number, text};
#[cfg(feature = "opentelemetry")]
pub(crate) use self::otel::{joins, link};
#[cfg(feature = "ascend")]
pub(crate) use self::request::Asking;
#[cfg(feature = "server")]
pub(crate) use self::served::Served;
use crate::{
    Action, ActionId, Approval, AuthorityError, Claim, Evaluation, Outcome, Refusal, RefusalKind,
    TraceContext,
};

/// One call on its way to a grant.
pub(crate) struct Watch {
    tool: Tool,
}

impl Watch {
    pub(crate) fn of(action: &Action) -> Self {
        Self { tool: Tool::new(&action.tool) }
    }

    /// The span in which the authority evaluates the call.
    pub(crate) fn evaluates(&self, action: &Action) -> Span {
        let span = debug_span!("ascend.evaluate", gen_ai.tool.name = action.tool);
        flag(&span, "ascend.floor.require_human_approval", action.floor.require_human_approval);
        if let Some(level) = action.floor.risk_level {
            text(&span, "ascend.floor.risk_level", level.as_str());
        }
        arguments(&span, action);
        span
    }

    pub(crate) fn evaluated(&self, span: &Span, answer: Result<&Evaluation, &AuthorityError>) {
        match answer {
            Ok(evaluation) => {
                text(span, "ascend.action.id", evaluation.action_id.as_str());
                text(span, "ascend.decision", evaluation.decision.as_str());
                number(span, "ascend.risk.score", evaluation.risk_score.into());
                text(span, "ascend.risk.level", evaluation.risk_level.as_str());
                meter::decided(&self.tool, evaluation.decision, evaluation.risk_level);
            }
            Err(error) => fail(span, word(error)),
        }
    }

    /// The call waits for the action that a call of another trace opened.
    pub(crate) fn joined(&self, id: &ActionId, opened_in: Option<&TraceContext>) {
        let span = Span::current();
        // A span of ours, not one of those who call a governed function.
        if span.metadata().is_some_and(|metadata| metadata.name() == CALL) {
            text(&span, "ascend.action.id", id.as_str());
            flag(&span, "ascend.joined", true);
            if let Some(trace) = opened_in {
                link(&span, trace);
            }
        }
    }

    /// The call begins to wait for a person.
    pub(crate) fn waits(&self, id: &ActionId) -> Wait<'_> {
        let span = debug_span!("ascend.wait", ascend.action.id = id.as_str());
        meter::waits(1);
        Wait { watch: self, span, started: Instant::now(), ended: false }
    }

    /// The span in which the decision is claimed.
    pub(crate) fn claims(&self, id: &ActionId) -> Span {
        debug_span!("ascend.claim", ascend.action.id = id.as_str())
    }

    pub(crate) fn claimed(&self, span: &Span, answer: &Result<Claim, AuthorityError>) {
        match answer {
            Ok(Claim::Granted) => {}
            Ok(Claim::Refused(rejection)) => fail(span, rejection.kind.as_str()),
            Err(error) => fail(span, word(error)),
        }
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        meter::refused(&self.tool, refusal.kind());
    }

    /// From here on the call has a grant.
    pub(crate) fn granted(self) -> Granted {
        Granted { call: Span::current(), tool: self.tool }
    }
}

/// A wait for a person.
pub(crate) struct Wait<'a> {
    watch: &'a Watch,
    span: Span,
    started: Instant,
    ended: bool,
}

impl Wait<'_> {
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn ended(mut self, review: &Result<Option<Approval>, Refusal>) {
        self.end(match review {
            Ok(Some(_)) => "approved",
            Ok(None) => "auto_approved",
            Err(refusal) => refusal.kind().as_str(),
        });
    }

    fn end(&mut self, outcome: &'static str) {
        self.ended = true;
        let waited = self.started.elapsed();
        number(&self.span, "ascend.wait.ms", i64::try_from(waited.as_millis()).unwrap_or(i64::MAX));
        text(&self.span, "ascend.wait.outcome", outcome);
        meter::waits(-1);
        meter::waited(&self.watch.tool, outcome, waited);
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(RefusalKind::Cancelled.as_str());
        }
    }
}

/// A call that may run.
pub(crate) struct Granted {
    /// The span of the call.
    call: Span,
    tool: Tool,
}

impl Granted {
    /// The span in which the body runs.
    pub(crate) fn runs(&self, id: &ActionId) -> Span {
        debug_span!(parent: &self.call, "ascend.run", ascend.action.id = id.as_str())
    }

    /// Tells of the run, and lets the report of it be a part of the call.
    pub(crate) fn ended(&self, run: Option<&Span>, outcome: &Outcome) {
        if let Some(span) = run {
            let failed = matches!(outcome, Outcome::Failed { .. });
            if failed {
                fail(span, FAILED);
            }
            meter::ran(&self.tool, if failed { "failed" } else { "completed" });
        }
    }

    /// Does as a part of the call what comes after it.
    pub(crate) fn in_scope(&self, report: impl FnOnce()) {
        self.call.in_scope(report);
    }
}

/// The span in which an outcome is reported.
pub(crate) fn reports(id: &ActionId, outcome: &Outcome) -> Span {
    let outcome = match outcome {
        Outcome::Completed { .. } => "completed",
        Outcome::Failed { .. } => "failed",
        Outcome::Withdrawn { .. } => "withdrawn",
        Outcome::Abandoned { .. } => "abandoned",
    };
    debug_span!("ascend.report", ascend.action.id = id.as_str(), ascend.outcome = outcome)
}

/// The span of an MCP request: its method.
const CALL: &str = "tools/call";
/// What OpenTelemetry calls the call of a tool.
#[cfg(feature = "server")]
const EXECUTE: &str = "execute_tool";
/// What OpenTelemetry calls a tool that ran and failed, or was refused.
const FAILED: &str = "tool_error";

/// What went wrong, in a word.
fn word(error: &AuthorityError) -> &'static str {
    match error {
        AuthorityError::RateLimited(_) => "rate_limited",
        AuthorityError::Failed(_) => "failed",
        AuthorityError::InvalidRequest(_) => "invalid_request",
        error => error.refusal_kind().as_str(),
    }
}
