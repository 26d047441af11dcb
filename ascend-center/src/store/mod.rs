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
mod grants;
mod groups;
#[cfg(feature = "http")]
mod history;
mod identity_event;
mod keys;
mod kill_switch;
#[cfg(feature = "http")]
mod mcp_servers;
mod news;
#[cfg(feature = "page")]
mod page;
mod promises;
#[cfg(feature = "http")]
mod sessions;
mod sql;
mod terms;
mod usage;
mod users;
mod votes;
#[cfg(feature = "http")]
mod webhooks;
mod writer;

use std::{path::PathBuf, str::FromStr, sync::Arc};

use ascend_sdk::BoxFuture;
use jiff::Timestamp;
use tokio::{runtime::Handle, sync::Notify};

pub use actions::DecideError;
pub(crate) use actions::{
    Claimant, Claimed, Decider, Judged, NewAction, Opened, PoliciesUsed, ReportError, SubmitError,
    Verdict,
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
#[cfg(feature = "http")]
pub(crate) use condition::Levels;
pub(crate) use credentials::TokenRow;
pub(crate) use evaluations::Recorded;
pub use evaluations::{ShadowDecision, ShadowReport};
pub(crate) use grants::{Covers, Granted};
pub use grants::{Grant, GrantError, GrantStanding, NewGrant};
#[cfg(feature = "http")]
pub(crate) use history::Entry;
pub use kill_switch::{KillSwitch, SwitchError};
#[cfg(feature = "http")]
pub(crate) use mcp_servers::{McpServer, ServerError};
use news::News;
pub(crate) use news::Waiter;
#[cfg(feature = "page")]
pub(crate) use page::{Past, Search, Waiting};
use sql::{Database, Pool};
pub(crate) use sql::{FromRow, Row};
pub(crate) use terms::Objection;
#[cfg(feature = "http")]
pub(crate) use terms::ServerState;
#[cfg(feature = "http")]
pub(crate) use webhooks::{
    Attempt, Delivery, Due, Happened, NewWebhook, Webhook, WebhookChange, WebhookError,
};
pub(crate) use writer::BATCH;
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
    /// The directory's keys are not those of the center that the database is of.
    #[error(
        "the database is of a center with another {0}: copy audit.key, approver.key and agent.key \
         from the directory of one of its replicas, or have those of this directory take their \
         place with `ascend-center serve --adopt-keys`"
    )]
    OtherKeys(&'static str),
    /// The row that says where the audit log ends is missing or damaged.
    #[error("the audit log's state is damaged; `ascend-center audit verify` says more")]
    AuditState,
    /// What was removed still stands in a file.
    #[error(
        "what was removed still stands in the write-ahead log of the database, which another \
         program uses: prune again once that has ended"
    )]
    NotForgotten,
    /// The transaction did not come about.
    #[error("the center's database could not be written; its log says why")]
    NotWritten,
    /// The center was closed.
    #[error("the center is closed")]
    Closed,
}

impl StoreError {
    /// Whether the database cannot be reached at present; nothing was done then
    /// that was answered.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Database(error) => sql::is_outage(error),
            Self::NotWritten | Self::Closed => true,
            _ => false,
        }
    }
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
    keys: Keys,
}

/// Where the database is.
pub(crate) enum Storage {
    /// A file, which exists.
    File(PathBuf),
    #[cfg(feature = "postgres")]
    Server { url: String, adopts_keys: bool },
}

/// What other keys than those that the database knows mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// They take their place.
    Replace,
    /// It is the database of another center.
    #[cfg(feature = "postgres")]
    Match,
}

impl Store {
    /// Opens the database, and brings its schema up to date. One process at a
    /// time of a directory: with SQLite what is due is looked up without a lock.
    pub(crate) async fn open(
        storage: Storage,
        durability: Durability,
        key: Arc<AuditKey>,
    ) -> Result<Self, StoreError> {
        let (database, keys) = match storage {
            Storage::File(path) => (Database::file(&path, durability), Keys::Replace),
            #[cfg(feature = "postgres")]
            Storage::Server { url, adopts_keys } => {
                let keys = if adopts_keys { Keys::Replace } else { Keys::Match };
                (Database::server(&url, durability)?, keys)
            }
        };
        let mut connection = database.connect().await?;
        connection.migrate().await.map_err(|error| StoreError::Migration(Arc::new(error)))?;
        let readers = database.readers().await?;
        let news = Arc::new(News::new(readers.clone(), Handle::current()));
        let metrics = Arc::new(Metrics::default());
        let log = Log::new(key.clone());
        let (news_of, counts) = (news.clone(), metrics.clone());
        let writer = Writer::start(connection, database.clone(), log, news_of, counts)
            .map_err(sqlx::Error::Io)?;
        let store = Self { readers, writer, news, database, key, metrics, keys };
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

    /// The same for what nobody is held up by.
    async fn write_later<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<T, StoreError>>
            + Send
            + 'static,
    {
        self.writer.run_later(work).await
    }

    /// A place to wait for news of action `id`.
    pub(crate) fn waiter(&self, id: i64) -> Waiter {
        News::waiter(&self.news, id)
    }

    /// Notified when another process may have written, while anybody waits for news.
    pub(crate) fn heard(&self) -> Arc<Notify> {
        self.news.heard()
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

/// Words of a person or a program, as every database keeps them: PostgreSQL has no
/// U+0000. Where it comes by HTTP it is refused before.
fn fit(words: String) -> String {
    words.replace('\0', "\u{fffd}")
}

fn word<T>(text: &str) -> Result<T, StoreError>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    Ok(text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?)
}
