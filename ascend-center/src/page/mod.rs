//! The page for people: the queue of what waits, the history, the policies, the
//! audit log and the kill switch, rendered on the server.
//!
//! Everything works by links and forms alone; the one script adds what is live
//! and the keys. Nothing of an agent's reaches a page but through [`text`].

mod account;
mod action;
mod arguments;
mod assets;
mod audit;
mod card;
mod code;
mod events;
mod form;
mod grants;
mod history;
mod login;
mod policies;
mod queue;
mod shell;
mod streams;
mod switch;
mod text;
mod timeline;
mod words;

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderValue, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use tokio::sync::Semaphore;

use super::{
    Face, Problem,
    access::{self, Caller},
    auth::{CSRF_TOKEN, has_credential, is_safe},
};
use form::{Form, Next as After};
use streams::Streams;

/// What the page keeps of its own.
#[derive(Debug)]
pub(super) struct Page {
    streams: Streams,
    /// One verification of the whole log at a time.
    verifying: Semaphore,
}

impl Default for Page {
    fn default() -> Self {
        Self { streams: Streams::default(), verifying: Semaphore::new(1) }
    }
}

pub(super) fn routes(router: Router<Face>) -> Router<Face> {
    let page = Router::new()
        .route("/", get(async || Redirect::to("/queue")))
        .route("/queue", get(queue::show))
        .route("/queue/events", get(events::events))
        .route("/queue/cards/{id}", get(queue::card))
        .route("/actions/{id}", get(action::show))
        .route("/actions/{id}/arguments", get(action::arguments))
        .route("/actions/{id}/decide", post(action::decide))
        .route("/actions/{id}/take-back", post(action::take_back))
        .route("/history", get(history::show))
        .route("/grants", get(grants::show))
        .route("/grants/{id}/revoke", post(grants::revoke))
        .route("/policies", get(policies::show))
        .route("/audit", get(audit::show))
        .route("/audit/verify", post(audit::verify))
        .route("/switch", get(switch::show))
        .route("/switch/raise", post(switch::raise))
        .route("/switch/release", post(switch::release))
        .route("/account", get(account::show))
        .route("/account/password", post(account::password))
        .route("/account/tokens", post(account::create_token))
        .route("/account/tokens/{id}/revoke", post(account::revoke_token))
        .route("/login", get(login::show).post(login::login))
        .route("/logout", post(login::logout))
        .route("/assets/{file}", get(assets::serve))
        .layer(middleware::from_fn(async |request: Request, next: Next| {
            guarded(next.run(request).await)
        }));
    router.merge(page)
}

/// Whether the request is for the page, and not for the API.
pub(super) fn is_page(parts: &Parts) -> bool {
    parts
        .extensions
        .get::<MatchedPath>()
        .is_some_and(|path| access::PAGE.iter().any(|(_, endpoint, _)| *endpoint == path.as_str()))
}

fn is_for_sessions(parts: &Parts) -> bool {
    let path = parts.extensions.get::<MatchedPath>();
    let rule = path.and_then(|path| access::rule(&parts.method, path.as_str()).ok());
    matches!(rule, Some(Caller::Page(_)))
}

/// A form has no header of its own: the CSRF token in its field becomes the
/// header that every change by a session takes.
pub(super) async fn lift_token(request: Request) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let lifts = is_for_sessions(&parts)
        && !is_safe(&parts.method)
        && !parts.headers.contains_key(CSRF_TOKEN)
        && parts.headers.contains_key(header::COOKIE);
    if !lifts {
        return Ok(Request::from_parts(parts, body));
    }
    let body = axum::body::to_bytes(body, 1024 * 1024)
        .await
        .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large"))?;
    let token = Form::parse(&body).text("csrf_token").and_then(|token| token.parse().ok());
    if let Some(token) = token {
        parts.headers.insert(CSRF_TOKEN, token);
    }
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// The answer to whom the table of who may call did not let in.
pub(super) fn turned_away(problem: Problem, parts: &Parts) -> Response {
    let (status, _) = problem.told();
    let logs_in = status == StatusCode::UNAUTHORIZED && !has_credential(&parts.headers);
    guarded(if logs_in {
        let wanted = parts.uri.path_and_query().filter(|_| is_safe(&parts.method));
        let wanted = wanted.map_or("/queue", |wanted| wanted.as_str());
        Redirect::to(&After::to(wanted).to_login()).into_response()
    } else {
        Refused(problem).into_response()
    })
}

/// Why a page is not shown.
#[derive(Debug)]
struct Refused(Problem);

impl<E: Into<Problem>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, text) = self.0.told();
        let mut response = (status, shell::alone(status, &text)).into_response();
        if let Some(wait) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        response
    }
}

/// Only this center's own files, and nothing inline; in nobody's frame; kept by
/// nobody unless it says otherwise.
fn guarded(mut response: Response) -> Response {
    const GUARDS: [(header::HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Without any referrer a browser would not say either where a form came from.
        (header::REFERRER_POLICY, "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in GUARDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
