//! Grants: standing votes. Each use is counted in the transaction that opens the
//! action it is used for.

use std::{
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError, fit,
    keys::confirm,
    moment,
    sql::{self, Connection},
    votes,
    writer::Transaction,
};
use crate::{
    audit::{Actor, AuditEvent, AuditKind, EntryHash, written},
    identity::{NotAllowed, Origin, Permission, Person},
    life::Event,
    policy::action_id,
    quorum::{GrantUse, Vote},
    record::Record,
    submission::Submission,
};

/// A standing vote of an approver, for calls like it, until it ends or was used
/// as often as it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Grant {
    /// The center's number for it.
    pub id: i64,
    /// Whose vote it is.
    pub granter: String,
    /// Whether they gave it as the owner of the center's directory.
    pub is_owner: bool,
    /// The tool; `None`: any.
    pub tool: Option<String>,
    /// Namespace and verb; `None`: any.
    pub action: Option<String>,
    /// The resource: a pattern in which `*` stands for anything, and `\*` for
    /// itself.
    pub resource: String,
    /// The credential that asks; `None`: any.
    pub agent: Option<String>,
    /// What must hold of the call, in Cedar.
    pub condition: Option<String>,
    /// Why it was given.
    pub comment: Option<String>,
    /// When it was given.
    #[cfg_attr(feature = "http", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it ends.
    #[cfg_attr(feature = "http", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
    /// How many calls it is for.
    pub calls: u32,
    /// How many it was used for.
    pub used: u32,
    /// When it was revoked.
    #[cfg_attr(feature = "http", schema(value_type = Option<String>, format = DateTime))]
    pub revoked_at: Option<Timestamp>,
    /// By whom.
    pub revoked_by: Option<String>,
}

/// Whether a grant is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum GrantStanding {
    /// It is.
    Live,
    /// Its time is over.
    Expired,
    /// It was used as often as it is for.
    UsedUp,
    /// It was revoked.
    Revoked,
}

impl GrantStanding {
    /// The standing as words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::UsedUp => "used up",
            Self::Revoked => "revoked",
        }
    }
}

impl Grant {
    /// Whether it is good at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> GrantStanding {
        if self.revoked_at.is_some() {
            GrantStanding::Revoked
        } else if self.used >= self.calls {
            GrantStanding::UsedUp
        } else if self.expires_at <= now {
            GrantStanding::Expired
        } else {
            GrantStanding::Live
        }
    }

    /// As `reviewed_by` names it.
    fn label(&self) -> String {
        format!("grant {} of {}", self.id, self.granter)
    }
}

/// A grant to be given. It needs a time or a number of calls; what is left out
/// is as much as the center allows at most.
///
/// ```
/// use std::time::Duration;
/// use ascend_center::NewGrant;
///
/// let grant = NewGrant::of_tool("refund", "crm://orders/*")
///     .by_agent("billing-agent")
///     .when("context.arguments.refund.cents <= 5000")
///     .lasting(Duration::from_secs(30 * 60))
///     .calls(10);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "give it to `Center::grant`"]
pub struct NewGrant {
    pub(crate) tool: Option<String>,
    pub(crate) action: Option<String>,
    pub(crate) resource: String,
    pub(crate) agent: Option<String>,
    pub(crate) condition: Option<String>,
    pub(crate) comment: Option<String>,
    pub(crate) lasting: Option<Duration>,
    pub(crate) calls: Option<u32>,
}

impl NewGrant {
    /// Calls of a tool on a resource: a pattern in which `*` stands for anything.
    pub fn of_tool(tool: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { tool: Some(tool.into()), resource: resource.into(), ..Self::default() }
    }

    /// Actions such as `database.delete`, of whatever tool, on a resource: a
    /// pattern in which `*` stands for anything.
    pub fn of_action(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { resource: resource.into(), ..Self::default() }.doing(action)
    }

    /// Calls like the one that is approved with it: of the same tool, action and
    /// agent, on the same resource.
    pub fn of_the_same() -> Self {
        Self::default()
    }

    /// Only where it does this: `database.delete`.
    pub fn doing(mut self, action: impl Into<String>) -> Self {
        self.action = Some(action.into().trim().to_ascii_lowercase());
        self
    }

    /// Only where this credential asks.
    pub fn by_agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Only where this holds of the call: a condition in Cedar, as policies have
    /// it after `when`.
    pub fn when(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// Why, for the record.
    pub fn because(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// For so long.
    pub fn lasting(mut self, time: Duration) -> Self {
        self.lasting = Some(time);
        self
    }

    /// For so many calls.
    pub fn calls(mut self, calls: u32) -> Self {
        self.calls = Some(calls);
        self
    }

    /// The same for calls like this one.
    pub(super) fn like(self, record: &Record) -> Self {
        Self {
            tool: Some(record.tool.clone()).filter(|tool| !tool.is_empty()),
            resource: literal(&record.resource),
            agent: Some(record.requested_by.clone()),
            ..self
        }
        .doing(format!("{}.{}", record.namespace, record.verb))
    }
}

/// A pattern that only this text fits.
fn literal(text: &str) -> String {
    text.replace('\\', r"\\").replace('*', r"\*")
}

/// Why a grant was neither given nor revoked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Whoever asked may not.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// It is for an agent of which the one who wants to give it has a key.
    #[error("agent {0} asks with a key of your own; somebody else has to grant it anything")]
    OwnRequest(String),
    /// It has neither a time nor a number of calls.
    #[error("a grant needs an end: a time, a number of calls, or both")]
    Unbounded,
    /// It is for longer, or more calls, than the center allows.
    #[error("{0}")]
    Limit(String),
    /// It names nothing.
    #[error("{0}")]
    Terms(String),
    /// Its condition cannot be used.
    #[error("the condition cannot be used: {0}")]
    Condition(String),
    /// It is given with the approval of a call for which no grant counts.
    #[error(
        "no grant counts for calls like this one: a person decides on each, because the tool \
         requires it, the risk is critical, or a policy says `@grants(\"deny\")`"
    )]
    NeverCounts,
    /// There is no such grant.
    #[error("there is no grant {0}")]
    Unknown(i64),
    /// The database failed; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What of a grant policies look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) id: i64,
    pub(crate) tool: Option<String>,
    pub(crate) resource: String,
    pub(crate) condition: Option<String>,
}

/// Which of these grants cover a submission.
pub(crate) type Covers = Box<dyn FnOnce(&Submission, Timestamp, &[Granted]) -> Vec<i64> + Send>;

struct Row {
    id: i64,
    granter: String,
    is_owner: i64,
    tool: Option<String>,
    action: Option<String>,
    resource: String,
    agent: Option<String>,
    condition: Option<String>,
    comment: Option<String>,
    created_at: i64,
    expires_at: i64,
    calls: i64,
    used: i64,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
}

sql::from_row!(Row {
    id,
    granter,
    is_owner,
    tool,
    action,
    resource,
    agent,
    condition,
    comment,
    created_at,
    expires_at,
    calls,
    used,
    revoked_at,
    revoked_by,
});

impl TryFrom<Row> for Grant {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let count = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Self {
            id: row.id,
            granter: row.granter,
            is_owner: row.is_owner != 0,
            tool: row.tool,
            action: row.action,
            resource: row.resource,
            agent: row.agent,
            condition: row.condition,
            comment: row.comment,
            created_at: moment(row.created_at)?,
            expires_at: moment(row.expires_at)?,
            calls: count(row.calls),
            used: count(row.used),
            revoked_at: row.revoked_at.map(moment).transpose()?,
            revoked_by: row.revoked_by,
        })
    }
}

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, granter, is_owner, tool, action, resource, agent, condition, comment, \
             created_at, expires_at, calls, used, revoked_at, revoked_by FROM grants ",
            $condition
        )
    };
}

impl Store {
    pub(crate) async fn grant(&self, by: Person, new: NewGrant) -> Result<Grant, GrantError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) = confirm(transaction, &by, Permission::Decide).await? {
                    return Ok(Err(refused.into()));
                }
                insert(transaction, &by, new).await
            })
        })
        .await?
    }

    /// The newest `limit` grants, the newest first.
    pub(crate) async fn grants(&self, limit: u32) -> Result<Vec<Grant>, StoreError> {
        let rows: Vec<Row> = sql::query_as(select!("ORDER BY id DESC LIMIT $1"))
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(Grant::try_from).collect()
    }

    /// Ends a grant; whether it was live.
    pub(crate) async fn revoke_grant(&self, by: Person, id: i64) -> Result<bool, GrantError> {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) = confirm(transaction, &by, Permission::Stop).await? {
                    return Ok(Err(refused.into()));
                }
                let Some(grant) = find(transaction, id).await? else {
                    return Ok(Err(GrantError::Unknown(id)));
                };
                let standing = grant.standing(moment(transaction.now)?);
                if standing == GrantStanding::Revoked {
                    return Ok(Ok(false));
                }
                sql::query("UPDATE grants SET revoked_at = $1, revoked_by = $2 WHERE id = $3")
                    .bind(transaction.now)
                    .bind(&by.name)
                    .bind(id)
                    .execute(&mut transaction.connection)
                    .await?;
                let event = AuditEvent::new(AuditKind::GrantRevoked, by.actor());
                let event = AuditEvent { grant: Some(id), ..event.subject(grant.label()) };
                transaction.note(event).await?;
                // Pending actions that it counted for miss it now.
                votes::recount_of(transaction, &grant.granter).await?;
                Ok(Ok(standing == GrantStanding::Live))
            })
        })
        .await?
    }
}

async fn find(transaction: &mut Transaction, id: i64) -> Result<Option<Grant>, StoreError> {
    read(&mut transaction.connection, id).await
}

pub(super) async fn read(
    connection: &mut Connection,
    id: i64,
) -> Result<Option<Grant>, StoreError> {
    let row: Option<Row> =
        sql::query_as(select!("WHERE id = $1")).bind(id).fetch_optional(connection).await?;
    row.map(Grant::try_from).transpose()
}

/// Whether its uses count: it was not revoked.
pub(super) async fn stands(transaction: &mut Transaction, id: i64) -> Result<bool, StoreError> {
    Ok(find(transaction, id).await?.is_some_and(|grant| grant.revoked_at.is_none()))
}

/// Keeps a grant by somebody who may give it.
pub(super) async fn insert(
    transaction: &mut Transaction,
    by: &Person,
    new: NewGrant,
) -> Result<Result<Grant, GrantError>, StoreError> {
    let (Some(lasting), Some(calls)) = (new.lasting, new.calls) else {
        return Ok(Err(GrantError::Unbounded));
    };
    if let Some(agent) = &new.agent {
        let is_own: bool = sql::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM agent_keys WHERE agent = $1 AND revoked_at IS NULL AND \
             lower(owner) = lower($2))",
        )
        .bind(agent)
        .bind(&by.name)
        .fetch_one(&mut transaction.connection)
        .await?;
        if is_own {
            return Ok(Err(GrantError::OwnRequest(agent.clone())));
        }
    }
    let lasting = i64::try_from(lasting.as_millis()).unwrap_or(i64::MAX);
    let comment = new.comment.map(fit);
    let id = sql::query(
        "INSERT INTO grants (granter, is_owner, tool, action, resource, agent, condition, comment, \
         created_at, expires_at, calls) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(&by.name)
    .bind(by.origin == Origin::Directory)
    .bind(&new.tool)
    .bind(&new.action)
    .bind(&new.resource)
    .bind(&new.agent)
    .bind(&new.condition)
    .bind(&comment)
    .bind(transaction.now)
    .bind(transaction.now.saturating_add(lasting))
    .bind(i64::from(calls))
    .insert(&mut transaction.connection)
    .await?;
    let grant = find(transaction, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    let event = AuditEvent::new(AuditKind::GrantCreated, by.actor()).subject(grant.label());
    let detail = format!("{} calls until {}", grant.calls, written(grant.expires_at));
    // Its resource can be an agent's own text, which is not for the log.
    let content = EntryHash::of(
        "grant v1",
        [
            grant.tool.as_deref(),
            grant.action.as_deref(),
            Some(&grant.resource),
            grant.agent.as_deref(),
            grant.condition.as_deref(),
        ],
    );
    let event =
        AuditEvent { grant: Some(id), content: Some(content), comment, ..event.detail(detail) };
    transaction.note(event).await?;
    Ok(Ok(grant))
}

/// Lets the grants vote that cover a new action, as far as their votes are missing.
/// Only what a person may let pass comes here: what is denied never does.
pub(super) async fn apply(
    transaction: &mut Transaction,
    mut record: Record,
    submission: Submission,
    covers: Covers,
) -> Result<Record, StoreError> {
    if !record.rules.iter().any(|rule| rule.grants == GrantUse::Allow) {
        return Ok(record);
    }
    let live = live(transaction, &record).await?;
    if live.is_empty() {
        return Ok(record);
    }
    let granted: Vec<Granted> = live.iter().map(Granted::of).collect();
    let now = moment(transaction.now)?;
    // This task writes for all: a panic must not end it.
    let covered = panic::catch_unwind(AssertUnwindSafe(|| covers(&submission, now, &granted)));
    let Ok(covered) = covered else {
        tracing::error!("the evaluation of a grant panicked; the action waits for a person");
        return Ok(record);
    };
    let missing = |record: &Record| -> u64 {
        record.progress().iter().map(|progress| u64::from(progress.missing)).sum()
    };
    let mut last = None;
    let mut is_met = false;
    for grant in live.into_iter().filter(|grant| covered.contains(&grant.id)) {
        if record.votes.iter().any(|vote| vote.is_by(&grant.granter)) {
            continue;
        }
        let mut with = record.clone();
        with.votes.push(Vote {
            person: grant.granter.clone(),
            is_owner: grant.is_owner,
            grant: Some(grant.id),
            comment: grant.comment.clone(),
            at: now,
            digest: record.digest,
            counts_for: Vec::new(),
        });
        let meets = votes::tally(transaction, &mut with).await?;
        // A call is counted only where it brings the action further.
        if missing(&with) == missing(&record) || !spend(transaction, &record, &grant).await? {
            continue;
        }
        record = with;
        last = Some(grant.label());
        is_met = meets;
        if is_met {
            break;
        }
    }
    let Some(last) = last else { return Ok(record) };
    let (life, answer) = record.life().after(Event::Approve, transaction.now, false);
    if is_met && answer.is_ok() {
        return votes::approve(transaction, record, life, Actor::new("grant", last), None).await;
    }
    votes::keep_votes(transaction, &record).await?;
    Ok(record)
}

impl Granted {
    fn of(grant: &Grant) -> Self {
        Self {
            id: grant.id,
            tool: grant.tool.clone(),
            resource: grant.resource.clone(),
            condition: grant.condition.clone(),
        }
    }
}

/// The live grants that name this action, those that end first at the front.
async fn live(transaction: &mut Transaction, record: &Record) -> Result<Vec<Grant>, StoreError> {
    let rows: Vec<Row> = sql::query_as(select!(
        "WHERE revoked_at IS NULL AND expires_at > $1 AND used < calls \
         AND (tool IS NULL OR tool = $2) AND (action IS NULL OR action = $3) \
         AND (agent IS NULL OR agent = $4) ORDER BY expires_at, id"
    ))
    .bind(transaction.now)
    .bind(&record.tool)
    .bind(action_id(&record.namespace, &record.verb))
    .bind(&record.requested_by)
    .fetch_all(&mut transaction.connection)
    .await?;
    rows.into_iter().map(Grant::try_from).collect()
}

/// Counts a use of the grant for the action; false when there is none left.
async fn spend(
    transaction: &mut Transaction,
    record: &Record,
    grant: &Grant,
) -> Result<bool, StoreError> {
    let used: Option<i64> = sql::query_scalar(
        "UPDATE grants SET used = used + 1 WHERE id = $1 AND used < calls RETURNING used",
    )
    .bind(grant.id)
    .fetch_optional(&mut transaction.connection)
    .await?;
    let Some(used) = used else { return Ok(false) };
    let of_grant = |kind| {
        let actor = Actor::new("grant", grant.label());
        let event = AuditEvent::new(kind, actor).action(record.id).subject(grant.label());
        AuditEvent { grant: Some(grant.id), ..event }
    };
    let detail = format!("{used} of {} calls", grant.calls);
    let event = of_grant(AuditKind::GrantUsed).detail(detail);
    transaction.note(AuditEvent { digest: Some(record.digest), ..event }).await?;
    if used >= i64::from(grant.calls) {
        transaction.note(of_grant(AuditKind::GrantUsedUp)).await?;
    }
    Ok(true)
}
