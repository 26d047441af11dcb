//! Without OpenTelemetry spans have their names alone, and nothing is measured.

use std::time::Duration;

#[cfg(feature = "server")]
use rmcp::{RoleServer, service::RequestContext};
use tracing::Span;

use crate::{Action, TraceContext};

/// The context of a span that is exported.
pub(crate) fn context_of(_: &Span) -> Option<TraceContext> {
    None
}

pub(super) struct Tool;

impl Tool {
    pub(super) fn new(_: &str) -> Self {
        Self
    }
}

/// No clock is read.
#[derive(Clone, Copy)]
pub(super) struct Instant;

impl Instant {
    pub(super) fn now() -> Self {
        Self
    }

    pub(super) fn elapsed(self) -> Duration {
        Duration::ZERO
    }
}

#[cfg(feature = "server")]
pub(super) fn server_span(tool: Option<&str>) -> Span {
    tracing::info_span!(
        parent: None, "tools/call", gen_ai.tool.name = tool, trace_id = tracing::field::Empty
    )
}

#[cfg(feature = "ascend")]
pub(super) fn client_span(method: &str) -> Span {
    tracing::debug_span!("http", method)
}

#[cfg(any(feature = "server", feature = "ascend"))]
pub(super) fn joins(_: &Span, trace: Option<&TraceContext>) -> Option<TraceContext> {
    trace.cloned()
}

/// What is measured of a call, and told of its request.
#[cfg(feature = "server")]
pub(super) struct Measured;

#[cfg(feature = "server")]
impl Measured {
    pub(super) fn start(_: Option<&str>, _: &RequestContext<RoleServer>) -> Self {
        Self
    }

    pub(super) fn describe(&self, _: &Span, _: &RequestContext<RoleServer>) {}

    pub(super) fn ended(self, _: Option<String>, _: Option<i32>) {}
}

pub(super) fn link(_: &Span, _: &TraceContext) {}

pub(super) fn text(_: &Span, _: &'static str, _: &str) {}

pub(super) fn number(_: &Span, _: &'static str, _: i64) {}

pub(super) fn flag(_: &Span, _: &'static str, _: bool) {}

pub(super) fn arguments(_: &Span, _: &Action) {}

pub(super) fn fail(_: &Span, _: &str) {}

pub(super) mod meter {
    use std::time::Duration;

    use super::Tool;
    use crate::{Decision, RefusalKind, RiskLevel};

    pub(in super::super) fn decided(_: &Tool, _: Decision, _: RiskLevel) {}

    pub(in super::super) fn waits(_: i64) {}

    pub(in super::super) fn waited(_: &Tool, _: &'static str, _: Duration) {}

    pub(in super::super) fn refused(_: &Tool, _: RefusalKind) {}

    pub(in super::super) fn ran(_: &Tool, _: &'static str) {}

    #[cfg(feature = "ascend")]
    pub(in super::super) fn asked(
        _: &'static str,
        _: &'static str,
        _: Option<&'static str>,
        _: Duration,
    ) {
    }
}
