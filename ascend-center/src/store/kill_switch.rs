//! The kill switch: while it is raised, nothing is allowed and nothing is claimed.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;

use super::{Store, StoreError};

/// The raised kill switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KillSwitch {
    /// Why it was raised.
    pub reason: String,
    /// When.
    pub raised_at: Timestamp,
    /// By whom.
    pub raised_by: String,
}

impl KillSwitch {
    pub(crate) fn sentence(&self) -> String {
        format!("the kill switch was raised by {}: {}", self.raised_by, self.reason)
    }
}

pub(super) async fn read(
    connection: &mut SqliteConnection,
) -> Result<Option<KillSwitch>, StoreError> {
    let row: Option<(String, i64, String)> =
        sqlx::query_as("SELECT reason, raised_at, raised_by FROM kill_switch")
            .fetch_optional(connection)
            .await?;
    row.map(|(reason, raised_at, raised_by)| {
        let raised_at = Timestamp::from_millisecond(raised_at)
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(KillSwitch { reason, raised_at, raised_by })
    })
    .transpose()
}

impl Store {
    pub(crate) async fn kill_switch(&self) -> Result<Option<KillSwitch>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        read(&mut connection).await
    }

    /// Raises the kill switch; where it is raised already, the first reason stands.
    pub(crate) async fn kill(&self, reason: String, by: String) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let raised = sqlx::query(
                    "INSERT OR IGNORE INTO kill_switch (id, reason, raised_at, raised_by) \
                     VALUES (1, ?, ?, ?)",
                )
                .bind(&reason)
                .bind(transaction.now)
                .bind(&by)
                .execute(&mut transaction.connection)
                .await?
                .rows_affected();
                if raised > 0 {
                    transaction.note(None, "killed", &by, Some(&reason)).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Releases the kill switch; whether it was raised.
    pub(crate) async fn release(&self, by: String) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let released = sqlx::query("DELETE FROM kill_switch")
                    .execute(&mut transaction.connection)
                    .await?
                    .rows_affected()
                    > 0;
                if released {
                    transaction.note(None, "released", &by, None).await?;
                }
                Ok(released)
            })
        })
        .await
    }
}
