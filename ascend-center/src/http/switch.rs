//! The kill switch, for people.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApproverCaller, Body, Face, Fields, Problem, fields::body};
use crate::SwitchError;

/// The most bytes of a reason.
const REASON_LIMIT: usize = 4096;

body!(
    /// Why.
    KillBody = |fields| fields.required_text("reason", REASON_LIMIT)
);

/// The kill switch is raised.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RaisedAnswer {
    success: bool,
    blocked: bool,
}

/// The kill switch is released.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleasedAnswer {
    success: bool,
    blocked: bool,
    /// Whether it was raised.
    released: bool,
}

/// Raises the kill switch: nothing more is allowed, and nothing approved runs.
#[utoipa::path(
    post, path = "/api/v1/kill-switch", tag = "approvals", request_body = KillBody,
    responses((status = 200, body = RaisedAnswer))
)]
pub(super) async fn raise(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    body: Body,
) -> Result<Json<RaisedAnswer>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let reason = fields.required_text("reason", REASON_LIMIT);
    fields.finish()?;
    face.center.kill(reason, &approver).await?;
    Ok(Json(RaisedAnswer { success: true, blocked: true }))
}

/// Releases the kill switch.
#[utoipa::path(
    delete, path = "/api/v1/kill-switch", tag = "approvals",
    responses((status = 200, body = ReleasedAnswer))
)]
pub(super) async fn release(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
) -> Result<Json<ReleasedAnswer>, Problem> {
    let released = face.center.release(&approver).await?;
    Ok(Json(ReleasedAnswer { success: true, blocked: false, released }))
}

impl From<SwitchError> for Problem {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::NotAllowed(error) => error.into(),
            SwitchError::Store(error) => error.into(),
        }
    }
}
