//! Spans with the attributes of OpenTelemetry's conventions, and the meters.

pub(super) use std::time::Instant;

use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, Status, TraceContextExt as _, TraceState},
};
#[cfg(feature = "server")]
use rmcp::{RoleServer, model::ProtocolVersion, service::RequestContext};
#[cfg(feature = "server")]
use serde_json::Value;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{Action, TraceContext, trace::TraceParent};

pub(super) mod meter;

/// The context of a span that is exported.
pub(crate) fn context_of(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let known = span.span_context();
    if !known.is_valid() {
        return None;
    }
    let parent = TraceParent::of(
        known.trace_id().to_bytes(),
        known.span_id().to_bytes(),
        known.trace_flags().to_u8(),
    );
    Some(TraceContext::from(parent).with_state(&known.trace_state().header()))
}

pub(super) struct Tool(String);

impl Tool {
    pub(super) fn new(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// The name of a call's span.
#[cfg(feature = "server")]
struct CallName<'a>(Option<&'a str>);

#[cfg(feature = "server")]
impl std::fmt::Display for CallName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(super::CALL)?;
        self.0.map_or(Ok(()), |tool| write!(f, " {tool}"))
    }
}

#[cfg(feature = "server")]
pub(super) fn server_span(tool: Option<&str>) -> Span {
    tracing::info_span!(
        parent: None, "tools/call", otel.kind = "server", otel.name = %CallName(tool),
        gen_ai.tool.name = tool, trace_id = tracing::field::Empty
    )
}

#[cfg(feature = "ascend")]
pub(super) fn client_span(method: &str) -> Span {
    tracing::debug_span!("http", otel.kind = "client", otel.name = method)
}

/// Makes the span one of `trace`. What it belongs to then: its own context where
/// it is exported, else the same.
pub(crate) fn joins(span: &Span, trace: Option<&TraceContext>) -> Option<TraceContext> {
    if let Some(trace) = trace {
        let mut context = Context::new().with_remote_span_context(span_context(trace));
        if let Some(baggage) = trace.baggage() {
            let carrier =
                std::collections::HashMap::from([("baggage".to_owned(), baggage.to_owned())]);
            context = baggage_of(&carrier, &context);
        }
        // Nobody exports it where this is an error.
        let _ = span.set_parent(context);
    }
    context_of(span).or_else(|| trace.cloned())
}

fn baggage_of(carrier: &std::collections::HashMap<String, String>, context: &Context) -> Context {
    use opentelemetry::propagation::TextMapPropagator as _;
    opentelemetry_sdk::propagation::BaggagePropagator::new().extract_with_context(context, carrier)
}

/// What is measured of a call, and told of its request.
#[cfg(feature = "server")]
pub(super) struct Measured {
    tool: Option<String>,
    version: Option<String>,
    transport: &'static str,
    started: Instant,
}

#[cfg(feature = "server")]
impl Measured {
    pub(super) fn start(tool: Option<&str>, context: &RequestContext<RoleServer>) -> Self {
        Self {
            tool: tool.map(str::to_owned),
            version: known_version(context),
            transport: if is_http(context) { "tcp" } else { "pipe" },
            started: Instant::now(),
        }
    }

    pub(super) fn describe(&self, span: &Span, context: &RequestContext<RoleServer>) {
        text(span, "network.transport", self.transport);
        if self.transport == "tcp" {
            text(span, "network.protocol.name", "http");
        }
        if let Some(version) = &self.version {
            text(span, "mcp.protocol.version", version);
        }
        if let Some(id) = request_id(context) {
            text(span, "jsonrpc.request.id", &id);
        }
    }

    pub(super) fn ended(self, error: Option<String>, code: Option<i32>) {
        let Self { tool, version, transport, started } = self;
        let call = meter::Call { tool: tool.as_deref(), version, transport, error, code };
        meter::served(call, started.elapsed());
    }
}

/// Any other is the client's text.
#[cfg(feature = "server")]
fn known_version(context: &RequestContext<RoleServer>) -> Option<String> {
    let version = context.protocol_version()?;
    ProtocolVersion::KNOWN_VERSIONS.contains(&version).then(|| version.to_string())
}

/// The client's own id: it sees no other.
#[cfg(feature = "server")]
fn request_id(context: &RequestContext<RoleServer>) -> Option<String> {
    const LIMIT: usize = 64;
    let id = match context.extensions.get::<ClientsId>() {
        Some(ClientsId(Value::String(id))) => id.clone(),
        Some(ClientsId(id)) => id.to_string(),
        None => context.id.to_string(),
    };
    (id.len() <= LIMIT).then_some(id)
}

#[cfg(all(feature = "server", feature = "streamable-http"))]
fn is_http(context: &RequestContext<RoleServer>) -> bool {
    context.extensions.get::<hyper::http::request::Parts>().is_some()
}

#[cfg(all(feature = "server", not(feature = "streamable-http")))]
fn is_http(_: &RequestContext<RoleServer>) -> bool {
    false
}

/// A request's id as its client wrote it, where rmcp sees another.
#[cfg(feature = "server")]
#[derive(Debug, Clone)]
pub(crate) struct ClientsId(pub(crate) Value);

fn span_context(trace: &TraceContext) -> SpanContext {
    let (trace_id, span_id, flags) = trace.parent().parts();
    let state = trace.state().and_then(|state| state.parse::<TraceState>().ok());
    SpanContext::new(
        TraceId::from_bytes(trace_id),
        SpanId::from_bytes(span_id),
        TraceFlags::new(flags),
        true,
        state.unwrap_or_default(),
    )
}

pub(crate) fn link(span: &Span, trace: &TraceContext) {
    span.add_link(span_context(trace));
}

pub(super) fn text(span: &Span, key: &'static str, value: &str) {
    if !span.is_disabled() {
        span.set_attribute(key, value.to_owned());
    }
}

pub(super) fn number(span: &Span, key: &'static str, value: i64) {
    if !span.is_disabled() {
        span.set_attribute(key, value);
    }
}

pub(super) fn flag(span: &Span, key: &'static str, value: bool) {
    if !span.is_disabled() {
        span.set_attribute(key, value);
    }
}

/// The arguments that are marked for it.
pub(super) fn arguments(span: &Span, action: &Action) {
    if !span.is_disabled() {
        for (name, value) in action.traced() {
            span.set_attribute(format!("ascend.argument.{name}"), value);
        }
    }
}

/// Marks the span as failed. No text says more than the word: it could quote an
/// argument.
pub(super) fn fail(span: &Span, kind: &str) {
    if !span.is_disabled() {
        span.set_attribute("error.type", kind.to_owned());
        span.set_status(Status::error(kind.to_owned()));
    }
}
