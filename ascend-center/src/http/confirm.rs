//! What the user of a client decided, as the client's server tells it.

use ascend_sdk::{ClientAnswer, Confirmation, SessionContext};
use axum::{
    Json,
    extract::{Path, State},
};

use super::{
    AgentCaller, Body, Face, Fields, Problem,
    answer::{Standing, standing},
    call::session,
    fields::body,
    number, visible,
};

body!(
    /// What the client's user decided.
    ConfirmBody = read_confirmation
);

fn read_confirmation(fields: &mut Fields) -> (Option<ClientAnswer>, SessionContext) {
    fields.require("decision");
    let answer = match fields.text("decision").as_deref() {
        Some("approve") => Some(ClientAnswer::Approved),
        Some("reject") => Some(ClientAnswer::Rejected),
        Some(_) => {
            fields.error("decision", "expected `approve` or `reject`", "enum");
            None
        }
        None => None,
    };
    (answer, session(fields))
}

/// Takes it with the agent's key, since it is no more than the agent's word. Where
/// that does not count, or not any more, it is answered with 409.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/confirm", tag = "decisions",
    params(("id" = i64, Path)),
    request_body = ConfirmBody,
    responses(
        (status = 200, body = Standing),
        (status = 404, description = "There is none"),
        (status = 409, description = "The client's word does not count, or not any more"),
        (status = 422, description = "No decision, or an unknown one")
    )
)]
pub(super) async fn confirm(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Standing>, Problem> {
    let id = number(&id)?;
    visible(face.center.action(id).await?, id, &caller)?;
    let mut fields = Fields::parse(&body?)?;
    let (answer, session) = read_confirmation(&mut fields);
    fields.finish()?;
    let Some(answer) = answer else { return Err(Problem::internal("no decision")) };
    let confirmation = Confirmation { answer, session };
    let record = face.center.confirm_for(id, &confirmation, &caller.name).await?;
    Ok(Json(standing(&record)))
}
