//! The kill switch: while it is raised, nothing is allowed and nothing is claimed.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Store, StoreError, fit,
    keys::confirm,
    moment,
    sql::{self, Connection},
};
use crate::{
    audit::{AuditEvent, AuditKind},
    identity::{NotAllowed, Permission, Person},
};

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

pub(super) async fn read(connection: &mut Connection) -> Result<Option<KillSwitch>, StoreError> {
    let row: Option<(String, i64, String)> =
        sql::query_as("SELECT reason, raised_at, raised_by FROM kill_switch")
            .fetch_optional(connection)
            .await?;
    row.map(|(reason, raised_at, raised_by)| {
        Ok(KillSwitch { reason, raised_at: moment(raised_at)?, raised_by })
    })
    .transpose()
}

/// Why the kill switch was neither raised nor released.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// Whoever asked may not.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    pub(crate) async fn kill_switch(&self) -> Result<Option<KillSwitch>, StoreError> {
        read(&mut self.readers.here().await?).await
    }

    /// Raises the kill switch; where it is raised already, the first reason stands.
    pub(crate) async fn kill(&self, reason: String, by: Person) -> Result<(), SwitchError> {
        let reason = fit(reason);
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) = confirm(transaction, &by, Permission::Stop).await? {
                    return Ok(Err(refused.into()));
                }
                let raised = sql::query(
                    "INSERT INTO kill_switch (id, reason, raised_at, raised_by) \
                     VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING",
                )
                .bind(&reason)
                .bind(transaction.now)
                .bind(&by.name)
                .execute(&mut transaction.connection)
                .await?
                .rows_affected();
                if raised > 0 {
                    let event = AuditEvent::new(AuditKind::Killed, by.actor());
                    transaction.note(AuditEvent { reason: Some(reason), ..event }).await?;
                }
                Ok(Ok(()))
            })
        })
        .await?
    }

    /// Releases the kill switch; whether it was raised.
    pub(crate) async fn release(&self, by: Person) -> Result<bool, SwitchError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) = confirm(transaction, &by, Permission::Release).await? {
                    return Ok(Err(refused.into()));
                }
                let released = sql::query("DELETE FROM kill_switch")
                    .execute(&mut transaction.connection)
                    .await?
                    .rows_affected()
                    > 0;
                if released {
                    transaction.note(AuditEvent::new(AuditKind::Released, by.actor())).await?;
                }
                Ok(Ok(released))
            })
        })
        .await?
    }
}
