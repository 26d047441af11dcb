//! Webhooks, and what is still to be delivered to them. Both survive a restart:
//! a delivery is queued in the transaction that notes its event as seen.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{
    Store, StoreError,
    actions::select,
    grants::{self, Grant},
    history::{self, Entry},
    keys::confirm_caller,
    moment, sql,
};
use crate::{
    audit::{AuditEvent, AuditKind},
    identity::{Identity, NotAllowed, Permission},
    record::Record,
};

/// How long a message is kept after it arrived, in milliseconds.
const KEPT: i64 = 7 * 24 * 3_600_000;
/// How many messages of one webhook are under way: one that does not answer is not to
/// hold up the others.
const OF_EACH: i64 = 4;
/// How many webhooks an agent can have.
const OF_AN_AGENT: i64 = 16;

/// A webhook.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) id: i64,
    pub(crate) url: String,
    pub(crate) events: Vec<String>,
    pub(crate) agent_id: Option<String>,
    pub(crate) secret: SecretString,
    /// It hears of this credential's actions alone.
    pub(crate) of_agent: Option<String>,
    pub(crate) created_at: Timestamp,
}

/// A webhook to be.
#[derive(Debug)]
pub(crate) struct NewWebhook {
    pub(crate) url: String,
    pub(crate) events: Vec<String>,
    pub(crate) agent_id: Option<String>,
    pub(crate) secret: SecretString,
    pub(crate) of_agent: Option<String>,
    pub(crate) created_by: Identity,
}

/// What to change of a webhook.
#[derive(Debug, Default)]
pub(crate) struct WebhookChange {
    pub(crate) url: Option<String>,
    pub(crate) events: Option<Vec<String>>,
    pub(crate) secret: Option<SecretString>,
}

/// Why a webhook was not added, changed or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error("an agent has at most {OF_AN_AGENT} webhooks; delete one first")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something that may interest webhooks.
#[derive(Debug)]
pub(crate) struct Happened {
    pub(crate) entry: Entry,
    pub(crate) action: Option<Record>,
    pub(crate) grant: Option<Grant>,
}

/// A message that is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) id: i64,
    pub(crate) webhook_id: i64,
    pub(crate) kind: String,
    pub(crate) body: String,
    /// How often it was tried before.
    pub(crate) attempts: u32,
}

sql::from_row!(Due { id, webhook_id, kind, body, attempts });

/// A message, for people.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) id: i64,
    pub(crate) webhook_id: i64,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) attempts: u32,
    pub(crate) due_at: Timestamp,
    pub(crate) problem: Option<String>,
    pub(crate) created_at: Timestamp,
}

/// What became of an attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    Delivered,
    /// To be tried again after this time.
    Again(Duration, String),
    Dead(String),
}

struct Row {
    id: i64,
    url: String,
    events: String,
    agent_id: Option<String>,
    secret: String,
    of_agent: Option<String>,
    created_at: i64,
}

sql::from_row!(Row { id, url, events, agent_id, secret, of_agent, created_at });

impl TryFrom<Row> for Webhook {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            url: row.url,
            events: serde_json::from_str(&row.events)?,
            agent_id: row.agent_id,
            secret: row.secret.into(),
            of_agent: row.of_agent,
            created_at: moment(row.created_at)?,
        })
    }
}

const COLUMNS: &str = "SELECT id, url, events, agent_id, secret, of_agent, created_at FROM webhooks \
     WHERE ($1 IS NULL OR of_agent = $1) AND ($2 IS NULL OR id = $2) ORDER BY id";

impl Store {
    pub(crate) async fn add_webhook(&self, new: NewWebhook) -> Result<i64, WebhookError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) =
                    confirm_caller(transaction, &new.created_by, Permission::Administer).await?
                {
                    return Ok(Err(refused.into()));
                }
                if let Some(agent) = &new.of_agent {
                    let own: i64 =
                        sql::query_scalar("SELECT COUNT(*) FROM webhooks WHERE of_agent = $1")
                            .bind(agent)
                            .fetch_one(&mut transaction.connection)
                            .await?;
                    if own >= OF_AN_AGENT {
                        return Ok(Err(WebhookError::TooMany));
                    }
                }
                let seen = history::newest(&mut transaction.connection).await?;
                let id = sql::query(
                    "INSERT INTO webhooks (url, events, agent_id, secret, of_agent, created_by, \
                     created_at, seen) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                )
                .bind(&new.url)
                .bind(serde_json::to_string(&new.events)?)
                .bind(&new.agent_id)
                .bind(new.secret.expose_secret())
                .bind(&new.of_agent)
                .bind(new.created_by.name())
                .bind(transaction.now)
                .bind(seen)
                .insert(&mut transaction.connection)
                .await?;
                let detail = format!("webhook {id}");
                transaction
                    .note(
                        AuditEvent::new(AuditKind::WebhookAdded, new.created_by.actor())
                            .subject(&*detail),
                    )
                    .await?;
                Ok(Ok(id))
            })
        })
        .await?
    }

    /// The webhooks of an agent, or for `None` all; with `id` only that one.
    pub(crate) async fn webhooks(
        &self,
        of_agent: Option<&str>,
        id: Option<i64>,
    ) -> Result<Vec<Webhook>, StoreError> {
        let rows: Vec<Row> =
            sql::query_as(COLUMNS).bind(of_agent).bind(id).fetch_all(&self.readers).await?;
        rows.into_iter().map(Webhook::try_from).collect()
    }

    /// Changes a webhook that is there.
    pub(crate) async fn change_webhook(
        &self,
        id: i64,
        change: WebhookChange,
        by: Identity,
    ) -> Result<(), WebhookError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) =
                    confirm_caller(transaction, &by, Permission::Administer).await?
                {
                    return Ok(Err(refused.into()));
                }
                let events = change.events.map(|events| serde_json::to_string(&events));
                sql::query(
                    "UPDATE webhooks SET url = coalesce($1, url), events = coalesce($2, events), \
                     secret = coalesce($3, secret) WHERE id = $4",
                )
                .bind(&change.url)
                .bind(events.transpose()?)
                .bind(change.secret.as_ref().map(ExposeSecret::expose_secret))
                .bind(id)
                .execute(&mut transaction.connection)
                .await?;
                let detail = format!("webhook {id}");
                transaction
                    .note(AuditEvent::new(AuditKind::WebhookChanged, by.actor()).subject(&*detail))
                    .await?;
                Ok(Ok(()))
            })
        })
        .await?
    }

    /// Forgets a webhook, and what was to be delivered to it.
    pub(crate) async fn delete_webhook(&self, id: i64, by: Identity) -> Result<(), WebhookError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) =
                    confirm_caller(transaction, &by, Permission::Administer).await?
                {
                    return Ok(Err(refused.into()));
                }
                sql::query("DELETE FROM webhooks WHERE id = $1")
                    .bind(id)
                    .execute(&mut transaction.connection)
                    .await?;
                let detail = format!("webhook {id}");
                transaction
                    .note(AuditEvent::new(AuditKind::WebhookDeleted, by.actor()).subject(&*detail))
                    .await?;
                Ok(Ok(()))
            })
        })
        .await?
    }

    /// Looks at what happened since the last time, at most `limit` events, and
    /// queues what `message` makes of each; whether there was anything.
    pub(crate) async fn queue_deliveries(
        &self,
        limit: u32,
        message: fn(&Webhook, &Happened) -> Vec<(&'static str, String)>,
    ) -> Result<bool, StoreError> {
        let seen: Option<i64> =
            sql::query_scalar("SELECT min(seen) FROM webhooks").fetch_one(&self.readers).await?;
        let newest = history::newest(&mut self.readers.acquire().await?).await?;
        if seen.is_none_or(|seen| seen >= newest) {
            return Ok(false);
        }
        self.write(move |transaction| {
            Box::pin(async move {
                let connection = &mut transaction.connection;
                let seen: Option<i64> = sql::query_scalar("SELECT min(seen) FROM webhooks")
                    .fetch_one(&mut *connection)
                    .await?;
                let Some(seen) = seen else { return Ok(false) };
                let rows: Vec<Row> = sql::query_as(COLUMNS)
                    .bind(None::<&str>)
                    .bind(None::<i64>)
                    .fetch_all(&mut *connection)
                    .await?;
                let webhooks =
                    rows.into_iter().map(Webhook::try_from).collect::<Result<Vec<_>, _>>()?;
                let entries = history::after(&mut *connection, seen, limit).await?;
                let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(false) };
                for entry in entries {
                    if entry.action.is_none() && entry.grant.is_none() {
                        continue;
                    }
                    let action: Option<Record> = sql::query_as(select!("WHERE id = $1"))
                        .bind(entry.action.as_ref().map(|action| action.id))
                        .fetch_optional(&mut *connection)
                        .await?;
                    let grant = match entry.grant {
                        Some(id) => grants::read(&mut *connection, id).await?,
                        None => None,
                    };
                    let happened = Happened { entry, action, grant };
                    for webhook in &webhooks {
                        for (kind, body) in message(webhook, &happened) {
                            // Some webhooks have seen more than others.
                            sql::query(
                                "INSERT INTO webhook_deliveries (webhook_id, event_id, \
                                 kind, body, state, due_at, created_at) \
                                 SELECT $1, $2, $3, $4, 'queued', $5, $5 FROM webhooks \
                                 WHERE id = $1 AND seen < $2 ON CONFLICT DO NOTHING",
                            )
                            .bind(webhook.id)
                            .bind(happened.entry.id)
                            .bind(kind)
                            .bind(body)
                            .bind(transaction.now)
                            .execute(&mut *connection)
                            .await?;
                        }
                    }
                }
                sql::query("UPDATE webhooks SET seen = $1 WHERE seen < $1")
                    .bind(last)
                    .execute(&mut *connection)
                    .await?;
                Ok(true)
            })
        })
        .await
    }

    /// Takes up to `limit` messages that are due. Whoever takes them has `lease`
    /// to deliver them; after that they are due again.
    pub(crate) async fn take_deliveries(
        &self,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<Due>, StoreError> {
        let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let due: Option<i64> = self.next_delivery().await?.map(Timestamp::as_millisecond);
        if due.is_none_or(|due| due > super::now()) {
            return Ok(Vec::new());
        }
        self.write(move |transaction| {
            Box::pin(async move {
                Ok(sql::query_as(
                    "UPDATE webhook_deliveries SET due_at = $1 + $2, attempts = attempts + 1 \
                     WHERE id IN (SELECT id FROM (SELECT id, due_at, ROW_NUMBER() OVER \
                     (PARTITION BY webhook_id ORDER BY due_at, id) AS place \
                     FROM webhook_deliveries WHERE state = 'queued' AND due_at <= $1) AS due \
                     WHERE place <= $4 ORDER BY due_at, id LIMIT $3) \
                     RETURNING id, webhook_id, kind, body, attempts - 1 AS attempts",
                )
                .bind(transaction.now)
                .bind(lease)
                .bind(limit)
                .bind(OF_EACH)
                .fetch_all(&mut transaction.connection)
                .await?)
            })
        })
        .await
    }

    /// When the next message is due.
    pub(crate) async fn next_delivery(&self) -> Result<Option<Timestamp>, StoreError> {
        let due: Option<i64> =
            sql::query_scalar("SELECT min(due_at) FROM webhook_deliveries WHERE state = 'queued'")
                .fetch_one(&self.readers)
                .await?;
        due.map(moment).transpose()
    }

    /// Keeps what became of an attempt.
    pub(crate) async fn attempted(&self, id: i64, attempt: Attempt) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let (state, wait, problem) = match attempt {
                    Attempt::Delivered => ("delivered", Duration::ZERO, None),
                    Attempt::Again(wait, problem) => ("queued", wait, Some(problem)),
                    Attempt::Dead(problem) => ("dead", Duration::ZERO, Some(problem)),
                };
                let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                sql::query(
                    "UPDATE webhook_deliveries SET state = $1, due_at = $2, problem = $3 WHERE id = $4",
                )
                .bind(state)
                .bind(transaction.now.saturating_add(wait))
                .bind(problem)
                .bind(id)
                .execute(&mut transaction.connection)
                .await?;
                // What arrived is of no use for long; what did not is.
                sql::query(
                    "DELETE FROM webhook_deliveries WHERE state = 'delivered' AND created_at < $1",
                )
                .bind(transaction.now - KEPT)
                .execute(&mut transaction.connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// The newest messages to the webhooks of an agent, or for `None` to all;
    /// with `state` only those.
    pub(crate) async fn deliveries(
        &self,
        of_agent: Option<&str>,
        state: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        struct Row {
            id: i64,
            webhook_id: i64,
            kind: String,
            state: String,
            attempts: u32,
            due_at: i64,
            problem: Option<String>,
            created_at: i64,
        }
        sql::from_row!(Row { id, webhook_id, kind, state, attempts, due_at, problem, created_at });
        let rows: Vec<Row> = sql::query_as(
            "SELECT d.id, webhook_id, kind, state, attempts, due_at, problem, d.created_at \
             FROM webhook_deliveries d JOIN webhooks w ON w.id = webhook_id \
             WHERE ($1 IS NULL OR of_agent = $1) AND ($2 IS NULL OR state = $2) \
             ORDER BY d.id DESC LIMIT $3",
        )
        .bind(of_agent)
        .bind(state)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Delivery {
                    id: row.id,
                    webhook_id: row.webhook_id,
                    kind: row.kind,
                    state: row.state,
                    attempts: row.attempts,
                    due_at: moment(row.due_at)?,
                    problem: row.problem,
                    created_at: moment(row.created_at)?,
                })
            })
            .collect()
    }
}
