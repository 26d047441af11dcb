//! Votes: the approvals of people, counted in the transaction in which one is
//! given, and whenever it changes whose votes count.

use std::collections::BTreeSet;

use ascend_sdk::RiskLevel;
use jiff::Timestamp;

use super::{
    Store, StoreError,
    actions::{DecideError, Verdict, find, select, settle},
    fit,
    grants::{self, Grant, GrantError, NewGrant},
    keys::confirm,
    moment, sql, word,
    writer::Transaction,
};
use crate::{
    audit::{Actor, AuditEvent, AuditKind},
    identity::{Origin, Permission, Person, Role},
    life::{ActionState, Event, Life},
    quorum::{self, Rule, Vote, Voter},
    record::Record,
    submission::Submission,
    trace,
};

/// On what terms an action is opened.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) rules: Vec<Rule>,
    pub(super) expires_at: i64,
    pub(super) escalates_at: Option<i64>,
}

impl Terms {
    pub(super) fn new(verdict: &Verdict, submission: &Submission, now: i64) -> Self {
        let is_high_risk =
            submission.floor.require_human_approval || verdict.risk_level == RiskLevel::Critical;
        let rules: Vec<Rule> = match verdict.decision {
            ascend_sdk::Decision::RequireApproval => {
                verdict.rules.iter().cloned().map(|rule| rule.frozen(is_high_risk)).collect()
            }
            _ => Vec::new(),
        };
        // What policies say goes before what the caller asks for.
        let within = rules.iter().filter_map(|rule| rule.within).min();
        let time = within.unwrap_or(submission.approval_timeout);
        let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let escalates = rules.iter().any(|rule| rule.escalate_to.is_some());
        Self {
            expires_at: now.saturating_add(time),
            escalates_at: escalates.then(|| now.saturating_add(time / 2)),
            rules,
        }
    }
}

/// Each by an index of its own: thousands may wait, and this is asked often.
const NEXT_EXPIRY: &str = "SELECT min(expires_at) FROM actions WHERE state = 'pending'";
const NEXT_ESCALATION: &str = "SELECT min(escalates_at) FROM actions WHERE state = 'pending' \
                               AND escalated = 0 AND escalates_at IS NOT NULL";

impl Store {
    /// A person's approval; with `grant`, of calls like it too. The action is
    /// approved when it is the last one that was missing.
    pub(crate) async fn vote(
        &self,
        id: i64,
        by: Person,
        comment: Option<String>,
        grant: Option<NewGrant>,
    ) -> Result<(Record, Option<Grant>), DecideError> {
        let comment = comment.map(fit);
        let voting = async move {
            self.write(move |transaction| Box::pin(vote(transaction, id, by, comment, grant)))
                .await?
        };
        trace::decision(id, voting, |(record, _)| record).await
    }

    /// Takes a person's approval of a pending action back.
    pub(crate) async fn take_back(&self, id: i64, by: Person) -> Result<Record, DecideError> {
        self.write(move |transaction| Box::pin(take_back(transaction, id, by))).await?
    }

    /// Does what time does to pending actions: escalates, and expires. When there
    /// is something to do next.
    pub(crate) async fn keep_time(&self) -> Result<Option<i64>, StoreError> {
        loop {
            let mut reader = self.readers.here().await?;
            let expires: Option<i64> =
                sql::query_scalar(NEXT_EXPIRY).fetch_one(&mut reader).await?;
            let escalates: Option<i64> =
                sql::query_scalar(NEXT_ESCALATION).fetch_one(&mut reader).await?;
            let next = expires.into_iter().chain(escalates).min();
            if next.is_none_or(|next| next > super::now()) {
                return Ok(next);
            }
            drop(reader);
            self.write(|transaction| Box::pin(pass(transaction))).await?;
        }
    }
}

async fn vote(
    transaction: &mut Transaction,
    id: i64,
    by: Person,
    comment: Option<String>,
    grant: Option<NewGrant>,
) -> Result<Result<(Record, Option<Grant>), DecideError>, StoreError> {
    if let Err(refused) = confirm(transaction, &by, Permission::Decide).await? {
        return Ok(Err(refused.into()));
    }
    let Some(mut record) = find(transaction, id).await? else {
        return Ok(Err(DecideError::Unknown(id)));
    };
    let (life, answer) = record.life().after(Event::Approve, transaction.now, false);
    if answer.is_err() {
        let record = settle(transaction, record, life).await?;
        return Ok(Err(DecideError::NotPending(Box::new(record))));
    }
    if is_own(transaction, id, &by.name).await? {
        return Ok(Err(DecideError::OwnRequest(id)));
    }
    if let Some(error) = stranger(transaction, &record, &by).await? {
        return Ok(Err(error));
    }
    let granted = match grant {
        Some(_) if !record.takes_grants() => {
            return Ok(Err(GrantError::NeverCounts.into()));
        }
        Some(grant) => match grants::insert(transaction, &by, grant.like(&record)).await? {
            Ok(grant) => Some(grant),
            Err(error) => return Ok(Err(error.into())),
        },
        None => None,
    };
    // A person's own word stands for more than a grant of theirs.
    let known = |vote: &Vote| vote.is_by(&by.name) && vote.grant.is_none();
    let is_new = !record.votes.iter().any(known);
    if is_new {
        record.votes.retain(|vote| !vote.is_by(&by.name));
        record.votes.push(Vote {
            person: by.name.clone(),
            is_owner: by.origin == Origin::Directory,
            grant: None,
            comment: comment.clone(),
            at: moment(transaction.now)?,
            digest: record.digest,
            counts_for: Vec::new(),
        });
    }
    if tally(transaction, &mut record).await? {
        return Ok(Ok((approve(transaction, record, life, by.actor(), comment).await?, granted)));
    }
    keep_votes(transaction, &record).await?;
    if is_new {
        let event = AuditEvent::new(AuditKind::Voted, by.actor()).action(id);
        let event = event.detail(record.approvals());
        let event = AuditEvent { comment, digest: Some(record.digest), ..event };
        transaction.note(event).await?;
    }
    Ok(Ok((record, granted)))
}

async fn take_back(
    transaction: &mut Transaction,
    id: i64,
    by: Person,
) -> Result<Result<Record, DecideError>, StoreError> {
    if let Err(refused) = confirm(transaction, &by, Permission::See).await? {
        return Ok(Err(refused.into()));
    }
    let Some(mut record) = find(transaction, id).await? else {
        return Ok(Err(DecideError::Unknown(id)));
    };
    let life = record.life().at(transaction.now);
    if life.state != ActionState::Pending {
        let record = settle(transaction, record, life).await?;
        return Ok(Err(DecideError::NotPending(Box::new(record))));
    }
    let before = record.votes.len();
    record.votes.retain(|vote| !vote.is_by(&by.name));
    if record.votes.len() == before {
        return Ok(Err(DecideError::NoVote(id)));
    }
    // Fewer votes meet no rule that more did not.
    tally(transaction, &mut record).await?;
    keep_votes(transaction, &record).await?;
    let event = AuditEvent::new(AuditKind::VoteWithdrawn, by.actor()).action(id);
    transaction.note(event.detail(record.approvals())).await?;
    Ok(Ok(record))
}

/// Escalates and expires what is due, a part of it at once: others write too.
async fn pass(transaction: &mut Transaction) -> Result<(), StoreError> {
    let due: Vec<Record> = sql::query_as(select!(
        "WHERE state = 'pending' AND expires_at <= $1 ORDER BY expires_at LIMIT 100"
    ))
    .bind(transaction.now)
    .fetch_all(&mut transaction.connection)
    .await?;
    for record in due {
        let life = record.life().at(transaction.now);
        settle(transaction, record, life).await?;
    }
    let due: Vec<Record> = sql::query_as(select!(
        "WHERE state = 'pending' AND escalated = 0 AND escalates_at IS NOT NULL AND \
         escalates_at <= $1 ORDER BY escalates_at LIMIT 100"
    ))
    .bind(transaction.now)
    .fetch_all(&mut transaction.connection)
    .await?;
    for record in due {
        let id = record.id;
        sql::query("UPDATE actions SET escalated = 1 WHERE id = $1")
            .bind(id)
            .execute(&mut transaction.connection)
            .await?;
        let groups: BTreeSet<&str> =
            record.rules.iter().filter_map(|rule| rule.escalate_to.as_deref()).collect();
        let groups: Vec<&str> = groups.into_iter().collect();
        let event = AuditEvent::new(AuditKind::Escalated, Actor::center()).action(id);
        transaction.note(event.detail(groups.join(", "))).await?;
        recount(transaction, record).await?;
    }
    Ok(())
}

/// Counts the votes on all pending actions on which this person voted: it changed
/// what they may.
pub(super) async fn recount_of(
    transaction: &mut Transaction,
    person: &str,
) -> Result<(), StoreError> {
    let pending: Vec<Record> = sql::query_as(select!(
        "WHERE state = 'pending' AND expires_at > $1 AND votes <> '[]' ORDER BY id"
    ))
    .bind(transaction.now)
    .fetch_all(&mut transaction.connection)
    .await?;
    for record in pending {
        if record.votes.iter().any(|vote| vote.is_by(person)) {
            recount(transaction, record).await?;
        }
    }
    Ok(())
}

/// Counts the votes again, and approves when that is enough now.
async fn recount(transaction: &mut Transaction, mut record: Record) -> Result<(), StoreError> {
    let (life, answer) = record.life().after(Event::Approve, transaction.now, false);
    if answer.is_ok() {
        let before = record.votes.clone();
        if tally(transaction, &mut record).await? {
            approve(transaction, record, life, Actor::center(), None).await?;
        } else if record.votes != before {
            keep_votes(transaction, &record).await?;
            transaction.touch(Some(record.id));
        }
    }
    Ok(())
}

/// Whether all rules are met now, by whom everybody is now.
pub(super) async fn tally(
    transaction: &mut Transaction,
    record: &mut Record,
) -> Result<bool, StoreError> {
    let mut voters = Vec::with_capacity(record.votes.len());
    for vote in &record.votes {
        voters.push((vote.person.clone(), voter(transaction, record, vote).await?));
    }
    let of = |vote: &Vote| {
        let known = voters.iter().find(|(person, _)| *person == vote.person);
        known.map(|(_, voter)| voter.clone()).unwrap_or_default()
    };
    let is_escalated = record.is_escalated(moment(transaction.now)?);
    let Record { rules, votes, digest, .. } = record;
    Ok(quorum::tally(rules, votes, of, *digest, is_escalated))
}

async fn voter(
    transaction: &mut Transaction,
    record: &Record,
    vote: &Vote,
) -> Result<Voter, StoreError> {
    let is_approver = if vote.is_owner {
        is_owner(transaction, &vote.person).await?
    } else {
        let role: Option<String> =
            sql::query_scalar("SELECT role FROM users WHERE name = $1 AND disabled_at IS NULL")
                .bind(&vote.person)
                .fetch_optional(&mut transaction.connection)
                .await?;
        let role: Option<Role> = role.map(|role| word(&role)).transpose()?;
        role.is_some_and(|role| role.may(Permission::Decide))
    };
    let grant_stands = match vote.grant {
        Some(grant) => grants::stands(transaction, grant).await?,
        None => false,
    };
    Ok(Voter {
        is_approver,
        is_requester: is_own(transaction, record.id, &vote.person).await?,
        groups: groups_for(transaction, record, &vote.person).await?,
        grant_stands,
    })
}

pub(super) async fn is_owner(
    transaction: &mut Transaction,
    person: &str,
) -> Result<bool, StoreError> {
    let owner: Option<String> =
        sql::query_scalar("SELECT name FROM credentials WHERE role = 'approver'")
            .fetch_optional(&mut transaction.connection)
            .await?;
    Ok(owner.is_some_and(|owner| quorum::same_person(&owner, person)))
}

/// The groups of the person, where the action's rules ask for any.
async fn groups_for(
    transaction: &mut Transaction,
    record: &Record,
    person: &str,
) -> Result<BTreeSet<String>, StoreError> {
    if record.rules.iter().all(|rule| rule.approvers.is_none()) {
        return Ok(BTreeSet::new());
    }
    let groups: Vec<String> =
        sql::query_scalar("SELECT group_name FROM memberships WHERE person = $1")
            .bind(person.to_lowercase())
            .fetch_all(&mut transaction.connection)
            .await?;
    Ok(groups.into_iter().collect())
}

/// Why the person has no say in this action, when they have none.
pub(super) async fn stranger(
    transaction: &mut Transaction,
    record: &Record,
    person: &Person,
) -> Result<Option<DecideError>, StoreError> {
    let groups = groups_for(transaction, record, &person.name).await?;
    let now = moment(transaction.now)?;
    let is_escalated = record.is_escalated(now);
    if record.rules.iter().any(|rule| rule.is_for(&groups, is_escalated)) {
        return Ok(None);
    }
    let who: BTreeSet<String> = record.rules.iter().map(|rule| rule.who(is_escalated)).collect();
    let mut who = who.into_iter().collect::<Vec<_>>().join(" and ");
    let later = record.rules.iter().filter(|rule| rule.is_for(&groups, true));
    let later: Vec<&str> = later.filter_map(|rule| rule.escalate_to.as_deref()).collect();
    if let (Some(at), Some(group)) = (record.escalates_at, later.first()) {
        who.push_str(&format!(", and from {} on `{group}`", clock(at)));
    }
    Ok(Some(DecideError::NotAmong {
        id: record.id,
        person: person.name.clone(),
        groups: groups.into_iter().collect(),
        who,
    }))
}

fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Whether the person has, or had when it was asked, a key of the agent that
/// asked: with it they could run what they approve.
async fn is_own(transaction: &mut Transaction, id: i64, person: &str) -> Result<bool, StoreError> {
    Ok(sql::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM actions a WHERE a.id = $1 AND (lower(a.owner) = lower($2) \
         OR EXISTS (SELECT 1 FROM agent_keys k WHERE k.agent = a.requested_by AND \
         k.revoked_at IS NULL AND lower(k.owner) = lower($2))))",
    )
    .bind(id)
    .bind(person)
    .fetch_one(&mut transaction.connection)
    .await?)
}

pub(super) async fn keep_votes(
    transaction: &mut Transaction,
    record: &Record,
) -> Result<(), StoreError> {
    sql::query("UPDATE actions SET votes = $1 WHERE id = $2")
        .bind(serde_json::to_string(&record.votes)?)
        .bind(record.id)
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}

/// Writes down that all approvals are there, by whom the last one was.
pub(super) async fn approve(
    transaction: &mut Transaction,
    mut record: Record,
    life: Life,
    by: Actor,
    comment: Option<String>,
) -> Result<Record, StoreError> {
    let counting = || record.votes.iter().filter(|vote| !vote.counts_for.is_empty());
    let reviewers: Vec<String> = counting().map(Vote::label).collect();
    let comments: Vec<(&Vote, &str)> =
        counting().filter_map(|vote| Some((vote, vote.comment.as_deref()?))).collect();
    let comments = match &comments[..] {
        [] => None,
        [(_, only)] if reviewers.len() == 1 => Some((*only).to_owned()),
        several => {
            let each = several.iter().map(|(vote, text)| format!("{}: {text}", vote.label()));
            Some(each.collect::<Vec<_>>().join("; "))
        }
    };
    record.state = life.state;
    record.expires_at = moment(life.expires_at)?;
    record.reviewed_by = Some(reviewers.join(", "));
    record.comments = comments;
    record.reviewed_at = Some(moment(transaction.now)?);
    sql::query(
        "UPDATE actions SET state = $1, expires_at = $2, reviewed_by = $3, comments = $4, \
         reviewed_at = $5, votes = $6 WHERE id = $7",
    )
    .bind(life.state.as_str())
    .bind(life.expires_at)
    .bind(&record.reviewed_by)
    .bind(&record.comments)
    .bind(transaction.now)
    .bind(serde_json::to_string(&record.votes)?)
    .bind(record.id)
    .execute(&mut transaction.connection)
    .await?;
    let is_alone = reviewers.as_slice() == std::slice::from_ref(&by.name);
    let event = AuditEvent::new(AuditKind::Approved, by).action(record.id);
    let event = AuditEvent {
        comment,
        digest: Some(record.digest),
        reviewers: if is_alone { Vec::new() } else { reviewers },
        ..event.standing(life)?
    };
    transaction.note(event).await?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::{Center, CenterConfig};

    #[tokio::test]
    async fn what_is_due_is_found_by_an_index_of_its_own() {
        let directory = tempfile::tempdir().expect("a folder can be made");
        let center = Center::open(CenterConfig::new(directory.path())).await.expect("it opens");
        let indexes =
            [(NEXT_EXPIRY, "actions_to_expire"), (NEXT_ESCALATION, "actions_to_escalate")];
        for (query, index) in indexes {
            let query = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
            let plan: Vec<(i64, i64, i64, String)> =
                sql::query_as(query).fetch_all(&center.store().readers).await.expect("a plan");
            assert!(plan.iter().any(|step| step.3.contains(index)), "{plan:?}");
        }
    }
}
