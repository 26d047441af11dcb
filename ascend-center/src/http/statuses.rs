//! `GET /api/v1/actions/status?ids=7,8,9&wait=S`: how many actions stand, so
//! that a client with many waiting calls holds one connection, not many.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AnyCaller, Face, Problem, WAIT_HEADER, may_see, standing, wait_of};

/// The most actions in one question.
const MOST: usize = 1_000;
/// The most bytes of one answer, about. What did not fit is to be asked for again.
const ANSWER_LIMIT: usize = 512 * 1024;

#[derive(Deserialize)]
pub(super) struct StatusesQuery {
    ids: Option<String>,
    wait: Option<String>,
}

/// Answers `{"actions": […], "pending": […]}`: those that are decided, each as
/// its own status route shows it, and the ids of those that are not. What there
/// is not, or what is another agent's, is in neither. Held until one is decided.
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
    for record in &several.decided {
        let action: Value = standing(record);
        bytes += action.to_string().len();
        if bytes <= ANSWER_LIMIT || actions.is_empty() {
            actions.push(action);
        }
    }
    let answer = Json(json!({ "actions": actions, "pending": several.pending }));
    if wait.is_zero() {
        return Ok(answer.into_response());
    }
    Ok(([(WAIT_HEADER, wait.as_secs().to_string())], answer).into_response())
}
