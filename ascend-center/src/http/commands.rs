//! The kill switch for agents: its state, and what agents are to do about it as
//! commands that they fetch and acknowledge.

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{AgentCaller, AnyCaller, Body, Done, Face, Fields, Problem, fields::body};
use crate::store::ServerState;

body!(
    /// Nothing is needed.
    EmptyBody = |_| ()
);

/// The kill switch.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchAnswer {
    /// Whether it is raised: nothing is allowed then.
    blocked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    activated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activated_by: Option<String>,
}

/// Tells whether the kill switch is raised.
#[utoipa::path(
    get, path = "/api/sdk/kill-switch/status", tag = "kill switch",
    responses((status = 200, body = SwitchAnswer))
)]
pub(super) async fn kill_switch(
    State(face): State<Face>,
    AnyCaller(_): AnyCaller,
) -> Result<Json<SwitchAnswer>, Problem> {
    Ok(Json(face.center.kill_switch().await?.map_or_else(SwitchAnswer::default, |switch| {
        SwitchAnswer {
            blocked: true,
            reason: Some(switch.reason),
            activated_at: Some(switch.raised_at),
            activated_by: Some(switch.raised_by),
        }
    })))
}

/// What an agent is to do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    command_id: String,
    /// `BLOCK` or `UNBLOCK`.
    command_type: &'static str,
    /// `organization` for everything, or `mcp_server`.
    target_type: &'static str,
    target_mcp_server_config_id: Option<i64>,
    parameters: Parameters,
    reason: Option<String>,
    /// Always `pending`: acknowledged ones are not listed.
    status: &'static str,
    issued_by: String,
    issued_via: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Always null: it holds until the opposite one.
    expires_at: Option<String>,
    is_broadcast: bool,
}

/// What a command is about.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp_server: Option<String>,
}

/// What agents are to do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandList {
    total: usize,
    commands: Vec<Command>,
}

/// Lists the commands that the agent has not acknowledged. The center keeps to
/// them in any case.
#[utoipa::path(
    get, path = "/api/registry/agents/{agent_id}/commands", tag = "kill switch",
    params(("agent_id" = String, Path)), responses((status = 200, body = CommandList))
)]
pub(super) async fn list(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Path(agent_id): Path<String>,
) -> Result<Json<CommandList>, Problem> {
    let seen = face.center.store().acknowledged(&agent_id, caller.name()).await?;
    let mut commands = standing(&face).await?;
    commands.retain(|command| !seen.contains(&command.command_id));
    Ok(Json(CommandList { total: commands.len(), commands }))
}

/// Acknowledges a command.
#[utoipa::path(
    post, path = "/api/registry/agents/{agent_id}/commands/{command_id}/ack", tag = "kill switch",
    params(("agent_id" = String, Path), ("command_id" = String, Path)),
    request_body = Option<EmptyBody>,
    responses((status = 200, body = Done), (status = 404, description = "There is none"))
)]
pub(super) async fn acknowledge(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    Path((agent_id, command_id)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    Fields::parse_optional(&body?)?.finish()?;
    if !standing(&face).await?.iter().any(|command| command.command_id == command_id) {
        return Err(Problem::not_found(format!("there is no command {command_id:?}")));
    }
    face.center.store().acknowledge(command_id, agent_id, caller).await?;
    Ok(Json(Done::new("acknowledged")))
}

/// The last command about each thing that was ever blocked.
async fn standing(face: &Face) -> Result<Vec<Command>, Problem> {
    let store = face.center.store();
    let mut commands = Vec::new();
    let of_all = |(name, command_type, reason, issued_by, created_at)| Command {
        command_id: format!("kill-switch-{name}"),
        command_type,
        target_type: "organization",
        target_mcp_server_config_id: None,
        parameters: Parameters::default(),
        reason,
        status: "pending",
        issued_by,
        issued_via: "ascend-center",
        created_at,
        expires_at: None,
        is_broadcast: true,
    };
    // As long as it is raised, however short the log is kept.
    let switched = match store.kill_switch().await? {
        Some(raised) => {
            let name = format!("raised-{}", raised.raised_at.as_millisecond());
            Some((name, "BLOCK", Some(raised.reason), raised.raised_by, raised.raised_at))
        }
        None => store.last_release().await?.map(|released| {
            let name = format!("released-{}", released.id);
            (name, "UNBLOCK", released.detail, released.by, released.at)
        }),
    };
    commands.extend(switched.map(of_all));
    for server in store.servers().await? {
        let command_type = match server.state {
            ServerState::Registered => continue,
            ServerState::Active => "UNBLOCK",
            ServerState::Deactivated => "BLOCK",
        };
        commands.push(Command {
            command_id: format!("mcp-server-{}-{}", server.id, server.changed_at.as_millisecond()),
            command_type,
            target_type: "mcp_server",
            target_mcp_server_config_id: Some(server.id),
            parameters: Parameters { mcp_server: Some(server.name) },
            reason: server.reason,
            status: "pending",
            issued_by: server.changed_by,
            issued_via: "ascend-center",
            created_at: server.changed_at,
            expires_at: None,
            is_broadcast: true,
        });
    }
    Ok(commands)
}
