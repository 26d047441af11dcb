//! The center over HTTP: ASCEND's API, and what ours adds to it.
//!
//! | | for | |
//! |---|---|---|
//! | `POST /mcp/governance/evaluate` | agents | asks for a decision |
//! | `GET /api/v1/actions/{id}/status?wait=S` | both | where it stands; held up to 30 s while it is pending |
//! | `GET /api/v1/actions/status?ids=7,8&wait=S` | both | where many stand; held until one is decided |
//! | `POST /api/v1/actions/{id}/claim` | agents | claims the decision for one run |
//! | `POST /api/v1/actions/{id}/withdraw` | agents | gives it up |
//! | `POST /api/v1/actions/{id}/promise` | agents | keeps it, while it is pending, for an identical call |
//! | `POST /api/v1/actions/{id}/confirm` | agents | tells what the client's user decided, where policy takes their word |
//! | `POST /api/agent-action/{id}/complete`, `…/fail` | agents | tells the outcome |
//! | `POST /api/v1/actions/{id}/approve`, `…/reject` | approvers | decides |
//! | `GET /api/v1/actions?status=pending`, `GET /api/v1/actions/{id}` | people | shows actions |
//! | `GET /api/sdk/kill-switch/status` | both | whether the kill switch is raised |
//! | `POST`, `DELETE /api/v1/kill-switch` | approvers, admins | raises it, releases it |
//! | `/api/v1/login`, `logout`, `session`, `password`, `tokens` | people | see `session` |
//! | `GET /health` | all | whether it works, and the policies in use; a credential that is sent must be valid |

mod access;
mod answer;
mod auth;
mod confirm;
mod evaluate;
mod fields;
#[cfg(feature = "oidc")]
mod oidc;
mod origin;
mod policies;
mod problem;
mod serve;
mod session;
mod statuses;
mod switch;
mod tls;

use std::time::Duration;

use ascend_sdk::{Claim, Digest, Outcome};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::BytesRejection},
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{ActionState, Center, Permission, Record, identity::Identity};
use answer::{listed, standing};
use auth::{AgentCaller, AnyCaller, ApproverCaller, MaybeCaller, PersonCaller, Scope};
use fields::Fields;
use origin::Door;
pub use origin::{InvalidProxyNetwork, ProxyNetwork};
use problem::Problem;
pub use serve::ServeConfig;

/// The largest request body, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;
/// The longest that a status request is held.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The most actions in one list.
const LIST_LIMIT: u32 = 1000;
/// Tells a client that its `?wait=` is understood, and how many seconds count.
const WAIT_HEADER: &str = "x-ascend-wait";

/// A request's body; why it could not be read is answered in our shape.
type Body = Result<Bytes, BytesRejection>;

#[derive(Debug, Clone)]
struct Face {
    center: Center,
    door: Door,
    #[cfg(feature = "oidc")]
    oidc: Option<std::sync::Arc<crate::identity::Provider>>,
    closing: CancellationToken,
}

fn router(face: Face) -> Router {
    let router = Router::new();
    #[cfg(feature = "oidc")]
    let router = oidc::routes(router);
    router
        .route("/mcp/governance/evaluate", post(evaluate::evaluate))
        .route("/api/v1/actions", get(list))
        .route("/api/v1/actions/status", get(statuses::statuses))
        .route("/api/v1/actions/{id}", get(details))
        .route("/api/v1/actions/{id}/status", get(status))
        .route("/api/v1/actions/{id}/claim", post(claim))
        .route("/api/v1/actions/{id}/withdraw", post(withdraw))
        .route("/api/v1/actions/{id}/promise", post(promise))
        .route("/api/v1/actions/{id}/confirm", post(confirm::confirm))
        .route("/api/v1/actions/{id}/approve", post(approve))
        .route("/api/v1/actions/{id}/reject", post(reject))
        .route("/api/agent-action/{id}/complete", post(complete))
        .route("/api/agent-action/{id}/fail", post(fail))
        .route("/api/sdk/kill-switch/status", get(kill_switch))
        .route("/api/v1/kill-switch", post(switch::raise).delete(switch::release))
        .route("/api/v1/login", post(session::login))
        .route("/api/v1/logout", post(session::logout))
        .route("/api/v1/session", get(session::session))
        .route("/api/v1/password", post(session::password))
        .route("/api/v1/tokens", get(session::tokens).post(session::create_token))
        .route("/api/v1/tokens/{id}", delete(session::revoke_token))
        .route("/health", get(health))
        .fallback(async || Problem::not_found("there is no such endpoint"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(face.clone(), auth::admit))
        .layer(middleware::from_fn_with_state(face.clone(), origin::check_host))
        .with_state(face)
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::not_found(format!("there is no action {id:?}")))
}

/// The action, where this caller may know of it: agents know only their own.
fn visible(record: Option<Record>, id: i64, caller: &impl Scope) -> Result<Record, Problem> {
    record
        .filter(|record| may_see(&record.requested_by, caller))
        .ok_or_else(|| Problem::not_found(format!("there is no action {id}")))
}

fn may_see(requested_by: &str, caller: &impl Scope) -> bool {
    caller.agent().is_none_or(|agent| requested_by == agent)
}

/// How long a question is held, by its `wait`.
fn wait_of(wait: Option<&str>) -> Result<Duration, Problem> {
    match wait.map(str::parse::<u64>) {
        None => Ok(Duration::ZERO),
        Some(Ok(seconds)) => Ok(Duration::from_secs(seconds).min(LONGEST_WAIT)),
        Some(Err(_)) => {
            Err(Problem::invalid("query", "wait", "a whole number of seconds", "int_type"))
        }
    }
}

#[derive(Deserialize)]
struct StatusQuery {
    wait: Option<String>,
}

async fn status(
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
    let answer = Json(standing(&record));
    Ok(match headers {
        Some(headers) => (headers, answer).into_response(),
        None => answer.into_response(),
    })
}

async fn claim(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let id = number(&id)?;
    let mut fields = Fields::parse(&body?)?;
    let digest = fields.parsed::<Digest>("digest", "64 hexadecimal digits");
    fields.require("digest");
    fields.finish()?;
    let Some(digest) = digest else { return Err(Problem::internal("no digest")) };
    visible(face.center.action(id).await?, id, &caller)?;
    let claim = face.center.claim_for(id, digest, &caller.name).await?;
    let object = match claim {
        Claim::Granted => json!({ "action_id": id, "granted": true, "digest": digest }),
        Claim::Refused(rejection) => json!({
            "action_id": id,
            "granted": false,
            "refusal": rejection.kind.as_str(),
            "reason": rejection.reason,
            "reviewed_by": rejection.reviewed_by,
        }),
    };
    Ok(Json(object))
}

async fn promise(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let id = number(&id)?;
    Fields::parse_optional(&body?)?.finish()?;
    visible(face.center.action(id).await?, id, &caller)?;
    let left = face.center.promise_for(id, &caller.name).await?;
    Ok(Json(json!({
        "action_id": id,
        "promised": left.is_some(),
        "expires_in_ms": left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
    })))
}

async fn withdraw(
    state: State<Face>,
    caller: AgentCaller,
    id: Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::parse_optional(&body?)?;
    let reason = fields.text("reason").unwrap_or_else(|| "withdrawn by its caller".to_owned());
    let abandoned = fields.flag("abandoned");
    fields.finish()?;
    let outcome =
        if abandoned { Outcome::Abandoned { reason } } else { Outcome::Withdrawn { reason } };
    report(state, caller, id, outcome).await
}

async fn complete(
    state: State<Face>,
    caller: AgentCaller,
    id: Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::parse_optional(&body?)?;
    let duration = fields.milliseconds("duration_ms").unwrap_or_default();
    fields.finish()?;
    report(state, caller, id, Outcome::Completed { duration }).await
}

async fn fail(
    state: State<Face>,
    caller: AgentCaller,
    id: Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::parse_optional(&body?)?;
    let duration = fields.milliseconds("duration_ms").unwrap_or_default();
    // ASCEND's SDK sends text or an object.
    let error = match fields.value("error") {
        None => "no error was told".to_owned(),
        Some(Value::String(error)) => error,
        Some(other) => other.to_string(),
    };
    fields.finish()?;
    report(state, caller, id, Outcome::Failed { duration, error }).await
}

async fn report(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    Path(id): Path<String>,
    outcome: Outcome,
) -> Result<Json<Value>, Problem> {
    let id = number(&id)?;
    visible(face.center.action(id).await?, id, &caller)?;
    let record = face.center.report_for(id, outcome, &caller.name).await?;
    Ok(Json(json!({ "success": true, "action_id": id, "state": record.state })))
}

async fn approve(
    state: State<Face>,
    caller: ApproverCaller,
    id: Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    decide(state, caller, id, &body?, true).await
}

async fn reject(
    state: State<Face>,
    caller: ApproverCaller,
    id: Path<String>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    decide(state, caller, id, &body?, false).await
}

async fn decide(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
    body: &Bytes,
    approve: bool,
) -> Result<Json<Value>, Problem> {
    let id = number(&id)?;
    let mut fields = Fields::parse_optional(body)?;
    let comment = fields.text("comment").or_else(|| fields.text("comments"));
    fields.finish()?;
    let record = if approve {
        face.center.approve(id, &approver, comment).await?
    } else {
        face.center.reject(id, &approver, comment).await?
    };
    Ok(Json(standing(&record)))
}

#[derive(Deserialize)]
struct ListQuery {
    status: Option<String>,
    limit: Option<String>,
}

async fn list(
    State(face): State<Face>,
    PersonCaller(_): PersonCaller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Problem> {
    let invalid = |name, expected| Problem::invalid("query", name, expected, "value_error");
    let state = match query.status.as_deref() {
        None => None,
        Some("pending_approval") => Some(ActionState::Pending),
        Some(word) => {
            Some(word.parse().map_err(|_| invalid("status", "a state, such as `pending`"))?)
        }
    };
    let limit = match query.limit.as_deref().map(str::parse::<u32>) {
        None => 100,
        Some(Ok(limit)) => limit.min(LIST_LIMIT),
        Some(Err(_)) => return Err(invalid("limit", "a whole number")),
    };
    let records = face.center.actions(state, limit).await?;
    let actions: Vec<_> = records.iter().map(listed).collect();
    Ok(Json(json!({ "total": actions.len(), "actions": actions })))
}

async fn details(
    State(face): State<Face>,
    PersonCaller(_): PersonCaller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id = number(&id)?;
    match face.center.action(id).await? {
        Some(record) => Ok(Json(listed(&record))),
        None => Err(Problem::not_found(format!("there is no action {id}"))),
    }
}

async fn kill_switch(
    State(face): State<Face>,
    AnyCaller(_): AnyCaller,
) -> Result<Json<Value>, Problem> {
    Ok(Json(match face.center.kill_switch().await? {
        None => json!({ "blocked": false }),
        Some(switch) => json!({
            "blocked": true,
            "reason": switch.reason,
            "activated_at": switch.raised_at,
            "activated_by": switch.raised_by,
        }),
    }))
}

async fn health(
    State(face): State<Face>,
    MaybeCaller(caller): MaybeCaller,
) -> Result<Json<Value>, Problem> {
    face.center.ping().await?;
    let detailed = matches!(
        caller,
        Some(Identity::Person(person)) if person.allow(Permission::Decide).is_ok()
    );
    Ok(Json(json!({
        "status": "healthy",
        "service": "ascend-center",
        "version": env!("CARGO_PKG_VERSION"),
        "policies": policies::health(&face.center, detailed),
    })))
}
