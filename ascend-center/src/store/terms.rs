//! What the register of MCP servers means for a call.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    StoreError,
    sql::{self, Connection},
};
use crate::submission::Submission;

/// Where a registered server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerState {
    /// Nobody activated it yet.
    Registered,
    Active,
    Deactivated,
}

impl ServerState {
    const ALL: [Self; 3] = [Self::Registered, Self::Active, Self::Deactivated];

    /// The table allows no other word; one that is not known lets nothing pass.
    pub(super) fn of(word: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == word).unwrap_or(Self::Deactivated)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
        }
    }
}

/// Why a call is denied whatever policy says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Objection {
    #[error("no MCP server `{0}` is registered")]
    Unregistered(String),
    #[error("the MCP server `{0}` is not active; an approver must activate it")]
    Inactive(String),
    #[error("the MCP server `{0}` blocks the tool `{1}`")]
    BlockedTool(String, String),
    #[error("the model `{0}` is not registered: this center keeps no register of models")]
    Model(String),
}

impl Objection {
    const WORDS: [&'static str; 4] = [
        "mcp_server_unregistered",
        "mcp_server_inactive",
        "mcp_tool_blocked",
        "model_unregistered",
    ];

    /// As it stands in a record's `refusal`.
    pub(crate) const fn as_str(&self) -> &'static str {
        Self::WORDS[match self {
            Self::Unregistered(_) => 0,
            Self::Inactive(_) => 1,
            Self::BlockedTool(..) => 2,
            Self::Model(_) => 3,
        }]
    }

    /// The word, when a record's `refusal` is one of these.
    pub(crate) fn word(refusal: &str) -> Option<&'static str> {
        Self::WORDS.into_iter().find(|word| *word == refusal)
    }
}

/// What the register says of a call.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) objection: Option<Objection>,
    /// Raises the risk, never lowers it.
    pub(super) risk: Option<u8>,
}

/// What of a registration matters for a call.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Rules {
    blocked_tools: Option<Vec<String>>,
    tool_risk_overrides: Option<BTreeMap<String, u8>>,
}

/// What the register says of a call. A server that the call names must be
/// registered; a server that only asks need not be, but is bound by what is
/// registered of it.
pub(super) async fn terms(
    connection: &mut Connection,
    submission: &Submission,
) -> Result<Terms, StoreError> {
    if let Some(model) = &submission.model {
        return Ok(Terms { objection: Some(Objection::Model(model.clone())), risk: None });
    }
    let name = submission.mcp_server.as_ref().unwrap_or(&submission.server_id);
    let row: Option<(String, String, String, String)> =
        sql::query_as("SELECT name, state, about, registered_by FROM mcp_servers WHERE name = $1")
            .bind(name)
            .fetch_optional(connection)
            .await?;
    let Some((name, state, about, registered_by)) = row else {
        let objection = submission.mcp_server.clone().map(Objection::Unregistered);
        return Ok(Terms { objection, risk: None });
    };
    let state = ServerState::of(&state);
    if state == ServerState::Registered
        && submission.mcp_server.is_none()
        && registered_by != submission.requested_by
    {
        // What one agent registers binds no other before a person activated it.
        return Ok(Terms::default());
    }
    let Ok(rules) = serde_json::from_str::<Rules>(&about) else {
        return Ok(Terms { objection: Some(Objection::Inactive(name)), risk: None });
    };
    let action = format!("{}.{}", submission.namespace, submission.verb);
    let names = [&submission.tool, &submission.verb, &action];
    let is_named = |tool: &str| names.iter().any(|name| name.eq_ignore_ascii_case(tool));
    let blocked = rules.blocked_tools.into_iter().flatten().find(|tool| is_named(tool));
    let objection = match (state, submission.mcp_server.is_some(), blocked) {
        (ServerState::Deactivated, ..) | (ServerState::Registered, true, _) => {
            Some(Objection::Inactive(name))
        }
        (_, _, Some(tool)) => Some(Objection::BlockedTool(name, tool)),
        _ => None,
    };
    let risk = rules
        .tool_risk_overrides
        .into_iter()
        .flatten()
        .filter(|(tool, _)| is_named(tool))
        .map(|(_, risk)| risk.min(100))
        .max();
    Ok(Terms { objection, risk })
}
