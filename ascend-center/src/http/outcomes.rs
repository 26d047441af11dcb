//! `POST /api/v1/actions/outcomes`: how several runs went, so that a client whose
//! calls come fast sends one request for many of them.

use std::str::FromStr;

use ascend_sdk::Outcome;
use axum::{Json, extract::State};
use futures_util::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AgentCaller, Body, Face, Fields, Problem,
    actions::{error_told, read_duration},
    fields::body,
};
use crate::store::{Claimant, ReportError};

/// The most reports in one request.
const MOST: usize = 256;

body!(
    /// How several runs went, each as it is told of one.
    OutcomesBody = read_outcomes
);

/// What became of each report, in their order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomesAnswer {
    outcomes: Vec<Noted>,
}

/// What became of one report.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Noted {
    action_id: i64,
    success: bool,
    /// Where the action stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// What is wrong with it, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

enum Ran {
    Completed,
    Failed,
}

impl FromStr for Ran {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "completed" => Ok(Self::Completed),
            "failed" => Ok(Self::Failed),
            _ => Err(()),
        }
    }
}

fn read_outcomes(fields: &mut Fields) -> Vec<Option<(i64, Outcome)>> {
    fields.each("outcomes", MOST, read_outcome)
}

fn read_outcome(fields: &mut Fields) -> Option<(i64, Outcome)> {
    fields.require("action_id");
    fields.require("status");
    let id = fields.whole_number("action_id");
    let ran = fields.parsed("status", "`completed` or `failed`");
    let duration = read_duration(fields);
    let error = fields.value("error");
    let outcome = match ran? {
        Ran::Completed => Outcome::Completed { duration },
        Ran::Failed => Outcome::Failed { duration, error: error_told(error) },
    };
    Some((id?, outcome))
}

/// Tells how several runs went. Each is told for itself: one that does not fit
/// its action is no harm to the others.
#[utoipa::path(
    post, path = "/api/v1/actions/outcomes", tag = "outcomes",
    request_body = OutcomesBody,
    responses((status = 200, body = OutcomesAnswer))
)]
pub(super) async fn outcomes(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    body: Body,
) -> Result<Json<OutcomesAnswer>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let reports = read_outcomes(&mut fields);
    fields.finish()?;
    let reports = reports.into_iter().flatten();
    // At once, so that they are written together.
    let noted = reports.map(async |(id, outcome)| {
        let report = face.center.report_for(id, outcome, &caller.name, Claimant::Unnamed);
        let refused = match report.await {
            Ok(record) => {
                let state = Some(record.state.as_str());
                return Ok(Noted { action_id: id, success: true, state, detail: None });
            }
            Err(ReportError::Store(error)) => return Err(Problem::from(error)),
            Err(refused) => refused,
        };
        let detail = Some(refused.to_string());
        Ok(Noted { action_id: id, success: false, state: None, detail })
    });
    let outcomes = join_all(noted).await.into_iter().collect::<Result<_, _>>()?;
    Ok(Json(OutcomesAnswer { outcomes }))
}
