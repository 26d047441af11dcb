//! Actions in the database. Each change goes through [`Life::after`] in one
//! transaction with reading where the action stands.

use ascend_sdk::{Claim, Decision, Digest, Outcome, RefusalKind, Rejection, RiskLevel};
use jiff::Timestamp;

use super::{Store, StoreError, kill_switch, terms, writer::Transaction};
use crate::{
    life::{ActionState, Event, Life, Refused},
    record::{Matched, Record},
    submission::Submission,
};

/// What policy and floor say of a submission.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    pub(crate) risk_score: u8,
    pub(crate) risk_level: RiskLevel,
    pub(crate) reason: String,
    pub(crate) matched: Vec<Matched>,
}

/// A submission with its verdict.
#[derive(Debug)]
pub(crate) struct NewAction {
    pub(crate) submission: Submission,
    pub(crate) verdict: Verdict,
}

/// Why a submission was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error("the idempotency key was used for another call, action {0}")]
    KeyReused(i64),
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
    /// The database failed; nothing was decided.
    #[error(transparent)]
    Store(#[from] StoreError),
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
             risk_score, risk_level, reason, matched, digest, idempotency_key, requested_by, reviewed_by, \
             comments, reviewed_at, promised FROM actions ",
            $($condition),+
        )
    };
}
#[cfg(feature = "http")]
pub(super) use select;

impl Store {
    /// Keeps a submission, or finds the action that the same call opened before.
    pub(crate) async fn submit(&self, new: NewAction) -> Result<Record, SubmitError> {
        self.write(move |transaction| Box::pin(submit(transaction, new))).await?
    }

    /// The action as it stands now.
    pub(crate) async fn action(&self, id: i64) -> Result<Option<Record>, StoreError> {
        let record: Option<Record> =
            sqlx::query_as(select!("WHERE id = ?")).bind(id).fetch_optional(&self.readers).await?;
        Ok(record.map(|record| record.at(Timestamp::now())))
    }

    /// The newest actions, oldest first: those in `state`, or all.
    pub(crate) async fn actions(
        &self,
        state: Option<ActionState>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let now = Timestamp::now();
        // What expired unseen still stands as open in the table.
        let query = match state {
            None => select!("WHERE ?1 IS NULL AND ?2 >= 0 ORDER BY id DESC LIMIT ?3"),
            Some(ActionState::Pending | ActionState::Allowed | ActionState::Approved) => {
                select!("WHERE state = ?1 AND expires_at > ?2 ORDER BY id DESC LIMIT ?3")
            }
            Some(ActionState::Expired) => select!(
                "WHERE state = ?1 OR (state IN ('pending', 'allowed', 'approved') AND \
                 expires_at <= ?2) ORDER BY id DESC LIMIT ?3"
            ),
            Some(_) => select!("WHERE state = ?1 AND ?2 >= 0 ORDER BY id DESC LIMIT ?3"),
        };
        let mut records: Vec<Record> = sqlx::query_as(query)
            .bind(state.map(ActionState::as_str))
            .bind(now.as_millisecond())
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        records.reverse();
        Ok(records.into_iter().map(|record| record.at(now)).collect())
    }

    /// An approver's decision.
    pub(crate) async fn decide(
        &self,
        id: i64,
        approve: bool,
        approver: String,
        comment: Option<String>,
    ) -> Result<Record, DecideError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let Some(record) = find(transaction, id).await? else {
                    return Ok(Err(DecideError::Unknown(id)));
                };
                let event = if approve { Event::Approve } else { Event::Reject };
                let (life, answer) = record.life().after(event, transaction.now, false);
                if answer.is_err() {
                    let record = settle(transaction, record, life).await?;
                    return Ok(Err(DecideError::NotPending(Box::new(record))));
                }
                sqlx::query(
                    "UPDATE actions SET state = ?, expires_at = ?, reviewed_by = ?, \
                     comments = ?, reviewed_at = ? WHERE id = ?",
                )
                .bind(life.state.as_str())
                .bind(life.expires_at)
                .bind(&approver)
                .bind(&comment)
                .bind(transaction.now)
                .bind(id)
                .execute(&mut transaction.connection)
                .await?;
                transaction
                    .note(Some(id), life.state.as_str(), &approver, comment.as_deref())
                    .await?;
                Ok(find(transaction, id).await?.ok_or(DecideError::Unknown(id)))
            })
        })
        .await?
    }

    /// Promises the action to its agent, where that can still be done.
    pub(crate) async fn promise(&self, id: i64, by: String) -> Result<Option<Record>, StoreError> {
        self.write(move |transaction| Box::pin(promise(transaction, id, by))).await
    }

    /// Claims the action's decision for one run.
    pub(crate) async fn claim(
        &self,
        id: i64,
        digest: Digest,
        by: String,
    ) -> Result<Claim, StoreError> {
        self.write(move |transaction| Box::pin(claim(transaction, id, digest, by))).await
    }

    /// Keeps what became of an action.
    pub(crate) async fn report(
        &self,
        id: i64,
        outcome: Outcome,
        by: String,
    ) -> Result<Record, ReportError> {
        self.write(move |transaction| Box::pin(report(transaction, id, outcome, by))).await?
    }

    /// Writes down that the action expired, when it did.
    pub(crate) async fn expire(&self, id: i64) -> Result<Option<Record>, StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                let Some(record) = find(transaction, id).await? else { return Ok(None) };
                let life = record.life().at(transaction.now);
                Ok(Some(settle(transaction, record, life).await?))
            })
        })
        .await
    }
}

async fn find(transaction: &mut Transaction, id: i64) -> Result<Option<Record>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE id = ?"))
        .bind(id)
        .fetch_optional(&mut transaction.connection)
        .await?)
}

/// Writes down what time, or a refused event, has made of the action.
async fn settle(
    transaction: &mut Transaction,
    mut record: Record,
    life: Life,
) -> Result<Record, StoreError> {
    if record.state != life.state {
        record.state = life.state;
        move_to(transaction, record.id, life, "center", None).await?;
    }
    Ok(record)
}

async fn keep(transaction: &mut Transaction, id: i64, life: Life) -> Result<(), StoreError> {
    sqlx::query("UPDATE actions SET state = ?, expires_at = ?, promised = ? WHERE id = ?")
        .bind(life.state.as_str())
        .bind(life.expires_at)
        .bind(life.promised)
        .bind(id)
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}

async fn move_to(
    transaction: &mut Transaction,
    id: i64,
    life: Life,
    by: &str,
    detail: Option<&str>,
) -> Result<(), StoreError> {
    keep(transaction, id, life).await?;
    transaction.note(Some(id), life.state.as_str(), by, detail).await
}

async fn submit(
    transaction: &mut Transaction,
    new: NewAction,
) -> Result<Result<Record, SubmitError>, StoreError> {
    let NewAction { submission, mut verdict } = new;
    if submission.idempotency_key.is_some() {
        let earlier: Option<Record> = sqlx::query_as(select!(
            "WHERE requested_by = ? AND server_id = ? AND idempotency_key = ?"
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
            return Ok(Ok(settle(transaction, record, life).await?));
        }
    }
    let mut refusal = None;
    let terms = terms::terms(&mut transaction.connection, &submission).await?;
    if let Some(risk) = terms.risk.filter(|risk| *risk > verdict.risk_score) {
        verdict.risk_score = risk;
        verdict.risk_level = RiskLevel::of_score(risk);
    }
    if let Some(objection) = terms.objection {
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
        return Ok(Ok(record));
    }
    let state = match verdict.decision {
        Decision::Allow => ActionState::Allowed,
        Decision::RequireApproval => ActionState::Pending,
        Decision::Deny => ActionState::Denied,
    };
    let timeout = i64::try_from(submission.approval_timeout.as_millis()).unwrap_or(i64::MAX);
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO actions (state, decision, refusal, created_at, expires_at, server_id, tool, \
         namespace, verb, resource, summary, parameters, user_context, session_id, client, \
         risk_score, risk_level, reason, matched, digest, idempotency_key, requested_by, request) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(state.as_str())
    .bind(verdict.decision.as_str())
    .bind(refusal)
    .bind(transaction.now)
    .bind(transaction.now.saturating_add(timeout))
    .bind(&submission.server_id)
    .bind(&submission.tool)
    .bind(&submission.namespace)
    .bind(&submission.verb)
    .bind(&submission.resource)
    .bind(&submission.summary)
    .bind(serde_json::to_string(&submission.parameters)?)
    .bind(serde_json::to_string(&submission.user_context)?)
    .bind(&submission.session.session_id)
    .bind(submission.client())
    .bind(verdict.risk_score)
    .bind(verdict.risk_level.as_str())
    .bind(&verdict.reason)
    .bind(serde_json::to_string(&verdict.matched)?)
    .bind(submission.digest.to_string())
    .bind(&submission.idempotency_key)
    .bind(&submission.requested_by)
    .bind(&submission.request)
    .fetch_one(&mut transaction.connection)
    .await?;
    transaction
        .note(Some(id), state.as_str(), &submission.requested_by, Some(&verdict.reason))
        .await?;
    match find(transaction, id).await? {
        Some(record) => Ok(Ok(record)),
        None => Err(sqlx::Error::RowNotFound.into()),
    }
}

/// Whether it is what action `id` was asked with.
async fn is_request(
    transaction: &mut Transaction,
    id: i64,
    request: &str,
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT request = ? FROM actions WHERE id = ?")
        .bind(request)
        .bind(id)
        .fetch_one(&mut transaction.connection)
        .await?)
}

/// The action that an earlier call like this was promised.
async fn join(
    transaction: &mut Transaction,
    submission: &Submission,
) -> Result<Option<Record>, StoreError> {
    let promised: Option<Record> = sqlx::query_as(select!(
        "WHERE promised = 1 AND server_id = ? AND digest = ? AND requested_by = ? AND tool = ? \
         AND resource = ? ORDER BY id DESC LIMIT 1"
    ))
    .bind(&submission.server_id)
    .bind(submission.digest.to_string())
    .bind(&submission.requested_by)
    .bind(&submission.tool)
    .bind(&submission.resource)
    .fetch_optional(&mut transaction.connection)
    .await?;
    let Some(record) = promised else { return Ok(None) };
    let Some(life) = record.life().joined(transaction.now) else { return Ok(None) };
    let mut record = settle(transaction, record, life).await?;
    let kind = if life.promised { "joined" } else { "told" };
    keep(transaction, record.id, life).await?;
    record.promised = life.promised;
    let session = Some(submission.session.session_id.as_str());
    transaction.note(Some(record.id), kind, &submission.requested_by, session).await?;
    Ok(Some(record))
}

async fn promise(
    transaction: &mut Transaction,
    id: i64,
    by: String,
) -> Result<Option<Record>, StoreError> {
    let Some(record) = find(transaction, id).await? else { return Ok(None) };
    let (life, answer) = record.life().after(Event::Promise, transaction.now, false);
    let record = settle(transaction, record, life).await?;
    if answer.is_ok() && !record.promised {
        keep(transaction, id, life).await?;
        transaction.note(Some(id), "promised", &by, None).await?;
        return find(transaction, id).await;
    }
    Ok(Some(record))
}

async fn claim(
    transaction: &mut Transaction,
    id: i64,
    digest: Digest,
    by: String,
) -> Result<Claim, StoreError> {
    let Some(record) = find(transaction, id).await? else {
        let rejection = Rejection {
            kind: RefusalKind::Denied,
            reason: Some(format!("there is no action {id}")),
            reviewed_by: None,
        };
        return Ok(Claim::Refused(rejection));
    };
    let switch = kill_switch::read(&mut transaction.connection).await?;
    let (life, answer) =
        record.life().after(Event::Claim(digest), transaction.now, switch.is_some());
    let claim = match answer {
        Ok(()) => Claim::Granted,
        Err(Refused::State(state)) => {
            let mut record = record.clone();
            record.state = state;
            Claim::Refused(record.rejection())
        }
        Err(Refused::DigestMismatch) => Claim::Refused(Rejection {
            kind: RefusalKind::DigestMismatch,
            reason: Some("the decision was for other arguments, and ends here".to_owned()),
            reviewed_by: None,
        }),
        Err(Refused::KillSwitch) => Claim::Refused(Rejection {
            kind: RefusalKind::KillSwitch,
            reason: switch.map(|switch| switch.sentence()),
            reviewed_by: None,
        }),
    };
    if answer == Err(Refused::DigestMismatch) {
        transaction.note(Some(id), "digest_mismatch", &by, Some(&digest.to_string())).await?;
    }
    if life.state != record.state {
        move_to(transaction, id, life, &by, None).await?;
    }
    Ok(claim)
}

async fn report(
    transaction: &mut Transaction,
    id: i64,
    outcome: Outcome,
    by: String,
) -> Result<Result<Record, ReportError>, StoreError> {
    let Some(record) = find(transaction, id).await? else {
        return Ok(Err(ReportError::Unknown(id)));
    };
    let (event, detail) = match outcome {
        Outcome::Completed { duration } => {
            (Event::Complete, format!("after {} ms", duration.as_millis()))
        }
        Outcome::Failed { duration, error } => {
            (Event::Fail, format!("after {} ms: {error}", duration.as_millis()))
        }
        Outcome::Withdrawn { reason } => (Event::Withdraw, reason),
    };
    let (life, answer) = record.life().after(event, transaction.now, false);
    if answer.is_err() {
        let record = settle(transaction, record, life).await?;
        return Ok(Err(ReportError::Conflict(Box::new(record))));
    }
    let mut record = record;
    if life.state != record.state {
        record.state = life.state;
        move_to(transaction, id, life, &by, Some(&detail)).await?;
    }
    Ok(Ok(record))
}
