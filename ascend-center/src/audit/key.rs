//! The key that signs the log.

use std::{fmt, path::Path, str::FromStr};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de, ser};

use super::chain::{NotHex, hex_bytes};
use crate::{directory, identity};

/// The file in the center's directory.
const FILE: &str = "audit.key";

/// The Ed25519 key by which a log's signatures are verified. Written as 64
/// lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

hex_bytes!(PublicKey, 32);

impl PublicKey {
    pub(crate) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

/// An Ed25519 signature. Written as 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

hex_bytes!(Signature, 64);

impl Signature {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// The signing key cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log's signing key in {file} cannot be used: {problem}")]
pub struct AuditKeyError {
    file: String,
    problem: String,
}

/// The key that signs the log.
pub(crate) struct AuditKey {
    signing: SigningKey,
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuditKey").field(&self.public()).finish()
    }
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Kept {
    algorithm: String,
    public_key: String,
    secret_key: String,
}

const ALGORITHM: &str = "ed25519";

impl AuditKey {
    /// The key in the center's directory, created when it is not there.
    pub(crate) fn ensure(directory: &Path) -> Result<Self, AuditKeyError> {
        let path = directory.join(FILE);
        let failed = |problem: String| AuditKeyError { file: path.display().to_string(), problem };
        if !path.exists() {
            let secret = identity::random::<32>().map_err(|error| failed(error.to_string()))?;
            let key = SigningKey::from_bytes(&secret);
            let kept = Kept {
                algorithm: ALGORITHM.to_owned(),
                public_key: hex::encode(key.verifying_key().as_bytes()),
                secret_key: hex::encode(secret),
            };
            let mut content =
                serde_json::to_string(&kept).map_err(|error| failed(error.to_string()))?;
            content.push('\n');
            directory::create_once(&path, content.as_bytes(), 0o600)
                .map_err(|error| failed(error.to_string()))?;
        }
        let content: SecretString =
            directory::read_private(&path).map_err(|error| failed(error.to_string()))?.into();
        // The error of serde would quote what it read.
        let kept: Kept = serde_json::from_str(content.expose_secret())
            .ok()
            .filter(|kept: &Kept| kept.algorithm == ALGORITHM)
            .ok_or_else(|| {
                failed(format!(
                    "it is no JSON object with `algorithm` \"{ALGORITHM}\", `public_key` and \
                     `secret_key`"
                ))
            })?;
        let mut secret = [0; 32];
        hex::decode_to_slice(&kept.secret_key, &mut secret)
            .map_err(|_| failed("its `secret_key` is not 64 hexadecimal digits".to_owned()))?;
        let key = Self { signing: SigningKey::from_bytes(&secret) };
        if key.public().to_string() != kept.public_key {
            return Err(failed("its `public_key` is not that of its `secret_key`".to_owned()));
        }
        Ok(key)
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey(self.signing.verifying_key().to_bytes())
    }

    pub(super) fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.signing.sign(message).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_key_is_made_once_and_its_signatures_are_its_own() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = AuditKey::ensure(one.path()).unwrap();
        let again = AuditKey::ensure(one.path()).unwrap();
        assert_eq!(key.public(), again.public());
        let signature = key.sign(b"message");
        assert!(again.public().verifies(b"message", &signature));
        assert!(!again.public().verifies(b"massage", &signature));
        let foreign = AuditKey::ensure(other.path()).unwrap();
        assert!(!foreign.public().verifies(b"message", &signature));
        assert!(!format!("{key:?}").contains(&hex::encode(key.signing.to_bytes())));
    }

    #[test]
    fn a_file_that_is_not_a_key_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        AuditKey::ensure(directory.path()).unwrap();
        let path = directory.path().join(FILE);
        let content = std::fs::read_to_string(&path).unwrap();
        let secret = content.split('"').nth(11).unwrap().to_owned();
        let swapped = content.replace(&secret, &"11".repeat(32));
        for broken in ["{}", swapped.as_str()] {
            std::fs::write(&path, broken).unwrap();
            let error = AuditKey::ensure(directory.path()).unwrap_err();
            assert!(error.to_string().contains("audit.key"), "{error}");
            assert!(!error.to_string().contains(&secret));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), broken);
        }
    }
}
