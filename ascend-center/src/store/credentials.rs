//! The hashes of credentials. The tokens themselves are never kept here.

use super::{Store, StoreError};
use crate::audit::{Actor, AuditEvent, AuditKind};

impl Store {
    /// Makes `hash` the one credential of `role`, under `name`.
    pub(crate) async fn install_credential(
        &self,
        role: &'static str,
        name: String,
        hash: String,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let known: Option<i64> = sqlx::query_scalar(
                    "SELECT 1 FROM credentials WHERE role = ? AND name = ? AND hash = ?",
                )
                .bind(role)
                .bind(&name)
                .bind(&hash)
                .fetch_optional(&mut transaction.connection)
                .await?;
                if known.is_some() {
                    return Ok(());
                }
                sqlx::query("DELETE FROM credentials WHERE role = ?")
                    .bind(role)
                    .execute(&mut transaction.connection)
                    .await?;
                sqlx::query(
                    "INSERT INTO credentials (name, role, hash, created_at) VALUES (?, ?, ?, ?)",
                )
                .bind(&name)
                .bind(role)
                .bind(&hash)
                .bind(transaction.now)
                .execute(&mut transaction.connection)
                .await?;
                let event = AuditEvent::new(AuditKind::CredentialCreated, Actor::center());
                transaction.note(event.subject(format!("{role} {name}"))).await
            })
        })
        .await
    }

    /// All credentials: name, role, hash.
    pub(crate) async fn credentials(&self) -> Result<Vec<(String, String, String)>, StoreError> {
        Ok(sqlx::query_as("SELECT name, role, hash FROM credentials")
            .fetch_all(&self.readers)
            .await?)
    }
}
