//! Agents as they register themselves, their signs of life, and what they have
//! acknowledged. None of it decides anything.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Store, StoreError, keys::confirm_caller, moment, sql};
use crate::{
    audit::{AuditEvent, AuditKind},
    identity::{Agent, Identity, NotAllowed, Permission},
};

/// An agent as it registered itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RegisteredAgent {
    pub(crate) agent_id: String,
    pub(crate) about: Map<String, Value>,
    pub(crate) registered_by: String,
    pub(crate) registered_at: Timestamp,
}

/// The last sign of life.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heartbeat {
    pub(crate) about: Map<String, Value>,
    /// The first of an unbroken row.
    pub(crate) since: Timestamp,
    pub(crate) last: Timestamp,
}

/// Why an agent was not registered, or not forgotten.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("another credential registered an agent with this id; choose another `agent_id`")]
    Taken,
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Row {
    agent_id: String,
    about: String,
    registered_by: String,
    registered_at: i64,
}

sql::from_row!(Row { agent_id, about, registered_by, registered_at });

impl TryFrom<Row> for RegisteredAgent {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            agent_id: row.agent_id,
            about: serde_json::from_str(&row.about)?,
            registered_by: row.registered_by,
            registered_at: moment(row.registered_at)?,
        })
    }
}

const SELECT: &str = "SELECT agent_id, about, registered_by, registered_at FROM registered_agents WHERE agent_id = $1";

impl Store {
    /// Registers an agent, or renews what it told before.
    pub(crate) async fn register_agent(
        &self,
        agent_id: String,
        about: Map<String, Value>,
        by: Agent,
    ) -> Result<RegisteredAgent, RegisterError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let known: Option<Row> = sql::query_as(SELECT)
                    .bind(&agent_id)
                    .fetch_optional(&mut transaction.connection)
                    .await?;
                if known.as_ref().is_some_and(|known| known.registered_by != by.name) {
                    return Ok(Err(RegisterError::Taken));
                }
                let about = serde_json::to_string(&about)?;
                if known.as_ref().is_none_or(|known| known.about != about) {
                    sql::query(
                        "INSERT INTO registered_agents (agent_id, about, registered_by, \
                         registered_at) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (agent_id) DO UPDATE SET about = excluded.about",
                    )
                    .bind(&agent_id)
                    .bind(&about)
                    .bind(&by.name)
                    .bind(transaction.now)
                    .execute(&mut transaction.connection)
                    .await?;
                    transaction
                        .note(
                            AuditEvent::new(AuditKind::AgentRegistered, by.actor())
                                .subject(&*agent_id),
                        )
                        .await?;
                }
                let row: Row = sql::query_as(SELECT)
                    .bind(&agent_id)
                    .fetch_one(&mut transaction.connection)
                    .await?;
                Ok(Ok(row.try_into()?))
            })
        })
        .await?
    }

    pub(crate) async fn registered_agent(
        &self,
        agent_id: &str,
    ) -> Result<Option<RegisteredAgent>, StoreError> {
        let row: Option<Row> =
            sql::query_as(SELECT).bind(agent_id).fetch_optional(&self.readers).await?;
        row.map(RegisteredAgent::try_from).transpose()
    }

    /// Forgets an agent; whether there was one.
    pub(crate) async fn deregister_agent(
        &self,
        agent_id: String,
        by: Identity,
    ) -> Result<bool, RegisterError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) =
                    confirm_caller(transaction, &by, Permission::Administer).await?
                {
                    return Ok(Err(refused.into()));
                }
                let gone = sql::query("DELETE FROM registered_agents WHERE agent_id = $1")
                    .bind(&agent_id)
                    .execute(&mut transaction.connection)
                    .await?
                    .rows_affected()
                    > 0;
                if gone {
                    transaction
                        .note(
                            AuditEvent::new(AuditKind::AgentDeregistered, by.actor())
                                .subject(&*agent_id),
                        )
                        .await?;
                }
                Ok(Ok(gone))
            })
        })
        .await?
    }

    /// Keeps a sign of life. After a silence of `gap` milliseconds a new row of
    /// them begins.
    pub(crate) async fn keep_heartbeat(
        &self,
        agent_id: String,
        about: Map<String, Value>,
        by: String,
        gap: i64,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                sql::query(
                    "INSERT INTO heartbeats (agent_id, sent_by, about, since, last) \
                     VALUES ($1, $2, $3, $4, $4) ON CONFLICT (agent_id, sent_by) DO UPDATE SET \
                     about = excluded.about, last = excluded.last, since = \
                     CASE WHEN excluded.last - heartbeats.last > $5 THEN excluded.last \
                     ELSE heartbeats.since END",
                )
                .bind(&agent_id)
                .bind(&by)
                .bind(serde_json::to_string(&about)?)
                .bind(transaction.now)
                .bind(gap)
                .execute(&mut transaction.connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The agent's last sign of life: from this credential, or, for `None`, any.
    pub(crate) async fn heartbeat(
        &self,
        agent_id: &str,
        by: Option<&str>,
    ) -> Result<Option<Heartbeat>, StoreError> {
        let row: Option<(String, i64, i64)> = sql::query_as(
            "SELECT about, since, last FROM heartbeats \
             WHERE agent_id = $1 AND ($2 IS NULL OR sent_by = $2) ORDER BY last DESC LIMIT 1",
        )
        .bind(agent_id)
        .bind(by)
        .fetch_optional(&self.readers)
        .await?;
        row.map(|(about, since, last)| {
            Ok(Heartbeat {
                about: serde_json::from_str(&about)?,
                since: moment(since)?,
                last: moment(last)?,
            })
        })
        .transpose()
    }

    /// Keeps that the agent has seen a command.
    pub(crate) async fn acknowledge(
        &self,
        command_id: String,
        agent_id: String,
        by: Agent,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let new = sql::query(
                    "INSERT INTO acknowledgements (command_id, agent_id, sent_by, at) \
                     VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                )
                .bind(&command_id)
                .bind(&agent_id)
                .bind(&by.name)
                .bind(transaction.now)
                .execute(&mut transaction.connection)
                .await?
                .rows_affected()
                    > 0;
                if new {
                    let detail = format!("{command_id} by agent {agent_id}");
                    transaction
                        .note(
                            AuditEvent::new(AuditKind::CommandAcknowledged, by.actor())
                                .subject(&*detail),
                        )
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The commands that this agent has acknowledged.
    pub(crate) async fn acknowledged(
        &self,
        agent_id: &str,
        by: &str,
    ) -> Result<Vec<String>, StoreError> {
        Ok(sql::query_scalar(
            "SELECT command_id FROM acknowledgements WHERE agent_id = $1 AND sent_by = $2",
        )
        .bind(agent_id)
        .bind(by)
        .fetch_all(&self.readers)
        .await?)
    }
}
