//! One `tools/call` of a client.

use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolResponse, CallToolResult},
    service::RequestContext,
};
use serde_json::Value;
use tracing::Span;

use super::{
    CALL, EXECUTE, FAILED, fail, number,
    otel::{self, joins, server_span},
    text,
};
use crate::{TraceContext, rmcp_return::GOVERNANCE};

/// A call under way.
pub(crate) struct Served {
    span: Span,
    trace: Option<TraceContext>,
    measured: otel::Measured,
}

impl Served {
    /// A call of one of our tools begins: `tool` is `None` for any other name.
    pub(crate) fn start(
        tool: Option<&str>,
        context: &RequestContext<RoleServer>,
        session_id: impl FnOnce() -> String,
    ) -> Self {
        let told = told(context);
        let span = server_span(tool);
        let trace = if span.is_disabled() { told } else { joins(&span, told.as_ref()) };
        let measured = otel::Measured::start(tool, context);
        if !span.is_disabled() {
            if let Some(trace) = &trace {
                span.record("trace_id", trace.parent().trace_id());
            }
            text(&span, "mcp.method.name", CALL);
            text(&span, "gen_ai.operation.name", EXECUTE);
            text(&span, "mcp.session.id", &session_id());
            measured.describe(&span, context);
        }
        Self { span, trace, measured }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The trace that whatever is done for the call belongs to.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.trace.clone()
    }

    pub(crate) fn ended(self, answer: &Result<CallToolResponse, ErrorData>) {
        let Self { span, measured, .. } = self;
        let (error, code) = match answer {
            Ok(CallToolResponse::Complete(result)) => {
                let governance = governance(result);
                tell(&span, governance);
                let waits = governance.is_some_and(|governance| governance["status"] == "pending");
                let failed = result.is_error == Some(true) && !waits;
                (failed.then(|| FAILED.to_owned()), None)
            }
            Ok(_) => (None, None),
            Err(error) => (Some(error.code.0.to_string()), Some(error.code.0)),
        };
        if let Some(error) = &error {
            fail(&span, error);
        }
        if let Some(code) = code {
            text(&span, "rpc.response.status_code", &code.to_string());
        }
        measured.ended(error, code);
    }
}

/// Of the governance object what cannot quote an argument.
fn tell(span: &Span, governance: Option<&Value>) {
    let Some(governance) = governance.filter(|_| !span.is_disabled()) else { return };
    for (field, key) in [
        ("action_id", "ascend.action.id"),
        ("decision", "ascend.decision"),
        ("refusal", "ascend.refusal"),
        ("risk_level", "ascend.risk.level"),
        ("status", "ascend.status"),
    ] {
        if let Some(value) = governance[field].as_str() {
            text(span, key, value);
        }
    }
    if let Some(score) = governance["risk_score"].as_i64() {
        number(span, "ascend.risk.score", score);
    }
}

fn governance(result: &CallToolResult) -> Option<&Value> {
    result.meta.as_ref()?.0.get(GOVERNANCE)
}

/// The trace that the client says the call belongs to: by the request itself,
/// else by the HTTP request that carries it.
fn told(context: &RequestContext<RoleServer>) -> Option<TraceContext> {
    let meta = &context.meta;
    if let Some(trace) = meta.get_traceparent().and_then(TraceContext::new) {
        return Some(with(trace, meta.get_tracestate(), meta.get_baggage()));
    }
    told_by_http(context)
}

fn with(mut trace: TraceContext, state: Option<&str>, baggage: Option<&str>) -> TraceContext {
    if let Some(state) = state {
        trace = trace.with_state(state);
    }
    if let Some(baggage) = baggage {
        trace = trace.with_baggage(baggage);
    }
    trace
}

#[cfg(feature = "streamable-http")]
fn told_by_http(context: &RequestContext<RoleServer>) -> Option<TraceContext> {
    let headers = &context.extensions.get::<hyper::http::request::Parts>()?.headers;
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let trace = TraceContext::new(header("traceparent")?)?;
    Some(with(trace, header("tracestate"), header("baggage")))
}

#[cfg(not(feature = "streamable-http"))]
fn told_by_http(_: &RequestContext<RoleServer>) -> Option<TraceContext> {
    None
}
