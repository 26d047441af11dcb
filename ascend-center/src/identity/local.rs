//! The two credentials in a center's directory. Whoever can read them is who
//! they say: the owner of the directory, and the agents of this machine.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    CredentialError,
    secret::{hash, token},
};
use crate::directory;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Local {
    Agent,
    /// The owner of the directory: an admin who needs no account.
    Owner,
}

impl Local {
    pub(crate) const ALL: [Self; 2] = [Self::Agent, Self::Owner];

    /// As the database knows it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Owner => "approver",
        }
    }

    /// The file in the center's directory.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Agent => "agent.key",
            Self::Owner => "approver.key",
        }
    }
}

/// A credential file's content.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    token: String,
}

/// The credential in the directory, created when it is not there. Returns its
/// name, and the hash for the database.
pub(crate) fn ensure(
    directory: &Path,
    local: Local,
    name: &str,
) -> Result<(String, String), CredentialError> {
    let path = directory.join(local.file());
    let failed = |error: &dyn std::fmt::Display| CredentialError::File {
        file: path.display().to_string(),
        problem: error.to_string(),
    };
    if !path.exists() {
        let token = token(local.as_str()).map_err(|error| failed(&error))?;
        let kept = Kept { name: name.to_owned(), token: token.expose_secret().to_owned() };
        let mut content = serde_json::to_string(&kept).map_err(|error| failed(&error))?;
        content.push('\n');
        directory::create_once(&path, content.as_bytes(), 0o600).map_err(|error| failed(&error))?;
    }
    let (name, token) = read(directory, local)?;
    Ok((name, hash(&token)))
}

/// The name and token in the directory's file.
pub(crate) fn read(
    directory: &Path,
    local: Local,
) -> Result<(String, SecretString), CredentialError> {
    let path = directory.join(local.file());
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

/// The operating system's name for the user.
pub(crate) fn user_name() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|name| !name.trim().is_empty())
        .unwrap_or_else(|| "local-approver".to_owned())
}
