//! The agents that registered themselves, and their signs of life. A key lets
//! an agent ask, not its registration.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    AgentCaller, AnyCaller, Body, Done, Face, Fields, Limited, Problem, call::WORD_LIMIT,
    fields::body, scope,
};
use crate::store::{RegisterError, RegisteredAgent};

/// How often an agent is to send a sign of life.
const HEARTBEAT_SECONDS: i64 = 60;
/// An agent that missed this many is not healthy.
const MISSED: i64 = 3;

const AGENT_TYPES: [&str; 3] = ["supervised", "autonomous", "mcp_server"];

body!(
    /// An agent, as it describes itself.
    AgentBody = read_agent
);
body!(
    /// A sign of life; the numbers at the top, or in `metrics`.
    HeartbeatBody = read_heartbeat
);

/// A registered agent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentAnswer {
    success: bool,
    message: &'static str,
    agent_id: String,
    /// Always `registered`: registering neither allows nor forbids anything.
    status: &'static str,
    agent: AgentAbout,
}

/// What an agent told when it registered.
#[derive(Debug, Serialize, ToSchema)]
struct AgentAbout {
    #[serde(flatten)]
    about: Map<String, Value>,
    /// The credential.
    registered_by: String,
    #[schema(value_type = String, format = DateTime)]
    registered_at: Timestamp,
}

impl From<RegisteredAgent> for AgentAnswer {
    fn from(agent: RegisteredAgent) -> Self {
        Self {
            success: true,
            message: "registered; what it may do is for policies to say",
            agent_id: agent.agent_id,
            status: "registered",
            agent: AgentAbout {
                about: agent.about,
                registered_by: agent.registered_by,
                registered_at: agent.registered_at,
            },
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Taken => Self::new(StatusCode::CONFLICT, error.to_string()),
            RegisterError::NotAllowed(error) => error.into(),
            RegisterError::Store(error) => error.into(),
        }
    }
}

fn read_agent(fields: &mut Fields) -> String {
    let agent_id = fields.required_text("agent_id", WORD_LIMIT);
    for name in ["display_name", "environment", "sdk_version"] {
        fields.text(name);
    }
    fields.texts("capabilities");
    fields.texts("allowed_resources");
    fields.object("metadata");
    let kind = fields.text("agent_type");
    if kind.is_some_and(|kind| !AGENT_TYPES.contains(&&*kind)) {
        let expected = "expected `supervised`, `autonomous` or `mcp_server`";
        fields.error("agent_type", expected, "value_error");
    }
    agent_id
}

/// Registers an agent. Again by the same credential, it renews what is known.
#[utoipa::path(
    post, path = "/api/registry/agents", tag = "agents",
    request_body = AgentBody,
    responses(
        (status = 201, body = AgentAnswer),
        (status = 409, description = "Another credential registered that `agent_id`")
    )
)]
pub(super) async fn register(
    State(face): State<Face>,
    Limited(AgentCaller(caller)): Limited<AgentCaller>,
    body: Body,
) -> Result<(StatusCode, Json<AgentAnswer>), Problem> {
    let mut fields = Fields::parse(&body?)?;
    let agent_id = read_agent(&mut fields);
    fields.finish()?;
    let about = fields.whole().clone();
    let agent = face.center.store().register_agent(agent_id, about, caller).await?;
    Ok((StatusCode::CREATED, Json(agent.into())))
}

/// Forgets an agent.
#[utoipa::path(
    delete, path = "/api/registry/agents/{agent_id}", tag = "agents",
    params(("agent_id" = String, Path)),
    responses((status = 200, body = Done), (status = 404, description = "There is none"))
)]
pub(super) async fn deregister(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Path(agent_id): Path<String>,
) -> Result<Json<Done>, Problem> {
    let unknown = || Problem::not_found(format!("there is no agent {agent_id:?}"));
    let known = face.center.store().registered_agent(&agent_id).await?;
    let known = known.ok_or_else(unknown)?;
    if scope(&caller).is_some_and(|name| name != known.registered_by) {
        return Err(unknown());
    }
    if !face.center.store().deregister_agent(agent_id.clone(), caller).await? {
        return Err(unknown());
    }
    Ok(Json(Done::new("the agent is no longer registered")))
}

/// The answer to a sign of life.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeartbeatAnswer {
    success: bool,
    health_status: &'static str,
    heartbeat_interval_seconds: i64,
}

fn read_heartbeat(fields: &mut Fields) -> String {
    let agent_id = fields.required_text("agent_id", WORD_LIMIT);
    fields.text("sdk_version");
    fields.text("timestamp");
    let numbers = |fields: &mut Fields| {
        fields.milliseconds("response_time_ms");
        fields.milliseconds("error_rate");
        fields.whole_number("requests_count");
    };
    numbers(fields);
    fields.within("metrics", numbers);
    agent_id
}

/// Keeps a sign of life.
#[utoipa::path(
    post, path = "/api/agents/health/heartbeat", tag = "agents",
    request_body = HeartbeatBody, responses((status = 200, body = HeartbeatAnswer))
)]
pub(super) async fn heartbeat(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    body: Body,
) -> Result<Json<HeartbeatAnswer>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let agent_id = read_heartbeat(&mut fields);
    fields.finish()?;
    let about = fields.whole().clone();
    let gap = MISSED * HEARTBEAT_SECONDS * 1000;
    face.center.store().keep_heartbeat(agent_id, about, caller.name, gap).await?;
    Ok(Json(HeartbeatAnswer {
        success: true,
        health_status: "healthy",
        heartbeat_interval_seconds: HEARTBEAT_SECONDS,
    }))
}

/// How an agent does.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthAnswer {
    agent_id: String,
    /// `healthy`, or `unhealthy` after three missed signs of life; `unknown`
    /// when there never was one.
    status: &'static str,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_heartbeat: Option<Timestamp>,
    /// For how long its signs of life have come without a break.
    uptime_seconds: Option<i64>,
    /// The last one.
    metadata: Map<String, Value>,
}

/// Tells how an agent does.
#[utoipa::path(
    get, path = "/api/agents/health/{agent_id}", tag = "agents",
    params(("agent_id" = String, Path)),
    responses((status = 200, body = HealthAnswer), (status = 404, description = "There is none"))
)]
pub(super) async fn agent_health(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Path(agent_id): Path<String>,
) -> Result<Json<HealthAnswer>, Problem> {
    let store = face.center.store();
    let scope = scope(&caller);
    let Some(heartbeat) = store.heartbeat(&agent_id, scope).await? else {
        let known = store.registered_agent(&agent_id).await?;
        let known = known.filter(|known| scope.is_none_or(|name| name == known.registered_by));
        known.ok_or_else(|| Problem::not_found(format!("there is no agent {agent_id:?}")))?;
        return Ok(Json(HealthAnswer {
            agent_id,
            status: "unknown",
            last_heartbeat: None,
            uptime_seconds: None,
            metadata: Map::new(),
        }));
    };
    let silence = Timestamp::now().duration_since(heartbeat.last).as_secs();
    let is_healthy = silence <= MISSED * HEARTBEAT_SECONDS;
    let uptime = heartbeat.last.duration_since(heartbeat.since).as_secs();
    Ok(Json(HealthAnswer {
        agent_id,
        status: if is_healthy { "healthy" } else { "unhealthy" },
        last_heartbeat: Some(heartbeat.last),
        uptime_seconds: is_healthy.then_some(uptime),
        metadata: heartbeat.about,
    }))
}
