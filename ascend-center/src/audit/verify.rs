//! Proves a log, or names the first entry that does not stand as it was written.

use super::{
    AuditEntry, Checkpoint, EntryHash, Head, PublicKey,
    chain::{self, Unsound},
};

/// The first entry that does not stand as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq}: {tampering}")]
pub struct Broken {
    /// Its number.
    pub seq: i64,
    /// What is wrong with it.
    pub tampering: Tampering,
}

/// What is wrong with an entry, or with what is signed of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Tampering {
    /// The entry, its hash, or the hash before is another one.
    #[error("its content or its hash was changed, or what stood before it was replaced")]
    Changed,
    /// The hash is right, and the text is no entry.
    #[error("it cannot be read as an entry of the log")]
    Unreadable,
    /// Entries are not there.
    #[error("{}", missing(.through))]
    Missing {
        /// The last of them.
        through: i64,
    },
    /// Another entry stands in its place.
    #[error(
        "in its place stands what was written as entry {written_as}: entries were moved or put in"
    )]
    Misplaced {
        /// The number that it was written under.
        written_as: i64,
    },
    /// The log went on after this entry.
    #[error("the log ends here, but its entry {known} was already written: the end was cut off")]
    Truncated {
        /// An entry that is known to have been there.
        known: i64,
    },
    /// Entries follow that the center did not write.
    #[error("the log ended before it: it was put in")]
    Added,
    /// A signature tells another hash.
    #[error("it was signed with another hash: the log was written anew up to here")]
    Rewritten,
    /// The signed head cannot be read.
    #[error("its signed head cannot be read")]
    HeadUnreadable,
    /// The signature is not that of the head.
    #[error("the signature of its signed head is not valid")]
    HeadForged,
    /// Another key has signed.
    #[error("it is signed with the key {0}; where that was yours, name it as a public key too")]
    ForeignKey(PublicKey),
    /// No signature covers the end of an export.
    #[error("no signature covers it; an export ends with a signed head: its end was cut off")]
    Unsigned,
    /// Signed heads are not there.
    #[error("the signed head of entry {0} is missing")]
    HeadMissing(i64),
    /// What stands for pruned entries is not what the center signed.
    #[error("what stands for the pruned entries up to it is not what the center signed")]
    CheckpointForged,
    /// The log is another one.
    #[error("it belongs to another log, the one that begins with {0}")]
    OtherLog(EntryHash),
    /// The state of the log is damaged.
    #[error("what the center keeps of the log's end does not agree with it")]
    State,
    /// An action's row does not say what the log says.
    #[error(
        "action {action} stands otherwise in the database than it was recorded: {what} differs"
    )]
    Action {
        /// The action.
        action: i64,
        /// What differs.
        what: &'static str,
    },
    /// An action's row is not there.
    #[error("action {0} was recorded, and is not in the database any more")]
    ActionMissing(i64),
    /// An action's row was never recorded.
    #[error("action {0} is in the database, and was never recorded")]
    ActionAdded(i64),
}

fn missing(through: &i64) -> String {
    format!("it is missing, with all up to entry {through}")
}

/// What was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditReport {
    /// Which log: the hash of its first entry.
    pub chain: EntryHash,
    /// The first entry that was looked at.
    pub from: i64,
    /// The last one; less than `from` when there was none.
    pub to: i64,
    /// The last one's hash.
    pub hash: EntryHash,
    /// The entry up to which a signature covers them; 0 when none does.
    pub signed: i64,
    /// The keys that signed.
    pub keys: Vec<PublicKey>,
    /// The last entry that was pruned; 0 when none was.
    pub pruned: i64,
    /// How many actions stand as they were recorded.
    pub actions: usize,
}

/// Where a part of a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) chain: Option<EntryHash>,
    /// The entry before the first.
    pub(crate) seq: i64,
    /// Its hash.
    pub(crate) hash: EntryHash,
}

impl Start {
    pub(crate) const BEGINNING: Self = Self { chain: None, seq: 0, hash: EntryHash::NONE };
}

/// Takes a log entry by entry, each signed head after its entry.
#[derive(Debug)]
pub(crate) struct Verifier<'k> {
    keys: &'k [PublicKey],
    start: Start,
    seq: i64,
    hash: EntryHash,
    chain: Option<EntryHash>,
    /// The newest signed head.
    signed: i64,
    used: Vec<PublicKey>,
    pruned: i64,
}

impl<'k> Verifier<'k> {
    /// Trusts signatures by `keys` alone. The start needs no trust: what a
    /// signature covers follows from the right one alone.
    pub(crate) fn new(keys: &'k [PublicKey], start: Start) -> Self {
        Self {
            keys,
            start,
            seq: start.seq,
            hash: start.hash,
            chain: start.chain,
            signed: 0,
            used: Vec::new(),
            pruned: 0,
        }
    }

    /// After entries that were pruned.
    pub(crate) fn after_checkpoint(
        keys: &'k [PublicKey],
        seq: i64,
        text: &[u8],
        signature: &[u8],
    ) -> Result<(Self, Checkpoint), Broken> {
        let checkpoint: Checkpoint = chain::read(text, signature, keys).map_err(|unsound| {
            let tampering = match unsound {
                Unsound::ForeignKey(key) => Tampering::ForeignKey(key),
                Unsound::Unreadable | Unsound::BadSignature => Tampering::CheckpointForged,
            };
            Broken { seq, tampering }
        })?;
        if checkpoint.seq != seq {
            return Err(Broken { seq, tampering: Tampering::CheckpointForged });
        }
        let start = Start { chain: Some(checkpoint.chain), seq, hash: checkpoint.hash };
        let verifier = Self {
            pruned: seq,
            signed: seq,
            used: vec![checkpoint.public_key],
            ..Self::new(keys, start)
        };
        Ok((verifier, checkpoint))
    }

    /// The last entry that was taken.
    pub(crate) fn seq(&self) -> i64 {
        self.seq
    }

    /// The entry before the first.
    pub(crate) fn start(&self) -> i64 {
        self.start.seq
    }

    pub(crate) fn hash(&self) -> EntryHash {
        self.hash
    }

    pub(crate) fn chain(&self) -> Option<EntryHash> {
        self.chain
    }

    pub(crate) fn broken(&self, tampering: Tampering) -> Broken {
        Broken { seq: self.seq, tampering }
    }

    /// The next entry; `seq` is the number it is kept under, where it has one
    /// beside its text.
    pub(crate) fn entry(
        &mut self,
        seq: Option<i64>,
        text: &[u8],
        hash: &[u8],
    ) -> Result<AuditEntry, Broken> {
        let next = self.seq + 1;
        let broken = |tampering| Err(Broken { seq: next, tampering });
        if let Some(seq) = seq
            && seq > next
        {
            return broken(Tampering::Missing { through: seq - 1 });
        }
        let entry = serde_json::from_slice::<AuditEntry>(text).ok();
        if let Some(entry) = &entry
            && entry.seq != next
        {
            // In a file, the number in the text is the only one.
            return broken(match seq {
                None if entry.seq > next => Tampering::Missing { through: entry.seq - 1 },
                _ => Tampering::Misplaced { written_as: entry.seq },
            });
        }
        let expected = EntryHash::of_entry(&self.hash, text);
        if EntryHash::read(hash) != Some(expected) {
            return broken(Tampering::Changed);
        }
        let Some(entry) = entry else { return broken(Tampering::Unreadable) };
        self.seq = next;
        self.hash = expected;
        if next == 1 {
            self.chain = Some(expected);
        }
        Ok(entry)
    }

    /// The signed head of the entry that was taken last.
    pub(crate) fn head(&mut self, text: &[u8], signature: &[u8]) -> Result<(), Broken> {
        let head: Head = chain::read(text, signature, self.keys).map_err(|unsound| {
            self.broken(match unsound {
                Unsound::Unreadable => Tampering::HeadUnreadable,
                Unsound::ForeignKey(key) => Tampering::ForeignKey(key),
                Unsound::BadSignature => Tampering::HeadForged,
            })
        })?;
        if *self.chain.get_or_insert(head.chain) != head.chain {
            return Err(self.broken(Tampering::OtherLog(head.chain)));
        }
        if head.seq != self.seq {
            return Err(self.broken(if head.seq > self.seq {
                Tampering::Truncated { known: head.seq }
            } else {
                Tampering::HeadForged
            }));
        }
        if head.hash != self.hash {
            return Err(self.broken(Tampering::Rewritten));
        }
        // Where the log begins later, earlier heads are not part of it.
        if head.after != self.signed && head.after.max(self.signed) > self.start.seq {
            let tampering = Tampering::HeadMissing(head.after);
            return Err(Broken { seq: head.after.min(self.seq), tampering });
        }
        self.signed = self.seq;
        if !self.used.contains(&head.public_key) {
            self.used.push(head.public_key);
        }
        Ok(())
    }

    pub(crate) fn report(self) -> AuditReport {
        AuditReport {
            chain: self.chain.unwrap_or(EntryHash::NONE),
            from: self.start.seq + 1,
            to: self.seq,
            hash: self.hash,
            signed: self.signed,
            keys: self.used,
            pruned: self.pruned,
            actions: 0,
        }
    }

    /// The newest signed head that was taken; 0 for none.
    pub(crate) fn signed(&self) -> i64 {
        self.signed
    }
}

/// A signed head that was kept elsewhere, looked for in a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witness {
    chain: EntryHash,
    seq: i64,
    hash: EntryHash,
}

impl Witness {
    pub(crate) fn new(head: &Head) -> Self {
        Self { chain: head.chain, seq: head.seq, hash: head.hash }
    }

    pub(crate) fn seq(&self) -> i64 {
        self.seq
    }

    /// Compares when `verifier` has come to its entry.
    pub(crate) fn compare(&self, verifier: &Verifier<'_>) -> Result<(), Broken> {
        if verifier.seq == self.seq && verifier.hash != self.hash {
            return Err(verifier.broken(Tampering::Rewritten));
        }
        Ok(())
    }

    /// Compares what can be known where the log ends.
    pub(crate) fn conclude(&self, verifier: &Verifier<'_>) -> Result<(), Broken> {
        if verifier.chain != Some(self.chain) {
            return Err(verifier.broken(Tampering::OtherLog(self.chain)));
        }
        if verifier.seq < self.seq {
            return Err(verifier.broken(Tampering::Truncated { known: self.seq }));
        }
        Ok(())
    }
}
