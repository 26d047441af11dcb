//! Logins: by password, or with the credential of the directory's owner; and
//! the sessions that they open.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};

use super::{
    CredentialError, Identity, Origin, PasswordError, Person,
    secret::{self, hash},
    throttle::{self, Throttle, network},
};
use crate::{Center, store::StoreError};

/// A session ends when it was not used for so long.
pub(crate) const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
/// A session ends so long after its login.
pub(crate) const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// The most sessions of one person; a further login ends the one that was
/// longest unused.
pub(crate) const SESSIONS: u32 = 20;

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// Says nothing of what was wrong: whether there is such an account is
    /// nobody's business.
    #[error("the login is refused")]
    Refused,
    #[error("too many failed logins; try again in {} s", .0.as_secs().max(1))]
    Throttled(Duration),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no session could be made: {0}")]
    NoSecret(#[from] std::io::Error),
}

/// A session that was just opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) token: SecretString,
    pub(crate) person: Person,
    pub(crate) expires_at: Timestamp,
}

/// A session that goes on.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) person: Person,
    pub(crate) expires_at: Timestamp,
}

/// Slows down whoever tries passwords or tokens. What it remembers is this
/// process's alone.
#[derive(Debug)]
pub(crate) struct Gate {
    /// By the hash of the name: names that are tried can be long.
    accounts: Mutex<Throttle<[u8; 32]>>,
    addresses: Mutex<Throttle<IpAddr>>,
    tokens: Mutex<Throttle<IpAddr>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            accounts: Mutex::new(Throttle::new(throttle::ACCOUNT)),
            addresses: Mutex::new(Throttle::new(throttle::ADDRESS)),
            tokens: Mutex::new(Throttle::new(throttle::TOKENS)),
        }
    }
}

impl Gate {
    /// Counts an attempt as failed, until it is known to be none.
    fn attempt(&self, account: &[u8; 32], address: IpAddr) -> Result<(), LoginError> {
        let now = Instant::now();
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = accounts.wait(account, now).max(addresses.wait(&address, now));
        if let Some(wait) = wait {
            return Err(LoginError::Throttled(wait));
        }
        accounts.fail(account, now);
        addresses.fail(&address, now);
        Ok(())
    }

    fn succeeded(&self, account: &[u8; 32], address: IpAddr) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).forget(account);
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).forgive(&address);
    }

    fn undecided(&self, account: &[u8; 32], address: IpAddr) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).forgive(account);
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).forgive(&address);
    }

    /// Counts an unknown token; how long its sender is to wait, when there were
    /// too many. Known ones are never held off: nobody guesses 256 bits, and
    /// others can share the address.
    pub(crate) fn unknown_token(&self, address: IpAddr) -> Option<Duration> {
        let (now, address) = (Instant::now(), network(address));
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = tokens.wait(&address, now);
        if wait.is_none() {
            tokens.fail(&address, now);
        }
        wait
    }
}

impl Center {
    /// Logs a person in. `earlier` is the session of the same browser, which ends.
    pub(crate) async fn login(
        &self,
        name: &str,
        password: SecretString,
        address: IpAddr,
        earlier: Option<&SecretString>,
    ) -> Result<Opened, LoginError> {
        let account = Sha256::digest(name).into();
        let from = network(address);
        self.gate().attempt(&account, from)?;
        let known = self.store().account(name).await?;
        let password_hash = known.as_ref().and_then(|account| account.password.clone());
        let checked = self.passwords().verify(password_hash.clone(), password).await;
        let matches = match checked {
            Ok(matches) => matches,
            Err(PasswordError::Busy) => {
                self.gate().undecided(&account, from);
                return Err(LoginError::Throttled(Duration::from_secs(1)));
            }
            Err(_) => false,
        };
        let opened = match (matches, password_hash) {
            (true, Some(password)) => {
                self.open_session(Some((name.to_owned(), password)), address, earlier).await?
            }
            _ => None,
        };
        match opened {
            Some(opened) => {
                self.gate().succeeded(&account, from);
                Ok(opened)
            }
            None => {
                // A name that is not known can be a password that was typed too early.
                let shown = if known.is_some() { name } else { "unknown" };
                self.store().login_failed(shown.to_owned(), address).await?;
                Err(LoginError::Refused)
            }
        }
    }

    /// Logs the owner of the center's directory in, by what stands in their file.
    pub(crate) async fn login_owner(
        &self,
        token: &SecretString,
        address: IpAddr,
        earlier: Option<&SecretString>,
    ) -> Result<Opened, LoginError> {
        let opened = match self.identify(token).await {
            Ok(Identity::Person(Person { origin: Origin::Directory, .. })) => {
                self.open_session(None, address, earlier).await?
            }
            Ok(_) | Err(CredentialError::Unknown) => None,
            Err(CredentialError::Store(error)) => return Err(error.into()),
            Err(_) => None,
        };
        match opened {
            Some(opened) => Ok(opened),
            None => {
                if let Some(wait) = self.gate().unknown_token(address) {
                    return Err(LoginError::Throttled(wait));
                }
                Err(LoginError::Refused)
            }
        }
    }

    /// Logs in whom the identity provider vouches for.
    #[cfg(feature = "oidc")]
    pub(crate) async fn login_vouched(
        &self,
        vouched: super::Vouched,
        address: IpAddr,
        earlier: Option<&SecretString>,
    ) -> Result<Opened, LoginError> {
        let token = secret::token("session")?;
        let earlier = earlier.map(hash);
        let name = vouched.name.clone();
        let opened = self.store().open_vouched(vouched, hash(&token), earlier, address).await?;
        match opened {
            Some(Session { person, expires_at }) => Ok(Opened { token, person, expires_at }),
            None => {
                self.store().login_failed(name, address).await?;
                Err(LoginError::Refused)
            }
        }
    }

    /// `account`: the name and the hash of the password that matched; `None`
    /// stands for the owner of the directory.
    async fn open_session(
        &self,
        account: Option<(String, String)>,
        address: IpAddr,
        earlier: Option<&SecretString>,
    ) -> Result<Option<Opened>, LoginError> {
        let token = secret::token("session")?;
        let earlier = earlier.map(hash);
        let opened = self.store().open_session(account, hash(&token), earlier, address).await?;
        Ok(opened.map(|Session { person, expires_at }| Opened { token, person, expires_at }))
    }

    /// The session that goes on with this token; `None` when there is none, or
    /// it is over.
    pub(crate) async fn resume(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        let hash = hash(token);
        let Some((session, seen_at)) = self.store().session(&hash).await? else {
            return Ok(None);
        };
        self.touch(Some(seen_at), self.store().touch_session(hash)).await;
        Ok(Some(session))
    }

    /// As [`resume`](Self::resume), but it is no use of the session.
    #[cfg(feature = "page")]
    pub(crate) async fn stands(&self, token: &SecretString) -> Result<bool, StoreError> {
        Ok(self.store().session(&hash(token)).await?.is_some())
    }

    pub(crate) async fn logout(&self, token: &SecretString, by: &Person) -> Result<(), StoreError> {
        self.store().end_session(hash(token), by.clone()).await
    }

    /// Gives a person the password that they chose, when they know their
    /// earlier one. All their sessions end.
    pub(crate) async fn replace_password(
        &self,
        person: &Person,
        earlier: SecretString,
        password: SecretString,
        address: IpAddr,
    ) -> Result<(), ReplaceError> {
        let account = Sha256::digest(&person.name).into();
        let from = network(address);
        self.gate().attempt(&account, from)?;
        let known = self.store().account(&person.name).await.map_err(LoginError::Store)?;
        let known = known.and_then(|account| account.password);
        match self.passwords().verify(known.clone(), earlier).await {
            Ok(true) => {}
            Ok(false) | Err(PasswordError::NotHashed) => {
                let failed = self.store().login_failed(person.name.clone(), address).await;
                failed.map_err(LoginError::Store)?;
                return Err(LoginError::Refused.into());
            }
            Err(_) => {
                self.gate().undecided(&account, from);
                return Err(LoginError::Throttled(Duration::from_secs(1)).into());
            }
        }
        self.gate().succeeded(&account, from);
        Ok(self.change_password(person.clone(), &person.name, password, known).await?)
    }
}

/// Why a person did not get the password that they chose.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplaceError {
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Identity(#[from] super::IdentityError),
}
