//! Who may ask, and who may decide.

mod access;
mod admin;
pub(crate) mod local;
#[cfg(feature = "http")]
mod login;
mod name;
#[cfg(feature = "oidc")]
mod oidc;
mod password;
mod secret;
#[cfg(feature = "http")]
mod throttle;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::{
    Center,
    audit::Actor,
    store::{StoreError, TokenRow},
};
pub use access::{NotAllowed, Permission, Role, UnknownRole};
pub(crate) use admin::needs;
pub use admin::{AgentKey, CredentialStanding, IdentityError, Issued, NewKey, User, UserToken};
pub(crate) use local::Local;
#[cfg(feature = "http")]
pub(crate) use login::{
    Gate, LoginError, Opened, ReplaceError, SESSION_IDLE, SESSION_LIFETIME, SESSIONS, Session,
};
pub use name::InvalidName;
pub(crate) use name::{EMBEDDED, LOCAL_AGENT, group as group_name};
#[cfg(feature = "http")]
pub(crate) use name::{agent as agent_name, label, user as user_name};
#[cfg(feature = "oidc")]
pub use oidc::OidcConfig;
#[cfg(feature = "oidc")]
pub(crate) use oidc::{Attempt, OidcError, Provider, Vouched};
pub use password::PasswordError;
pub(crate) use password::Passwords;
pub(crate) use secret::{hash, random};

/// A person who may approve and reject: made only from a valid credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver(Person);

impl Approver {
    /// What stands in the record as `reviewed_by`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Their role when they showed their credential; looked up again with
    /// whatever they do.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    pub(crate) fn person(&self) -> &Person {
        &self.0
    }
}

/// A person, by a valid credential. An account that is named as the owner of
/// the directory is the same person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) origin: Origin,
}

/// How a person is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// By the file in the center's directory.
    Directory,
    /// By an account.
    Account,
}

impl Person {
    /// As the audit log names them.
    pub(crate) fn actor(&self) -> Actor {
        Actor::new(self.role.as_str(), &self.name)
    }

    pub(crate) fn allow(&self, permission: Permission) -> Result<(), NotAllowed> {
        if self.role.may(permission) {
            Ok(())
        } else {
            let (name, role) = (self.name.clone(), self.role);
            Err(NotAllowed::Role { name, role, needs: permission })
        }
    }
}

impl TryFrom<Person> for Approver {
    type Error = NotAllowed;

    fn try_from(person: Person) -> Result<Self, NotAllowed> {
        person.allow(Permission::Decide)?;
        Ok(Self(person))
    }
}

/// An agent, by one of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) name: String,
    /// Whose key it is: they cannot approve what was asked with it.
    pub(crate) owner: Option<String>,
}

#[cfg(feature = "http")]
impl Agent {
    /// As the audit log names it.
    pub(crate) fn actor(&self) -> Actor {
        Actor::agent(&self.name)
    }
}

/// Whose credential it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    Agent(Agent),
    Person(Person),
}

#[cfg(feature = "http")]
impl Identity {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => &agent.name,
            Self::Person(person) => &person.name,
        }
    }

    /// As the audit log names them.
    pub(crate) fn actor(&self) -> Actor {
        match self {
            Self::Agent(agent) => agent.actor(),
            Self::Person(person) => person.actor(),
        }
    }
}

/// A token that nobody has, or that is for something else.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The center does not know the token, or it is over.
    #[error("the credential is not known to this center")]
    Unknown,
    /// It is an agent's: agents never approve.
    #[error("an agent's key can neither approve nor reject")]
    NotAnApprover,
    /// It is a person's whose role does not reach.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The credential file cannot be read.
    #[error("the credential in {file} cannot be read: {problem}")]
    File {
        /// The file.
        file: String,
        /// Why not.
        problem: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Center {
    /// The owner of the center's directory: an admin whose credential lies
    /// there. Whoever can read that file is this person.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or the center does not know its token.
    pub async fn local_approver(&self) -> Result<Approver, CredentialError> {
        let (_, token) = local::read(self.directory(), Local::Owner)?;
        self.approver(&token).await
    }

    /// The approver who has this token: a personal one, or the one of the
    /// directory's owner.
    ///
    /// # Errors
    ///
    /// When the center does not know the token, it is over, it is an agent's,
    /// or its person is a viewer.
    pub async fn approver(&self, token: &SecretString) -> Result<Approver, CredentialError> {
        match self.identify(token).await? {
            Identity::Person(person) => Ok(person.try_into()?),
            Identity::Agent(_) => Err(CredentialError::NotAnApprover),
        }
    }

    /// The API key with which agents of this machine ask this center over HTTP.
    ///
    /// # Errors
    ///
    /// When its file cannot be read.
    pub fn agent_key(&self) -> Result<SecretString, CredentialError> {
        local::read(self.directory(), Local::Agent).map(|(_, token)| token)
    }

    /// Whose token it is.
    pub(crate) async fn identify(&self, token: &SecretString) -> Result<Identity, CredentialError> {
        let found = self.store().token(&hash(token)).await?;
        let identity = match found.ok_or(CredentialError::Unknown)? {
            TokenRow::Local { local: Local::Agent, name } => {
                Identity::Agent(Agent { name, owner: None })
            }
            TokenRow::Local { local: Local::Owner, name } => {
                Identity::Person(Person { name, role: Role::Admin, origin: Origin::Directory })
            }
            TokenRow::Key { id, agent, owner, used } => {
                self.touch(used, self.store().touch_key(id)).await;
                Identity::Agent(Agent { name: agent, owner })
            }
            TokenRow::User { id, name, role, used } => {
                self.touch(used, self.store().touch_token(id)).await;
                Identity::Person(Person { name, role, origin: Origin::Account })
            }
        };
        Ok(identity)
    }

    /// Notes the use of a credential, once a minute: more would be a write for
    /// every request.
    pub(crate) async fn touch(
        &self,
        last: Option<Timestamp>,
        write: impl Future<Output = Result<(), StoreError>>,
    ) {
        let fresh = last.is_some_and(|last| {
            Timestamp::now().duration_since(last) < jiff::SignedDuration::from_secs(60)
        });
        // Who it is does not depend on this.
        if !fresh && let Err(error) = write.await {
            tracing::warn!(%error, "the use of a credential was not noted");
        }
    }
}
