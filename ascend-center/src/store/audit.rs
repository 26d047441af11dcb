//! The audit log in the database: written with what it records, in one
//! transaction, and read by page.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::{
    Keys, Store, StoreError,
    sql::{self, Connection, QueryAs, Raw, Value},
    writer::Transaction,
};
use crate::{
    audit::{
        self, Actor, AuditEntry, AuditEvent, AuditKey, AuditKind, EntryHash, Head, Signed,
        SignedHead,
    },
    identity,
};

/// How many entries may follow the last signed head.
const SIGN_EVERY: i64 = 256;

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) chain: EntryHash,
    pub(crate) seq: i64,
    pub(crate) hash: EntryHash,
    /// The newest signed head.
    pub(crate) signed: i64,
}

impl Tail {
    const BEGINNING: Self =
        Self { chain: EntryHash::NONE, seq: 0, hash: EntryHash::NONE, signed: 0 };

    pub(crate) async fn read(connection: &mut Connection) -> Result<Option<Self>, StoreError> {
        let row: Option<(Vec<u8>, i64, Vec<u8>, i64)> =
            sql::query_as("SELECT chain, seq, hash, signed FROM audit_state")
                .fetch_optional(connection)
                .await?;
        row.map(|(chain, seq, hash, signed)| {
            let hash_of = |bytes: &[u8]| EntryHash::read(bytes).ok_or(StoreError::AuditState);
            Ok(Self { chain: hash_of(&chain)?, seq, hash: hash_of(&hash)?, signed })
        })
        .transpose()
    }
}

/// The log in a transaction under way.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) key: Arc<AuditKey>,
    /// Read when it is first needed: another process may have written before.
    tail: Option<Tail>,
    /// The tail as the database has it.
    kept: Option<Tail>,
    /// The policy set that this process used last.
    policies: Option<EntryHash>,
    /// What this transaction noted.
    noted: Vec<AuditEvent>,
}

/// What a piece of work that fails goes back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    tail: Option<Tail>,
    policies: Option<EntryHash>,
    noted: usize,
}

impl Log {
    pub(super) fn new(key: Arc<AuditKey>) -> Self {
        Self { key, tail: None, kept: None, policies: None, noted: Vec::new() }
    }

    /// At the begin of a transaction.
    pub(super) fn begin(&mut self) {
        self.tail = None;
        self.kept = None;
        self.noted.clear();
    }

    /// What this transaction noted.
    pub(super) fn noted(&self) -> &[AuditEvent] {
        &self.noted
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { tail: self.tail, policies: self.policies, noted: self.noted.len() }
    }

    pub(super) fn back_to(&mut self, mark: Mark) {
        // What was read is still so.
        self.tail = mark.tail.or(self.kept);
        self.policies = mark.policies;
        self.noted.truncate(mark.noted);
    }

    /// After a transaction that did not come about.
    pub(super) fn forget(&mut self) {
        self.begin();
        self.policies = None;
    }

    /// Whether entries of this transaction are not signed yet.
    pub(super) fn is_unsigned(&self) -> bool {
        self.tail.is_some_and(|tail| tail.seq > tail.signed)
    }
}

impl Transaction {
    /// Records an event.
    pub(super) async fn note(&mut self, event: AuditEvent) -> Result<(), StoreError> {
        self.note_at(event, self.now).await
    }

    async fn note_at(&mut self, event: AuditEvent, at: i64) -> Result<(), StoreError> {
        let tail = self.tail().await?;
        let action = event.action;
        let seq = tail.seq + 1;
        self.log.noted.push(event.clone());
        let text = AuditEntry::new(seq, time(at)?, event.bounded()).canonical()?;
        let hash = EntryHash::of_entry(&tail.hash, text.as_bytes());
        sql::query("INSERT INTO audit (seq, entry, hash) VALUES ($1, $2, $3)")
            .bind(seq)
            .bind(text)
            .bind(hash.as_bytes().as_slice())
            .execute(&mut self.connection)
            .await?;
        let chain = if seq == 1 { hash } else { tail.chain };
        self.log.tail = Some(Tail { chain, seq, hash, ..tail });
        self.touch(action);
        Ok(())
    }

    pub(super) async fn tail(&mut self) -> Result<Tail, StoreError> {
        if let Some(tail) = self.log.tail {
            return Ok(tail);
        }
        let tail = Tail::read(&mut self.connection).await?.ok_or(StoreError::AuditState)?;
        self.log.tail = Some(tail);
        self.log.kept = Some(tail);
        Ok(tail)
    }

    /// Records that `set` decides from here on, once for each process.
    pub(super) async fn note_policies(
        &mut self,
        set: EntryHash,
        about: impl FnOnce(AuditEvent) -> AuditEvent,
    ) -> Result<(), StoreError> {
        if self.log.policies != Some(set) {
            let event = AuditEvent::new(AuditKind::PoliciesLoaded, Actor::center());
            self.note(about(AuditEvent { policy_set: Some(set), ..event })).await?;
            self.log.policies = Some(set);
        }
        Ok(())
    }

    /// Writes down where the log ends, at the end of a transaction; signs it
    /// when it is time, or with `now`.
    pub(super) async fn seal(&mut self, now: bool) -> Result<(), StoreError> {
        if now {
            self.tail().await?;
        }
        let Some(tail) = self.log.tail else { return Ok(()) };
        if tail.seq - tail.signed >= SIGN_EVERY || now && tail.seq > tail.signed {
            self.sign().await?;
        }
        let Some(tail) = self.log.tail.filter(|tail| Some(*tail) != self.log.kept) else {
            return Ok(());
        };
        sql::query("UPDATE audit_state SET seq = $1, hash = $2, signed = $3")
            .bind(tail.seq)
            .bind(tail.hash.as_bytes().as_slice())
            .bind(tail.signed)
            .execute(&mut self.connection)
            .await?;
        self.log.kept = Some(tail);
        Ok(())
    }

    /// Signs the log as it ends now.
    async fn sign(&mut self) -> Result<Signed, StoreError> {
        let tail = self.tail().await?;
        let signed = audit::sign(&self.head(tail)?, &self.log.key)?;
        sql::query("INSERT INTO audit_heads (seq, head, signature) VALUES ($1, $2, $3)")
            .bind(tail.seq)
            .bind(&signed.text)
            .bind(signed.signature.as_bytes().as_slice())
            .execute(&mut self.connection)
            .await?;
        self.log.tail = Some(Tail { signed: tail.seq, ..tail });
        Ok(signed)
    }

    fn head(&self, tail: Tail) -> Result<Head, StoreError> {
        Ok(Head {
            chain: tail.chain,
            seq: tail.seq,
            hash: tail.hash,
            after: tail.signed,
            at: time(self.now)?,
            public_key: self.log.key.public(),
        })
    }
}

pub(super) fn time(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds)
        .map_err(|error| sqlx::Error::Decode(Box::new(error)).into())
}

/// Which entries to read; all, oldest first, unless it says otherwise.
///
/// ```
/// use ascend_center::{AuditKind, AuditQuery};
///
/// let refused = AuditQuery::new().kind(AuditKind::ClaimRefused).newest_first().limit(50);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to `Center::audit_entries`"]
pub struct AuditQuery {
    after: Option<i64>,
    before: Option<i64>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    kind: Option<AuditKind>,
    actor: Option<String>,
    action: Option<i64>,
    newest_first: bool,
    limit: u32,
}

impl Default for AuditQuery {
    fn default() -> Self {
        Self::new()
    }
}

impl AuditQuery {
    /// The first hundred entries.
    pub fn new() -> Self {
        Self {
            after: None,
            before: None,
            since: None,
            until: None,
            kind: None,
            actor: None,
            action: None,
            newest_first: false,
            limit: 100,
        }
    }

    /// Only entries after this one: for the next page, the last one's number.
    pub fn after(mut self, seq: i64) -> Self {
        self.after = Some(seq);
        self
    }

    /// Only entries before this one: for the next page of the newest first.
    pub fn before(mut self, seq: i64) -> Self {
        self.before = Some(seq);
        self
    }

    /// Only entries of this time or later.
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }

    /// Only entries before this time.
    pub fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }

    /// Only entries of this kind.
    pub fn kind(mut self, kind: AuditKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only what this one did.
    pub fn actor(mut self, name: impl Into<String>) -> Self {
        self.actor = Some(name.into());
        self
    }

    /// Only entries on this action.
    pub fn action(mut self, id: i64) -> Self {
        self.action = Some(id);
        self
    }

    /// The newest first.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// At most so many.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    fn statement(&self) -> QueryAs<'_, (Raw, Vec<u8>)> {
        let conditions: [(&str, Option<Value<'_>>); 7] = [
            ("seq >", self.after.map(Value::from)),
            ("seq <", self.before.map(Value::from)),
            ("action =", self.action.map(Value::from)),
            ("entry ->> 'kind' =", self.kind.as_ref().map(|kind| kind.as_str().into())),
            ("entry -> 'actor' ->> 'name' =", self.actor.as_ref().map(Value::from)),
            ("entry ->> 'at' >=", self.since.map(|time| audit::written(time).into())),
            ("entry ->> 'at' <", self.until.map(|time| audit::written(time).into())),
        ];
        let mut text = "SELECT entry, hash FROM audit WHERE true".to_owned();
        let mut values = Vec::new();
        for (condition, value) in conditions {
            let Some(value) = value else { continue };
            values.push(value);
            text += &format!(" AND {condition} ${}", values.len());
        }
        let order = if self.newest_first { "seq DESC" } else { "seq" };
        text += &format!(" ORDER BY {order} LIMIT {}", self.limit);
        values.into_iter().fold(sql::query_as(AssertSqlSafe(text)), QueryAs::bind)
    }
}

impl Store {
    /// The entries, each with its hash.
    pub(crate) async fn audit_entries(
        &self,
        query: &AuditQuery,
    ) -> Result<Vec<(AuditEntry, EntryHash)>, StoreError> {
        let rows = query.statement().fetch_all(&self.readers).await?;
        rows.iter()
            .map(|(entry, hash)| {
                let entry = serde_json::from_slice(&entry.0)?;
                Ok((entry, EntryHash::read(hash).ok_or(StoreError::AuditState)?))
            })
            .collect()
    }

    /// The log as it ends now, signed.
    pub(crate) async fn audit_head(&self) -> Result<SignedHead, StoreError> {
        let signed = self
            .write(|transaction| {
                Box::pin(async move {
                    let tail = transaction.tail().await?;
                    if tail.seq > tail.signed {
                        return transaction.sign().await;
                    }
                    let (text, signature): (String, Vec<u8>) =
                        sql::query_as("SELECT head, signature FROM audit_heads WHERE seq = $1")
                            .bind(tail.seq)
                            .fetch_one(&mut transaction.connection)
                            .await?;
                    let signature =
                        audit::Signature::read(&signature).ok_or(StoreError::AuditState)?;
                    Ok(Signed { text, signature })
                })
            })
            .await?;
        Ok(SignedHead::of(signed)?)
    }

    /// Begins the log where there is none, and tells of a new signing key.
    pub(super) async fn begin_audit(&self) -> Result<(), StoreError> {
        let keys = self.keys;
        self.write(move |transaction| {
            Box::pin(async move {
                match Tail::read(&mut transaction.connection).await {
                    Ok(None) => begin(transaction).await,
                    Ok(Some(_)) => {
                        // What a killed process left unsigned is signed in time.
                        transaction.tail().await?;
                        tell_of_a_new_key(transaction, keys).await
                    }
                    Err(StoreError::AuditState) => {
                        tell_of_damage();
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            })
        })
        .await
    }
}

async fn begin(transaction: &mut Transaction) -> Result<(), StoreError> {
    // The table is there until the log has begun.
    let is_new = transaction.connection.has_table("earlier_events").await?;
    if !is_new {
        tell_of_damage();
        return Ok(());
    }
    let nonce = identity::random::<16>().map_err(sqlx::Error::Io)?;
    let earlier: Vec<Earlier> =
        sql::query_as("SELECT action_id, kind, at, by, detail FROM earlier_events ORDER BY id")
            .fetch_all(&mut transaction.connection)
            .await?;
    let detail = match earlier.len() {
        0 => "a new log".to_owned(),
        events => format!(
            "an upgrade: the next {events} entries were recorded before, and are chained since now"
        ),
    };
    transaction.log.tail = Some(Tail::BEGINNING);
    let mut genesis = AuditEvent::new(AuditKind::Genesis, Actor::center());
    genesis.public_key = Some(transaction.log.key.public());
    transaction.note(genesis.subject(hex::encode(nonce)).detail(detail)).await?;
    let tail = transaction.tail().await?;
    sql::query("INSERT INTO audit_state (id, chain, seq, hash, signed) VALUES (1, $1, 1, $2, 0)")
        .bind(tail.chain.as_bytes().as_slice())
        .bind(tail.hash.as_bytes().as_slice())
        .execute(&mut transaction.connection)
        .await?;
    for event in earlier {
        let at = event.at;
        transaction.note_at(event.taken_over(), at).await?;
    }
    sql::query("DROP TABLE earlier_events").execute(&mut transaction.connection).await?;
    transaction.sign().await?;
    Ok(())
}

/// Nothing can be written then. Reading goes on, so that it can be looked at.
fn tell_of_damage() {
    tracing::error!("{}", StoreError::AuditState);
}

async fn tell_of_a_new_key(transaction: &mut Transaction, keys: Keys) -> Result<(), StoreError> {
    let head: Option<Raw> =
        sql::query_scalar("SELECT head FROM audit_heads ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut transaction.connection)
            .await?;
    let key = transaction.log.key.public();
    let last = head.and_then(|head| serde_json::from_slice::<Head>(&head.0).ok());
    if let Some(last) = last.filter(|last| last.public_key != key) {
        if keys != Keys::Replace {
            return Err(StoreError::OtherKeys("audit.key"));
        }
        let mut event = AuditEvent::new(AuditKind::SigningKeyChanged, Actor::center());
        event.public_key = Some(key);
        transaction.note(event.subject(last.public_key.to_string())).await?;
        transaction.sign().await?;
    }
    Ok(())
}

/// An event from before the log was chained.
#[derive(Debug)]
struct Earlier {
    action_id: Option<i64>,
    kind: String,
    at: i64,
    by: String,
    detail: Option<String>,
}

sql::from_row!(Earlier { action_id, kind, at, by, detail });

impl Earlier {
    fn taken_over(self) -> AuditEvent {
        let Self { action_id, kind, by, detail, .. } = self;
        let state = kind.parse().ok();
        let (kind, role) = match kind.as_str() {
            "allowed" | "pending" | "denied" => (AuditKind::Evaluated, "agent"),
            "executing" => (AuditKind::Claimed, "agent"),
            "digest_mismatch" => (AuditKind::ClaimRefused, "agent"),
            "approved" => (AuditKind::Approved, "approver"),
            "rejected" => (AuditKind::Rejected, "approver"),
            "killed" => (AuditKind::Killed, "approver"),
            "released" => (AuditKind::Released, "approver"),
            "agent_credential" | "approver_credential" => (AuditKind::CredentialCreated, "center"),
            "expired" => (AuditKind::Expired, "center"),
            other => (AuditKind::from(other), "agent"),
        };
        let (mut reason, mut comment, mut claimed_digest, mut subject) = (None, None, None, None);
        match kind {
            AuditKind::Killed => reason = detail,
            AuditKind::Approved | AuditKind::Rejected => comment = detail,
            AuditKind::ClaimRefused => claimed_digest = detail.and_then(|text| text.parse().ok()),
            AuditKind::CredentialCreated => subject = Some(by.clone()),
            // What an agent wrote, or a reason quotes, stands with the action.
            _ => {}
        }
        let event = AuditEvent::new(kind, Actor::new(role, by));
        AuditEvent { action: action_id, state, reason, comment, claimed_digest, subject, ..event }
    }
}
