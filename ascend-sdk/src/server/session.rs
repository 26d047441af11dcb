//! Whose call it is.

use rmcp::{RoleServer, service::RequestContext};

use crate::SessionContext;

/// The session of a request, known as `otherwise` where HTTP does not name it.
pub(crate) fn of(context: &RequestContext<RoleServer>, otherwise: &str) -> SessionContext {
    let client = context.client_info();
    let (client_name, client_version) =
        client.map(|client| (shortened(client.name), shortened(client.version))).unzip();
    SessionContext {
        session_id: http_session_id(context).unwrap_or(otherwise).to_owned(),
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

/// Who calls, so that no other can go on with the call: over stdio the
/// connection; over HTTP the session, or else the credential.
pub(crate) fn principal(context: &RequestContext<RoleServer>, connection: &str) -> String {
    if !is_http(context) {
        return ["connection ", connection].concat();
    }
    match (header(context, SESSION_ID), header(context, "authorization")) {
        (Some(session), _) => format!("session {}", hex::encode(session)),
        (None, Some(credential)) => format!("credential {}", hex::encode(credential)),
        (None, None) => "anybody".to_owned(),
    }
}

/// The session that an HTTP request names.
pub(crate) fn http_session_id(context: &RequestContext<RoleServer>) -> Option<&str> {
    std::str::from_utf8(header(context, SESSION_ID)?).ok()
}

/// The header that names it.
pub(crate) const SESSION_ID: &str = "mcp-session-id";

#[cfg(feature = "streamable-http")]
fn is_http(context: &RequestContext<RoleServer>) -> bool {
    context.extensions.get::<hyper::http::request::Parts>().is_some()
}

#[cfg(feature = "streamable-http")]
fn header<'a>(context: &'a RequestContext<RoleServer>, name: &str) -> Option<&'a [u8]> {
    let parts = context.extensions.get::<hyper::http::request::Parts>()?;
    Some(parts.headers.get(name)?.as_bytes())
}

#[cfg(not(feature = "streamable-http"))]
fn is_http(_: &RequestContext<RoleServer>) -> bool {
    false
}

#[cfg(not(feature = "streamable-http"))]
fn header<'a>(_: &'a RequestContext<RoleServer>, _: &str) -> Option<&'a [u8]> {
    None
}
