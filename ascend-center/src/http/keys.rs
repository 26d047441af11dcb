//! The keys of agents, for admins. A key is in the answer that makes it, and in
//! no other.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApproverCaller, Body, Face, Fields, Problem, call::WORD_LIMIT, fields::body,
    grants::RevokeAnswer, numbered, session::unkept,
};
use crate::{
    AgentKey, CredentialStanding, Issued, NewKey,
    identity::{agent_name, label},
};

/// How long a key that is replaced stays good, unless it is said.
const GRACE: Duration = Duration::from_secs(24 * 3600);

body!(
    /// Whose key it is to be, and for how long; by default until it is revoked.
    KeyBody = read_key
);
body!(
    /// How long the key stays good that is replaced; by default a day.
    RotateBody = |fields| fields.seconds("grace_seconds")
);

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    #[serde(flatten)]
    key: AgentKey,
    /// Whether it is good.
    standing: CredentialStanding,
}

/// All keys that ever were, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyList {
    total: usize,
    keys: Vec<KeyAnswer>,
}

/// A key or a token, in the only answer that has it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuedAnswer {
    id: i64,
    /// The secret itself.
    token: String,
}

impl IssuedAnswer {
    /// Kept by nothing on the way.
    pub(super) fn once(issued: &Issued) -> Response {
        let token = issued.token.expose_secret().to_owned();
        unkept(StatusCode::CREATED, Self { id: issued.id, token })
    }
}

fn read_key(fields: &mut Fields) -> NewKey {
    let mut key = NewKey::of(fields.required_name("agent", agent_name));
    if let Some(name) = fields.name("name", label) {
        key = key.named(name);
    }
    if let Some(owner) = fields.bounded_text("owner", WORD_LIMIT) {
        key = key.owned_by(owner);
    }
    if let Some(lifetime) = fields.seconds("lifetime_seconds") {
        key = key.lasting(lifetime);
    }
    key
}

/// Lists the keys of agents.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "people", responses((status = 200, body = KeyList))
)]
pub(super) async fn list(
    State(face): State<Face>,
    ApproverCaller(_): ApproverCaller,
) -> Result<Json<KeyList>, Problem> {
    let now = Timestamp::now();
    let keys = face.center.keys().await?.into_iter();
    let keys: Vec<_> = keys.map(|key| KeyAnswer { standing: key.standing(now), key }).collect();
    Ok(Json(KeyList { total: keys.len(), keys }))
}

/// Makes an API key for an agent; it is shown this one time.
#[utoipa::path(
    post, path = "/api/v1/keys", tag = "people", request_body = KeyBody,
    responses(
        (status = 201, body = IssuedAnswer),
        (status = 409, description = "The agent has an active key of that name")
    )
)]
pub(super) async fn create(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let key = read_key(&mut fields);
    fields.finish()?;
    Ok(IssuedAnswer::once(&face.center.create_key(&approver, key).await?))
}

/// Ends a key at once.
#[utoipa::path(
    delete, path = "/api/v1/keys/{id}", tag = "people", params(("id" = i64, Path)),
    responses((status = 200, body = RevokeAnswer))
)]
pub(super) async fn revoke(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
) -> Result<Json<RevokeAnswer>, Problem> {
    let revoked = face.center.revoke_key(&approver, numbered("key", &id)?).await?;
    Ok(Json(RevokeAnswer::new(revoked)))
}

/// Makes a key in the place of another, with the same agent, name, owner and
/// lifetime; it is shown this one time.
#[utoipa::path(
    post, path = "/api/v1/keys/{id}/rotate", tag = "people", params(("id" = i64, Path)),
    request_body = Option<RotateBody>,
    responses(
        (status = 201, body = IssuedAnswer),
        (status = 409, description = "The key is not active any more")
    )
)]
pub(super) async fn rotate(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::parse_optional(&body?)?;
    let grace = fields.seconds("grace_seconds").unwrap_or(GRACE);
    fields.finish()?;
    let issued = face.center.rotate_key(&approver, numbered("key", &id)?, grace).await?;
    Ok(IssuedAnswer::once(&issued))
}
