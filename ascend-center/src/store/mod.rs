//! The database: one writer with group commit, a pool of readers, and news of
//! what other processes wrote.

mod actions;
#[cfg(feature = "http")]
mod activity;
#[cfg(feature = "http")]
mod agents;
mod audit;
mod audit_proof;
mod audit_prune;
mod condition;
mod credentials;
mod evaluations;
#[cfg(feature = "http")]
mod history;
mod identity_event;
mod keys;
mod kill_switch;
#[cfg(feature = "http")]
mod mcp_servers;
mod news;
#[cfg(feature = "http")]
mod sessions;
mod sql;
mod terms;
mod usage;
mod users;
#[cfg(feature = "http")]
mod webhooks;
mod writer;

use std::{path::Path, str::FromStr, sync::Arc};

use ascend_sdk::BoxFuture;
use jiff::Timestamp;
use tokio::runtime::Handle;

pub use actions::DecideError;
pub(crate) use actions::{
    Decider, Judged, NewAction, PoliciesUsed, ReportError, SubmitError, Verdict,
};
#[cfg(feature = "http")]
pub(crate) use activity::Wanted;
#[cfg(feature = "http")]
pub(crate) use agents::{RegisterError, RegisteredAgent};
pub use audit::AuditQuery;
use audit::Log;
pub(crate) use audit::Tail;
pub(crate) use audit_proof::Proof;
pub use condition::Condition;
pub(crate) use condition::Levels;
pub(crate) use credentials::TokenRow;
pub(crate) use evaluations::Recorded;
pub use evaluations::{ShadowDecision, ShadowReport};
#[cfg(feature = "http")]
pub(crate) use history::Entry;
pub use kill_switch::{KillSwitch, SwitchError};
#[cfg(feature = "http")]
pub(crate) use mcp_servers::{McpServer, ServerError};
use news::News;
pub(crate) use news::Waiter;
pub(crate) use sql::Columns;
use sql::{Database, Pool};
pub(crate) use terms::Objection;
#[cfg(feature = "http")]
pub(crate) use terms::ServerState;
#[cfg(feature = "http")]
pub(crate) use webhooks::{Attempt, Delivery, Due, Happened, NewWebhook, Webhook, WebhookChange};
use writer::{Transaction, Writer};

use crate::{audit::AuditKey, center::Durability, metrics::Metrics};

/// Why the database could not be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite says so.
    #[error("the center's database failed: {0}")]
    Database(Arc<sqlx::Error>),
    /// The schema could not be brought up to date.
    #[error("the center's database could not be brought up to date: {0}")]
    Migration(Arc<sqlx::migrate::MigrateError>),
    /// A value could not be written as JSON.
    #[error("a value cannot be kept: {0}")]
    Value(Arc<serde_json::Error>),
    /// The row that says where the audit log ends is missing or damaged.
    #[error("the audit log's state is damaged; `ascend-center audit verify` says more")]
    AuditState,
    /// The transaction did not come about.
    #[error("the center's database could not be written; its log says why")]
    NotWritten,
    /// The center was closed.
    #[error("the center is closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Value(Arc::new(error))
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    readers: Pool,
    writer: Writer,
    news: Arc<News>,
    database: Database,
    key: Arc<AuditKey>,
    metrics: Arc<Metrics>,
}

impl Store {
    /// Opens the database at `path`, which exists, and brings its schema up to
    /// date. One process at a time: SQLite's migrations take no lock.
    pub(crate) async fn open(
        path: &Path,
        durability: Durability,
        key: Arc<AuditKey>,
    ) -> Result<Self, StoreError> {
        let database = Database::file(path, durability);
        let mut connection = database.connect().await?;
        connection.migrate().await.map_err(|error| StoreError::Migration(Arc::new(error)))?;
        let readers = database.readers().await?;
        let news = Arc::new(News::new(database.clone(), Handle::current()));
        let metrics = Arc::new(Metrics::default());
        let log = Log::new(key.clone());
        let (news_of, counts) = (news.clone(), metrics.clone());
        let writer = Writer::start(connection, database.clone(), log, news_of, counts);
        let store = Self { readers, writer, news, database, key, metrics };
        store.begin_audit().await?;
        Ok(store)
    }

    /// What this process counts.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The key that signs the audit log.
    pub(crate) fn audit_key(&self) -> &AuditKey {
        &self.key
    }

    /// Runs `work` in a transaction together with what else is queued; what it
    /// returns is durable by then.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        self.writer.run(work).await
    }

    /// A place to wait for news of action `id`.
    pub(crate) fn waiter(&self, id: i64) -> Waiter {
        News::waiter(&self.news, id)
    }

    /// A place to wait for any news.
    pub(crate) fn waiter_for_anything(&self) -> Waiter {
        News::waiter(&self.news, news::ANYTHING)
    }

    /// Whether the database can be read.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sql::query("SELECT id FROM kill_switch").execute(&self.readers).await?;
        Ok(())
    }

    /// Finishes what is queued and closes all connections.
    pub(crate) async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn moment(milliseconds: i64) -> Result<Timestamp, StoreError> {
    let moment = Timestamp::from_millisecond(milliseconds);
    Ok(moment.map_err(|error| sqlx::Error::Decode(Box::new(error)))?)
}

fn word<T>(text: &str) -> Result<T, StoreError>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    Ok(text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?)
}
