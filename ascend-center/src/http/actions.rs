//! What becomes of an action once it was asked for: where it stands, its claim,
//! its outcome, and what a person decides.

use std::time::Duration;

use ascend_sdk::{Claim, Digest, Holder, Outcome};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    AgentCaller, AnyCaller, ApproverCaller, Body, Face, Fields, Problem,
    answer::{Standing, Verdict, standing, verdict},
    call::idempotency_key,
    fields::body,
    grants::read_bounds,
    number, visible,
};
use crate::{ActionState, NewGrant, store::Claimant};

/// The longest that a status request is held.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Tells a client that its `?wait=` is understood, and how many seconds count.
pub(super) const WAIT_HEADER: &str = "x-ascend-wait";

body!(
    /// What the decision is to be for.
    ClaimBody = read_claim
);
body!(
    /// Who is promised it.
    PromiseBody = read_holder
);
body!(
    /// Why.
    WithdrawBody = read_withdrawal
);
body!(
    /// How it went.
    CompleteBody = read_duration
);
body!(
    /// How it went wrong.
    FailBody = read_failure
);
body!(
    /// What the approver has to say; and with `also_for`, how much like it they
    /// need not be asked about again.
    ApproveBody = read_approval
);
body!(
    /// What the approver has to say.
    DecideBody = read_comment
);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// For how many seconds to hold the request while the action is pending; at
    /// most 30.
    #[param(value_type = Option<u64>)]
    wait: Option<String>,
}

/// How long a question is held, by its `wait`.
pub(super) fn wait_of(wait: Option<&str>) -> Result<Duration, Problem> {
    match wait.map(str::parse::<u64>) {
        None => Ok(Duration::ZERO),
        Some(Ok(seconds)) => Ok(Duration::from_secs(seconds).min(LONGEST_WAIT)),
        Some(Err(_)) => {
            Err(Problem::invalid("query", "wait", "a whole number of seconds", "int_type"))
        }
    }
}

/// Tells where an action stands.
#[utoipa::path(
    get, path = "/api/v1/actions/{id}/status", tag = "decisions",
    params(("id" = i64, Path), StatusQuery),
    responses((status = 200, body = Verdict), (status = 404, description = "There is none"))
)]
pub(super) async fn status(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Path(id): Path<String>,
    Query(query): Query<StatusQuery>,
) -> Result<Response, Problem> {
    let id = number(&id)?;
    let record = visible(face.center.action(id).await?, id, &caller)?;
    let wait = wait_of(query.wait.as_deref())?;
    let mut record = record;
    if !wait.is_zero() && record.state == ActionState::Pending {
        let later = tokio::select! {
            later = face.center.wait(id, Some(wait)) => later?,
            () = face.closing.cancelled() => None,
        };
        record = later.unwrap_or(record);
    }
    let headers = (!wait.is_zero()).then(|| [(WAIT_HEADER, wait.as_secs().to_string())]);
    let answer = Json(verdict(&face.told(record).await?));
    Ok(match headers {
        Some(headers) => (headers, answer).into_response(),
        None => answer.into_response(),
    })
}

/// What became of a claim.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimAnswer {
    action_id: i64,
    granted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Why not, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewed_by: Option<String>,
}

fn read_claim(fields: &mut Fields) -> Option<Digest> {
    fields.require("digest");
    fields.parsed("digest", "64 hexadecimal digits")
}

impl From<Option<String>> for Claimant {
    fn from(key: Option<String>) -> Self {
        key.map_or(Self::Unnamed, Self::Request)
    }
}

/// Claims an action's decision for its one run. The same claim, asked again under its
/// `Idempotency-Key`, is granted again until the outcome is reported.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/claim", tag = "decisions",
    params(("id" = i64, Path)),
    request_body = ClaimBody,
    responses(
        (status = 200, body = ClaimAnswer),
        (status = 404, description = "There is none")
    )
)]
pub(super) async fn claim(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ClaimAnswer>, Problem> {
    let id = number(&id)?;
    let mut fields = Fields::parse(&body?)?;
    let digest = read_claim(&mut fields);
    let key = idempotency_key(None, &headers, &mut fields);
    fields.finish()?;
    let Some(digest) = digest else { return Err(Problem::internal("no digest")) };
    visible(face.center.action(id).await?, id, &caller)?;
    let claim = face.center.claim_for(id, digest, &caller.name, key.into()).await?;
    Ok(Json(match claim {
        Claim::Granted => ClaimAnswer {
            action_id: id,
            granted: true,
            digest: Some(digest.to_string()),
            refusal: None,
            reason: None,
            reviewed_by: None,
        },
        Claim::Refused(rejection) => ClaimAnswer {
            action_id: id,
            granted: false,
            digest: None,
            refusal: Some(rejection.kind.as_str()),
            reason: rejection.reason,
            reviewed_by: rejection.reviewed_by,
        },
    }))
}

/// What became of a promise.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PromiseAnswer {
    action_id: i64,
    promised: bool,
    /// How long it is kept.
    expires_in_ms: Option<u64>,
}

/// Keeps a pending action for an identical call.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/promise", tag = "decisions",
    params(("id" = i64, Path)),
    request_body = Option<PromiseBody>,
    responses(
        (status = 200, body = PromiseAnswer),
        (status = 404, description = "There is none")
    )
)]
pub(super) async fn promise(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<PromiseAnswer>, Problem> {
    let id = number(&id)?;
    let mut fields = Fields::parse_optional(&body?)?;
    let holder = read_holder(&mut fields);
    fields.finish()?;
    visible(face.center.action(id).await?, id, &caller)?;
    let left = face.center.promise_for(id, &holder.unwrap_or_default(), &caller.name).await?;
    Ok(Json(PromiseAnswer {
        action_id: id,
        promised: left.is_some(),
        expires_in_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
    }))
}

/// What became of a report.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeAnswer {
    success: bool,
    action_id: i64,
    /// Where the action stands now.
    state: &'static str,
}

fn read_holder(fields: &mut Fields) -> Option<Holder> {
    fields.parsed("holder", "1 to 64 letters, digits, `-` and `_`")
}

/// Why, whether it was promised and is given up, by whom, and how they claimed it.
fn read_withdrawal(fields: &mut Fields) -> (Option<String>, bool, Option<Holder>, Claimant) {
    let abandoned = fields.flag("abandoned").unwrap_or_default();
    let claimant = fields.text("claim_key").into();
    (fields.told("reason"), abandoned, read_holder(fields), claimant)
}

pub(super) fn read_duration(fields: &mut Fields) -> Duration {
    fields.milliseconds("duration_ms").unwrap_or_default()
}

fn read_failure(fields: &mut Fields) -> (Duration, Option<Value>) {
    (read_duration(fields), fields.value("error"))
}

/// What they say, and what else they let pass.
fn read_approval(fields: &mut Fields) -> (Option<String>, Option<NewGrant>) {
    let comment = read_comment(fields);
    let grant = fields.within("also_for", read_bounds);
    let also = fields.value("also_for").is_some();
    (comment, also.then_some(grant))
}

fn read_comment(fields: &mut Fields) -> Option<String> {
    let (comment, comments) = (fields.text("comment"), fields.text("comments"));
    comment.or(comments)
}

/// Gives an action up. One that is claimed is given up by who claimed it alone: they
/// name the claim's `Idempotency-Key` as `claim_key`.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/withdraw", tag = "outcomes",
    params(("id" = i64, Path)),
    request_body = Option<WithdrawBody>,
    responses(
        (status = 200, body = OutcomeAnswer),
        (status = 404, description = "There is none"),
        (status = 409, description = "That cannot become of it any more")
    )
)]
pub(super) async fn withdraw(
    state: State<Face>,
    caller: AgentCaller,
    id: Path<String>,
    body: Body,
) -> Result<Json<OutcomeAnswer>, Problem> {
    let mut fields = Fields::parse_optional(&body?)?;
    let (reason, abandoned, holder, claimant) = read_withdrawal(&mut fields);
    fields.finish()?;
    let reason = reason.unwrap_or_else(|| "withdrawn by its caller".to_owned());
    let outcome = if abandoned {
        Outcome::Abandoned { reason, holder: holder.unwrap_or_default() }
    } else {
        Outcome::Withdrawn { reason }
    };
    report(state, caller, id, outcome, claimant).await
}

/// Tells that an action ran.
#[utoipa::path(
    post, path = "/api/agent-action/{id}/complete", tag = "outcomes",
    params(("id" = i64, Path)),
    request_body = Option<CompleteBody>,
    responses(
        (status = 200, body = OutcomeAnswer),
        (status = 404, description = "There is none"),
        (status = 409, description = "That cannot become of it any more")
    )
)]
pub(super) async fn complete(
    state: State<Face>,
    caller: AgentCaller,
    id: Path<String>,
    body: Body,
) -> Result<Json<OutcomeAnswer>, Problem> {
    let mut fields = Fields::parse_optional(&body?)?;
    let duration = read_duration(&mut fields);
    fields.finish()?;
    report(state, caller, id, Outcome::Completed { duration }, Claimant::Unnamed).await
}

/// Tells that an action ran and failed.
#[utoipa::path(
    post, path = "/api/agent-action/{id}/fail", tag = "outcomes",
    params(("id" = i64, Path)),
    request_body = Option<FailBody>,
    responses(
        (status = 200, body = OutcomeAnswer),
        (status = 404, description = "There is none"),
        (status = 409, description = "That cannot become of it any more")
    )
)]
pub(super) async fn fail(
    state: State<Face>,
    caller: AgentCaller,
    id: Path<String>,
    body: Body,
) -> Result<Json<OutcomeAnswer>, Problem> {
    let mut fields = Fields::parse_optional(&body?)?;
    let (duration, error) = read_failure(&mut fields);
    fields.finish()?;
    let outcome = Outcome::Failed { duration, error: error_told(error) };
    report(state, caller, id, outcome, Claimant::Unnamed).await
}

/// ASCEND's SDK sends text or an object.
pub(super) fn error_told(error: Option<Value>) -> String {
    match error {
        None => "no error was told".to_owned(),
        Some(Value::String(error)) => error,
        Some(other) => other.to_string(),
    }
}

async fn report(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    Path(id): Path<String>,
    outcome: Outcome,
    claimant: Claimant,
) -> Result<Json<OutcomeAnswer>, Problem> {
    let id = number(&id)?;
    let record = face.center.report_for(id, outcome, &caller.name, claimant).await?;
    Ok(Json(OutcomeAnswer { success: true, action_id: id, state: record.state.as_str() }))
}

/// Approves a pending action. Where that takes several people, it stays pending
/// until the last one does; `approvals` tells who is missing.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/approve", tag = "approvals",
    params(("id" = i64, Path)),
    request_body = Option<ApproveBody>,
    responses(
        (status = 200, body = Standing),
        (status = 404, description = "There is none"),
        (status = 409, description = "That cannot become of it any more")
    )
)]
pub(super) async fn approve(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Standing>, Problem> {
    let id = number(&id)?;
    let mut fields = Fields::parse_optional(&body?)?;
    let (comment, grant) = read_approval(&mut fields);
    fields.finish()?;
    let Some(grant) = grant else {
        return Ok(Json(standing(&face.center.approve(id, &approver, comment).await?)));
    };
    let (record, grant) = face.center.approve_and_grant(id, &approver, comment, grant).await?;
    Ok(Json(standing(&record).with_grant(grant)))
}

/// Takes the approver's own approval of a pending action back.
#[utoipa::path(
    delete, path = "/api/v1/actions/{id}/approve", tag = "approvals",
    params(("id" = i64, Path)),
    responses(
        (status = 200, body = Standing),
        (status = 404, description = "There is none"),
        (status = 409, description = "They have not approved it, or it is not pending any more")
    )
)]
pub(super) async fn take_back(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
) -> Result<Json<Standing>, Problem> {
    Ok(Json(standing(&face.center.take_back(number(&id)?, &approver).await?)))
}

/// Rejects a pending action.
#[utoipa::path(
    post, path = "/api/v1/actions/{id}/reject", tag = "approvals",
    params(("id" = i64, Path)),
    request_body = Option<DecideBody>,
    responses(
        (status = 200, body = Standing),
        (status = 404, description = "There is none"),
        (status = 409, description = "That cannot become of it any more")
    )
)]
pub(super) async fn reject(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Standing>, Problem> {
    let id = number(&id)?;
    let mut fields = Fields::parse_optional(&body?)?;
    let comment = read_comment(&mut fields);
    fields.finish()?;
    Ok(Json(standing(&face.center.reject(id, &approver, comment).await?)))
}
