//! The center's spans, and how they join those of its clients.

use ascend_sdk::TraceParent;
#[cfg(feature = "http")]
use axum::{extract::Request, http::StatusCode};
use tracing::{Instrument as _, Span};

use crate::{record::Record, store::DecideError};

/// Runs `deciding`, by which somebody decides about action `id`, in a span of its
/// own. What comes of it has the action's `record`.
pub(crate) async fn decision<T>(
    id: i64,
    deciding: impl Future<Output = Result<T, DecideError>>,
    record: impl FnOnce(&T) -> &Record,
) -> Result<T, DecideError> {
    let span = tracing::debug_span!(
        "ascend.decide",
        ascend.action.id = id,
        ascend.state = tracing::field::Empty
    );
    let decided = deciding.instrument(span.clone()).await;
    if let Ok(decided) = &decided {
        let record = record(decided);
        link(&span, record.traceparent);
        span.record("ascend.state", record.state.as_str());
    }
    decided
}

/// Links a span to that in which the action was asked, of another trace.
#[cfg(feature = "opentelemetry")]
pub(crate) fn link(span: &Span, asked: Option<TraceParent>) {
    if let Some(asked) = asked {
        ascend_sdk::telemetry::link(span, &asked.into());
    }
}

/// Links are for those who export.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn link(_: &Span, _: Option<TraceParent>) {}

/// In which an HTTP request is answered.
#[cfg(feature = "http")]
pub(crate) fn of_request(request: &Request, correlation: &str) -> Span {
    let span = request_span(request, correlation);
    if span.is_disabled() {
        return span;
    }
    let told = crate::http::told(request.headers());
    #[cfg(feature = "opentelemetry")]
    if let Some(trace) = &told {
        ascend_sdk::telemetry::join(&span, trace);
    }
    if let Some(trace) = &told {
        span.record("trace_id", trace.parent().trace_id());
    }
    span
}

/// Logs show these fields at every line.
#[cfg(all(feature = "http", not(feature = "opentelemetry")))]
fn request_span(_: &Request, correlation: &str) -> Span {
    tracing::info_span!("request", correlation_id = correlation, trace_id = tracing::field::Empty)
}

#[cfg(all(feature = "http", feature = "opentelemetry"))]
fn request_span(request: &Request, correlation: &str) -> Span {
    let route = request.extensions().get::<axum::extract::MatchedPath>();
    let route = route.map(axum::extract::MatchedPath::as_str);
    tracing::info_span!(
        parent: None,
        "request",
        otel.kind = "server",
        otel.name = %RequestName(request.method().as_str(), route),
        otel.status_code = tracing::field::Empty,
        http.request.method = request.method().as_str(),
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        error.type = tracing::field::Empty,
        correlation_id = correlation,
        trace_id = tracing::field::Empty,
    )
}

/// The method, and the route where there is one: a path can be any text.
#[cfg(all(feature = "http", feature = "opentelemetry"))]
struct RequestName<'a>(&'a str, Option<&'a str>);

#[cfg(all(feature = "http", feature = "opentelemetry"))]
impl std::fmt::Display for RequestName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)?;
        self.1.map_or(Ok(()), |route| write!(f, " {route}"))
    }
}

/// Tells what the request was answered with.
#[cfg(feature = "http")]
pub(crate) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    // A client's mistake is no error of the server.
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "error");
    }
}
