//! Grants: what approvers need not be asked about again for a while.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApproverCaller, Body, Face, Fields, LIST_LIMIT, PersonCaller, Problem,
    call::{RESOURCE_LIMIT, WORD_LIMIT},
    fields::body,
    numbered,
};
use crate::{Grant, GrantError, GrantStanding, NewGrant};

/// The longest condition, in bytes.
pub(super) const CONDITION_LIMIT: usize = 4096;

body!(
    /// What to let pass; a `tool` or an `action`, and a time or a number of calls.
    GrantBody = read
);

/// A grant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GrantAnswer {
    #[serde(flatten)]
    grant: Grant,
    /// Whether it is good.
    standing: GrantStanding,
}

impl From<Grant> for GrantAnswer {
    fn from(grant: Grant) -> Self {
        Self { standing: grant.standing(Timestamp::now()), grant }
    }
}

/// Grants, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantList {
    total: usize,
    grants: Vec<GrantAnswer>,
}

/// What of a grant is about how much it lets pass.
pub(super) fn read_bounds(fields: &mut Fields) -> NewGrant {
    let mut grant = NewGrant::of_the_same();
    if let Some(condition) = fields.bounded_text("when", CONDITION_LIMIT) {
        grant = grant.when(condition);
    }
    if let Some(seconds) = fields.seconds("seconds") {
        grant = grant.lasting(Duration::from_secs(seconds.as_secs()));
    }
    match fields.whole_number("calls").map(u32::try_from) {
        Some(Ok(calls)) => grant = grant.calls(calls),
        Some(Err(_)) => fields.error("calls", "expected a number of calls", "value_error"),
        None => {}
    }
    grant
}

fn read(fields: &mut Fields) -> NewGrant {
    let mut grant = read_bounds(fields);
    grant.tool = fields.bounded_text("tool", WORD_LIMIT);
    grant.resource = fields.required_text("resource", RESOURCE_LIMIT);
    if let Some(action) = fields.bounded_text("action", WORD_LIMIT) {
        grant = grant.doing(action);
    }
    if let Some(agent) = fields.bounded_text("agent", WORD_LIMIT) {
        grant = grant.by_agent(agent);
    }
    if let Some(comment) = fields.text("comment") {
        grant = grant.because(comment);
    }
    grant
}

/// Which grants.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GrantQuery {
    /// Only those that are good; by default those that are over too.
    #[param(value_type = Option<bool>)]
    live: Option<String>,
}

/// Lists the newest grants.
#[utoipa::path(
    get, path = "/api/v1/grants", tag = "approvals",
    params(GrantQuery), responses((status = 200, body = GrantList))
)]
pub(super) async fn list(
    State(face): State<Face>,
    PersonCaller(_): PersonCaller,
    Query(query): Query<GrantQuery>,
) -> Result<Json<GrantList>, Problem> {
    let only_live = match query.live.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::invalid("query", "live", "true or false", "bool_type")),
    };
    let grants = face.center.grants(LIST_LIMIT).await?.into_iter().map(GrantAnswer::from);
    let grants: Vec<_> =
        grants.filter(|it| !only_live || it.standing == GrantStanding::Live).collect();
    Ok(Json(GrantList { total: grants.len(), grants }))
}

/// Gives a grant.
#[utoipa::path(
    post, path = "/api/v1/grants", tag = "approvals",
    request_body = GrantBody, responses((status = 201, body = GrantAnswer))
)]
pub(super) async fn give(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    body: Body,
) -> Result<(StatusCode, Json<GrantAnswer>), Problem> {
    let mut fields = Fields::parse(&body?)?;
    let new = read(&mut fields);
    fields.finish()?;
    let grant = face.center.grant(&approver, new).await?;
    Ok((StatusCode::CREATED, Json(grant.into())))
}

/// What became of what was to end.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeAnswer {
    success: bool,
    /// Whether it was good until now.
    revoked: bool,
}

impl RevokeAnswer {
    pub(super) const fn new(revoked: bool) -> Self {
        Self { success: true, revoked }
    }
}

/// Ends a grant at once.
#[utoipa::path(
    delete, path = "/api/v1/grants/{id}", tag = "approvals",
    params(("id" = i64, Path)),
    responses(
        (status = 200, body = RevokeAnswer),
        (status = 404, description = "There is none")
    )
)]
pub(super) async fn revoke(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
) -> Result<Json<RevokeAnswer>, Problem> {
    let revoked = face.center.revoke_grant(&approver, numbered("grant", &id)?).await?;
    Ok(Json(RevokeAnswer::new(revoked)))
}

impl From<GrantError> for Problem {
    fn from(error: GrantError) -> Self {
        let field = match &error {
            GrantError::Unbounded => "seconds",
            GrantError::Limit(_) => "calls",
            GrantError::Terms(_) => "tool",
            GrantError::NeverCounts => "grant",
            _ => "when",
        };
        match error {
            GrantError::NotAllowed(error) => error.into(),
            GrantError::OwnRequest(_) => Self::forbidden(&error.to_string()),
            GrantError::Unknown(_) => Self::not_found(error.to_string()),
            GrantError::Store(error) => error.into(),
            error => Self::unfit("body", field, &error.to_string()),
        }
    }
}
