//! Logins, and what people do for themselves.
//!
//! | | | |
//! |---|---|---|
//! | `POST /api/v1/login` | `name` and `password`, or the `token` of the directory's owner | opens a session |
//! | `POST /api/v1/logout` | | ends it |
//! | `GET /api/v1/session` | | who it is, and the CSRF token of a session |
//! | `POST /api/v1/password` | `current`, `new` | another password; all sessions end |
//! | `GET`, `POST /api/v1/tokens`, `DELETE …/{id}` | `name`, `lifetime_days` | personal tokens |

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    Body, Face, Fields, Problem,
    auth::{COOKIE, MaybeSession, PersonCaller, SessionCaller, Visitor, csrf_token, is_own_page},
    number,
};
use crate::{
    IdentityError, NotAllowed, PasswordError,
    identity::{LoginError, Origin, Person, ReplaceError, SESSION_LIFETIME},
};

/// How long a personal token lasts unless its maker says otherwise, in days.
pub(super) const TOKEN_DAYS: u64 = 90;
/// The longest, in days.
pub(super) const LONGEST_TOKEN_DAYS: u64 = 366;

fn described(person: &Person) -> Value {
    let kind = match person.origin {
        Origin::Directory => "owner",
        Origin::Account => "user",
    };
    json!({ "name": person.name, "role": person.role, "kind": kind })
}

/// The session's cookie, which page scripts cannot read.
pub(super) fn set(token: &str, lifetime: Duration) -> String {
    let seconds = lifetime.as_secs();
    format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}")
}

/// Has the browser forget a cookie.
pub(super) fn clear(name: &str) -> String {
    format!("{name}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

fn with_cookie(cookie: String, body: Value) -> Response {
    let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())];
    (headers, Json(body)).into_response()
}

fn secret(status: StatusCode, body: Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

pub(super) async fn login(
    State(face): State<Face>,
    visitor: Visitor,
    headers: axum::http::HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // Else another page could log its visitor in as somebody else.
    if is_own_page(&headers, &visitor.client) == Some(false) {
        return Err(Problem::forbidden("the request does not come from a page of this center"));
    }
    let mut fields = Fields::parse(&body?)?;
    let token = fields.text("token");
    if token.is_none() {
        fields.require("name");
        fields.require("password");
    }
    let (name, password) = (fields.text("name"), fields.text("password"));
    fields.finish()?;
    let (address, earlier) = (visitor.client.address, visitor.earlier.as_ref());
    let opened = match (token, name, password) {
        (Some(token), _, _) => face.center.login_owner(&token.into(), address, earlier).await?,
        (None, Some(name), Some(password)) => {
            face.center.login(&name, password.into(), address, earlier).await?
        }
        _ => return Err(Problem::internal("no name or password")),
    };
    let mut body = described(&opened.person);
    body["csrf_token"] = csrf_token(&opened.token).into();
    body["expires_at"] = opened.expires_at.to_string().into();
    Ok(with_cookie(set(opened.token.expose_secret(), SESSION_LIFETIME), body))
}

pub(super) async fn logout(
    State(face): State<Face>,
    caller: SessionCaller,
) -> Result<Response, Problem> {
    face.center.logout(&caller.token, &caller.session.person).await?;
    Ok(with_cookie(clear(COOKIE), json!({ "success": true })))
}

pub(super) async fn session(
    PersonCaller(person): PersonCaller,
    MaybeSession(session): MaybeSession,
) -> Response {
    let mut body = described(&person);
    if let Some(caller) = session {
        body["csrf_token"] = csrf_token(&caller.token).into();
        body["expires_at"] = caller.session.expires_at.to_string().into();
    }
    secret(StatusCode::OK, body)
}

/// What an account has, and the owner of the directory has not.
pub(super) fn account(caller: SessionCaller) -> Result<Person, Problem> {
    let person = caller.session.person;
    match person.origin {
        Origin::Account => Ok(person),
        Origin::Directory => Err(Problem::forbidden(
            "the owner of the center's directory has no account, and needs none",
        )),
    }
}

pub(super) async fn password(
    State(face): State<Face>,
    visitor: Visitor,
    caller: SessionCaller,
    body: Body,
) -> Result<Response, Problem> {
    let person = account(caller)?;
    let mut fields = Fields::parse(&body?)?;
    fields.require("current");
    fields.require("new");
    let (current, new) = (fields.text("current"), fields.text("new"));
    fields.finish()?;
    let (current, new) = (current.unwrap_or_default(), new.unwrap_or_default());
    let address = visitor.client.address;
    face.center.replace_password(&person, current.into(), new.into(), address).await?;
    Ok(with_cookie(clear(COOKIE), json!({ "success": true })))
}

pub(super) async fn tokens(
    State(face): State<Face>,
    caller: SessionCaller,
) -> Result<Json<Value>, Problem> {
    let person = account(caller)?;
    let now = Timestamp::now();
    let tokens: Vec<_> = face
        .center
        .tokens()
        .await?
        .iter()
        .filter(|token| token.user == person.name)
        .map(|token| {
            let mut shown = json!(token);
            shown["standing"] = token.standing(now).as_str().into();
            shown
        })
        .collect();
    Ok(Json(json!({ "tokens": tokens })))
}

pub(super) async fn create_token(
    State(face): State<Face>,
    caller: SessionCaller,
    body: Body,
) -> Result<Response, Problem> {
    let person = account(caller)?;
    let mut fields = Fields::parse(&body?)?;
    fields.require("name");
    let name = fields.text("name");
    let days = match fields.value("lifetime_days") {
        None => TOKEN_DAYS,
        Some(days) => days
            .as_u64()
            .filter(|days| (1..=LONGEST_TOKEN_DAYS).contains(days))
            .unwrap_or_else(|| {
                let message = format!("expected a whole number from 1 to {LONGEST_TOKEN_DAYS}");
                fields.error("lifetime_days", &message, "value_error");
                0
            }),
    };
    fields.finish()?;
    let lifetime = Duration::from_secs(days * 24 * 3600);
    let user = person.name.clone();
    let issued =
        face.center.issue_token(person, &user, &name.unwrap_or_default(), lifetime).await?;
    let token = issued.token.expose_secret();
    Ok(secret(StatusCode::CREATED, json!({ "id": issued.id, "token": token })))
}

pub(super) async fn revoke_token(
    State(face): State<Face>,
    caller: SessionCaller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let person = account(caller)?;
    let revoked = face.center.store().revoke_token(person, number(&id)?).await?;
    Ok(Json(json!({ "success": true, "revoked": revoked })))
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Refused => Self::unauthorized("the name or the password is wrong"),
            LoginError::Throttled(wait) => Self::too_many("too many failed logins; wait", wait),
            LoginError::Store(error) => error.into(),
            error @ LoginError::NoSecret(_) => Self::internal(error),
        }
    }
}

impl From<ReplaceError> for Problem {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::Login(error) => error.into(),
            ReplaceError::Identity(error) => error.into(),
        }
    }
}

impl From<NotAllowed> for Problem {
    fn from(error: NotAllowed) -> Self {
        Self::forbidden(&error.to_string())
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::NotAllowed(error) => error.into(),
            IdentityError::Name(error) => {
                Self::invalid("body", "name", &error.to_string(), "value_error")
            }
            IdentityError::Password(error @ PasswordError::Busy) => {
                Self::too_many(&error.to_string(), Duration::from_secs(1))
            }
            IdentityError::Password(error) => {
                Self::invalid("body", "new", &error.to_string(), "value_error")
            }
            IdentityError::UnknownUser(_)
            | IdentityError::UnknownKey(_)
            | IdentityError::UnknownToken(_) => Self::not_found(error.to_string()),
            IdentityError::Store(error) => error.into(),
            error => Self::internal(error),
        }
    }
}
