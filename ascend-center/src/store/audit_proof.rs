//! Verifies the audit log against its signatures, and the actions against the log.

use std::collections::HashMap;

use ascend_sdk::{Decision, Digest};

use super::{
    Store, StoreError, Tail,
    actions::{content_hash, outcome_hash},
    sql::{self, Connection, FromRow, Raw},
};
use crate::{
    audit::{
        AuditEntry, AuditError, AuditEvent, AuditKind, AuditReport, Broken, EntryHash, PublicKey,
        Start, Step, Tampering, Verifier, Witness,
    },
    life::ActionState,
    quorum::Rule,
};

/// How many rows are read at once.
const PAGE: i64 = 256;

/// What is to be proved.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    /// Whose signatures count.
    pub(crate) keys: Vec<PublicKey>,
    /// The first entry; the first that is there for `None`.
    pub(crate) from: Option<i64>,
    /// The last entry; the last that is there for `None`.
    pub(crate) to: Option<i64>,
    /// A signed head that was kept elsewhere.
    pub(crate) witness: Option<Witness>,
}

/// Sees each step of a proof, up to the last entry that was asked for.
pub(crate) type Sink<'s> = &'s mut (dyn FnMut(Step<'_>) -> Result<(), AuditError> + Send);

/// `seq`, `entry`, `hash`, and where the entry is signed `head`, `signature`.
type Row5 = (i64, Raw, Vec<u8>, Option<Raw>, Option<Vec<u8>>);

impl Store {
    /// Proves the log, as it is at one moment.
    pub(crate) async fn prove(
        &self,
        proof: &Proof,
        sink: Sink<'_>,
    ) -> Result<AuditReport, AuditError> {
        // One transaction: while it lasts, nothing changes for it.
        let mut reading = self.readers.snapshot().await?;
        let report = prove(&mut reading, proof, sink).await?;
        reading.close().await?;
        Ok(report)
    }
}

async fn prove(
    connection: &mut Connection,
    proof: &Proof,
    sink: Sink<'_>,
) -> Result<AuditReport, AuditError> {
    let last: i64 = sql::query_scalar("SELECT coalesce(max(seq), 0) FROM audit")
        .fetch_one(&mut *connection)
        .await?;
    let tail = match Tail::read(connection).await {
        Ok(Some(tail)) => tail,
        Ok(None) | Err(StoreError::AuditState) => {
            return Err(Broken { seq: last, tampering: Tampering::State }.into());
        }
        Err(error) => return Err(error.into()),
    };
    let checkpoint: Option<(i64, Raw, Vec<u8>)> =
        sql::query_as("SELECT seq, checkpoint, signature FROM audit_checkpoint")
            .fetch_optional(&mut *connection)
            .await?;
    let mut last_action = 0;
    let mut beginning = Verifier::new(&proof.keys, Start::BEGINNING);
    if let Some((seq, Raw(text), signature)) = &checkpoint {
        let (verifier, said) = Verifier::after_checkpoint(&proof.keys, *seq, text, signature)?;
        last_action = said.last_action;
        beginning = verifier;
    }
    let pruned = beginning.seq();
    let first = pruned + 1;
    let from = proof.from.unwrap_or(first);
    let to = proof.to.unwrap_or(i64::MAX);
    if let Some(seq) = [Some(from), proof.to]
        .into_iter()
        .flatten()
        .find(|seq| *seq < first || *seq > last.max(first))
    {
        return Err(AuditError::NoSuchEntry { seq, first, last });
    }
    if let Some(witness) = &proof.witness
        && witness.seq() < from - 1
    {
        return Err(AuditError::HeadBefore(witness.seq()));
    }
    let mut verifier = if from == first {
        match &checkpoint {
            Some((_, Raw(text), signature)) => sink(Step::Checkpoint { text, signature })?,
            None => sink(Step::Start(Start::BEGINNING))?,
        }
        beginning
    } else {
        let hash: Option<Vec<u8>> = sql::query_scalar("SELECT hash FROM audit WHERE seq = $1")
            .bind(from - 1)
            .fetch_optional(&mut *connection)
            .await?;
        let hash = hash
            .as_deref()
            .and_then(EntryHash::read)
            .ok_or(Broken { seq: from - 1, tampering: Tampering::Missing { through: from - 1 } })?;
        let start = Start { chain: Some(tail.chain), seq: from - 1, hash };
        sink(Step::Start(start))?;
        Verifier::new(&proof.keys, start)
    };
    // A head that was kept elsewhere is looked for wherever it is.
    let to_see = proof.witness.map_or(0, |witness| witness.seq());
    if let Some(witness) = &proof.witness {
        witness.compare(&verifier)?;
    }
    let mut told = Told::default();
    let is_whole = from == first && proof.to.is_none();
    // On to the next signature: what it does not cover could be written anew.
    while verifier.seq() < to.max(to_see) || verifier.signed() < to {
        let rows: Vec<Row5> = sql::query_as(
            "SELECT audit.seq, entry, hash, head, signature \
             FROM audit LEFT JOIN audit_heads ON audit_heads.seq = audit.seq \
             WHERE audit.seq > $1 ORDER BY audit.seq LIMIT $2",
        )
        .bind(verifier.seq())
        .bind(PAGE)
        .fetch_all(&mut *connection)
        .await?;
        if rows.is_empty() {
            conclude(connection, &verifier, tail).await?;
            break;
        }
        for (seq, Raw(text), hash, head, signature) in rows {
            let entry = verifier.entry(Some(seq), &text, &hash)?;
            if seq <= to {
                sink(Step::Entry { entry: &entry, text: &text, hash: verifier.hash() })?;
            }
            if is_whole {
                told.take(entry);
            }
            if let (Some(Raw(text)), Some(signature)) = (head, signature) {
                verifier.head(&text, &signature)?;
                if seq <= to {
                    sink(Step::Head { text: &text, signature: &signature })?;
                }
            }
            if let Some(witness) = &proof.witness {
                witness.compare(&verifier)?;
            }
            if verifier.seq() >= to.max(to_see) && verifier.signed() >= to {
                break;
            }
        }
    }
    if let Some(witness) = &proof.witness {
        witness.conclude(&verifier)?;
    }
    if is_whole {
        told.compare(connection, last_action, verifier.seq()).await?;
    }
    let mut report = verifier.report();
    report.actions = told.compared;
    Ok(report)
}

/// Compares where the log ends with where it is to end.
async fn conclude(
    connection: &mut Connection,
    verifier: &Verifier<'_>,
    tail: Tail,
) -> Result<(), AuditError> {
    let head: i64 = sql::query_scalar("SELECT coalesce(max(seq), 0) FROM audit_heads")
        .fetch_one(connection)
        .await?;
    let known = tail.seq.max(head);
    // Of what lies before the first entry, nothing was seen.
    let since = |seq: i64| if seq > verifier.start() { seq } else { 0 };
    let tampering = if known > verifier.seq() {
        Tampering::Truncated { known }
    } else if tail.seq < verifier.seq() {
        return Err(Broken { seq: tail.seq + 1, tampering: Tampering::Added }.into());
    } else if tail.hash != verifier.hash() || verifier.chain() != Some(tail.chain) {
        Tampering::State
    } else if since(tail.signed) > since(verifier.signed()) {
        let tampering = Tampering::HeadMissing(tail.signed);
        return Err(Broken { seq: tail.signed, tampering }.into());
    } else if since(tail.signed) != since(verifier.signed()) {
        Tampering::State
    } else {
        return Ok(());
    };
    Err(verifier.broken(tampering).into())
}

/// What the log tells of actions.
#[derive(Debug, Default)]
struct Told {
    actions: HashMap<i64, Action>,
    compared: usize,
}

#[derive(Debug, Default)]
struct Action {
    /// The newest entry on it.
    seq: i64,
    evaluated: Option<Evaluated>,
    state: Option<ActionState>,
    expires_at: Option<i64>,
    reviewed_by: Option<String>,
    outcome: Option<EntryHash>,
}

#[derive(Debug)]
struct Evaluated {
    requested_by: String,
    decision: Option<Decision>,
    digest: Option<Digest>,
    content: Option<EntryHash>,
    rules: Vec<Rule>,
}

impl Told {
    fn take(&mut self, entry: AuditEntry) {
        let AuditEntry { seq, event, .. } = entry;
        let Some(id) = event.action else { return };
        let action = self.actions.entry(id).or_default();
        action.seq = seq;
        let AuditEvent {
            kind,
            actor,
            state,
            expires_at,
            decision,
            digest,
            content,
            outcome,
            reviewers,
            rules,
            ..
        } = event;
        action.state = state.or(action.state);
        action.expires_at = expires_at.map(|at| at.as_millisecond()).or(action.expires_at);
        action.outcome = outcome.or(action.outcome);
        match kind {
            AuditKind::Approved | AuditKind::Rejected if state.is_some() => {
                let alone = reviewers.is_empty();
                action.reviewed_by = Some(if alone { actor.name } else { reviewers.join(", ") });
            }
            AuditKind::Evaluated => {
                let requested_by = actor.name;
                action.evaluated =
                    Some(Evaluated { requested_by, decision, digest, content, rules });
            }
            _ => {}
        }
    }

    /// `last_action` is the newest that pruned entries told of.
    async fn compare(
        &mut self,
        connection: &mut Connection,
        last_action: i64,
        last: i64,
    ) -> Result<(), AuditError> {
        let mut after = 0;
        loop {
            let rows: Vec<Kept> = sql::query_as(
                "SELECT id, state, decision, expires_at, digest, requested_by, reviewed_by, \
                 outcome, erased_at, server_id, tool, namespace, verb, resource, summary, \
                 parameters, user_context, session_id, client, reason, matched, request, rules \
                 FROM actions WHERE id > $1 ORDER BY id LIMIT $2",
            )
            .bind(after)
            .bind(PAGE)
            .fetch_all(&mut *connection)
            .await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let id = row.id;
                after = id;
                match self.actions.remove(&id) {
                    Some(told) if told.evaluated.is_some() || id <= last_action => {
                        if let Some(what) = told.differs(row) {
                            let tampering = Tampering::Action { action: id, what };
                            return Err(Broken { seq: told.seq, tampering }.into());
                        }
                        self.compared += 1;
                    }
                    // What was recorded of it is pruned.
                    None if id <= last_action => {}
                    _ => {
                        let tampering = Tampering::ActionAdded(id);
                        return Err(Broken { seq: last, tampering }.into());
                    }
                }
            }
        }
        // A refused claim can be of an action that never was.
        let missing = self.actions.iter().filter(|(_, told)| told.state.is_some());
        match missing.min_by_key(|(_, told)| told.seq) {
            Some((id, told)) => {
                Err(Broken { seq: told.seq, tampering: Tampering::ActionMissing(*id) }.into())
            }
            None => Ok(()),
        }
    }
}

impl Action {
    /// What of the row is not as it was told.
    fn differs(&self, row: &Kept) -> Option<&'static str> {
        if self.state.is_some_and(|state| row.state.as_deref() != Some(state.as_str())) {
            return Some("its state");
        }
        if self.expires_at.is_some_and(|told| told != row.expires_at) {
            return Some("when it expires");
        }
        if let Some(evaluated) = &self.evaluated {
            if row.reviewed_by != self.reviewed_by {
                return Some("who decided on it");
            }
            if row.requested_by != evaluated.requested_by {
                return Some("who asked");
            }
            if evaluated.decision.is_some_and(|decision| row.decision != decision.as_str()) {
                return Some("what was decided");
            }
            if evaluated.digest.is_some_and(|digest| row.digest != digest.to_string()) {
                return Some("its digest");
            }
            if row.rules.as_ref() != Some(&evaluated.rules) {
                return Some("what its approval takes");
            }
            if !row.is_erased && evaluated.content.is_some_and(|told| row.content != Some(told)) {
                return Some("what was asked");
            }
        }
        if !row.is_erased
            && let Some(told) = self.outcome
            && row.outcome.as_deref().map(outcome_hash) != Some(told)
        {
            return Some("what was told of its end");
        }
        None
    }
}

/// An action as it stands in its table.
struct Kept {
    id: i64,
    expires_at: i64,
    is_erased: bool,
    /// `None` where it cannot be read.
    state: Option<String>,
    decision: String,
    digest: String,
    requested_by: String,
    reviewed_by: Option<String>,
    outcome: Option<String>,
    /// `None` where any of it cannot be read.
    content: Option<EntryHash>,
    /// `None` where they cannot be read.
    rules: Option<Vec<Rule>>,
}

impl FromRow for Kept {
    fn from_row(row: &sql::Row<'_>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.read("id")?,
            expires_at: row.read("expires_at")?,
            is_erased: row.read::<Option<i64>>("erased_at")?.is_some(),
            state: row.read("state").ok(),
            decision: row.read("decision")?,
            digest: row.read("digest")?,
            requested_by: row.read("requested_by")?,
            reviewed_by: row.read("reviewed_by")?,
            outcome: row.read("outcome")?,
            content: content(row),
            rules: row.read("rules").ok().and_then(|text| serde_json::from_str(text).ok()),
        })
    }
}

fn content(row: &sql::Row<'_>) -> Option<EntryHash> {
    let column = |name: &str| row.read::<Option<&str>>(name).ok();
    Some(content_hash([
        column("server_id")?,
        column("tool")?,
        column("namespace")?,
        column("verb")?,
        column("resource")?,
        column("summary")?,
        column("parameters")?,
        column("user_context")?,
        column("session_id")?,
        column("client")?,
        column("reason")?,
        column("matched")?,
        column("request")?,
    ]))
}
