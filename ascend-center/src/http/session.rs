//! Logins, and what people do for themselves. The page's forms do the same by
//! the same functions.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Body, Done, Face, Fields, Problem,
    auth::{COOKIE, MaybeSession, PersonCaller, SessionCaller, Visitor, csrf_token, is_own_page},
    fields::body,
    grants::RevokeAnswer,
    keys::IssuedAnswer,
    numbered,
};
use crate::{
    CredentialStanding, IdentityError, Issued, NotAllowed, PasswordError, Role, UserToken,
    identity::{LoginError, Opened, Origin, Person, ReplaceError, SESSION_LIFETIME, label},
};

/// How long a personal token lasts unless its maker says otherwise, in days.
pub(super) const TOKEN_DAYS: u64 = 90;
/// The longest that people give a token of their own, in days.
pub(super) const LONGEST_TOKEN_DAYS: u64 = 366;

body!(
    /// `name` and `password`, or the `token` of the center's directory's owner.
    LoginBody = read_login
);
body!(
    /// The password that it is, and the one that it is to be.
    OwnPasswordBody = read_passwords
);
body!(
    /// What the token is called, and for how many days it is good; by default 90.
    TokenBody = read_token
);

/// Who somebody is.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionAnswer {
    name: String,
    role: Role,
    /// `user`; or `owner`, of the center's directory, who has no account.
    kind: &'static str,
    /// What changes by this session take as `X-CSRF-Token`; a token has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    csrf_token: Option<String>,
    /// When the session ends at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, nullable = false, required = false)]
    expires_at: Option<Timestamp>,
}

impl SessionAnswer {
    fn of(person: Person, session: Option<(&SecretString, Timestamp)>) -> Self {
        let kind = match person.origin {
            Origin::Directory => "owner",
            Origin::Account => "user",
        };
        Self {
            name: person.name,
            role: person.role,
            kind,
            csrf_token: session.map(|(token, _)| csrf_token(token)),
            expires_at: session.map(|(_, expires_at)| expires_at),
        }
    }
}

/// A personal token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenAnswer {
    #[serde(flatten)]
    token: UserToken,
    /// Whether it is good.
    standing: CredentialStanding,
}

/// Personal tokens, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenList {
    total: usize,
    tokens: Vec<TokenAnswer>,
}

impl TokenList {
    pub(super) fn of(tokens: Vec<UserToken>, now: Timestamp) -> Self {
        let tokens = tokens.into_iter();
        let tokens: Vec<_> =
            tokens.map(|token| TokenAnswer { standing: token.standing(now), token }).collect();
        Self { total: tokens.len(), tokens }
    }
}

/// The cookie of a new session, which page scripts cannot read.
pub(super) fn set(opened: &Opened) -> String {
    let (token, seconds) = (opened.token.expose_secret(), SESSION_LIFETIME.as_secs());
    format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}")
}

/// Has the browser forget a cookie.
pub(super) fn clear(name: &str) -> String {
    format!("{name}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// An answer that nothing on the way is to keep.
pub(super) fn unkept(status: StatusCode, body: impl Serialize) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn with_cookie(cookie: String, body: impl Serialize) -> Response {
    ([(header::SET_COOKIE, cookie)], unkept(StatusCode::OK, body)).into_response()
}

pub(super) const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

/// How long a token of one's own can last.
pub(super) fn token_lifetime(number: u64) -> Result<Duration, String> {
    if (1..=LONGEST_TOKEN_DAYS).contains(&number) {
        Ok(days(number))
    } else {
        Err(format!("expected a whole number from 1 to {LONGEST_TOKEN_DAYS}"))
    }
}

/// By what somebody logs in.
pub(super) enum Proof {
    Password {
        name: String,
        password: SecretString,
    },
    /// Of the center's directory's owner.
    Token(SecretString),
}

impl Proof {
    pub(super) async fn open(self, face: &Face, visitor: &Visitor) -> Result<Opened, LoginError> {
        let (address, earlier) = (visitor.client.address, visitor.earlier.as_ref());
        match self {
            Self::Token(token) => face.center.login_owner(&token, address, earlier).await,
            Self::Password { name, password } => {
                face.center.login(&name, password, address, earlier).await
            }
        }
    }
}

/// That no other page logs its visitor in, as somebody else.
pub(super) fn check_own_page(headers: &HeaderMap, visitor: &Visitor) -> Result<(), Problem> {
    if is_own_page(headers, &visitor.client) == Some(false) {
        return Err(Problem::forbidden("the request does not come from a page of this center"));
    }
    Ok(())
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

/// Gives whoever it is the password that they chose.
pub(super) async fn choose_password(
    face: &Face,
    visitor: &Visitor,
    person: &Person,
    current: SecretString,
    new: SecretString,
) -> Result<(), Problem> {
    let address = visitor.client.address;
    Ok(face.center.replace_password(person, current, new, address).await?)
}

/// The tokens of one person.
pub(super) async fn tokens_of(face: &Face, person: &Person) -> Result<Vec<UserToken>, Problem> {
    let mut tokens = face.center.tokens().await?;
    tokens.retain(|token| token.user == person.name);
    Ok(tokens)
}

/// Makes a token for whoever asks.
pub(super) async fn issue_token(
    face: &Face,
    person: Person,
    name: &str,
    lifetime: Duration,
) -> Result<Issued, Problem> {
    let user = person.name.clone();
    Ok(face.center.issue_token(person, &user, name, lifetime).await?)
}

/// Ends a token of whoever asks; whether it was good.
pub(super) async fn end_token(
    face: &Face,
    caller: SessionCaller,
    id: &str,
) -> Result<bool, Problem> {
    let person = account(caller)?;
    Ok(face.center.store().revoke_token(person, numbered("token", id)?).await?)
}

fn read_login(fields: &mut Fields) -> Proof {
    let token = fields.text("token");
    let (name, password) = (fields.text("name"), fields.text("password"));
    if let Some(token) = token {
        return Proof::Token(token.into());
    }
    for (field, given) in [("name", &name), ("password", &password)] {
        if given.is_none() {
            fields.error(field, "field required", "missing");
        }
    }
    let password = password.unwrap_or_default().into();
    Proof::Password { name: name.unwrap_or_default(), password }
}

fn read_passwords(fields: &mut Fields) -> (SecretString, SecretString) {
    fields.require("current");
    fields.require("new");
    let (current, new) = (fields.text("current"), fields.text("new"));
    (current.unwrap_or_default().into(), new.unwrap_or_default().into())
}

fn read_token(fields: &mut Fields) -> (String, Duration) {
    let name = fields.required_name("name", label);
    let lifetime = match fields.whole_number("lifetime_days") {
        None => Ok(days(TOKEN_DAYS)),
        Some(number) => token_lifetime(u64::try_from(number).unwrap_or_default()),
    };
    if let Err(expected) = &lifetime {
        fields.error("lifetime_days", expected, "value_error");
    }
    (name, lifetime.unwrap_or_default())
}

/// Logs a person in: the answer sets the session's cookie.
#[utoipa::path(
    post, path = "/api/v1/login", tag = "people", request_body = LoginBody,
    responses(
        (status = 200, body = SessionAnswer),
        (status = 401, description = "The name or the password is wrong, or the token")
    )
)]
pub(super) async fn login(
    State(face): State<Face>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_own_page(&headers, &visitor)?;
    let mut fields = Fields::parse(&body?)?;
    let proof = read_login(&mut fields);
    fields.finish()?;
    let opened = proof.open(&face, &visitor).await?;
    let cookie = set(&opened);
    let session = Some((&opened.token, opened.expires_at));
    Ok(with_cookie(cookie, SessionAnswer::of(opened.person, session)))
}

/// Ends the session.
#[utoipa::path(
    post, path = "/api/v1/logout", tag = "people", responses((status = 200, body = Done))
)]
pub(super) async fn logout(
    State(face): State<Face>,
    caller: SessionCaller,
) -> Result<Response, Problem> {
    face.center.logout(&caller.token, &caller.session.person).await?;
    Ok(with_cookie(clear(COOKIE), Done::new("the session is over")))
}

/// Tells who one is.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "people",
    responses((status = 200, body = SessionAnswer))
)]
pub(super) async fn session(
    PersonCaller(person): PersonCaller,
    MaybeSession(caller): MaybeSession,
) -> Response {
    let session = caller.as_ref().map(|caller| (&caller.token, caller.session.expires_at));
    unkept(StatusCode::OK, SessionAnswer::of(person, session))
}

/// Gives oneself another password; all one's sessions end.
#[utoipa::path(
    post, path = "/api/v1/password", tag = "people", request_body = OwnPasswordBody,
    responses((status = 200, body = Done))
)]
pub(super) async fn password(
    State(face): State<Face>,
    visitor: Visitor,
    caller: SessionCaller,
    body: Body,
) -> Result<Response, Problem> {
    let person = account(caller)?;
    let mut fields = Fields::parse(&body?)?;
    let (current, new) = read_passwords(&mut fields);
    fields.finish()?;
    choose_password(&face, &visitor, &person, current, new).await?;
    Ok(with_cookie(clear(COOKIE), Done::new("the password is changed")))
}

/// Lists one's own tokens.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "people", responses((status = 200, body = TokenList))
)]
pub(super) async fn tokens(
    State(face): State<Face>,
    caller: SessionCaller,
) -> Result<Json<TokenList>, Problem> {
    let tokens = tokens_of(&face, &account(caller)?).await?;
    Ok(Json(TokenList::of(tokens, Timestamp::now())))
}

/// Makes oneself a token; it is shown this one time.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "people", request_body = TokenBody,
    responses((status = 201, body = IssuedAnswer))
)]
pub(super) async fn create_token(
    State(face): State<Face>,
    caller: SessionCaller,
    body: Body,
) -> Result<Response, Problem> {
    let person = account(caller)?;
    let mut fields = Fields::parse(&body?)?;
    let (name, lifetime) = read_token(&mut fields);
    fields.finish()?;
    Ok(IssuedAnswer::once(&issue_token(&face, person, &name, lifetime).await?))
}

/// Ends a token of one's own at once.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "people", params(("id" = i64, Path)),
    responses((status = 200, body = RevokeAnswer))
)]
pub(super) async fn revoke_token(
    State(face): State<Face>,
    caller: SessionCaller,
    Path(id): Path<String>,
) -> Result<Json<RevokeAnswer>, Problem> {
    Ok(Json(RevokeAnswer::new(end_token(&face, caller, &id).await?)))
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
            ReplaceError::Identity(IdentityError::Password(error)) => {
                Self::unfit_password("new", error)
            }
            ReplaceError::Identity(error) => error.into(),
        }
    }
}

impl From<NotAllowed> for Problem {
    fn from(error: NotAllowed) -> Self {
        Self::forbidden(&error.to_string())
    }
}

impl Problem {
    fn unfit_password(field: &str, error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::too_many(&error.to_string(), Duration::from_secs(1)),
            PasswordError::NotHashed => Self::internal(error),
            error => Self::unfit("body", field, &error.to_string()),
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::NotAllowed(error) => error.into(),
            IdentityError::Name(error) => Self::unfit("body", "name", &error.to_string()),
            IdentityError::Lifetime => Self::unfit("body", "lifetime_seconds", &error.to_string()),
            IdentityError::Password(error) => Self::unfit_password("password", error),
            IdentityError::UnknownUser(_)
            | IdentityError::UnknownKey(_)
            | IdentityError::UnknownToken(_) => Self::not_found(error.to_string()),
            IdentityError::UserExists(_)
            | IdentityError::KeyExists { .. }
            | IdentityError::KeyEnded(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            IdentityError::Store(error) => error.into(),
            error @ IdentityError::NoSecret(_) => Self::internal(error),
        }
    }
}
