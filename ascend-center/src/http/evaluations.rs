//! `POST /api/v1/actions/evaluations`: asks for several decisions, so that a client
//! whose calls come at once sends one request for many of them.

use std::sync::Arc;

use ascend_sdk::TraceContext;
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::{
    AgentCaller, Body, Face, Fields, Limited, Problem,
    answer::Standing,
    call::{WORD_LIMIT, idempotency_key},
    evaluate,
    fields::body,
    problem::ProblemAnswer,
};
use crate::identity::Agent;

/// The most calls in one request.
const MOST: usize = 64;

body!(
    /// Several calls, each as it is asked about by itself.
    EvaluationsBody = read_calls
);

/// What is said of each call, in their order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EvaluationsAnswer {
    evaluations: Vec<Evaluated>,
}

/// What is said of one call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Evaluated {
    /// That of the call.
    key: String,
    /// The status of the answer that the call had got by itself.
    status: u16,
    /// Its body.
    body: EvaluatedBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum EvaluatedBody {
    Standing(Box<Standing>),
    Problem(ProblemAnswer),
}

struct OneCall {
    /// As the header `Idempotency-Key` of a request about this call alone.
    key: String,
    trace: Option<TraceContext>,
    call: Map<String, Value>,
}

fn read_calls(fields: &mut Fields) -> Vec<OneCall> {
    fields.each("evaluations", MOST, read_call)
}

fn read_call(fields: &mut Fields) -> OneCall {
    fields.require("call");
    OneCall {
        key: fields.required_text("key", WORD_LIMIT),
        trace: fields.text("traceparent").as_deref().and_then(TraceContext::new),
        call: fields.object("call"),
    }
}

/// Asks for several decisions. Each is made for itself, and each call counts against the
/// limits: one that does not fit is no harm to the others.
#[utoipa::path(
    post, path = "/api/v1/actions/evaluations", tag = "decisions",
    request_body = EvaluationsBody, responses((status = 200, body = EvaluationsAnswer))
)]
pub(super) async fn evaluations(
    State(face): State<Face>,
    Limited(AgentCaller(caller)): Limited<AgentCaller>,
    body: Body,
) -> Result<Json<EvaluationsAnswer>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let calls = read_calls(&mut fields);
    fields.finish()?;
    let asks = Arc::new((face, caller));
    // At once, so that they are written together. The request itself stood for the first.
    let evaluated = calls.into_iter().enumerate().map(|(index, one)| {
        let (asks, key) = (asks.clone(), one.key.clone());
        let deciding = async move {
            let (face, caller) = &*asks;
            if index > 0 {
                face.admit(&caller.name)?;
            }
            decide(face, caller, one).await
        };
        // Policies take time, and there may be several processors.
        let deciding = AbortOnDropHandle::new(tokio::spawn(deciding.in_current_span()));
        async move {
            let standing = deciding.await.unwrap_or_else(|error| Err(Problem::internal(error)));
            let (status, body) = match standing {
                Ok(standing) => (StatusCode::OK, EvaluatedBody::Standing(Box::new(standing))),
                Err(problem) => {
                    let (status, answer) = problem.answer();
                    (status, EvaluatedBody::Problem(answer))
                }
            };
            Evaluated { key, status: status.as_u16(), body }
        }
    });
    Ok(Json(EvaluationsAnswer { evaluations: join_all(evaluated).await }))
}

async fn decide(face: &Face, caller: &Agent, one: OneCall) -> Result<Standing, Problem> {
    let OneCall { key, trace, call } = one;
    evaluate::decide(face, caller, Fields::of(call), |call, fields| {
        call.idempotency_key = idempotency_key(Some(key), &HeaderMap::new(), fields);
        call.traceparent = trace.map(|trace| trace.parent());
    })
    .await
}
