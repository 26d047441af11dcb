//! Passwords, as argon2id.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[cfg(feature = "http")]
use argon2::password_hash::PasswordVerifier;
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, phc::PasswordHash},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::random;

/// The fewest characters of a password: it is the only factor.
const SHORTEST: usize = 12;
/// The most bytes of a password: hashing takes longer with each.
const LONGEST: usize = 1024;
/// How many passwords are hashed at once; each takes 19 MiB and a core.
const AT_ONCE: usize = 2;
/// How many wait for their turn.
const QUEUE: usize = 32;

/// Compared with where there is no such account, so that the answer takes as
/// long. No password is known to have it.
#[cfg(feature = "http")]
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlzIQ\
                      $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// It is too short.
    #[error("a password has at least {SHORTEST} characters")]
    TooShort,
    /// It is too long.
    #[error("a password has at most {LONGEST} bytes")]
    TooLong,
    /// It is the account's name.
    #[error("a password is not the account's name")]
    Name,
    /// It could not be hashed.
    #[error("the password could not be hashed")]
    NotHashed,
    /// Too many passwords are being checked; try again in a moment.
    #[error("too many logins at once; try again in a moment")]
    Busy,
}

/// Hashes passwords beside the async threads, a few at once.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    queued: AtomicUsize,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), queued: AtomicUsize::new(0) }
    }
}

impl Passwords {
    /// The hash of a new password for `name`, as a PHC string.
    pub(crate) async fn hash(
        &self,
        name: &str,
        password: SecretString,
    ) -> Result<String, PasswordError> {
        let text = password.expose_secret();
        if text.len() > LONGEST {
            return Err(PasswordError::TooLong);
        }
        if text.chars().count() < SHORTEST {
            return Err(PasswordError::TooShort);
        }
        if text.eq_ignore_ascii_case(name) {
            return Err(PasswordError::Name);
        }
        self.run(move || {
            let salt = random::<16>().map_err(|_| PasswordError::NotHashed)?;
            let hash: PasswordHash = Argon2::default()
                .hash_password_with_salt(password.expose_secret().as_bytes(), &salt)
                .map_err(|_| PasswordError::NotHashed)?;
            Ok(hash.to_string())
        })
        .await?
    }

    /// Whether the password is the one that was hashed. Takes as long where
    /// there is none.
    #[cfg(feature = "http")]
    pub(crate) async fn verify(
        &self,
        known: Option<String>,
        password: SecretString,
    ) -> Result<bool, PasswordError> {
        if password.expose_secret().len() > LONGEST {
            return Ok(false);
        }
        self.run(move || {
            let bytes = password.expose_secret().as_bytes();
            let hash = known.as_deref().unwrap_or(NOBODY);
            let matches = Argon2::default().verify_password(bytes, hash).is_ok();
            matches && known.is_some()
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _place = Place::take(&self.queued).ok_or(PasswordError::Busy)?;
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            // Not before: a caller that went away must not let another one start.
            drop(turn);
            result
        });
        done.await.map_err(|_| PasswordError::NotHashed)
    }
}

struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(queued: &'a AtomicUsize) -> Option<Self> {
        let place = Self(queued);
        // Dropped on refusal, which gives the place back.
        (queued.fetch_add(1, Ordering::Relaxed) < AT_ONCE + QUEUE).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone() -> Result<(), PasswordError> {
        let passwords = Passwords::default();
        let hash = passwords.hash("alice", "correct horse battery".to_owned().into()).await?;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = async |known: Option<&str>, password: &str| {
            passwords.verify(known.map(str::to_owned), password.to_owned().into()).await
        };
        assert!(verify(Some(&hash), "correct horse battery").await?);
        assert!(!verify(Some(&hash), "correct horse batterx").await?);
        assert!(!verify(None, "correct horse battery").await?);
        assert!(!verify(Some("nonsense"), "correct horse battery").await?);
        let again = passwords.hash("alice", "correct horse battery".to_owned().into()).await?;
        assert_ne!(hash, again, "salted");
        Ok(())
    }

    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let hash = PasswordHash::new(NOBODY);
        let hash = hash.expect("a PHC string");
        let params = argon2::Params::try_from(&hash).expect("argon2's parameters");
        assert_eq!(
            (params.m_cost(), params.t_cost(), params.p_cost()),
            (19_456, 2, 1),
            "as for new hashes"
        );
        assert_eq!(hash.algorithm.as_str(), "argon2id");
        assert_eq!(hash.hash.map(|hash| hash.len()), Some(32));
    }

    #[tokio::test]
    async fn what_is_no_password_is_refused() {
        let passwords = Passwords::default();
        for (password, expected) in [
            ("short", PasswordError::TooShort),
            ("Alice.Liddell", PasswordError::Name),
            (&*"x".repeat(2000), PasswordError::TooLong),
        ] {
            let refused = passwords.hash("alice.liddell", password.to_owned().into()).await;
            assert_eq!(refused, Err(expected));
        }
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_are_told_so() {
        let passwords = Passwords::default();
        let places: Vec<_> =
            (0..AT_ONCE + QUEUE).map(|_| Place::take(&passwords.queued).expect("free")).collect();
        let busy = passwords.verify(None, "correct horse battery".to_owned().into()).await;
        assert_eq!(busy, Err(PasswordError::Busy));
        drop(places);
        let free = passwords.verify(None, "correct horse battery".to_owned().into()).await;
        assert_eq!(free, Ok(false));
    }
}
