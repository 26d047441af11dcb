//! The center's side of the audit log.

use std::io::Write;

use jiff::Timestamp;

use super::{
    AuditEntry, AuditError, AuditReport, Broken, EntryHash, Head, PublicKey, SignedHead, Tampering,
    Witness,
    export::{Step, write_csv, write_csv_heading, write_json},
    sign,
};
use crate::{
    AuditQuery, Center,
    identity::Approver,
    store::{Proof, StoreError},
};

/// What of the log is to be verified; all of it, unless it says otherwise.
///
/// ```
/// use ascend_center::VerifyAudit;
///
/// let last_week = VerifyAudit::new().from(4_000).to(5_200);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "give it to `Center::verify_audit`"]
pub struct VerifyAudit {
    from: Option<i64>,
    to: Option<i64>,
    keys: Vec<PublicKey>,
    head: Option<SignedHead>,
}

impl VerifyAudit {
    /// The whole log, and with it the actions that it tells of.
    pub fn new() -> Self {
        Self::default()
    }

    /// From this entry on.
    pub fn from(mut self, seq: i64) -> Self {
        self.from = Some(seq);
        self
    }

    /// Up to this entry, and on to the next signature that covers it.
    pub fn to(mut self, seq: i64) -> Self {
        self.to = Some(seq);
        self
    }

    /// Only signatures with this key count, or with others that are named so.
    /// Default: the key in the center's directory.
    pub fn public_key(mut self, key: PublicKey) -> Self {
        self.keys.push(key);
        self
    }

    /// The log must go on from this signed head, which was kept elsewhere.
    pub fn head(mut self, head: SignedHead) -> Self {
        self.head = Some(head);
        self
    }
}

/// How the log is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditFormat {
    /// Lines of JSON, with all that is needed to verify them.
    Jsonl,
    /// For spreadsheets; it proves nothing.
    Csv,
}

/// What retention removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// The last entry that is not in the log any more; 0 when all are.
    pub through: i64,
    /// How many entries were removed now.
    pub entries: u64,
    /// How many actions' arguments were erased now.
    pub actions: u64,
}

impl Pruned {
    pub(crate) fn new(through: i64, entries: u64, actions: u64) -> Self {
        Self { through, entries, actions }
    }
}

impl Center {
    /// The key by which the audit log's signatures are verified.
    #[must_use]
    pub fn audit_key(&self) -> PublicKey {
        self.store().audit_key().public()
    }

    /// Signs the audit log as it ends now. Keep it where the center cannot
    /// write, and [`VerifyAudit::head`] shows later that nothing up to it was
    /// changed or cut off, by whoever has the center's directory.
    ///
    /// # Errors
    ///
    /// When the database cannot be written.
    pub async fn audit_head(&self) -> Result<SignedHead, StoreError> {
        self.store().audit_head().await
    }

    /// A page of the audit log: entries with their hashes.
    ///
    /// # Errors
    ///
    /// When the database cannot be read, or an entry is damaged.
    pub async fn audit_entries(
        &self,
        query: &AuditQuery,
    ) -> Result<Vec<(AuditEntry, EntryHash)>, StoreError> {
        self.store().audit_entries(query).await
    }

    /// Proves that the audit log stands as it was written, and where all of it
    /// is proved, that the actions stand as they were recorded.
    ///
    /// # Errors
    ///
    /// [`AuditError::Broken`] names the first entry that does not.
    pub async fn verify_audit(&self, what: &VerifyAudit) -> Result<AuditReport, AuditError> {
        self.store().prove(&self.proof(what)?, &mut |_| Ok(())).await
    }

    /// Writes the log to `out` while it is verified; as lines of JSON, with a
    /// signed head at the end. What of it was written before an error is no
    /// whole export.
    ///
    /// # Errors
    ///
    /// As for [`verify_audit`](Self::verify_audit), and when `out` fails.
    pub async fn export_audit(
        &self,
        what: &VerifyAudit,
        format: AuditFormat,
        out: &mut (dyn Write + Send),
    ) -> Result<AuditReport, AuditError> {
        let mut end: Option<Head> = None;
        let mut signed = 0;
        if format == AuditFormat::Csv {
            write_csv_heading(out)?;
        }
        let mut write = |step: Step<'_>| {
            match &step {
                Step::Entry { entry, hash, .. } => {
                    end = Some(Head {
                        chain: *hash,
                        seq: entry.seq,
                        hash: *hash,
                        after: signed,
                        at: Timestamp::now(),
                        public_key: self.audit_key(),
                    });
                }
                Step::Head { .. } => {
                    signed = end.take().map_or(signed, |end| end.seq);
                }
                Step::Start(_) | Step::Checkpoint { .. } => {}
            }
            match format {
                AuditFormat::Jsonl => write_json(out, &step),
                AuditFormat::Csv => write_csv(out, &step),
            }
        };
        let report = self.store().prove(&self.proof(what)?, &mut write).await?;
        if let Some(end) = end
            && format == AuditFormat::Jsonl
        {
            let head = sign(&Head { chain: report.chain, ..end }, self.store().audit_key())?;
            let (text, signature) = (head.text.as_bytes(), head.signature.as_bytes());
            write_json(out, &Step::Head { text, signature })?;
        }
        out.flush()?;
        Ok(report)
    }

    /// Removes the entries from before `before`, which a signed checkpoint
    /// stands for from then on, and erases the arguments of actions that were
    /// asked before it and are over. The digests stay.
    ///
    /// # Errors
    ///
    /// When the approver is no admin, or the log does not verify: nothing is
    /// removed then. When the database cannot be written.
    pub async fn prune_audit(
        &self,
        before: Timestamp,
        approver: &Approver,
    ) -> Result<Pruned, AuditError> {
        self.verify_audit(&VerifyAudit::new()).await?;
        self.store().prune_audit(before, approver.person().clone()).await
    }

    fn proof(&self, what: &VerifyAudit) -> Result<Proof, AuditError> {
        let VerifyAudit { from, to, keys, head } = what;
        let keys = if keys.is_empty() { vec![self.audit_key()] } else { keys.clone() };
        let witness = match head {
            Some(head) if head.is_signed_by(&keys) => Some(Witness::new(head.head())),
            Some(head) => {
                let seq = head.head().seq;
                return Err(Broken { seq, tampering: Tampering::HeadForged }.into());
            }
            None => None,
        };
        Ok(Proof { keys, from: *from, to: *to, witness })
    }
}
