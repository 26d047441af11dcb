//! `POST /mcp/governance/evaluate`: asks for a decision, as ASCEND's example
//! and our SDK do.

use axum::{Json, extract::State, http::HeaderMap};
use serde_json::json;

use super::{
    AgentCaller, Body, Face, Fields, Limited, Problem,
    answer::{Standing, standing},
    call::{Call, WORD_LIMIT},
    fields::body,
};
use crate::{
    identity::Agent,
    store::{Claimant, Claimed, Opened},
};

body!(
    /// A call, as an MCP server describes it.
    EvaluateBody = read
);

/// Asks for a decision.
#[utoipa::path(
    post, path = "/mcp/governance/evaluate", tag = "decisions",
    request_body = EvaluateBody, responses((status = 200, body = Standing))
)]
pub(super) async fn evaluate(
    State(face): State<Face>,
    Limited(AgentCaller(caller)): Limited<AgentCaller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Standing>, Problem> {
    let fields = Fields::parse(&body?)?;
    decide(&face, &caller, fields, |call, fields| call.read_headers(&headers, fields))
        .await
        .map(Json)
}

/// Asks for a decision on the call in `fields`; what is told of it elsewhere `add`s.
pub(super) async fn decide(
    face: &Face,
    caller: &Agent,
    mut fields: Fields,
    add: impl FnOnce(&mut Call, &mut Fields),
) -> Result<Standing, Problem> {
    let mut call = read(&mut fields);
    let claims = fields.flag("claim").unwrap_or_default();
    add(&mut call, &mut fields);
    let bound = |call: &Call| json!({ "tool": call.tool, "resource": call.resource, "arguments": call.parameters });
    let submission = call.submission(bound, caller, &mut fields)?;
    let claims = claims.then(|| Claimant::from(submission.idempotency_key.clone()));
    let Opened { record, claimed } = face.center.open_action(submission, claims).await?;
    if claimed != Claimed::No {
        return Ok(standing(&record).claimed());
    }
    Ok(standing(&face.told(record).await?))
}

fn read(fields: &mut Fields) -> Call {
    Call {
        server_id: fields.required_text("server_id", WORD_LIMIT),
        namespace: fields.required_text("namespace", WORD_LIMIT),
        verb: fields.required_text("verb", WORD_LIMIT),
        parameters: fields.object("parameters"),
        ..Call::read(fields)
    }
}
