//! Actions in the database. Each change goes through [`Life::after`] in one
//! transaction with reading where the action stands.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Duration,
};

use ascend_sdk::{Claim, Decision, Digest, Holder, Outcome, RefusalKind, Rejection, RiskLevel};
use jiff::Timestamp;

use super::{
    Store, StoreError,
    audit::time,
    evaluations, fit,
    grants::{self, Covers, GrantError},
    keys::confirm,
    kill_switch, promises, sql, terms,
    usage::{self, Before},
    votes,
    writer::Transaction,
};
use crate::{
    audit::{Actor, AuditEvent, AuditKind, EntryHash},
    identity::{NotAllowed, Permission, Person},
    life::{ActionState, Event, Life, Refused},
    policy::{Needs, Recent, numbers},
    quorum::Rule,
    record::{Effect, Matched, Record},
    submission::Submission,
    trace,
};

/// How many actions are read right where they are asked for.
#[cfg(feature = "http")]
const FEW: usize = 8;

/// What policy and floor say of a submission.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    pub(crate) risk_score: u8,
    pub(crate) risk_level: RiskLevel,
    pub(crate) reason: String,
    pub(crate) matched: Vec<Matched>,
    /// Whether the word of the client's user counts as an approval.
    pub(crate) in_client: bool,
    /// What an approval takes; none unless a person must decide.
    pub(crate) rules: Vec<Rule>,
}

/// A submission with its verdict.
pub(crate) struct NewAction {
    pub(crate) submission: Submission,
    pub(crate) judged: Judged,
    /// The policies that judge.
    pub(crate) policies: PoliciesUsed,
    /// Who claims the decision at once, where policy lets the call pass.
    pub(crate) claims: Option<Claimant>,
    /// Which grants cover it.
    pub(crate) covers: Covers,
}

/// What a submission opened.
#[derive(Debug)]
pub(crate) struct Opened {
    /// As it was decided, before any claim of this call.
    pub(crate) record: Record,
    pub(crate) claimed: Claimed,
}

/// Whether a decision was claimed with the evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    No,
    Now,
    /// By this very request, when it came before: its answer got lost.
    Before,
}

/// Who claims a decision. Nobody else can say that it was given up before its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claimant {
    /// A request with this key, which only its sender knows: when it comes again, its
    /// answer got lost.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "requests come over HTTP"))]
    Request(String),
    /// This process, in which no answer gets lost.
    Process(Arc<str>),
    Unnamed,
}

impl Claimant {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Request(key) => Some(key),
            Self::Process(key) => Some(key),
            Self::Unnamed => None,
        }
    }
}

/// Which policies decided.
#[derive(Debug, Clone)]
pub(crate) struct PoliciesUsed {
    pub(crate) hash: EntryHash,
    pub(crate) count: usize,
    /// Where they come from.
    pub(crate) source: String,
}

/// When a submission is judged.
pub(crate) enum Judged {
    Already(Verdict),
    /// In the transaction that opens the action: of calls that come at once each
    /// counts for the next, so that a limit is exact.
    Counting {
        needs: Needs,
        judge: Judge,
    },
}

/// Judges a submission at a time, by what was counted.
type Judge = Box<dyn FnOnce(&Submission, Timestamp, &Recent) -> Verdict + Send>;

/// What a question about many has to know of one that is pending.
#[cfg(feature = "http")]
#[derive(Debug)]
pub(crate) struct PendingAction {
    pub(crate) id: i64,
    pub(crate) requested_by: String,
    /// Milliseconds since 1970, UTC.
    pub(crate) expires_at: i64,
}

#[cfg(feature = "http")]
sql::from_row!(PendingAction { id, requested_by, expires_at });

/// Who decides.
#[derive(Debug, Clone)]
pub(crate) enum Decider {
    Person(Person),
    /// The user of a client, as the client says.
    Client(String),
}

impl Decider {
    fn name(&self) -> &str {
        match self {
            Self::Person(person) => &person.name,
            Self::Client(user) => user,
        }
    }

    fn actor(&self) -> Actor {
        match self {
            Self::Person(person) => person.actor(),
            Self::Client(user) => Actor::new("client", user),
        }
    }
}

/// Why a submission was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error("the idempotency key was used for another call, action {0}")]
    KeyReused(i64),
    #[error("`{0}` has U+0000, which the center does not keep in a text")]
    Unfit(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an approval or a rejection was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// No action has that id.
    #[error("there is no action {0}")]
    Unknown(i64),
    /// Somebody, or something, was faster.
    #[error("action {} is not pending any more: {}", .0.id, standing(.0))]
    NotPending(Box<Record>),
    /// A client's user decided, and that does not count for this action.
    #[error("action {0} is reserved to the center's approvers")]
    Reserved(i64),
    /// A client's user decided while the kill switch is raised.
    #[error("the kill switch is raised; nothing can be decided in a client")]
    KillSwitch,
    /// Whoever asked may not.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// It was asked with a key of the one who wants to approve it.
    #[error("action {0} was asked with a key of your own; somebody else has to approve it")]
    OwnRequest(i64),
    /// They are in none of the groups that decide on it now.
    #[error("action {id} is for {who} to decide; {person} is in {}", membership(.groups))]
    NotAmong {
        /// The action.
        id: i64,
        /// Who wanted to decide.
        person: String,
        /// Their groups.
        groups: Vec<String>,
        /// Who can decide, in words.
        who: String,
    },
    /// There is no approval of theirs to take back.
    #[error("you have not approved action {0}")]
    NoVote(i64),
    /// What else they wanted to let pass cannot be granted; nothing was decided.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The database failed; nothing was decided.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn membership(groups: &[String]) -> String {
    match groups {
        [] => "no group".to_owned(),
        groups => {
            let quoted: Vec<String> = groups.iter().map(|group| format!("`{group}`")).collect();
            quoted.join(" and ")
        }
    }
}

fn standing(record: &Record) -> String {
    match (&record.reviewed_by, record.state) {
        (Some(reviewer), ActionState::Approved | ActionState::Rejected) => {
            format!("it was {} by {reviewer}", record.state)
        }
        (_, ActionState::Expired) => format!("it expired at {}", record.expires_at),
        (_, ActionState::Withdrawn) => "its caller withdrew it".to_owned(),
        (_, ActionState::Executing) => "it was approved and is running".to_owned(),
        (_, ActionState::Completed | ActionState::Failed) => "it was approved and ran".to_owned(),
        (_, ActionState::Denied) => "policy denied it".to_owned(),
        (_, state) => format!("it is {state}"),
    }
}

/// Why a report was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("there is no action {0}")]
    Unknown(i64),
    #[error("action {} is {}; that cannot be reported of it", .0.id, .0.state)]
    Conflict(Box<Record>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `SELECT` of all columns but the request, with this condition.
macro_rules! select {
    ($($condition:expr),+) => {
        concat!(
            "SELECT id, state, decision, refusal, created_at, expires_at, server_id, tool, \
             namespace, verb, resource, summary, parameters, user_context, session_id, client, \
             risk_score, risk_level, reason, matched, digest, idempotency_key, requested_by, \
             reviewed_by, comments, reviewed_at, promised, outcome, erased_at, in_client, rules, \
             votes, escalates_at, traceparent FROM actions ",
            $($condition),+
        )
    };
}
pub(super) use select;

impl Store {
    /// Keeps a submission, or finds the action that the same call opened before.
    pub(crate) async fn submit(&self, new: NewAction) -> Result<Opened, SubmitError> {
        self.write(move |transaction| Box::pin(submit(transaction, new))).await?
    }

    /// The action as it stands now.
    pub(crate) async fn action(&self, id: i64) -> Result<Option<Record>, StoreError> {
        let record: Option<Record> = sql::query_as(select!("WHERE id = $1"))
            .bind(id)
            .fetch_optional(&mut self.readers.here().await?)
            .await?;
        Ok(record.map(|record| record.at(Timestamp::now())))
    }

    /// Those of these actions that are pending now.
    #[cfg(feature = "http")]
    pub(crate) async fn pending_of(&self, ids: &[i64]) -> Result<Vec<PendingAction>, StoreError> {
        Ok(sql::query_as(
            "SELECT id, requested_by, expires_at FROM actions WHERE \
             id IN (SELECT CAST(value AS BIGINT) FROM json_each($1)) AND state = 'pending' AND expires_at > $2 \
             ORDER BY id",
        )
        .bind(serde_json::to_string(ids)?)
        .bind(super::now())
        .fetch_all(&mut self.reader_of(ids).await?)
        .await?)
    }

    #[cfg(feature = "http")]
    async fn reader_of(&self, ids: &[i64]) -> Result<sql::Connection, StoreError> {
        Ok(if ids.len() <= FEW {
            self.readers.here().await?
        } else {
            self.readers.acquire().await?
        })
    }

    /// Those of these actions that are not pending, as they stand now.
    #[cfg(feature = "http")]
    pub(crate) async fn decided_of(&self, ids: &[i64]) -> Result<Vec<Record>, StoreError> {
        let now = Timestamp::now();
        let records: Vec<Record> = sql::query_as(select!(
            "WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each($1)) AND \
             NOT (state = 'pending' AND expires_at > $2) ORDER BY id"
        ))
        .bind(serde_json::to_string(ids)?)
        .bind(now.as_millisecond())
        .fetch_all(&mut self.reader_of(ids).await?)
        .await?;
        Ok(records.into_iter().map(|record| record.at(now)).collect())
    }

    /// The newest actions, oldest first: those in `state`, or all. Of those that are
    /// pending the oldest.
    pub(crate) async fn actions(
        &self,
        state: Option<ActionState>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let now = Timestamp::now();
        let mut records: Vec<Record> = sql::query_as(listing(state))
            .bind(state.map(ActionState::as_str))
            .bind(now.as_millisecond())
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        records.sort_by_key(|record| record.id);
        Ok(records.into_iter().map(|record| record.at(now)).collect())
    }

    /// An approver's rejection, or the decision of a client's user: `event` says
    /// which. Approvals are votes.
    pub(crate) async fn decide(
        &self,
        id: i64,
        event: Event,
        by: Decider,
        comment: Option<String>,
    ) -> Result<Record, DecideError> {
        let deciding = self.decided(id, event, by, comment.map(fit));
        trace::decision(id, deciding, |record| record).await
    }

    async fn decided(
        &self,
        id: i64,
        event: Event,
        by: Decider,
        comment: Option<String>,
    ) -> Result<Record, DecideError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Decider::Person(approver) = &by
                    && let Err(refused) = confirm(transaction, approver, Permission::Decide).await?
                {
                    return Ok(Err(refused.into()));
                }
                let Some(record) = find(transaction, id).await? else {
                    return Ok(Err(DecideError::Unknown(id)));
                };
                let killed = kill_switch::read(&mut transaction.connection).await?.is_some();
                let (life, answer) = record.life().after(event, transaction.now, killed);
                if let Err(refused) = answer {
                    let record = settle(transaction, record, life).await?;
                    return Ok(Err(match refused {
                        Refused::Reserved => DecideError::Reserved(id),
                        Refused::KillSwitch => DecideError::KillSwitch,
                        _ => DecideError::NotPending(Box::new(record)),
                    }));
                }
                if let Decider::Person(person) = &by
                    && let Some(error) = votes::stranger(transaction, &record, person).await?
                {
                    return Ok(Err(error));
                }
                sql::query(
                    "UPDATE actions SET state = $1, expires_at = $2, reviewed_by = $3, \
                     comments = $4, reviewed_at = $5 WHERE id = $6",
                )
                .bind(life.state.as_str())
                .bind(life.expires_at)
                .bind(by.name())
                .bind(&comment)
                .bind(transaction.now)
                .bind(id)
                .execute(&mut transaction.connection)
                .await?;
                let kind = match life.state {
                    ActionState::Approved => AuditKind::Approved,
                    _ => AuditKind::Rejected,
                };
                let event = AuditEvent::new(kind, by.actor()).action(id);
                let event =
                    AuditEvent { comment, digest: Some(record.digest), ..event.standing(life)? };
                transaction.note(event).await?;
                Ok(find(transaction, id).await?.ok_or(DecideError::Unknown(id)))
            })
        })
        .await?
    }

    /// Promises the action to `holder`, where that can still be done.
    pub(crate) async fn promise(
        &self,
        id: i64,
        holder: Holder,
        by: String,
    ) -> Result<Option<Record>, StoreError> {
        self.write(move |transaction| Box::pin(promise(transaction, id, holder, by))).await
    }

    /// Claims the action's decision for one run.
    pub(crate) async fn claim(
        &self,
        id: i64,
        digest: Digest,
        by: String,
        claimant: Claimant,
    ) -> Result<Claim, StoreError> {
        self.write(move |transaction| Box::pin(claim(transaction, id, digest, by, claimant))).await
    }

    /// Keeps what became of an action, as `claimant` tells who may have claimed it.
    pub(crate) async fn report(
        &self,
        id: i64,
        outcome: Outcome,
        by: String,
        claimant: Claimant,
    ) -> Result<Record, ReportError> {
        let ran = matches!(outcome, Outcome::Completed { .. } | Outcome::Failed { .. });
        let told = Told { id, outcome, by, claimant };
        if ran {
            // A body that ran is not run again, whenever that is written down.
            self.write_later(move |transaction| Box::pin(report(transaction, told))).await?
        } else {
            self.write(move |transaction| Box::pin(report(transaction, told))).await?
        }
    }
}

pub(super) async fn find(
    transaction: &mut Transaction,
    id: i64,
) -> Result<Option<Record>, StoreError> {
    Ok(sql::query_as(select!("WHERE id = $1"))
        .bind(id)
        .fetch_optional(&mut transaction.connection)
        .await?)
}

/// Writes down what time, or a refused event, has made of the action.
pub(super) async fn settle(
    transaction: &mut Transaction,
    mut record: Record,
    life: Life,
) -> Result<Record, StoreError> {
    if record.state != life.state {
        record.state = life.state;
        let event = AuditEvent::new(AuditKind::Expired, Actor::center());
        change(transaction, record.id, life, event).await?;
    }
    Ok(record)
}

async fn keep(transaction: &mut Transaction, id: i64, life: Life) -> Result<(), StoreError> {
    sql::query("UPDATE actions SET state = $1, expires_at = $2, promised = $3 WHERE id = $4")
        .bind(life.state.as_str())
        .bind(life.expires_at)
        .bind(life.promised)
        .bind(id)
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}

/// Changes the action, and records the event that did it.
async fn change(
    transaction: &mut Transaction,
    id: i64,
    life: Life,
    event: AuditEvent,
) -> Result<(), StoreError> {
    keep(transaction, id, life).await?;
    transaction.note(event.action(id).standing(life)?).await
}

async fn submit(
    transaction: &mut Transaction,
    new: NewAction,
) -> Result<Result<Opened, SubmitError>, StoreError> {
    let NewAction { submission, judged, policies, claims, covers } = new;
    if submission.idempotency_key.is_some() {
        let earlier: Option<Record> = sql::query_as(select!(
            "WHERE requested_by = $1 AND server_id = $2 AND idempotency_key = $3"
        ))
        .bind(&submission.requested_by)
        .bind(&submission.server_id)
        .bind(&submission.idempotency_key)
        .fetch_optional(&mut transaction.connection)
        .await?;
        if let Some(record) = earlier {
            if record.digest != submission.digest
                || !is_request(transaction, record.id, &submission.request).await?
            {
                return Ok(Err(SubmitError::KeyReused(record.id)));
            }
            let life = record.life().at(transaction.now);
            let mut record = settle(transaction, record, life).await?;
            let killed = kill_switch::read(&mut transaction.connection).await?.is_some();
            let mut claimed = Claimed::No;
            if let Some(claimant) = claims
                && record.decision == Decision::Allow
                && life.can_tell_claim(transaction.now, killed)
                && has_claimed(transaction, record.id, &claimant).await?
            {
                record.state = ActionState::Allowed;
                claimed = Claimed::Before;
            }
            return Ok(Ok(Opened { record, claimed }));
        }
    }
    let (mut verdict, recent) = judge(transaction, &submission, judged).await?;
    let mut refusal = None;
    let register = terms::terms(&mut transaction.connection, &submission).await?;
    if let Some(risk) = register.risk.filter(|risk| *risk > verdict.risk_score) {
        verdict.risk_score = risk;
        // What the call itself asked for stays the least.
        verdict.risk_level = verdict.risk_level.max(RiskLevel::of_score(risk));
    }
    if let Some(objection) = register.objection {
        verdict.decision = Decision::Deny;
        verdict.reason = objection.to_string();
        refusal = Some(objection.as_str());
    }
    if let Some(switch) = kill_switch::read(&mut transaction.connection).await? {
        verdict.decision = Decision::Deny;
        verdict.reason = switch.sentence();
        refusal = Some(RefusalKind::KillSwitch.as_str());
    }
    if verdict.decision != Decision::Deny
        && let Some(record) = join(transaction, &submission).await?
    {
        return Ok(Ok(Opened { record, claimed: Claimed::No }));
    }
    let state = match verdict.decision {
        Decision::Allow => ActionState::Allowed,
        Decision::RequireApproval => ActionState::Pending,
        Decision::Deny => ActionState::Denied,
    };
    let terms = votes::Terms::new(&verdict, &submission, transaction.now);
    let life = Life {
        state,
        digest: submission.digest,
        expires_at: terms.expires_at,
        promised: false,
        in_client: verdict.in_client,
    };
    // A raised kill switch has denied it by now.
    let claims = claims.map(|claimant| {
        let (kept, claimed) = life.after(Event::Claim(life.digest), transaction.now, false);
        (kept, claimed, claimant)
    });
    let (kept, claimed, claimant) = match claims {
        Some((executing, Ok(()), claimant)) => (executing, Claimed::Now, claimant),
        _ => (life, Claimed::No, Claimant::Unnamed),
    };
    let parameters = serde_json::to_string(&submission.parameters)?;
    let user_context = serde_json::to_string(&submission.user_context)?;
    let matched = serde_json::to_string(&verdict.matched)?;
    let client = submission.client();
    let content = content_hash([
        Some(submission.server_id.as_str()),
        Some(&submission.tool),
        Some(&submission.namespace),
        Some(&submission.verb),
        Some(&submission.resource),
        submission.summary.as_deref(),
        Some(&parameters),
        Some(&user_context),
        Some(&submission.session.session_id),
        client.as_deref(),
        Some(&verdict.reason),
        Some(&matched),
        Some(&submission.request),
    ]);
    let id = sql::query(
        "INSERT INTO actions (state, decision, refusal, created_at, expires_at, server_id, tool, \
         namespace, verb, resource, summary, parameters, user_context, session_id, client, \
         risk_score, risk_level, reason, matched, digest, idempotency_key, requested_by, owner, \
         request, in_client, rules, escalates_at, traceparent, claim_key, numbers, \
         counted) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
         $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31)",
    )
    .bind(kept.state.as_str())
    .bind(verdict.decision.as_str())
    .bind(refusal)
    .bind(transaction.now)
    .bind(life.expires_at)
    .bind(&submission.server_id)
    .bind(&submission.tool)
    .bind(&submission.namespace)
    .bind(&submission.verb)
    .bind(&submission.resource)
    .bind(&submission.summary)
    .bind(parameters)
    .bind(user_context)
    .bind(&submission.session.session_id)
    .bind(&client)
    .bind(verdict.risk_score)
    .bind(verdict.risk_level.as_str())
    .bind(&verdict.reason)
    .bind(matched)
    .bind(submission.digest.to_string())
    .bind(&submission.idempotency_key)
    .bind(&submission.requested_by)
    .bind(&submission.owner)
    .bind(&submission.request)
    .bind(verdict.in_client)
    .bind(serde_json::to_string(&terms.rules)?)
    .bind(terms.escalates_at)
    .bind(submission.traceparent.map(|parent| parent.to_string()))
    .bind(claimant.key())
    .bind(serde_json::to_string(&numbers(&submission.parameters))?)
    // A trigger takes it back from what is neither allowed nor approved in the end.
    .bind(verdict.decision != Decision::Deny)
    .insert(&mut transaction.connection)
    .await?;
    let record = Record {
        id,
        state,
        decision: verdict.decision,
        refusal: refusal.map(str::to_owned),
        created_at: time(transaction.now)?,
        expires_at: time(life.expires_at)?,
        server_id: submission.server_id.clone(),
        tool: submission.tool.clone(),
        namespace: submission.namespace.clone(),
        verb: submission.verb.clone(),
        resource: submission.resource.clone(),
        summary: submission.summary.clone(),
        parameters: submission.parameters.clone(),
        user_context: submission.user_context.clone(),
        session_id: submission.session.session_id.clone(),
        client,
        risk_score: verdict.risk_score,
        risk_level: verdict.risk_level,
        reason: verdict.reason.clone(),
        matched: verdict.matched.clone(),
        digest: submission.digest,
        idempotency_key: submission.idempotency_key.clone(),
        requested_by: submission.requested_by.clone(),
        reviewed_by: None,
        comments: None,
        reviewed_at: None,
        promised: false,
        outcome: None,
        erased_at: None,
        in_client: verdict.in_client,
        rules: terms.rules.clone(),
        votes: Vec::new(),
        escalates_at: terms.escalates_at.map(time).transpose()?,
        traceparent: submission.traceparent,
    };
    evaluations::keep(transaction, id, &submission, recent).await?;
    transaction
        .note_policies(policies.hash, |event| {
            event.subject(policies.source).detail(format!("{} policies", policies.count))
        })
        .await?;
    let by = Actor::agent(&submission.requested_by);
    let event = AuditEvent::new(AuditKind::Evaluated, by.clone());
    let event = AuditEvent {
        decision: Some(verdict.decision),
        refusal: refusal.map(str::to_owned),
        risk_score: Some(verdict.risk_score),
        risk_level: Some(verdict.risk_level),
        reason: refusal
            .map_or_else(|| words(verdict.decision, &verdict.matched), |_| Some(verdict.reason)),
        policies: verdict.matched.into_iter().map(|matched| matched.policy).collect(),
        policy_set: Some(policies.hash),
        server: Some(submission.server_id.clone()),
        tool: Some(submission.tool.clone()),
        namespace: Some(submission.namespace.clone()),
        verb: Some(submission.verb.clone()),
        digest: Some(submission.digest),
        content: Some(content),
        rules: terms.rules,
        ..event.action(id).standing(life)?
    };
    transaction.note(event).await?;
    if claimed == Claimed::Now {
        let event = AuditEvent::new(AuditKind::Claimed, by).action(id);
        let event = AuditEvent { digest: Some(submission.digest), ..event.standing(kept)? };
        transaction.note(event).await?;
    }
    if record.state == ActionState::Pending {
        let record = grants::apply(transaction, record, submission, covers).await?;
        return Ok(Ok(Opened { record, claimed }));
    }
    Ok(Ok(Opened { record, claimed }))
}

/// The newest actions in this state, or all; of those that are pending the oldest. What
/// expired unseen still stands as open in the table.
fn listing(state: Option<ActionState>) -> &'static str {
    match state {
        None => select!("WHERE $1 IS NULL AND $2 >= 0 ORDER BY id DESC LIMIT $3"),
        // The conditions on states are those of the indexes, word for word. What waits
        // longest expires first.
        Some(ActionState::Pending) => select!(
            "WHERE state = 'pending' AND state = $1 AND expires_at > $2 ORDER BY id LIMIT $3"
        ),
        Some(ActionState::Allowed | ActionState::Approved) => select!(
            "WHERE state = $1 AND state <> 'pending' AND state <> 'executing' AND \
             state <> 'completed' AND expires_at > $2 ORDER BY id DESC LIMIT $3"
        ),
        Some(ActionState::Expired) => select!(
            "WHERE state = $1 OR (state IN ('pending', 'allowed', 'approved') AND \
             expires_at <= $2) ORDER BY id DESC LIMIT $3"
        ),
        Some(ActionState::Executing | ActionState::Completed) => {
            select!("WHERE state = $1 AND $2 >= 0 ORDER BY id DESC LIMIT $3")
        }
        Some(_) => select!(
            "WHERE state = $1 AND state <> 'pending' AND state <> 'executing' AND \
             state <> 'completed' AND $2 >= 0 ORDER BY id DESC LIMIT $3"
        ),
    }
}

/// What the policies that decided say. The whole reason can quote the call,
/// and is not for the log.
fn words(decision: Decision, matched: &[Matched]) -> Option<String> {
    let effect = Effect::from(decision);
    let deciding = matched.iter().filter(|matched| matched.effect == effect);
    let words: Vec<&str> = deciding.filter_map(|matched| matched.reason.as_deref()).collect();
    Some(words.join("; ")).filter(|words| !words.is_empty())
}

/// Whether it is what action `id` was asked with, as far as that is still known.
async fn is_request(
    transaction: &mut Transaction,
    id: i64,
    request: &str,
) -> Result<bool, StoreError> {
    Ok(sql::query_scalar("SELECT erased_at IS NOT NULL OR request = $1 FROM actions WHERE id = $2")
        .bind(request)
        .bind(id)
        .fetch_one(&mut transaction.connection)
        .await?)
}

/// The verdict, and what was counted for it.
async fn judge(
    transaction: &mut Transaction,
    submission: &Submission,
    judged: Judged,
) -> Result<(Verdict, Option<Recent>), StoreError> {
    let (needs, judge) = match judged {
        Judged::Already(verdict) => return Ok((verdict, None)),
        Judged::Counting { needs, judge } => (needs, judge),
    };
    // A call that comes back for its own action is counted once.
    let joined = promised(transaction, submission).await?.map(|(record, _)| record.id);
    let before = Before { now: transaction.now, id: i64::MAX, but: joined };
    let now = Timestamp::from_millisecond(transaction.now).unwrap_or_else(|_| Timestamp::now());
    let unknown = Recent::default();
    let asked = submission.asked(now, &unknown);
    let recent = usage::recent(&mut transaction.connection, &asked, &needs, before).await?;
    // This task writes for all: a panic must not end it.
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| judge(submission, now, &recent)));
    match verdict {
        Ok(verdict) => Ok((verdict, Some(recent))),
        Err(_) => {
            tracing::error!("the evaluation of a call panicked; the call is refused");
            Err(StoreError::NotWritten)
        }
    }
}

/// The action that an earlier call like this was promised, and what becomes of
/// it when this one joins.
async fn promised(
    transaction: &mut Transaction,
    submission: &Submission,
) -> Result<Option<(Record, Life)>, StoreError> {
    let promised: Option<Record> = sql::query_as(select!(
        "WHERE promised = 1 AND server_id = $1 AND digest = $2 AND requested_by = $3 AND tool = $4 \
         AND resource = $5 ORDER BY id DESC LIMIT 1"
    ))
    .bind(&submission.server_id)
    .bind(submission.digest.to_string())
    .bind(&submission.requested_by)
    .bind(&submission.tool)
    .bind(&submission.resource)
    .fetch_optional(&mut transaction.connection)
    .await?;
    Ok(promised.and_then(|record| {
        let life = record.life().joined(transaction.now)?;
        Some((record, life))
    }))
}

async fn join(
    transaction: &mut Transaction,
    submission: &Submission,
) -> Result<Option<Record>, StoreError> {
    let Some((record, life)) = promised(transaction, submission).await? else { return Ok(None) };
    let mut record = settle(transaction, record, life).await?;
    let kind = if life.promised { AuditKind::Joined } else { AuditKind::Told };
    keep(transaction, record.id, life).await?;
    record.promised = life.promised;
    let joining = Actor::agent(&submission.requested_by);
    transaction.note(AuditEvent::new(kind, joining).action(record.id)).await?;
    Ok(Some(record))
}

async fn promise(
    transaction: &mut Transaction,
    id: i64,
    holder: Holder,
    by: String,
) -> Result<Option<Record>, StoreError> {
    let Some(record) = find(transaction, id).await? else { return Ok(None) };
    let (life, answer) = record.life().after(Event::Promise, transaction.now, false);
    let record = settle(transaction, record, life).await?;
    if answer.is_ok() {
        promises::add(transaction, id, &holder).await?;
    }
    if answer.is_ok() && !record.promised {
        let event = AuditEvent::new(AuditKind::Promised, Actor::agent(by));
        change(transaction, id, life, event).await?;
        return find(transaction, id).await;
    }
    Ok(Some(record))
}

async fn claim(
    transaction: &mut Transaction,
    id: i64,
    digest: Digest,
    by: String,
    claimant: Claimant,
) -> Result<Claim, StoreError> {
    let refused = |rejection: &Rejection| AuditEvent {
        action: Some(id),
        refusal: Some(rejection.kind.as_str().to_owned()),
        claimed_digest: Some(digest),
        ..AuditEvent::new(AuditKind::ClaimRefused, Actor::agent(&by))
    };
    let Some(record) = find(transaction, id).await? else {
        let rejection = Rejection {
            kind: RefusalKind::Denied,
            reason: Some(format!("there is no action {id}")),
            reviewed_by: None,
        };
        transaction.note(refused(&rejection)).await?;
        return Ok(Claim::Refused(rejection));
    };
    let switch = kill_switch::read(&mut transaction.connection).await?;
    let (life, answer) =
        record.life().after(Event::Claim(digest), transaction.now, switch.is_some());
    let rejection = match answer {
        Ok(()) => {
            let event = AuditEvent::new(AuditKind::Claimed, Actor::agent(&by));
            let event = AuditEvent { digest: Some(digest), ..event };
            sql::query(
                "UPDATE actions SET state = $1, expires_at = $2, promised = $3, claim_key = $4 \
                 WHERE id = $5",
            )
            .bind(life.state.as_str())
            .bind(life.expires_at)
            .bind(life.promised)
            .bind(claimant.key())
            .bind(id)
            .execute(&mut transaction.connection)
            .await?;
            transaction.note(event.action(id).standing(life)?).await?;
            return Ok(Claim::Granted);
        }
        Err(Refused::State(ActionState::Executing))
            if matches!(claimant, Claimant::Request(_))
                && digest == life.digest
                && life.can_tell_claim(transaction.now, switch.is_some())
                && has_claimed(transaction, id, &claimant).await? =>
        {
            return Ok(Claim::Granted);
        }
        Err(Refused::State(_) | Refused::Reserved) => {
            settle(transaction, record, life).await?.rejection()
        }
        Err(Refused::DigestMismatch) => {
            let rejection = Rejection {
                kind: RefusalKind::DigestMismatch,
                reason: Some("the decision was for other arguments, and ends here".to_owned()),
                reviewed_by: None,
            };
            change(transaction, id, life, refused(&rejection)).await?;
            return Ok(Claim::Refused(rejection));
        }
        Err(Refused::KillSwitch) => Rejection {
            kind: RefusalKind::KillSwitch,
            reason: switch.map(|switch| switch.sentence()),
            reviewed_by: None,
        },
    };
    transaction.note(refused(&rejection)).await?;
    Ok(Claim::Refused(rejection))
}

/// Whether it is who claimed the action.
async fn has_claimed(
    transaction: &mut Transaction,
    id: i64,
    claimant: &Claimant,
) -> Result<bool, StoreError> {
    Ok(sql::query_scalar("SELECT claim_key IS NOT DISTINCT FROM $1 FROM actions WHERE id = $2")
        .bind(claimant.key())
        .bind(id)
        .fetch_one(&mut transaction.connection)
        .await?)
}

/// What became of an action, as its agent tells.
struct Told {
    id: i64,
    outcome: Outcome,
    by: String,
    /// Who tells, if it was they who claimed it.
    claimant: Claimant,
}

async fn report(
    transaction: &mut Transaction,
    Told { id, outcome, by, claimant }: Told,
) -> Result<Result<Record, ReportError>, StoreError> {
    // Agents know only their own.
    let own = find(transaction, id).await?.filter(|record| record.requested_by == by);
    let Some(mut record) = own else { return Ok(Err(ReportError::Unknown(id))) };
    let (event, kind, duration, told) = match outcome {
        Outcome::Completed { duration } => {
            (Event::Complete, AuditKind::Completed, Some(duration), None)
        }
        Outcome::Failed { duration, error } => {
            (Event::Fail, AuditKind::Failed, Some(duration), Some(error))
        }
        Outcome::Withdrawn { reason } => {
            let runs_elsewhere = record.state == ActionState::Executing
                && !has_claimed(transaction, id, &claimant).await?;
            let event = if runs_elsewhere { Event::Abandon } else { Event::Withdraw };
            (event, AuditKind::Withdrawn, None, Some(reason))
        }
        Outcome::Abandoned { reason, holder } => {
            if promises::give_up(transaction, id, &holder).await? {
                return Ok(Ok(record));
            }
            (Event::Abandon, AuditKind::Withdrawn, None, Some(reason))
        }
    };
    let told = told.map(fit);
    if matches!(event, Event::Withdraw | Event::Abandon) {
        // Nobody withdraws what has expired by now.
        let life = record.life().at(transaction.now);
        record = settle(transaction, record, life).await?;
    }
    let (life, answer) = record.life().after(event, transaction.now, false);
    if answer.is_err() {
        let record = settle(transaction, record, life).await?;
        return Ok(Err(ReportError::Conflict(Box::new(record))));
    }
    if life.state != record.state {
        record.state = life.state;
        sql::query(
            "UPDATE actions SET state = $1, expires_at = $2, promised = $3, outcome = $4 \
             WHERE id = $5",
        )
        .bind(life.state.as_str())
        .bind(life.expires_at)
        .bind(life.promised)
        .bind(&told)
        .bind(id)
        .execute(&mut transaction.connection)
        .await?;
        let event = AuditEvent {
            duration_ms: duration.map(milliseconds),
            outcome: told.as_deref().map(outcome_hash),
            ..AuditEvent::new(kind, Actor::agent(by))
        };
        record.outcome = told;
        transaction.note(event.action(id).standing(life)?).await?;
    }
    Ok(Ok(record))
}

/// In bounds that every reader of JSON keeps.
fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min((1 << 53) - 1)
}

/// What of an action never changes: `server_id`, `tool`, `namespace`, `verb`,
/// `resource`, `summary`, `parameters`, `user_context`, `session_id`, `client`,
/// `reason`, `matched`, `request`.
pub(super) fn content_hash(columns: [Option<&str>; 13]) -> EntryHash {
    EntryHash::of("action content v1", columns)
}

pub(super) fn outcome_hash(told: &str) -> EntryHash {
    EntryHash::of("action outcome v1", [Some(told)])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use ascend_sdk::{Action, TraceParent};
    use serde_json::{Value, json};
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::{Center, CenterConfig};

    fn submission(verb: &str, parameters: Value) -> Submission {
        let action = json!({
            "server_id": "mcp-server-001",
            "tool": "tool",
            "description": "A tool.",
            "namespace": "database",
            "verb": verb,
            "resource": "database://analytics",
            "parameters": parameters,
            "summary": "Work on `users`",
            "floor": { "require_human_approval": false },
            "facts": {},
            "metadata": {},
            "user_context": { "user": "ann" },
            "session_context":
                { "session_id": "s", "client_name": "Desktop", "client_version": "1" },
            "digest": "01".repeat(32),
            "idempotency_key": verb,
            "approval_timeout": { "secs": 300, "nanos": 0 },
        });
        let action: Action = serde_json::from_value(action).unwrap();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        Submission {
            traceparent: TraceParent::parse(parent),
            ..Submission::of(&action, "agent").unwrap()
        }
    }

    /// It is told without being read back.
    #[tokio::test]
    async fn an_opened_action_is_told_as_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let center = Center::open(CenterConfig::new(directory.path())).await.unwrap();
        let parameters = json!({ "n": 1.5, "big": u64::MAX, "text": "\u{0}é", "list": [null] });
        let asked = [
            ("query", Decision::Allow),
            ("delete", Decision::RequireApproval),
            ("drop", Decision::Deny),
        ];
        for (verb, decision) in asked {
            let opened =
                center.open_action(submission(verb, parameters.clone()), None).await.unwrap();
            assert_eq!(opened.record.decision, decision);
            let kept = center.action(opened.record.id).await.unwrap();
            assert_eq!(kept, Some(opened.record));
        }
        // As it was before the claim that came with it.
        let again = submission("read", parameters);
        let opened = center.open_action(again, Some(Claimant::Unnamed)).await.unwrap();
        assert_eq!((opened.claimed, opened.record.state), (Claimed::Now, ActionState::Allowed));
        let kept = center.action(opened.record.id).await.unwrap();
        let claimed = Record { state: ActionState::Executing, ..opened.record };
        assert_eq!(kept, Some(claimed));
        center.close().await;
    }

    #[tokio::test]
    async fn what_neither_waits_nor_runs_is_listed_by_its_index() {
        let directory = tempfile::tempdir().unwrap();
        let center = Center::open(CenterConfig::new(directory.path())).await.unwrap();
        for state in [ActionState::Allowed, ActionState::Approved, ActionState::Rejected] {
            let query = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", listing(Some(state))));
            let asked = sql::query_as(query).bind(state.as_str()).bind(0_i64).bind(1_i64);
            let plan: Vec<(i64, i64, i64, String)> =
                asked.fetch_all(&center.store().readers).await.unwrap();
            assert!(plan.iter().any(|step| step.3.contains("actions_by_state")), "{plan:?}");
        }
        center.close().await;
    }
}
