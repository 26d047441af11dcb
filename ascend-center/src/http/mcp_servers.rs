//! The register of MCP servers: agents register them, people activate them.

use std::collections::BTreeMap;

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
    AnyCaller, ApproverCaller, Body, Done, Face, Fields, Limited, Problem, call::WORD_LIMIT,
    fields::body, scope,
};
use crate::store::{McpServer, ServerError, ServerState};

body!(
    /// An MCP server, as it is to be governed.
    ServerBody = read_server
);
body!(
    /// Why.
    ReasonBody = |fields| fields.text("reason")
);

/// A registered MCP server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServerAbout {
    /// All that was registered.
    #[serde(flatten)]
    about: Map<String, Value>,
    id: i64,
    server_name: String,
    /// `registered`, `active` or `deactivated`.
    status: &'static str,
    is_active: bool,
    /// Why it was deactivated.
    reason: Option<String>,
    /// The credential.
    registered_by: String,
    #[schema(value_type = String, format = DateTime)]
    registered_at: Timestamp,
    changed_by: String,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
}

impl From<McpServer> for ServerAbout {
    fn from(server: McpServer) -> Self {
        let mut about = server.about;
        // Ours, whatever was registered under these names.
        for name in [
            "id",
            "server_name",
            "status",
            "is_active",
            "reason",
            "registered_by",
            "registered_at",
            "changed_by",
            "changed_at",
        ] {
            about.remove(name);
        }
        Self {
            about,
            id: server.id,
            server_name: server.name,
            status: server.state.as_str(),
            is_active: server.state == ServerState::Active,
            reason: server.reason,
            registered_by: server.registered_by,
            registered_at: server.registered_at,
            changed_by: server.changed_by,
            changed_at: server.changed_at,
        }
    }
}

/// An MCP server after a change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerAnswer {
    success: bool,
    message: String,
    server: ServerAbout,
}

/// The MCP servers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerList {
    success: bool,
    total: usize,
    servers: Vec<ServerAbout>,
}

impl From<ServerError> for Problem {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Unknown(_) => Self::not_found(error.to_string()),
            ServerError::Taken(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            ServerError::NotAllowed(error) => error.into(),
            ServerError::Store(error) => error.into(),
        }
    }
}

fn read_server(fields: &mut Fields) -> String {
    let name = fields.required_text("server_name", WORD_LIMIT);
    for name in ["display_name", "description", "server_url", "transport_type"] {
        fields.text(name);
    }
    fields.object("connection_config");
    fields.flag("governance_enabled");
    fields.texts("auto_approve_tools");
    fields.texts("blocked_tools");
    let overrides = Value::Object(fields.object("tool_risk_overrides"));
    let overrides = serde_json::from_value::<BTreeMap<String, u8>>(overrides);
    if overrides.is_err() || overrides.is_ok_and(|risks| risks.values().any(|risk| *risk > 100)) {
        let expected = "expected a whole number from 0 to 100 for each tool";
        fields.error("tool_risk_overrides", expected, "value_error");
    }
    name
}

/// What was registered and has no effect is said, not passed over.
fn remarks(about: &Map<String, Value>) -> String {
    let mut message = "registered; it is used once an approver activates it".to_owned();
    let approves = about.get("auto_approve_tools").and_then(Value::as_array);
    if approves.is_some_and(|tools| !tools.is_empty()) {
        message += "; `auto_approve_tools` allows nothing, policies do";
    }
    if about.get("governance_enabled") == Some(&Value::Bool(false)) {
        message += "; `governance_enabled` is kept, and it is governed all the same";
    }
    message
}

/// Registers an MCP server. It is used once a person has activated it.
#[utoipa::path(
    post, path = "/api/registry/mcp-servers", tag = "mcp servers",
    request_body = ServerBody,
    responses(
        (status = 201, body = ServerAnswer),
        (status = 409, description = "The name is registered differently")
    )
)]
pub(super) async fn register(
    State(face): State<Face>,
    Limited(AnyCaller(caller)): Limited<AnyCaller>,
    body: Body,
) -> Result<(StatusCode, Json<ServerAnswer>), Problem> {
    let mut fields = Fields::parse(&body?)?;
    let name = read_server(&mut fields);
    fields.finish()?;
    let about = fields.whole().clone();
    let message = remarks(&about);
    let (server, _) = face.center.store().register_server(name, about, caller).await?;
    let answer = ServerAnswer { success: true, message, server: server.into() };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Lists the MCP servers: an agent's own, or for an approver all.
#[utoipa::path(
    get, path = "/api/registry/mcp-servers", tag = "mcp servers",
    responses((status = 200, body = ServerList))
)]
pub(super) async fn list(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
) -> Result<Json<ServerList>, Problem> {
    let servers = face.center.store().servers().await?.into_iter();
    let servers: Vec<ServerAbout> = servers
        .filter(|server| scope(&caller).is_none_or(|name| name == server.registered_by))
        .map(Into::into)
        .collect();
    Ok(Json(ServerList { success: true, total: servers.len(), servers }))
}

/// Shows an MCP server.
#[utoipa::path(
    get, path = "/api/registry/mcp-servers/{server_name}", tag = "mcp servers",
    params(("server_name" = String, Path)),
    responses((status = 200, body = ServerAnswer), (status = 404, description = "There is none"))
)]
pub(super) async fn show(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Path(name): Path<String>,
) -> Result<Json<ServerAnswer>, Problem> {
    let server = face.center.store().server(&name).await?;
    let server =
        server.filter(|server| scope(&caller).is_none_or(|name| name == server.registered_by));
    let server = server.ok_or(ServerError::Unknown(name))?;
    let message = format!("it is {}", server.state.as_str());
    Ok(Json(ServerAnswer { success: true, message, server: server.into() }))
}

/// Lets calls name the MCP server.
#[utoipa::path(
    post, path = "/api/registry/mcp-servers/{server_name}/activate", tag = "mcp servers",
    params(("server_name" = String, Path)),
    responses((status = 200, body = ServerAnswer), (status = 404, description = "There is none"))
)]
pub(super) async fn activate(
    state: State<Face>,
    approver: ApproverCaller,
    name: Path<String>,
) -> Result<Json<ServerAnswer>, Problem> {
    change(state, approver, name, ServerState::Active, None).await
}

/// Denies all further calls that name the MCP server.
#[utoipa::path(
    post, path = "/api/registry/mcp-servers/{server_name}/deactivate", tag = "mcp servers",
    params(("server_name" = String, Path)), request_body = Option<ReasonBody>,
    responses((status = 200, body = ServerAnswer), (status = 404, description = "There is none"))
)]
pub(super) async fn deactivate(
    state: State<Face>,
    approver: ApproverCaller,
    name: Path<String>,
    body: Body,
) -> Result<Json<ServerAnswer>, Problem> {
    let mut fields = Fields::parse_optional(&body?)?;
    let reason = fields.text("reason");
    fields.finish()?;
    change(state, approver, name, ServerState::Deactivated, reason).await
}

async fn change(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(name): Path<String>,
    state: ServerState,
    reason: Option<String>,
) -> Result<Json<ServerAnswer>, Problem> {
    let server =
        face.center.store().set_server(name, state, reason, approver.person().clone()).await?;
    let message = format!("it is {}", server.state.as_str());
    Ok(Json(ServerAnswer { success: true, message, server: server.into() }))
}

/// Forgets an MCP server.
#[utoipa::path(
    delete, path = "/api/registry/mcp-servers/{server_name}", tag = "mcp servers",
    params(("server_name" = String, Path)),
    responses((status = 200, body = Done), (status = 404, description = "There is none"))
)]
pub(super) async fn delete(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(name): Path<String>,
) -> Result<Json<Done>, Problem> {
    face.center.store().delete_server(name, approver.person().clone()).await?;
    Ok(Json(Done::new("the MCP server is no longer registered")))
}
