//! Registered MCP servers, and what they mean for a call that names one.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::{FromRow, SqliteConnection};

use super::{Store, StoreError, history::time};
use crate::submission::Submission;

/// `SELECT` of servers with this condition.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, name, state, about, reason, registered_by, registered_at, changed_by, \
             changed_at FROM mcp_servers ",
            $condition
        )
    };
}

/// A registered MCP server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct McpServer {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) state: ServerState,
    pub(crate) about: Map<String, Value>,
    pub(crate) reason: Option<String>,
    pub(crate) registered_by: String,
    pub(crate) registered_at: Timestamp,
    pub(crate) changed_by: String,
    pub(crate) changed_at: Timestamp,
}

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

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
        }
    }
}

/// Why a server was not registered or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("there is no MCP server `{0}`")]
    Unknown(String),
    #[error(
        "an MCP server `{0}` already exists and is registered differently; delete it first, or \
         choose another `server_name`"
    )]
    Taken(String),
    #[error(transparent)]
    Store(#[from] StoreError),
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
    tool_risk_overrides: Option<std::collections::BTreeMap<String, u8>>,
}

/// What the register says of a call. A server that the call names must be
/// registered; a server that only asks need not be, but is bound by what is
/// registered of it.
pub(super) async fn terms(
    connection: &mut SqliteConnection,
    submission: &Submission,
) -> Result<Terms, StoreError> {
    if let Some(model) = &submission.model {
        return Ok(Terms { objection: Some(Objection::Model(model.clone())), risk: None });
    }
    let name = submission.mcp_server.as_ref().unwrap_or(&submission.server_id);
    let row: Option<Row> =
        sqlx::query_as(select!("WHERE name = ?")).bind(name).fetch_optional(connection).await?;
    let Some(server) = row.map(McpServer::try_from).transpose()? else {
        let objection = submission.mcp_server.clone().map(Objection::Unregistered);
        return Ok(Terms { objection, risk: None });
    };
    let Ok(rules) = serde_json::from_value::<Rules>(Value::Object(server.about)) else {
        return Ok(Terms { objection: Some(Objection::Inactive(server.name)), risk: None });
    };
    let action = format!("{}.{}", submission.namespace, submission.verb);
    let names = [&submission.tool, &submission.verb, &action];
    let is_named = |tool: &str| names.iter().any(|name| name.eq_ignore_ascii_case(tool));
    let blocked = rules.blocked_tools.into_iter().flatten().find(|tool| is_named(tool));
    let objection = match (server.state, submission.mcp_server.is_some(), blocked) {
        (ServerState::Deactivated, ..) | (ServerState::Registered, true, _) => {
            Some(Objection::Inactive(server.name))
        }
        (_, _, Some(tool)) => Some(Objection::BlockedTool(server.name, tool)),
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

#[derive(FromRow)]
struct Row {
    id: i64,
    name: String,
    state: String,
    about: String,
    reason: Option<String>,
    registered_by: String,
    registered_at: i64,
    changed_by: String,
    changed_at: i64,
}

impl TryFrom<Row> for McpServer {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let state = ServerState::ALL.into_iter().find(|state| state.as_str() == row.state);
        Ok(Self {
            id: row.id,
            name: row.name,
            // The table allows no other word; one that is not known lets nothing pass.
            state: state.unwrap_or(ServerState::Deactivated),
            about: serde_json::from_str(&row.about)?,
            reason: row.reason,
            registered_by: row.registered_by,
            registered_at: time(row.registered_at)?,
            changed_by: row.changed_by,
            changed_at: time(row.changed_at)?,
        })
    }
}

impl Store {
    /// Registers a server, inactive; whether it is new. The same registration
    /// again changes nothing.
    pub(crate) async fn register_server(
        &self,
        name: String,
        about: Map<String, Value>,
        by: String,
    ) -> Result<(McpServer, bool), ServerError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Some(row) = find(&mut transaction.connection, &name).await? {
                    let server = McpServer::try_from(row)?;
                    return Ok(if server.about == about && server.registered_by == by {
                        Ok((server, false))
                    } else {
                        Err(ServerError::Taken(name))
                    });
                }
                sqlx::query(
                    "INSERT INTO mcp_servers (name, state, about, registered_by, registered_at, \
                     changed_by, changed_at) VALUES (?1, 'registered', ?2, ?3, ?4, ?3, ?4)",
                )
                .bind(&name)
                .bind(serde_json::to_string(&about)?)
                .bind(&by)
                .bind(transaction.now)
                .execute(&mut transaction.connection)
                .await?;
                transaction.note(None, "mcp_server_registered", &by, Some(&name)).await?;
                let row = find(&mut transaction.connection, &name).await?;
                let row = row.ok_or(sqlx::Error::RowNotFound)?;
                Ok(Ok((row.try_into()?, true)))
            })
        })
        .await?
    }

    /// All registered servers, by name.
    pub(crate) async fn servers(&self) -> Result<Vec<McpServer>, StoreError> {
        let rows: Vec<Row> =
            sqlx::query_as(select!("ORDER BY name")).fetch_all(&self.readers).await?;
        rows.into_iter().map(McpServer::try_from).collect()
    }

    pub(crate) async fn server(&self, name: &str) -> Result<Option<McpServer>, StoreError> {
        let row: Option<Row> = sqlx::query_as(select!("WHERE name = ?"))
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        row.map(McpServer::try_from).transpose()
    }

    /// Activates or deactivates a server.
    pub(crate) async fn set_server(
        &self,
        name: String,
        state: ServerState,
        reason: Option<String>,
        by: String,
    ) -> Result<McpServer, ServerError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let Some(row) = find(&mut transaction.connection, &name).await? else {
                    return Ok(Err(ServerError::Unknown(name)));
                };
                if row.state != state.as_str() {
                    sqlx::query(
                        "UPDATE mcp_servers SET state = ?, reason = ?, changed_by = ?, \
                         changed_at = ? WHERE name = ?",
                    )
                    .bind(state.as_str())
                    .bind(&reason)
                    .bind(&by)
                    .bind(transaction.now)
                    .bind(&name)
                    .execute(&mut transaction.connection)
                    .await?;
                    let kind = format!("mcp_server_{}", state.as_str());
                    let detail = match &reason {
                        Some(reason) => format!("{name}: {reason}"),
                        None => name.clone(),
                    };
                    transaction.note(None, &kind, &by, Some(&detail)).await?;
                }
                let row = find(&mut transaction.connection, &name).await?;
                let row = row.ok_or(sqlx::Error::RowNotFound)?;
                Ok(Ok(row.try_into()?))
            })
        })
        .await?
    }

    /// Forgets a server.
    pub(crate) async fn delete_server(&self, name: String, by: String) -> Result<(), ServerError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let gone = sqlx::query("DELETE FROM mcp_servers WHERE name = ?")
                    .bind(&name)
                    .execute(&mut transaction.connection)
                    .await?
                    .rows_affected();
                if gone == 0 {
                    return Ok(Err(ServerError::Unknown(name)));
                }
                transaction.note(None, "mcp_server_deleted", &by, Some(&name)).await?;
                Ok(Ok(()))
            })
        })
        .await?
    }
}

async fn find(connection: &mut SqliteConnection, name: &str) -> Result<Option<Row>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE name = ?")).bind(name).fetch_optional(connection).await?)
}
