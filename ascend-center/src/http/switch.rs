//! The kill switch, from afar.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{ApproverCaller, Body, Face, Fields, Problem};
use crate::SwitchError;

/// The most bytes of a reason.
const REASON_LIMIT: usize = 4096;

pub(super) async fn raise(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let reason = fields.required_text("reason", REASON_LIMIT);
    fields.finish()?;
    face.center.kill(reason, &approver).await?;
    Ok(Json(json!({ "success": true, "blocked": true })))
}

pub(super) async fn release(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
) -> Result<Json<Value>, Problem> {
    let released = face.center.release(&approver).await?;
    Ok(Json(json!({ "success": true, "blocked": false, "released": released })))
}

impl From<SwitchError> for Problem {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::NotAllowed(error) => error.into(),
            SwitchError::Store(error) => error.into(),
        }
    }
}
