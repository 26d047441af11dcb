//! `X-Correlation-ID`: a client's name for a request, or ours where it has none.

use std::convert::Infallible;

use ascend_sdk::TraceContext;
use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
    middleware::Next,
    response::Response,
};
use tracing::Instrument;

use crate::{identity, trace};

const HEADER: HeaderName = HeaderName::from_static("x-correlation-id");
/// The most characters of a client's name for a request.
const LIMIT: usize = 128;

/// The name that a request and its answer share.
#[derive(Debug, Clone, Default)]
pub(super) struct Correlation(String);

impl Correlation {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn of(request: &Request) -> Self {
        let sound = |text: &&str| {
            (1..=LIMIT).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        };
        let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
        Self(match given.filter(sound) {
            Some(given) => given.to_owned(),
            // Without randomness it is only harder to find in a log.
            None => format!("asc_{}", hex::encode(identity::random::<8>().unwrap_or_default())),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Correlation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// The trace that a request belongs to, as its client tells.
pub(crate) fn told(headers: &HeaderMap) -> Option<TraceContext> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let trace = TraceContext::new(header("traceparent")?)?;
    Some(match header("tracestate") {
        Some(state) => trace.with_state(state),
        None => trace,
    })
}

/// Gives each request a name, and the answer the same.
pub(super) async fn correlate(mut request: Request, next: Next) -> Response {
    let correlation = Correlation::of(&request);
    let span = trace::of_request(&request, correlation.as_str());
    request.extensions_mut().insert(correlation.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    trace::answered(&span, response.status());
    if let Ok(value) = HeaderValue::from_str(correlation.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
