//! Whether the database is sound.

use super::{Store, StoreError};

/// How a center's database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Condition {
    /// The version of its schema.
    pub schema: i64,
    /// What SQLite finds damaged; empty when all is sound.
    pub damage: Vec<String>,
    /// How many messages to webhooks were given up.
    pub dead_deliveries: i64,
}

impl Store {
    pub(crate) async fn condition(&self) -> Result<Condition, StoreError> {
        let schema = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&self.readers)
            .await?;
        let mut damage: Vec<String> =
            sqlx::query_scalar("PRAGMA quick_check(10)").fetch_all(&self.readers).await?;
        damage.retain(|line| line != "ok");
        let dead = "SELECT count(*) FROM webhook_deliveries WHERE state = 'dead'";
        let dead_deliveries = sqlx::query_scalar(dead).fetch_one(&self.readers).await?;
        Ok(Condition { schema, damage, dead_deliveries })
    }
}
