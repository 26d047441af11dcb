//! The arithmetic of the log: hashes, and what is signed. `docs/audit.md` tells
//! the same for those who write a verifier.

use std::{fmt, str::FromStr};

use ascend_sdk::canonical_json;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de, ser};
use sha2::{Digest as _, Sha256};

use super::{AuditKey, PublicKey, Signature, event::time};

const ENTRY: &[u8] = b"ascend-center audit entry v1\0";
const HEAD: &[u8] = b"ascend-center audit head v1\0";
const CHECKPOINT: &[u8] = b"ascend-center audit checkpoint v1\0";

/// Bytes that are written as lower-case hexadecimal digits, and read from
/// those alone.
macro_rules! hex_bytes {
    ($name:ident, $length:literal) => {
        impl $name {
            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NotHex;

            fn from_str(text: &str) -> Result<Self, NotHex> {
                let mut bytes = [0; $length];
                if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Err(NotHex { digits: 2 * $length });
                }
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| NotHex { digits: 2 * $length })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}
pub(super) use hex_bytes;

/// Text that is not the hexadecimal digits that were expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lower-case hexadecimal digits")]
pub struct NotHex {
    pub(super) digits: usize,
}

/// A SHA-256 in the audit log. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryHash([u8; 32]);

hex_bytes!(EntryHash, 32);

impl EntryHash {
    /// What stands before the first entry.
    pub(crate) const NONE: Self = Self([0; 32]);

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash of an entry's canonical JSON, after the entry with `before`.
    pub(crate) fn of_entry(before: &Self, entry: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update(ENTRY)
                .chain_update(before.0)
                .chain_update(entry)
                .finalize()
                .into(),
        )
    }

    /// The hash of anything else, for a purpose that no other hash has.
    pub(crate) fn of<'a>(purpose: &str, parts: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let mut hasher = Sha256::new().chain_update(b"ascend-center ").chain_update(purpose);
        hasher.update([0]);
        for part in parts {
            match part {
                None => hasher.update([0]),
                Some(part) => {
                    hasher.update([1]);
                    hasher.update((part.len() as u64).to_be_bytes());
                    hasher.update(part);
                }
            }
        }
        Self(hasher.finalize().into())
    }
}

/// What is signed of the log: all of it, up to an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Head {
    /// Which log: the hash of its first entry.
    pub chain: EntryHash,
    /// The last entry that is covered.
    pub seq: i64,
    /// Its hash.
    pub hash: EntryHash,
    /// The entry of the signed head before this; 0 for none.
    pub after: i64,
    /// When it was signed.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// Whose signature it is.
    pub public_key: PublicKey,
}

/// What stands for entries that were pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Which log: the hash of its first entry.
    pub chain: EntryHash,
    /// The last entry that was pruned.
    pub seq: i64,
    /// Its hash, from which the rest goes on.
    pub hash: EntryHash,
    /// The newest action that the pruned entries tell of.
    pub last_action: i64,
    /// When it was signed.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// Whose signature it is.
    pub public_key: PublicKey,
}

/// Something that is signed as canonical JSON.
pub(crate) trait Statement: Serialize + for<'de> Deserialize<'de> {
    const DOMAIN: &'static [u8];
    fn public_key(&self) -> &PublicKey;
}

impl Statement for Head {
    const DOMAIN: &'static [u8] = HEAD;
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

impl Statement for Checkpoint {
    const DOMAIN: &'static [u8] = CHECKPOINT;
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

/// A statement's canonical JSON, and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) text: String,
    pub(crate) signature: Signature,
}

pub(crate) fn canonical(value: &impl Serialize) -> Result<String, serde_json::Error> {
    // Here RFC 8785 itself: no key begins with `$`, and all numbers are small.
    let text = canonical_json(&serde_json::to_value(value)?);
    String::from_utf8(text).map_err(de::Error::custom)
}

pub(crate) fn sign<S: Statement>(
    statement: &S,
    key: &AuditKey,
) -> Result<Signed, serde_json::Error> {
    let text = canonical(statement)?;
    let signature = key.sign(&[S::DOMAIN, text.as_bytes()].concat());
    Ok(Signed { text, signature })
}

/// Why a signed statement does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsound {
    Unreadable,
    ForeignKey(PublicKey),
    BadSignature,
}

/// Reads a statement that one of `keys` has signed; with no keys, the one that
/// it names.
pub(crate) fn read<S: Statement>(
    text: &[u8],
    signature: &[u8],
    keys: &[PublicKey],
) -> Result<S, Unsound> {
    let statement: S = serde_json::from_slice(text).map_err(|_| Unsound::Unreadable)?;
    let key = *statement.public_key();
    if !keys.is_empty() && !keys.contains(&key) {
        return Err(Unsound::ForeignKey(key));
    }
    let signature = Signature::read(signature).ok_or(Unsound::BadSignature)?;
    if key.verifies(&[S::DOMAIN, text].concat(), &signature) {
        Ok(statement)
    } else {
        Err(Unsound::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_in_one_spelling_alone() {
        let hash = EntryHash::of_entry(&EntryHash::NONE, b"{}");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!(hash.to_string().to_uppercase().parse::<EntryHash>().is_err());
        assert!("00".parse::<EntryHash>().is_err());
    }

    #[test]
    fn parts_do_not_run_together() {
        let of = |parts: [Option<&str>; 2]| EntryHash::of("test", parts);
        let all = [
            of([Some("ab"), Some("c")]),
            of([Some("a"), Some("bc")]),
            of([None, Some("abc")]),
            of([Some(""), Some("abc")]),
        ];
        for (index, hash) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(hash));
        }
        assert_ne!(EntryHash::of("a", []), EntryHash::of("b", []));
    }
}
