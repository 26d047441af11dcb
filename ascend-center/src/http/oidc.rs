//! Login by a company's identity provider, in the browser.

use std::time::Duration;

use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, Html, IntoResponse, Response},
    routing::get,
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::{
    Face, Problem,
    auth::{Visitor, cookie},
    session::{clear, set},
};
use crate::identity::{Attempt, LoginError, OidcError, Provider};

/// Lax, since the provider's page sends the browser back.
const COOKIE: &str = "__Host-ascend-oidc";
/// How long a person may take at the provider.
const PATIENCE: Duration = Duration::from_secs(600);

/// A browser takes a strict cookie along only from a page of the same site, and
/// this is one.
const GO_ON: &str = "<!doctype html><html lang=\"en\"><title>Logged in</title>\
                     <meta http-equiv=\"refresh\" content=\"0;url=/\"><a href=\"/\">Go on</a>";

pub(super) fn routes(router: Router<Face>) -> Router<Face> {
    router.route("/api/v1/oidc/login", get(start)).route("/api/v1/oidc/callback", get(finish))
}

fn provider(face: &Face) -> Result<&Provider, Problem> {
    let provider = face.oidc.as_deref();
    provider.ok_or_else(|| Problem::not_found("this center has no identity provider"))
}

async fn start(State(face): State<Face>) -> Result<Response, Problem> {
    let (url, attempt) = provider(&face)?.start().await?;
    let cookie = format!(
        "{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}",
        attempt.to_cookie(),
        PATIENCE.as_secs()
    );
    let headers = [
        (header::LOCATION, url.to_string()),
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

#[derive(Deserialize)]
struct Returned {
    code: Option<String>,
    state: Option<String>,
}

async fn finish(
    State(face): State<Face>,
    visitor: Visitor,
    headers: HeaderMap,
    Query(returned): Query<Returned>,
) -> Result<Response, Problem> {
    let provider = provider(&face)?;
    let foreign = || Problem::forbidden("this login was not begun in this browser; begin again");
    let kept = cookie(&headers, COOKIE).ok_or_else(foreign)?;
    let attempt = Attempt::from_cookie(kept.expose_secret()).ok_or_else(foreign)?;
    let state = returned.state.unwrap_or_default();
    // Else somebody could log the browser in as themselves.
    if !bool::from(state.as_bytes().ct_eq(attempt.state().as_bytes())) {
        return Err(foreign());
    }
    let refused = || Problem::unauthorized("the identity provider did not let you in");
    let code = returned.code.ok_or_else(refused)?;
    let vouched = match provider.finish(attempt, code).await {
        Err(OidcError::NoRole { subject }) => {
            // What they had here by a role is over, wherever they hold it.
            face.center.store().take_role(subject.clone()).await?;
            return Err(OidcError::NoRole { subject }.into());
        }
        vouched => vouched?,
    };
    let (address, earlier) = (visitor.client.address, visitor.earlier.as_ref());
    let opened = match face.center.login_vouched(vouched, address, earlier).await {
        Err(LoginError::Refused) => {
            return Err(Problem::forbidden(
                "the account is disabled, or somebody else has its name here",
            ));
        }
        opened => opened?,
    };
    let cookies =
        AppendHeaders([(header::SET_COOKIE, set(&opened)), (header::SET_COOKIE, clear(COOKIE))]);
    Ok((cookies, [(header::CACHE_CONTROL, "no-store")], Html(GO_ON)).into_response())
}

impl From<OidcError> for Problem {
    fn from(error: OidcError) -> Self {
        match error {
            OidcError::NoRole { .. } => Self::forbidden(&error.to_string()),
            OidcError::Answer(_) | OidcError::Name(_) => {
                // What was wrong is for the log: who it concerns is not known.
                tracing::warn!(%error, "a login by the identity provider failed");
                Self::unauthorized("the identity provider's answer is not accepted")
            }
            error => Self::internal(error),
        }
    }
}
