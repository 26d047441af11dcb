//! What the user of a client decided, as the client's server tells it.

use ascend_sdk::{ClientAnswer, Confirmation, SessionContext};
use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::Value;

use super::{AgentCaller, Body, Face, Fields, Problem, number, standing, visible};

/// Takes it with the agent's key, since it is no more than the agent's word. Where
/// that does not count, or not any more, it is answered with 409.
pub(super) async fn confirm(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let id = number(&id)?;
    let mut fields = Fields::parse(&body?)?;
    let answer = match fields.text("decision").as_deref() {
        Some("approve") => Some(ClientAnswer::Approved),
        Some("reject") => Some(ClientAnswer::Rejected),
        _ => {
            fields.error(&["decision"], "expected `approve` or `reject`", "enum");
            None
        }
    };
    let session: SessionContext = fields.typed("session_context");
    fields.finish()?;
    let Some(answer) = answer else { return Err(Problem::internal("no decision")) };
    visible(face.center.action(id).await?, id, &caller)?;
    let confirmation = Confirmation { answer, session };
    let record = face.center.confirm_for(id, &confirmation, &caller.name).await?;
    Ok(Json(standing(&record)))
}
