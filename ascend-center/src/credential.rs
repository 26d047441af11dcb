//! Who may ask, and who may decide.
//!
//! A token is 256 random bits in a file that only its owner can read; the
//! database has its SHA-256. A guess cannot succeed, so a slow hash would
//! protect nothing.

use std::{io, path::Path};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    directory,
    store::{Store, StoreError},
};

/// A person who may approve and reject: made only from a valid credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    name: String,
}

impl Approver {
    /// What stands in the record as `reviewed_by`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A token that nobody has, or that is for something else.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The center does not know the token.
    #[error("the credential is not known to this center")]
    Unknown,
    /// It is an agent's: agents never approve.
    #[error("an agent's key can neither approve nor reject")]
    NotAnApprover,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Agent,
    Approver,
}

impl Role {
    const ALL: [Self; 2] = [Self::Agent, Self::Approver];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Approver => "approver",
        }
    }

    /// The file in the center's directory.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Agent => "agent.key",
            Self::Approver => "approver.key",
        }
    }
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Identity {
    pub(crate) fn approver(self) -> Result<Approver, CredentialError> {
        match self.role {
            Role::Approver => Ok(Approver { name: self.name }),
            Role::Agent => Err(CredentialError::NotAnApprover),
        }
    }
}

/// A credential file's content.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    token: String,
}

pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The credential of `role` in the directory, created when it is not there.
/// Returns its name, and the hash for the database.
pub(crate) fn ensure(
    directory: &Path,
    role: Role,
    name: &str,
) -> Result<(String, String), CredentialError> {
    let path = directory.join(role.file());
    let failed = |error: &dyn std::fmt::Display| CredentialError::File {
        file: path.display().to_string(),
        problem: error.to_string(),
    };
    if !path.exists() {
        let secret = random::<32>().map_err(|error| failed(&error))?;
        let token = format!("ascend_{}_{}", role.as_str(), hex::encode(secret));
        let kept = Kept { name: name.to_owned(), token };
        let mut content = serde_json::to_string(&kept).map_err(|error| failed(&error))?;
        content.push('\n');
        directory::create_once(&path, content.as_bytes(), 0o600).map_err(|error| failed(&error))?;
    }
    let (name, token) = read(directory, role)?;
    Ok((name, hash(&token)))
}

/// The name and token in the directory's file.
pub(crate) fn read(
    directory: &Path,
    role: Role,
) -> Result<(String, SecretString), CredentialError> {
    let path = directory.join(role.file());
    let failed =
        |problem: String| CredentialError::File { file: path.display().to_string(), problem };
    let content = directory::read_private(&path).map_err(|error| failed(error.to_string()))?;
    // The error of serde would quote what it read.
    let kept: Kept = serde_json::from_str(&content)
        .map_err(|_| failed("it is no JSON object with `name` and `token`".to_owned()))?;
    if kept.token.len() < 32 || kept.name.trim().is_empty() {
        return Err(failed("its `name` or `token` is too short".to_owned()));
    }
    Ok((kept.name, kept.token.into()))
}

pub(crate) fn hash(token: &SecretString) -> String {
    hex::encode(Sha256::digest(token.expose_secret()))
}

/// Whose token it is.
pub(crate) async fn identify(
    store: &Store,
    token: &SecretString,
) -> Result<Identity, CredentialError> {
    let hash = hash(token);
    let mut found = None;
    for (name, role, known) in store.credentials().await? {
        let role = Role::ALL.into_iter().find(|candidate| candidate.as_str() == role);
        if bool::from(known.as_bytes().ct_eq(hash.as_bytes()))
            && let Some(role) = role
        {
            found = Some(Identity { name, role });
        }
    }
    found.ok_or(CredentialError::Unknown)
}

/// The operating system's name for the user.
pub(crate) fn user_name() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|name| !name.trim().is_empty())
        .unwrap_or_else(|| "local-approver".to_owned())
}
