//! Whose call it is.

use rmcp::{RoleServer, service::RequestContext};

use crate::SessionContext;

/// The session of a request, known as `otherwise` where HTTP does not name it.
pub(crate) fn of(context: &RequestContext<RoleServer>, otherwise: &str) -> SessionContext {
    let client = context.client_info();
    let (client_name, client_version) =
        client.map(|client| (shortened(client.name), shortened(client.version))).unzip();
    SessionContext {
        session_id: http_session_id(context).unwrap_or_else(|| otherwise.to_owned()),
        client_name,
        client_version,
    }
}

/// What a client calls itself, no longer than an authority needs to know.
fn shortened(mut name: String) -> String {
    const LIMIT: usize = 200;
    if let Some((end, _)) = name.char_indices().nth(LIMIT) {
        name.truncate(end);
    }
    name
}

#[cfg(feature = "streamable-http")]
fn http_session_id(context: &RequestContext<RoleServer>) -> Option<String> {
    let parts = context.extensions.get::<hyper::http::request::Parts>()?;
    Some(parts.headers.get("mcp-session-id")?.to_str().ok()?.to_owned())
}

#[cfg(not(feature = "streamable-http"))]
fn http_session_id(_: &RequestContext<RoleServer>) -> Option<String> {
    None
}
