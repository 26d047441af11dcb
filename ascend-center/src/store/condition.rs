//! Whether the database is sound, and how much waits in it.

use super::{Store, StoreError, sql};

/// How a center's database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Condition {
    /// The version of its schema.
    pub schema: i64,
    /// What the database finds damaged in itself; empty when all is sound.
    pub damage: Vec<String>,
    /// How many messages to webhooks were given up.
    pub dead_deliveries: i64,
}

/// What there is at this moment, for those who watch numbers.
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) pending: i64,
    pub(crate) unsigned: i64,
    pub(crate) dead_deliveries: i64,
    pub(crate) killed: bool,
    /// Pieces of work that wait to be written.
    pub(crate) queued: usize,
    /// Who waits for news.
    pub(crate) waiting: usize,
}

impl Store {
    pub(crate) async fn condition(&self) -> Result<Condition, StoreError> {
        let schema = sql::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&self.readers)
            .await?;
        let damage = self.readers.acquire().await?.damage().await?;
        Ok(Condition { schema, damage, dead_deliveries: self.dead_deliveries().await? })
    }

    async fn dead_deliveries(&self) -> Result<i64, StoreError> {
        let dead = "SELECT count(*) FROM webhook_deliveries WHERE state = 'dead'";
        Ok(sql::query_scalar(dead).fetch_one(&self.readers).await?)
    }

    #[cfg(feature = "http")]
    pub(crate) async fn levels(&self) -> Result<Levels, StoreError> {
        let pending = "SELECT count(*) FROM actions WHERE state = 'pending' AND expires_at > $1";
        Ok(Levels {
            pending: sql::query_scalar(pending).bind(super::now()).fetch_one(&self.readers).await?,
            unsigned: sql::query_scalar("SELECT seq - signed FROM audit_state")
                .fetch_one(&self.readers)
                .await?,
            dead_deliveries: self.dead_deliveries().await?,
            killed: self.kill_switch().await?.is_some(),
            queued: self.writer.queued(),
            waiting: self.news.waiting(),
        })
    }
}
