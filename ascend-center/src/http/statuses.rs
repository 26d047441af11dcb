//! `GET /api/v1/actions/status?ids=7,8,9&wait=S`: how many actions stand, so
//! that a client with many waiting calls holds one connection, not many.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    AnyCaller, Face, Problem,
    actions::{WAIT_HEADER, wait_of},
    answer::{Verdict, verdict},
    may_see,
};

/// The most actions in one question.
const MOST: usize = 1_000;
/// The most bytes of one answer, about. What did not fit is to be asked for again.
const ANSWER_LIMIT: usize = 512 * 1024;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusesQuery {
    /// From 1 to 1000, with commas between them.
    #[param(value_type = String)]
    ids: Option<String>,
    /// For how many seconds to hold the request while all are pending; at most 30.
    #[param(value_type = Option<u64>)]
    wait: Option<String>,
}

/// Where actions stand.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Statuses {
    /// Those that are decided.
    actions: Vec<Verdict>,
    /// The ids of those that are not.
    pending: Vec<i64>,
}

/// Tells where actions stand: those that are decided, each as its own status
/// route shows it, and the ids of those that are not. What there is not, or what
/// is another agent's, is in neither. Held until one is decided.
#[utoipa::path(
    get, path = "/api/v1/actions/status", tag = "decisions",
    params(StatusesQuery), responses((status = 200, body = Statuses))
)]
pub(super) async fn statuses(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Query(query): Query<StatusesQuery>,
) -> Result<Response, Problem> {
    let ids = query.ids.unwrap_or_default();
    let given: BTreeSet<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    if given.is_empty() || given.len() > MOST {
        let expected = "1 to 1000 ids with commas between them";
        return Err(Problem::invalid("query", "ids", expected, "value_error"));
    }
    // What is no number is no action of this center.
    let ids: Vec<i64> = given.iter().filter_map(|id| id.parse().ok()).collect();
    let wait = wait_of(query.wait.as_deref())?;
    let counts = |requested_by: &str| may_see(requested_by, &caller);
    let several = tokio::select! {
        several = face.center.wait_for_any(&ids, wait, counts) => several?,
        () = face.closing.cancelled() => {
            face.center.wait_for_any(&ids, Duration::ZERO, counts).await?
        }
    };
    let (mut actions, mut bytes) = (Vec::new(), 0);
    for record in several.decided {
        let action = verdict(&face.told(record).await?);
        bytes += serde_json::to_vec(&action).map_err(Problem::internal)?.len();
        if bytes <= ANSWER_LIMIT || actions.is_empty() {
            actions.push(action);
        }
    }
    let answer = Json(Statuses { actions, pending: several.pending });
    if wait.is_zero() {
        return Ok(answer.into_response());
    }
    Ok(([(WAIT_HEADER, wait.as_secs().to_string())], answer).into_response())
}
