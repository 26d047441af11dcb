//! Agents' keys, people, and their tokens. Each change looks up, in its own
//! transaction, whether whoever makes it still may.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    Approver, InvalidName, NotAllowed, PasswordError, Permission, Person, Role, name,
    secret::{self, hash},
};
use crate::{Center, store::StoreError};

/// The longest that a key, a token or a grace lasts: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Why keys or people could not be changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Whoever asked may not.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A password that cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// There is no such person.
    #[error("there is no user {0}")]
    UnknownUser(String),
    /// There is a person of that name.
    #[error("there is a user {0} already")]
    UserExists(String),
    /// There is no such key.
    #[error("there is no key {0}")]
    UnknownKey(i64),
    /// There is no such token.
    #[error("there is no token {0}")]
    UnknownToken(i64),
    /// The agent has an active key of that name.
    #[error("agent {agent} has an active key {name} already; rotate it, or choose another name")]
    KeyExists {
        /// The agent.
        agent: String,
        /// The key's name.
        name: String,
    },
    /// The key was revoked, replaced or is over.
    #[error("key {0} is not active any more; create another")]
    KeyEnded(i64),
    /// A time that is too long, or none.
    #[error("a key or token lasts for more than no time and at most ten years")]
    Lifetime,
    /// The operating system gives no random numbers.
    #[error("no secret could be made: {0}")]
    NoSecret(String),
    /// The database failed; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for IdentityError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<std::io::Error> for IdentityError {
    fn from(error: std::io::Error) -> Self {
        Self::NoSecret(error.to_string())
    }
}

/// A key or a token as it was issued: the only time that it can be seen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Issued {
    /// Its number.
    pub id: i64,
    /// The secret itself.
    pub token: SecretString,
}

/// Whether a key or token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum CredentialStanding {
    /// It is.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl CredentialStanding {
    fn of(expires_at: Option<Timestamp>, revoked_at: Option<Timestamp>, now: Timestamp) -> Self {
        if revoked_at.is_some() {
            Self::Revoked
        } else if expires_at.is_some_and(|at| at <= now) {
            Self::Expired
        } else {
            Self::Active
        }
    }

    /// The standing as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// An API key of an agent, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct AgentKey {
    /// Its number.
    pub id: i64,
    /// The agent that asks with it.
    pub agent: String,
    /// What it is called.
    pub name: String,
    /// The person whose key it is.
    pub owner: Option<String>,
    /// When it was made.
    #[cfg_attr(feature = "http", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it ends by itself.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>, format = DateTime))]
    pub revoked_at: Option<Timestamp>,
    /// The key that took its place.
    pub replaced_by: Option<i64>,
    /// When it was last used, to the minute.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>, format = DateTime))]
    pub last_used_at: Option<Timestamp>,
}

impl AgentKey {
    /// Whether it is good at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> CredentialStanding {
        CredentialStanding::of(self.expires_at, self.revoked_at, now)
    }
}

/// A person with an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct User {
    /// What stands in the record.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The groups that they are in, which policies ask for approvals.
    pub groups: Vec<String>,
    /// Whether they can log in with a password.
    pub has_password: bool,
    /// When the account was made.
    #[cfg_attr(feature = "http", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// Since when it is disabled.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>, format = DateTime))]
    pub disabled_at: Option<Timestamp>,
}

/// A person's token for the command line, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct UserToken {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub user: String,
    /// What it is called.
    pub name: String,
    /// When it was made.
    #[cfg_attr(feature = "http", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it ends.
    #[cfg_attr(feature = "http", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
    /// When it was revoked.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>, format = DateTime))]
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>, format = DateTime))]
    pub last_used_at: Option<Timestamp>,
}

impl UserToken {
    /// Whether it is good at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> CredentialStanding {
        CredentialStanding::of(Some(self.expires_at), self.revoked_at, now)
    }
}

/// An API key to be made.
///
/// ```
/// use ascend_center::NewKey;
/// let key = NewKey::of("billing-agent").named("staging").owned_by("alice");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to `Center::create_key`"]
pub struct NewKey {
    pub(crate) agent: String,
    pub(crate) name: String,
    pub(crate) owner: Option<String>,
    pub(crate) lifetime: Option<Duration>,
}

impl NewKey {
    /// A key of `agent`, named `default`, that does not end by itself.
    pub fn of(agent: impl Into<String>) -> Self {
        Self { agent: agent.into(), name: "default".to_owned(), owner: None, lifetime: None }
    }

    /// What it is called; one agent's active keys have different names.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whose key it is: they cannot approve what is asked with it.
    pub fn owned_by(mut self, user: impl Into<String>) -> Self {
        self.owner = Some(user.into());
        self
    }

    /// Ends by itself after this time.
    pub fn lasting(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }
}

fn milliseconds(lifetime: Duration) -> Result<i64, IdentityError> {
    if lifetime.is_zero() || lifetime > LONGEST {
        return Err(IdentityError::Lifetime);
    }
    i64::try_from(lifetime.as_millis()).map_err(|_| IdentityError::Lifetime)
}

/// Keys of agents.
impl Center {
    /// Makes an API key for an agent.
    ///
    /// ```no_run
    /// # async fn example(center: ascend_center::Center) -> Result<(), Box<dyn std::error::Error>> {
    /// use ascend_center::NewKey;
    /// use secrecy::ExposeSecret;
    ///
    /// let admin = center.local_approver().await?;
    /// let issued = center.create_key(&admin, NewKey::of("billing-agent")).await?;
    /// println!("shown once: {}", issued.token.expose_secret());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When `by` may not, a name cannot be used, the owner is no user, or the
    /// agent has an active key of that name.
    pub async fn create_key(&self, by: &Approver, key: NewKey) -> Result<Issued, IdentityError> {
        name::agent(&key.agent)?;
        name::label(&key.name)?;
        let lifetime = key.lifetime.map(milliseconds).transpose()?;
        let token = secret::token("agent")?;
        let id = self.store().create_key(by.person().clone(), key, lifetime, hash(&token)).await?;
        Ok(Issued { id, token })
    }

    /// All keys that ever were, oldest first; the one in the center's directory
    /// is not among them.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn keys(&self) -> Result<Vec<AgentKey>, StoreError> {
        self.store().keys().await
    }

    /// Ends a key at once; whether it was active.
    ///
    /// # Errors
    ///
    /// When `by` may not, or there is no such key.
    pub async fn revoke_key(&self, by: &Approver, id: i64) -> Result<bool, IdentityError> {
        self.store().revoke_key(by.person().clone(), id).await
    }

    /// Makes a key in the place of another, with the same agent, name and
    /// owner. The old one stays good for `grace`, so that nothing stops while
    /// the new one is brought to where it is used.
    ///
    /// # Errors
    ///
    /// When `by` may not, there is no such key, or it is not active any more.
    pub async fn rotate_key(
        &self,
        by: &Approver,
        id: i64,
        grace: Duration,
    ) -> Result<Issued, IdentityError> {
        let grace = if grace.is_zero() { 0 } else { milliseconds(grace)? };
        let token = secret::token("agent")?;
        let person = by.person().clone();
        let id = self.store().rotate_key(person, id, grace, hash(&token)).await?;
        Ok(Issued { id, token })
    }
}

/// People.
impl Center {
    /// Makes an account; without a password they can use tokens alone.
    ///
    /// # Errors
    ///
    /// When `by` may not, the name or password cannot be used, or there is such
    /// an account.
    pub async fn create_user(
        &self,
        by: &Approver,
        name: &str,
        role: Role,
        password: Option<SecretString>,
    ) -> Result<(), IdentityError> {
        name::user(name)?;
        let password = match password {
            Some(password) => Some(self.passwords().hash(name, password).await?),
            None => None,
        };
        self.store().create_user(by.person().clone(), name.to_owned(), role, password).await
    }

    /// All accounts, by name.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.store().users().await
    }

    /// Gives a person another role, from their next request on.
    ///
    /// # Errors
    ///
    /// When `by` may not, or there is no such account.
    pub async fn set_role(
        &self,
        by: &Approver,
        name: &str,
        role: Role,
    ) -> Result<(), IdentityError> {
        self.store().set_role(by.person().clone(), name.to_owned(), role).await
    }

    /// Puts a person into a group, which policies ask for approvals with
    /// `@approvers`; whether they were not in it. The owner of the center's
    /// directory needs no account for it.
    ///
    /// # Errors
    ///
    /// When `by` may not, there is no such account, or the group's name cannot be
    /// used.
    pub async fn add_to_group(
        &self,
        by: &Approver,
        name: &str,
        group: &str,
    ) -> Result<bool, IdentityError> {
        name::group(group)?;
        self.store().set_member(by.person().clone(), name.to_owned(), group.to_owned(), true).await
    }

    /// Takes a person out of a group, from their next approval on; those that
    /// they gave for actions that are pending do not count any more. Whether they
    /// were in it.
    ///
    /// # Errors
    ///
    /// When `by` may not, or there is no such account.
    pub async fn remove_from_group(
        &self,
        by: &Approver,
        name: &str,
        group: &str,
    ) -> Result<bool, IdentityError> {
        self.store().set_member(by.person().clone(), name.to_owned(), group.to_owned(), false).await
    }

    /// Disables an account, or enables it again. With the disabling, their
    /// sessions and tokens end for good; agents' keys that they own do not.
    ///
    /// # Errors
    ///
    /// When `by` may not, or there is no such account.
    pub async fn set_disabled(
        &self,
        by: &Approver,
        name: &str,
        disabled: bool,
    ) -> Result<(), IdentityError> {
        self.store().set_disabled(by.person().clone(), name.to_owned(), disabled).await
    }

    /// Gives a person a new password; their sessions end.
    ///
    /// # Errors
    ///
    /// When `by` may not, there is no such account, or the password cannot be used.
    pub async fn set_password(
        &self,
        by: &Approver,
        name: &str,
        password: SecretString,
    ) -> Result<(), IdentityError> {
        self.change_password(by.person().clone(), name, password, None).await
    }

    /// `known`: the hash of the earlier password, when it was asked for.
    pub(crate) async fn change_password(
        &self,
        by: Person,
        name: &str,
        password: SecretString,
        known: Option<String>,
    ) -> Result<(), IdentityError> {
        let password = self.passwords().hash(name, password).await?;
        self.store().set_password(by, name.to_owned(), password, known).await
    }

    /// A password for a person who has none yet: random, and easy to read out.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random numbers.
    pub fn random_password() -> Result<SecretString, IdentityError> {
        Ok(secret::password()?)
    }

    /// Makes a token with which a person uses the command line.
    ///
    /// # Errors
    ///
    /// When `by` may not, there is no such account or it is disabled, or the
    /// name or lifetime cannot be used.
    pub async fn create_token(
        &self,
        by: &Approver,
        user: &str,
        name: &str,
        lifetime: Duration,
    ) -> Result<Issued, IdentityError> {
        self.issue_token(by.person().clone(), user, name, lifetime).await
    }

    pub(crate) async fn issue_token(
        &self,
        by: Person,
        user: &str,
        name: &str,
        lifetime: Duration,
    ) -> Result<Issued, IdentityError> {
        name::label(name)?;
        let lifetime = milliseconds(lifetime)?;
        let token = secret::token("user")?;
        let (user, name) = (user.to_owned(), name.to_owned());
        let id = self.store().create_token(by, user, name, lifetime, hash(&token)).await?;
        Ok(Issued { id, token })
    }

    /// All personal tokens that ever were, oldest first.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn tokens(&self) -> Result<Vec<UserToken>, StoreError> {
        self.store().tokens().await
    }

    /// Ends a personal token at once; whether it was active.
    ///
    /// # Errors
    ///
    /// When `by` may not, or there is no such token.
    pub async fn revoke_token(&self, by: &Approver, id: i64) -> Result<bool, IdentityError> {
        self.store().revoke_token(by.person().clone(), id).await
    }
}

/// Whether `by` may manage what is `user`'s: their own, or as an admin.
pub(crate) fn needs(by: &Person, user: &str) -> Permission {
    if by.name == user { Permission::See } else { Permission::Administer }
}
