//! Whose token it is. The tokens themselves are never kept here.

use jiff::Timestamp;
use subtle::ConstantTimeEq;

use super::{Keys, Store, StoreError, identity_event::IdentityEvent, moment, now, sql, word};
use crate::{
    audit::Actor,
    identity::{Local, Role},
};

/// What the database knows of a token that is good.
#[derive(Debug)]
pub(crate) enum TokenRow {
    /// The one of a file in the center's directory.
    Local { local: Local, name: String },
    /// An agent's key.
    Key { id: i64, agent: String, owner: Option<String>, used: Option<Timestamp> },
    /// A person's.
    User { id: i64, name: String, role: Role, used: Option<Timestamp> },
}

/// Kind, id, name, owner or role, hash, last use.
type Found = (String, i64, String, Option<String>, String, Option<i64>);

impl Store {
    /// Makes `hash` the one credential of its kind, under `name`.
    pub(crate) async fn install_credential(
        &self,
        local: Local,
        name: String,
        hash: String,
    ) -> Result<(), StoreError> {
        let keys = self.keys;
        self.write(move |transaction| {
            Box::pin(async move {
                let role = local.as_str();
                let known: bool = sql::query_scalar(
                    "SELECT EXISTS (SELECT 1 FROM credentials \
                     WHERE role = $1 AND name = $2 AND hash = $3)",
                )
                .bind(role)
                .bind(&name)
                .bind(&hash)
                .fetch_one(&mut transaction.connection)
                .await?;
                if known {
                    return Ok(());
                }
                let others: bool =
                    sql::query_scalar("SELECT EXISTS (SELECT 1 FROM credentials WHERE role = $1)")
                        .bind(role)
                        .fetch_one(&mut transaction.connection)
                        .await?;
                if others && keys != Keys::Replace {
                    return Err(StoreError::OtherKeys(local.file()));
                }
                sql::query("DELETE FROM credentials WHERE role = $1")
                    .bind(role)
                    .execute(&mut transaction.connection)
                    .await?;
                sql::query(
                    "INSERT INTO credentials (name, role, hash, created_at) VALUES ($1, $2, $3, $4)",
                )
                .bind(&name)
                .bind(role)
                .bind(&hash)
                .bind(transaction.now)
                .execute(&mut transaction.connection)
                .await?;
                if local == Local::Owner {
                    sql::query("DELETE FROM sessions WHERE \"user\" IS NULL")
                        .execute(&mut transaction.connection)
                        .await?;
                }
                let event = match local {
                    Local::Agent => IdentityEvent::AgentCredential,
                    Local::Owner => IdentityEvent::OwnerCredential,
                };
                let about = format!("{role} {name}");
                transaction.record_identity(event, Actor::center(), &about).await
            })
        })
        .await
    }

    /// Whose token has this hash; `None` when nobody's, or it is over.
    pub(crate) async fn token(&self, hash: &str) -> Result<Option<TokenRow>, StoreError> {
        let found: Option<Found> = sql::query_as(
            "SELECT role, 0, name, NULL, hash, NULL FROM credentials WHERE hash = $1 \
             UNION ALL \
             SELECT 'key', id, agent, owner, hash, last_used_at FROM agent_keys \
             WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) \
             UNION ALL \
             SELECT 'user', t.id, u.name, u.role, t.hash, t.last_used_at \
             FROM user_tokens t JOIN users u ON u.name = t.user \
             WHERE t.hash = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 \
             AND u.disabled_at IS NULL",
        )
        .bind(hash)
        .bind(now())
        .fetch_optional(&mut self.readers.here().await?)
        .await?;
        // The index compares digests, which nobody can steer bit by bit; this
        // holds without that argument too.
        let found = found.filter(|found| bool::from(found.4.as_bytes().ct_eq(hash.as_bytes())));
        let Some((kind, id, name, more, _, used)) = found else { return Ok(None) };
        let used = used.map(moment).transpose()?;
        if let Some(local) = Local::ALL.into_iter().find(|local| local.as_str() == kind) {
            return Ok(Some(TokenRow::Local { local, name }));
        }
        Ok(match &*kind {
            "key" => Some(TokenRow::Key { id, agent: name, owner: more, used }),
            "user" => {
                let role = word(&more.unwrap_or_default())?;
                Some(TokenRow::User { id, name, role, used })
            }
            _ => None,
        })
    }
}
