//! The register of MCP servers. What it means for a call is in `terms`.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    ServerState, Store, StoreError,
    keys::{confirm, confirm_caller},
    moment,
    sql::{self, Connection},
};
use crate::{
    audit::{AuditEvent, AuditKind},
    identity::{Identity, NotAllowed, Permission, Person},
};

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
    NotAllowed(#[from] NotAllowed),
    #[error(transparent)]
    Store(#[from] StoreError),
}

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

sql::from_row!(Row {
    id,
    name,
    state,
    about,
    reason,
    registered_by,
    registered_at,
    changed_by,
    changed_at,
});

impl TryFrom<Row> for McpServer {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            name: row.name,
            state: ServerState::of(&row.state),
            about: serde_json::from_str(&row.about)?,
            reason: row.reason,
            registered_by: row.registered_by,
            registered_at: moment(row.registered_at)?,
            changed_by: row.changed_by,
            changed_at: moment(row.changed_at)?,
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
        by: Identity,
    ) -> Result<(McpServer, bool), ServerError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) =
                    confirm_caller(transaction, &by, Permission::Administer).await?
                {
                    return Ok(Err(refused.into()));
                }
                if let Some(row) = find(&mut transaction.connection, &name).await? {
                    let server = McpServer::try_from(row)?;
                    return Ok(if server.about == about && server.registered_by == by.name() {
                        Ok((server, false))
                    } else {
                        Err(ServerError::Taken(name))
                    });
                }
                sql::query(
                    "INSERT INTO mcp_servers (name, state, about, registered_by, registered_at, \
                     changed_by, changed_at) VALUES ($1, 'registered', $2, $3, $4, $3, $4)",
                )
                .bind(&name)
                .bind(serde_json::to_string(&about)?)
                .bind(by.name())
                .bind(transaction.now)
                .execute(&mut transaction.connection)
                .await?;
                transaction
                    .note(
                        AuditEvent::new(AuditKind::McpServerRegistered, by.actor()).subject(&*name),
                    )
                    .await?;
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
            sql::query_as(select!("ORDER BY name")).fetch_all(&self.readers).await?;
        rows.into_iter().map(McpServer::try_from).collect()
    }

    pub(crate) async fn server(&self, name: &str) -> Result<Option<McpServer>, StoreError> {
        let row: Option<Row> = sql::query_as(select!("WHERE name = $1"))
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
        by: Person,
    ) -> Result<McpServer, ServerError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let needs = match state {
                    ServerState::Deactivated => Permission::Stop,
                    ServerState::Active | ServerState::Registered => Permission::Decide,
                };
                if let Err(refused) = confirm(transaction, &by, needs).await? {
                    return Ok(Err(refused.into()));
                }
                let Some(row) = find(&mut transaction.connection, &name).await? else {
                    return Ok(Err(ServerError::Unknown(name)));
                };
                if row.state != state.as_str() {
                    sql::query(
                        "UPDATE mcp_servers SET state = $1, reason = $2, changed_by = $3, \
                         changed_at = $4 WHERE name = $5",
                    )
                    .bind(state.as_str())
                    .bind(&reason)
                    .bind(&by.name)
                    .bind(transaction.now)
                    .bind(&name)
                    .execute(&mut transaction.connection)
                    .await?;
                    let kind = match state {
                        ServerState::Active => AuditKind::McpServerActivated,
                        ServerState::Deactivated => AuditKind::McpServerDeactivated,
                        ServerState::Registered => AuditKind::McpServerRegistered,
                    };
                    let event = AuditEvent::new(kind, by.actor()).subject(&*name);
                    transaction.note(AuditEvent { reason, ..event }).await?;
                }
                let row = find(&mut transaction.connection, &name).await?;
                let row = row.ok_or(sqlx::Error::RowNotFound)?;
                Ok(Ok(row.try_into()?))
            })
        })
        .await?
    }

    /// Forgets a server.
    pub(crate) async fn delete_server(&self, name: String, by: Person) -> Result<(), ServerError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) = confirm(transaction, &by, Permission::Administer).await? {
                    return Ok(Err(refused.into()));
                }
                let gone = sql::query("DELETE FROM mcp_servers WHERE name = $1")
                    .bind(&name)
                    .execute(&mut transaction.connection)
                    .await?
                    .rows_affected();
                if gone == 0 {
                    return Ok(Err(ServerError::Unknown(name)));
                }
                transaction
                    .note(AuditEvent::new(AuditKind::McpServerDeleted, by.actor()).subject(&*name))
                    .await?;
                Ok(Ok(()))
            })
        })
        .await?
    }
}

async fn find(connection: &mut Connection, name: &str) -> Result<Option<Row>, StoreError> {
    Ok(sql::query_as(select!("WHERE name = $1")).bind(name).fetch_optional(connection).await?)
}
