//! Lists and details of actions, and what happened to them.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{
    AnyCaller, Face, LIST_LIMIT, Limited, PersonCaller, Problem,
    answer::{ApprovalAnswer, Listed, approval, listed},
    number, scope, visible,
};
use crate::{
    ActionState, Record,
    store::{Entry, Wanted},
};

/// Which actions, and how many. Numbers come as text, so that a wrong one is named.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// A state, or one of ASCEND's status words.
    status: Option<String>,
    /// From 1 to 1000; by default 100.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// How many to pass over.
    #[param(value_type = Option<u32>)]
    offset: Option<String>,
    /// Only those of this agent or server.
    agent_id: Option<String>,
}

impl ListQuery {
    fn wanted(self, requested_by: Option<&str>) -> Result<Wanted, Problem> {
        let (limit, offset) = page(self.limit.as_deref(), self.offset.as_deref())?;
        Ok(Wanted {
            requested_by: requested_by.map(str::to_owned),
            server_id: self.agent_id,
            state: self.status.as_deref().map(state).transpose()?,
            limit,
            offset,
        })
    }
}

fn page(limit: Option<&str>, offset: Option<&str>) -> Result<(u32, u32), Problem> {
    let read = |name, text: Option<&str>, default: u32| match text.map(str::parse) {
        None => Ok(default),
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => Err(Problem::invalid("query", name, "a whole number", "int_type")),
    };
    Ok((read("limit", limit, 100)?.min(LIST_LIMIT), read("offset", offset, 0)?))
}

/// A state by our word for it, or by ASCEND's.
fn state(word: &str) -> Result<ActionState, Problem> {
    Ok(match word {
        "pending_approval" => ActionState::Pending,
        "auto_approved" => ActionState::Allowed,
        "cancelled" => ActionState::Withdrawn,
        "timeout" => ActionState::Expired,
        "executed" => ActionState::Completed,
        word => word.parse().map_err(|_| {
            Problem::invalid("query", "status", "a state, such as `pending`", "value_error")
        })?,
    })
}

/// Actions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionList {
    /// How many there are in all.
    total: i64,
    limit: u32,
    offset: u32,
    actions: Vec<Listed>,
}

async fn listing(face: &Face, wanted: Wanted, reversed: bool) -> Result<ActionList, Problem> {
    let (limit, offset) = (wanted.limit, wanted.offset);
    let (mut records, total) = face.center.store().activity(wanted).await?;
    if reversed {
        records.reverse();
    }
    Ok(ActionList { total, limit, offset, actions: records.iter().map(listed).collect() })
}

/// Lists the newest actions, oldest first, for people.
#[utoipa::path(
    get, path = "/api/v1/actions", tag = "actions",
    params(ListQuery), responses((status = 200, body = ActionList))
)]
pub(super) async fn list(
    State(face): State<Face>,
    PersonCaller(_): PersonCaller,
    Query(query): Query<ListQuery>,
) -> Result<Json<ActionList>, Problem> {
    listing(&face, query.wanted(None)?, true).await.map(Json)
}

/// Lists actions, newest first: an agent's own, or for an approver all.
#[utoipa::path(
    get, path = "/api/agent-activity", tag = "actions",
    params(ListQuery), responses((status = 200, body = ActionList))
)]
pub(super) async fn agent_activity(
    State(face): State<Face>,
    Limited(AnyCaller(caller)): Limited<AnyCaller>,
    Query(query): Query<ListQuery>,
) -> Result<Json<ActionList>, Problem> {
    listing(&face, query.wanted(scope(&caller))?, false).await.map(Json)
}

/// An action with its history.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Details {
    #[serde(flatten)]
    listed: Listed,
    agent_id: String,
    agent_name: String,
    action_type: String,
    resource_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    audit_trail: Vec<Event>,
    /// What was asked, as it came.
    request: Value,
}

/// ASCEND's SDK knows no other words here. What has run was allowed or approved.
fn details_word(record: &Record) -> &'static str {
    match record.state {
        ActionState::Pending => "pending",
        ActionState::Expired => "timeout",
        ActionState::Rejected | ActionState::Withdrawn | ActionState::Denied => "denied",
        _ if record.reviewed_by.is_some() => "approved",
        _ => "auto_approved",
    }
}

/// Shows an action, with its history.
#[utoipa::path(
    get, path = "/api/v1/actions/{id}", tag = "actions",
    params(("id" = i64, Path)),
    responses((status = 200, body = Details), (status = 404, description = "There is none"))
)]
pub(super) async fn details(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Path(id): Path<String>,
) -> Result<Json<Details>, Problem> {
    let id = number(&id)?;
    let record = visible(face.center.action(id).await?, id, &caller)?;
    let store = face.center.store();
    let history = store.history(id).await?;
    let request = store.request(id).await?.unwrap_or_default();
    let mut request: Value = serde_json::from_str(&request).unwrap_or_default();
    if let Value::Object(request) = &mut request {
        // Who knows it can be told again of what was claimed with it.
        request.remove("idempotency_key");
    }
    let text = |name: &str| request[name].as_str().map(str::to_owned);
    let mut listed = listed(&record);
    listed.standing.status = details_word(&record);
    Ok(Json(Details {
        agent_id: record.server_id.clone(),
        agent_name: text("agent_name").unwrap_or_else(|| record.server_id.clone()),
        action_type: text("action_type")
            .unwrap_or_else(|| format!("{}.{}", record.namespace, record.verb)),
        resource_id: text("resource_id"),
        updated_at: history.last().map_or(record.created_at, |entry| entry.at),
        audit_trail: history.into_iter().map(Event::from).collect(),
        request,
        listed,
    }))
}

/// Tells whether a person approved an action.
#[utoipa::path(
    get, path = "/api/sdk/approval/{id}", tag = "decisions",
    params(("id" = i64, Path)),
    responses(
        (status = 200, body = ApprovalAnswer),
        (status = 404, description = "There is no such action, or no person has to approve it")
    )
)]
pub(super) async fn approval_status(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Path(id): Path<String>,
) -> Result<Json<ApprovalAnswer>, Problem> {
    let id = number(&id)?;
    let record = visible(face.center.action(id).await?, id, &caller)?;
    if record.decision != ascend_sdk::Decision::RequireApproval {
        return Err(Problem::not_found(format!("action {id} was decided without a person")));
    }
    Ok(Json(approval(&face.told(record).await?)))
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    event_id: String,
    /// What happened, in a word.
    event_type: String,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Who did it.
    actor: String,
    resource: Option<String>,
    /// Namespace and verb.
    action: Option<String>,
    /// The same as `event_type`.
    outcome: String,
    details: Map<String, Value>,
}

impl From<Entry> for Event {
    fn from(entry: Entry) -> Self {
        let mut details = Map::new();
        if let Some(action) = &entry.action {
            details.insert("action_id".to_owned(), json!(action.id));
        }
        if let Some(detail) = entry.detail {
            details.insert("detail".to_owned(), detail.into());
        }
        let (action, resource) = entry.action.map(|it| (it.name, it.resource)).unzip();
        Self {
            event_id: entry.id.to_string(),
            outcome: entry.kind.clone(),
            event_type: entry.kind,
            timestamp: entry.at,
            actor: entry.by,
            resource,
            action,
            details,
        }
    }
}

/// A page of what happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    events: Vec<Event>,
    /// How much there is in all.
    total: i64,
    page: u32,
    page_size: u32,
}

/// Which part of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// From 1 to 1000; by default 100.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// How many to pass over.
    #[param(value_type = Option<u32>)]
    offset: Option<String>,
}

/// Tells what happened, newest first: to an agent's own actions, or for an
/// approver all.
#[utoipa::path(
    get, path = "/audit/logs", tag = "actions",
    params(LogQuery), responses((status = 200, body = Log))
)]
pub(super) async fn audit_logs(
    State(face): State<Face>,
    Limited(AnyCaller(caller)): Limited<AnyCaller>,
    Query(query): Query<LogQuery>,
) -> Result<Json<Log>, Problem> {
    let (limit, offset) = page(query.limit.as_deref(), query.offset.as_deref())?;
    let (entries, total) = face.center.store().log(scope(&caller), limit, offset).await?;
    Ok(Json(Log {
        events: entries.into_iter().map(Event::from).collect(),
        total,
        page: offset / limit.max(1) + 1,
        page_size: limit,
    }))
}
