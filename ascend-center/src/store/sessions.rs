//! Sessions in browsers.

use std::net::IpAddr;

use jiff::Timestamp;

#[cfg(feature = "oidc")]
use super::groups;
use super::{
    Store, StoreError, identity_event::IdentityEvent, moment, now, sql, word, writer::Transaction,
};
use crate::audit::Actor;
use crate::identity::{Origin, Person, Role, SESSION_IDLE, SESSION_LIFETIME, SESSIONS, Session};

/// Of an account: name and role; the name of the directory's owner; when it was
/// last used and ends.
type Row = (Option<String>, Option<String>, Option<String>, i64, i64);

/// Who it was, when an identity provider says what an account may do.
#[cfg(feature = "oidc")]
fn provider() -> Actor {
    Actor::new("provider", "identity provider")
}

fn idle() -> i64 {
    i64::try_from(SESSION_IDLE.as_millis()).unwrap_or(i64::MAX)
}

impl Store {
    /// Opens a session for an account whose password is still the one that
    /// matched, or for the owner of the directory; and ends the earlier one.
    pub(crate) async fn open_session(
        &self,
        account: Option<(String, String)>,
        hash: String,
        earlier: Option<String>,
        address: IpAddr,
    ) -> Result<Option<Session>, StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let (user, person) = match account {
                    Some((name, password)) => {
                        let role: Option<String> = sql::query_scalar(
                            "SELECT role FROM users WHERE name = $1 AND password = $2 \
                             AND disabled_at IS NULL",
                        )
                        .bind(&name)
                        .bind(password)
                        .fetch_optional(&mut transaction.connection)
                        .await?;
                        let Some(role) = role else { return Ok(None) };
                        let role = word(&role)?;
                        let user = Some(name.clone());
                        (user, Person { name, role, origin: Origin::Account })
                    }
                    None => {
                        let name: Option<String> = sql::query_scalar(
                            "SELECT name FROM credentials WHERE role = 'approver'",
                        )
                        .fetch_optional(&mut transaction.connection)
                        .await?;
                        let Some(name) = name else { return Ok(None) };
                        (None, Person { name, role: Role::Admin, origin: Origin::Directory })
                    }
                };
                insert(transaction, user, person, hash, earlier, address).await.map(Some)
            })
        })
        .await
    }

    /// Opens a session for whom an identity provider vouches, with the role
    /// that it says; their first makes the account. `None` when that is
    /// disabled, or somebody else has the name: names can change hands at the
    /// provider, and accounts must not.
    #[cfg(feature = "oidc")]
    pub(crate) async fn open_vouched(
        &self,
        vouched: crate::identity::Vouched,
        hash: String,
        earlier: Option<String>,
        address: IpAddr,
    ) -> Result<Option<Session>, StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let crate::identity::Vouched { subject, name, role, groups } = vouched;
                let known: Option<(String, String, Option<i64>)> =
                    sql::query_as("SELECT name, role, disabled_at FROM users WHERE subject = $1")
                        .bind(&subject)
                        .fetch_optional(&mut transaction.connection)
                        .await?;
                let name = match known {
                    Some((_, _, Some(_))) => return Ok(None),
                    Some((name, earlier, None)) => {
                        if earlier != role.as_str() {
                            sql::query("UPDATE users SET role = $1 WHERE subject = $2")
                                .bind(role.as_str())
                                .bind(&subject)
                                .execute(&mut transaction.connection)
                                .await?;
                            let about = format!("{name}, {role}");
                            let event = IdentityEvent::RoleChanged;
                            transaction.record_identity(event, provider(), &about).await?;
                            super::votes::recount_of(transaction, &name).await?;
                        }
                        name
                    }
                    None => {
                        let taken: bool = sql::query_scalar(
                            "SELECT EXISTS (SELECT 1 FROM users WHERE name = $1 UNION ALL SELECT 1 \
                             FROM credentials WHERE role = 'approver' AND lower(name) = $1)",
                        )
                        .bind(&name)
                        .fetch_one(&mut transaction.connection)
                        .await?;
                        if taken {
                            return Ok(None);
                        }
                        sql::query(
                            "INSERT INTO users (name, role, subject, created_at) \
                             VALUES ($1, $2, $3, $4)",
                        )
                        .bind(&name)
                        .bind(role.as_str())
                        .bind(&subject)
                        .bind(transaction.now)
                        .execute(&mut transaction.connection)
                        .await?;
                        let about = format!("{name}, {role}");
                        let event = IdentityEvent::UserCreated;
                        transaction.record_identity(event, provider(), &about).await?;
                        name
                    }
                };
                groups::provided(transaction, &name, &groups, provider()).await?;
                let person = Person { name: name.clone(), role, origin: Origin::Account };
                insert(transaction, Some(name), person, hash, earlier, address).await.map(Some)
            })
        })
        .await
    }

    /// Takes from an account what it had by a role that the identity provider no longer
    /// gives: its sessions, its tokens and the provider's groups. It stays as a viewer's.
    #[cfg(feature = "oidc")]
    pub(crate) async fn take_role(&self, subject: String) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let known: Option<(String, String)> =
                    sql::query_as("SELECT name, role FROM users WHERE subject = $1")
                        .bind(&subject)
                        .fetch_optional(&mut transaction.connection)
                        .await?;
                let Some((name, earlier)) = known else { return Ok(()) };
                sql::query("DELETE FROM sessions WHERE \"user\" = $1")
                    .bind(&name)
                    .execute(&mut transaction.connection)
                    .await?;
                let revoked = sql::query(
                    "UPDATE user_tokens SET revoked_at = $1 WHERE \"user\" = $2 \
                     AND revoked_at IS NULL AND expires_at > $1",
                )
                .bind(transaction.now)
                .bind(&name)
                .execute(&mut transaction.connection)
                .await?
                .rows_affected();
                if revoked > 0 {
                    let about = format!("{revoked} of {name}");
                    let event = IdentityEvent::TokenRevoked;
                    transaction.record_identity(event, provider(), &about).await?;
                }
                if earlier != Role::Viewer.as_str() {
                    sql::query("UPDATE users SET role = $1 WHERE subject = $2")
                        .bind(Role::Viewer.as_str())
                        .bind(&subject)
                        .execute(&mut transaction.connection)
                        .await?;
                    let about = format!("{name}, {}", Role::Viewer);
                    let event = IdentityEvent::RoleChanged;
                    transaction.record_identity(event, provider(), &about).await?;
                    super::votes::recount_of(transaction, &name).await?;
                }
                groups::provided(transaction, &name, &Default::default(), provider()).await
            })
        })
        .await
    }

    /// The session, and when it was last used; `None` when there is none, or
    /// it is over.
    pub(crate) async fn session(
        &self,
        hash: &str,
    ) -> Result<Option<(Session, Timestamp)>, StoreError> {
        let now = now();
        let row: Option<Row> = sql::query_as(
            "SELECT u.name, u.role, c.name, s.seen_at, s.expires_at FROM sessions s \
             LEFT JOIN users u ON u.name = s.user AND u.disabled_at IS NULL \
             LEFT JOIN credentials c ON s.user IS NULL AND c.role = 'approver' \
             WHERE s.hash = $1 AND s.expires_at > $2 AND s.seen_at > $3",
        )
        .bind(hash)
        .bind(now)
        .bind(now.saturating_sub(idle()))
        .fetch_optional(&self.readers)
        .await?;
        let Some((user, role, owner, seen_at, expires_at)) = row else { return Ok(None) };
        let person = match (user, role, owner) {
            (Some(name), Some(role), _) => {
                Person { name, role: word(&role)?, origin: Origin::Account }
            }
            (None, _, Some(name)) => Person { name, role: Role::Admin, origin: Origin::Directory },
            _ => return Ok(None),
        };
        Ok(Some((Session { person, expires_at: moment(expires_at)? }, moment(seen_at)?)))
    }

    pub(crate) async fn touch_session(&self, hash: String) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                sql::query("UPDATE sessions SET seen_at = $1 WHERE hash = $2")
                    .bind(transaction.now)
                    .bind(hash)
                    .execute(&mut transaction.connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn end_session(&self, hash: String, by: Person) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let ended = sql::query("DELETE FROM sessions WHERE hash = $1")
                    .bind(hash)
                    .execute(&mut transaction.connection)
                    .await?
                    .rows_affected();
                if ended > 0 {
                    transaction.record_identity(IdentityEvent::LoggedOut, by.actor(), "").await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn login_failed(
        &self,
        account: String,
        address: IpAddr,
    ) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let about = format!("from {address}");
                // Who it was is what is not known.
                let by = Actor::new("unknown", account);
                transaction.record_identity(IdentityEvent::LoginFailed, by, &about).await
            })
        })
        .await
    }
}

/// Adds the session, and ends the earlier one, those that are over, and those
/// that are too many.
async fn insert(
    transaction: &mut Transaction,
    user: Option<String>,
    person: Person,
    hash: String,
    earlier: Option<String>,
    address: IpAddr,
) -> Result<Session, StoreError> {
    let now = transaction.now;
    let lifetime = i64::try_from(SESSION_LIFETIME.as_millis()).unwrap_or(i64::MAX);
    let expires_at = now.saturating_add(lifetime);
    sql::query("DELETE FROM sessions WHERE hash = $1 OR expires_at <= $2 OR seen_at <= $3")
        .bind(earlier)
        .bind(now)
        .bind(now.saturating_sub(idle()))
        .execute(&mut transaction.connection)
        .await?;
    sql::query(
        "DELETE FROM sessions WHERE \"user\" IS NOT DISTINCT FROM $1 AND hash NOT IN (SELECT hash \
         FROM sessions WHERE \"user\" IS NOT DISTINCT FROM $1 ORDER BY seen_at DESC LIMIT $2)",
    )
    .bind(&user)
    .bind(SESSIONS - 1)
    .execute(&mut transaction.connection)
    .await?;
    sql::query(
        "INSERT INTO sessions (hash, \"user\", created_at, seen_at, expires_at) \
         VALUES ($1, $2, $3, $3, $4)",
    )
    .bind(hash)
    .bind(user)
    .bind(now)
    .bind(expires_at)
    .execute(&mut transaction.connection)
    .await?;
    let about = format!("from {address}");
    transaction.record_identity(IdentityEvent::LoggedIn, person.actor(), &about).await?;
    Ok(Session { person, expires_at: moment(expires_at)? })
}
