//! The audit log: every decision and what became of it, chained by hash and
//! signed. `docs/audit.md` has the format.

mod center;
mod chain;
mod event;
mod export;
mod key;
mod verify;

use crate::{identity::NotAllowed, store::StoreError};

pub use center::{AuditFormat, Pruned, VerifyAudit};
pub use chain::{Checkpoint, EntryHash, Head, NotHex};
pub(crate) use chain::{Signed, canonical, sign};
pub(crate) use event::written;
pub use event::{Actor, AuditEntry, AuditEvent, AuditKind};
pub(crate) use export::Step;
pub use export::{NotAHead, SignedHead, verify_audit_file};
pub(crate) use key::AuditKey;
pub use key::{AuditKeyError, PublicKey, Signature};
pub use verify::{AuditReport, Broken, Tampering};
pub(crate) use verify::{Start, Verifier, Witness};

/// Why the audit log could not be verified, exported or pruned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// It does not stand as it was written.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Whoever asked may not.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The log does not have that entry.
    #[error("there is no entry {seq}; the log has {first} to {last}")]
    NoSuchEntry {
        /// What was asked for.
        seq: i64,
        /// The first entry that is there.
        first: i64,
        /// The last one.
        last: i64,
    },
    /// A head that was kept elsewhere tells of an entry before the first one.
    #[error(
        "the given head is of entry {0}, before what is looked at: where that was pruned since, \
         only a newer head helps"
    )]
    HeadBefore(i64),
    /// A head or an exported log cannot be read.
    #[error("{file}: {problem}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, with the line.
        problem: String,
    },
    /// What was exported cannot be written.
    #[error("the export cannot be written: {0}")]
    Output(#[from] std::io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for AuditError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<serde_json::Error> for AuditError {
    fn from(error: serde_json::Error) -> Self {
        Self::Store(error.into())
    }
}
