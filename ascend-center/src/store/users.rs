//! People and their tokens.

use super::{
    Store, StoreError, identity_event::IdentityEvent, keys::confirm, moment, sql, votes, word,
    writer::Transaction,
};
use crate::identity::{
    IdentityError, NotAllowed, Permission, Person, Role, User, UserToken, needs,
};

/// What a login looks at.
#[cfg(feature = "http")]
#[derive(Debug)]
pub(crate) struct Account {
    /// The hash; `None` where there is no login by password.
    pub(crate) password: Option<String>,
}

/// Id, user, name, and when it was created, expires, was revoked, last used.
type TokenRow = (i64, String, String, i64, i64, Option<i64>, Option<i64>);

fn token(row: TokenRow) -> Result<UserToken, StoreError> {
    let (id, user, name, created_at, expires_at, revoked_at, used) = row;
    Ok(UserToken {
        id,
        user,
        name,
        created_at: moment(created_at)?,
        expires_at: moment(expires_at)?,
        revoked_at: revoked_at.map(moment).transpose()?,
        last_used_at: used.map(moment).transpose()?,
    })
}

impl Store {
    pub(crate) async fn create_user(
        &self,
        by: Person,
        name: String,
        role: Role,
        password: Option<String>,
    ) -> Result<(), IdentityError> {
        self.permitted(
            by,
            |_| Permission::Administer,
            move |transaction, by| {
                Box::pin(async move {
                    let created = sql::query(
                        "INSERT INTO users (name, role, password, created_at) \
                     VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                    )
                    .bind(&name)
                    .bind(role.as_str())
                    .bind(password)
                    .bind(transaction.now)
                    .execute(&mut transaction.connection)
                    .await?
                    .rows_affected();
                    if created == 0 {
                        return Err(IdentityError::UserExists(name));
                    }
                    let about = format!("{name}, {role}");
                    transaction
                        .record_identity(IdentityEvent::UserCreated, by.actor(), &about)
                        .await?;
                    Ok(())
                })
            },
        )
        .await
    }

    pub(crate) async fn users(&self) -> Result<Vec<User>, StoreError> {
        let rows: Vec<(String, String, bool, i64, Option<i64>)> = sql::query_as(
            "SELECT name, role, password IS NOT NULL, created_at, disabled_at FROM users \
             ORDER BY name",
        )
        .fetch_all(&self.readers)
        .await?;
        let mut groups = self.groups().await?;
        rows.into_iter()
            .map(|(name, role, has_password, created_at, disabled_at)| {
                Ok(User {
                    groups: groups.remove(&name).unwrap_or_default(),
                    name,
                    role: word(&role)?,
                    has_password,
                    created_at: moment(created_at)?,
                    disabled_at: disabled_at.map(moment).transpose()?,
                })
            })
            .collect()
    }

    /// An account that is not disabled.
    #[cfg(feature = "http")]
    pub(crate) async fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let found: Option<(Option<String>,)> =
            sql::query_as("SELECT password FROM users WHERE name = $1 AND disabled_at IS NULL")
                .bind(name)
                .fetch_optional(&self.readers)
                .await?;
        Ok(found.map(|(password,)| Account { password }))
    }

    pub(crate) async fn set_role(
        &self,
        by: Person,
        name: String,
        role: Role,
    ) -> Result<(), IdentityError> {
        self.permitted(
            by,
            |_| Permission::Administer,
            move |transaction, by| {
                Box::pin(async move {
                    is_disabled(transaction, &name).await?;
                    sql::query("UPDATE users SET role = $1 WHERE name = $2")
                        .bind(role.as_str())
                        .bind(&name)
                        .execute(&mut transaction.connection)
                        .await?;
                    let about = format!("{name}, {role}");
                    transaction
                        .record_identity(IdentityEvent::RoleChanged, by.actor(), &about)
                        .await?;
                    votes::recount_of(transaction, &name).await?;
                    Ok(())
                })
            },
        )
        .await
    }

    pub(crate) async fn set_disabled(
        &self,
        by: Person,
        name: String,
        disabled: bool,
    ) -> Result<(), IdentityError> {
        self.permitted(by, |_| Permission::Administer, move |transaction, by| {
            Box::pin(async move {
                is_disabled(transaction, &name).await?;
                let at = disabled.then_some(transaction.now);
                sql::query(
                    "UPDATE users SET disabled_at = $1 WHERE name = $2 AND \
                     (disabled_at IS NULL) = ($1 IS NOT NULL)",
                )
                .bind(at)
                .bind(&name)
                .execute(&mut transaction.connection)
                .await?;
                if disabled {
                    end_sessions(transaction, &name).await?;
                    sql::query(
                        "UPDATE user_tokens SET revoked_at = $1 WHERE \"user\" = $2 AND revoked_at IS NULL",
                    )
                    .bind(transaction.now)
                    .bind(&name)
                    .execute(&mut transaction.connection)
                    .await?;
                }
                let event =
                    if disabled { IdentityEvent::UserDisabled } else { IdentityEvent::UserEnabled };
                transaction.record_identity(event, by.actor(), &name).await?;
                votes::recount_of(transaction, &name).await?;
                Ok(())
            })
        })
        .await
    }

    /// `known`: the password that it replaces, where that was asked for.
    pub(crate) async fn set_password(
        &self,
        by: Person,
        name: String,
        password: String,
        known: Option<String>,
    ) -> Result<(), IdentityError> {
        let user = name.clone();
        self.permitted(
            by,
            move |by| needs(by, &user),
            move |transaction, by| {
                Box::pin(async move {
                    is_disabled(transaction, &name).await?;
                    let changed = sql::query(
                        "UPDATE users SET password = $1 WHERE name = $2 AND \
                     ($3 IS NULL OR password = $3)",
                    )
                    .bind(password)
                    .bind(&name)
                    .bind(known)
                    .execute(&mut transaction.connection)
                    .await?
                    .rows_affected();
                    if changed == 0 {
                        return Err(IdentityError::UnknownUser(name));
                    }
                    end_sessions(transaction, &name).await?;
                    transaction
                        .record_identity(IdentityEvent::PasswordChanged, by.actor(), &name)
                        .await?;
                    Ok(())
                })
            },
        )
        .await
    }

    pub(crate) async fn create_token(
        &self,
        by: Person,
        user: String,
        name: String,
        lifetime: i64,
        hash: String,
    ) -> Result<i64, IdentityError> {
        let whose = user.clone();
        self.permitted(
            by,
            move |by| needs(by, &whose),
            move |transaction, by| {
                Box::pin(async move {
                    if is_disabled(transaction, &user).await? {
                        return Err(NotAllowed::Disabled { name: user }.into());
                    }
                    let id = sql::query(
                        "INSERT INTO user_tokens (\"user\", name, hash, created_at, expires_at) \
                         VALUES ($1, $2, $3, $4, $5)",
                    )
                    .bind(&user)
                    .bind(&name)
                    .bind(hash)
                    .bind(transaction.now)
                    .bind(transaction.now.saturating_add(lifetime))
                    .insert(&mut transaction.connection)
                    .await?;
                    let about = format!("token {id} of {user}, {name}");
                    transaction
                        .record_identity(IdentityEvent::TokenCreated, by.actor(), &about)
                        .await?;
                    Ok(id)
                })
            },
        )
        .await
    }

    pub(crate) async fn tokens(&self) -> Result<Vec<UserToken>, StoreError> {
        let rows: Vec<TokenRow> = sql::query_as(
            "SELECT id, \"user\", name, created_at, expires_at, revoked_at, last_used_at \
             FROM user_tokens ORDER BY id",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(token).collect()
    }

    /// Whether it was active.
    pub(crate) async fn revoke_token(&self, by: Person, id: i64) -> Result<bool, IdentityError> {
        // Whoever may not learns nothing of other people's tokens.
        self.permitted(
            by,
            |_| Permission::See,
            move |transaction, by| {
                Box::pin(async move {
                    let user: Option<String> =
                        sql::query_scalar("SELECT \"user\" FROM user_tokens WHERE id = $1")
                            .bind(id)
                            .fetch_optional(&mut transaction.connection)
                            .await?;
                    let user = user.ok_or(IdentityError::UnknownToken(id))?;
                    if confirm(transaction, by, needs(by, &user)).await?.is_err() {
                        return Err(IdentityError::UnknownToken(id));
                    }
                    let revoked = sql::query(
                    "UPDATE user_tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL \
                     AND expires_at > $1",
                )
                .bind(transaction.now)
                .bind(id)
                .execute(&mut transaction.connection)
                .await?
                .rows_affected()
                    > 0;
                    if revoked {
                        let about = format!("token {id} of {user}");
                        transaction
                            .record_identity(IdentityEvent::TokenRevoked, by.actor(), &about)
                            .await?;
                    }
                    Ok(revoked)
                })
            },
        )
        .await
    }

    pub(crate) async fn touch_token(&self, id: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                sql::query("UPDATE user_tokens SET last_used_at = $1 WHERE id = $2")
                    .bind(transaction.now)
                    .bind(id)
                    .execute(&mut transaction.connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

/// Whether the account is disabled; an error where there is none.
pub(super) async fn is_disabled(
    transaction: &mut Transaction,
    name: &str,
) -> Result<bool, IdentityError> {
    let disabled: Option<(Option<i64>,)> =
        sql::query_as("SELECT disabled_at FROM users WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut transaction.connection)
            .await?;
    let (disabled,) = disabled.ok_or_else(|| IdentityError::UnknownUser(name.to_owned()))?;
    Ok(disabled.is_some())
}

async fn end_sessions(transaction: &mut Transaction, user: &str) -> Result<(), StoreError> {
    sql::query("DELETE FROM sessions WHERE \"user\" = $1")
        .bind(user)
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}
