//! One HTTP request to the authority.

use tracing::Span;

use super::{
    context_of, fail, number,
    otel::{Instant, client_span, joins, meter},
    text, word,
};
use crate::{AuthorityError, TraceContext};

/// A request under way.
pub(crate) struct Asking {
    operation: &'static str,
    method: &'static str,
    span: Span,
    trace: Option<TraceContext>,
    started: Instant,
}

impl Asking {
    /// A request for `operation` begins, in `trace` where no span of its own says more.
    pub(crate) fn start(
        operation: &'static str,
        method: &'static str,
        url: &url::Url,
        trace: Option<&TraceContext>,
    ) -> Self {
        let span = client_span(method);
        // Whoever asks for many calls is in the span of none.
        let alone = Span::current().is_disabled();
        let trace =
            if alone { joins(&span, trace) } else { context_of(&span).or_else(|| trace.cloned()) };
        if !span.is_disabled() {
            text(&span, "http.request.method", method);
            text(&span, "ascend.operation", operation);
            text(&span, "server.address", url.host_str().unwrap_or_default());
            if let Some(port) = url.port_or_known_default() {
                number(&span, "server.port", port.into());
            }
            // Of the path only what is the same for all: an id of another
            // authority could be anything.
            text(&span, "url.scheme", url.scheme());
        }
        Self { operation, method, span, trace, started: Instant::now() }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The trace that the server is told of.
    pub(crate) fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// It was answered with this status, or not in a way that says anything.
    pub(crate) fn ended(self, answer: Result<u16, &AuthorityError>) {
        let error = match answer {
            Ok(status) => {
                number(&self.span, "http.response.status_code", status.into());
                None
            }
            Err(error) => {
                fail(&self.span, word(error));
                Some(word(error))
            }
        };
        meter::asked(self.operation, self.method, error, self.started.elapsed());
    }
}
