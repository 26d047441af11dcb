//! An action as the center keeps it.

use std::str::FromStr;

use ascend_sdk::{
    ActionId, Approval, Decision, Digest, Evaluation, RefusalKind, Rejection, Review, RiskLevel,
    TraceParent,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    life::{ActionState, Life},
    quorum::{self, Progress, Rule, Vote},
    store::{FromRow, Objection, Row},
};

/// One action: what was asked, what was answered, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The center's number for it.
    pub id: i64,
    /// Where it stands.
    pub state: ActionState,
    /// What was answered when it was asked.
    pub decision: Decision,
    /// Of a denied action: which refusal it is, when it is no plain denial.
    pub refusal: Option<String>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it expires unless it is decided, or run, before.
    pub expires_at: Timestamp,
    /// The server that asks.
    pub server_id: String,
    /// Its tool; empty when the client told none.
    pub tool: String,
    /// The area it acts on.
    pub namespace: String,
    /// What it does there.
    pub verb: String,
    /// What it acts on.
    pub resource: String,
    /// One sentence for the approver.
    pub summary: Option<String>,
    /// The arguments, sensitive values masked.
    pub parameters: Map<String, Value>,
    /// The user on whose behalf the server runs, as the server was told.
    pub user_context: Map<String, Value>,
    /// The calling session.
    pub session_id: String,
    /// The calling program, as it called itself.
    pub client: Option<String>,
    /// From 0 to 100.
    pub risk_score: u8,
    /// The score's level, or the floor's.
    pub risk_level: RiskLevel,
    /// Why it was answered so.
    pub reason: String,
    /// The policies that matched.
    pub matched: Vec<Matched>,
    /// What the decision is bound to.
    pub digest: Digest,
    /// The caller's key for this call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The credential that asked.
    pub requested_by: String,
    /// Who decided.
    pub reviewed_by: Option<String>,
    /// What they wrote.
    pub comments: Option<String>,
    /// When they decided.
    pub reviewed_at: Option<Timestamp>,
    /// Whether an agent was told that it waits on, and is to come back for it.
    pub promised: bool,
    /// What its caller told of the end: an error, or why it was withdrawn.
    pub outcome: Option<String>,
    /// When retention erased its arguments, and all else that tells of them.
    pub erased_at: Option<Timestamp>,
    /// Whether the word of the client's user counts as an approval.
    pub in_client: bool,
    /// What its approval takes: all of these. None, unless a person must decide.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Who has approved so far.
    #[serde(default)]
    pub votes: Vec<Vote>,
    /// When the groups count to which rules escalate it; `None` when none does.
    #[serde(default)]
    pub escalates_at: Option<Timestamp>,
    /// The span in which it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}

/// A policy that matched an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
pub struct Matched {
    /// Its `@id`.
    pub policy: String,
    /// What it asks for.
    pub effect: Effect,
    /// Its `@reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its `@risk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<u8>,
}

/// What a policy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "http", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// `permit`
    Allow,
    /// `@decision("require_approval") forbid`
    RequireApproval,
    /// `forbid`
    Deny,
}

impl From<Decision> for Effect {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allow,
            Decision::RequireApproval => Self::RequireApproval,
            Decision::Deny => Self::Deny,
        }
    }
}

impl Effect {
    /// How a policy with this effect reads.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Allow => "permit",
            Self::RequireApproval => "forbid, unless a person approves",
            Self::Deny => "forbid",
        }
    }
}

impl Record {
    pub(crate) fn life(&self) -> Life {
        Life {
            state: self.state,
            digest: self.digest,
            expires_at: self.expires_at.as_millisecond(),
            promised: self.promised,
            in_client: self.in_client,
        }
    }

    /// How far each of its rules is met, in their order.
    ///
    /// ```no_run
    /// # async fn example(center: ascend_center::Center) -> Result<(), ascend_center::StoreError> {
    /// if let Some(action) = center.action(7).await? {
    ///     for progress in action.progress() {
    ///         println!("{progress}"); // 1 of 2 approvals by `dba`
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        quorum::progress(&self.rules, &self.votes, self.is_escalated(Timestamp::now()))
    }

    /// How far its approval is, in words: `1 of 2 approvals by `dba``.
    #[must_use]
    pub fn approvals(&self) -> String {
        let told: Vec<String> = self.progress().iter().map(ToString::to_string).collect();
        told.join(", ")
    }

    /// Whether the groups count to which rules escalate it.
    #[must_use]
    pub fn is_escalated(&self, now: Timestamp) -> bool {
        self.escalates_at.is_some_and(|at| at <= now)
    }

    /// Whether a grant counts for any of its rules.
    pub(crate) fn takes_grants(&self) -> bool {
        self.rules.iter().any(Rule::takes_grants)
    }

    /// Whether grants alone approved it, when it was asked.
    #[cfg(feature = "http")]
    pub(crate) fn is_granted(&self) -> bool {
        self.reviewed_at == Some(self.created_at)
            && self.votes.iter().any(|vote| vote.grant.is_some())
    }

    /// The record at `now`: an open action whose time ran out is expired.
    pub(crate) fn at(mut self, now: Timestamp) -> Self {
        self.state = self.life().at(now.as_millisecond()).state;
        self
    }

    /// The id as the SDK knows it.
    ///
    /// # Panics
    ///
    /// Never: a number is a sound id.
    #[must_use]
    #[expect(clippy::expect_used, reason = "digits and a sign are allowed in an id")]
    pub fn action_id(&self) -> ActionId {
        ActionId::new(self.id.to_string()).expect("a number is a sound id")
    }

    /// What the decision is now.
    #[must_use]
    pub fn current_decision(&self) -> Decision {
        match self.state {
            ActionState::Pending => Decision::RequireApproval,
            ActionState::Allowed | ActionState::Approved => Decision::Allow,
            _ => Decision::Deny,
        }
    }

    /// Which refusal it is now; `None` while it may still run.
    #[must_use]
    pub fn current_refusal(&self) -> Option<RefusalKind> {
        match self.state {
            ActionState::Pending | ActionState::Allowed | ActionState::Approved => None,
            ActionState::Denied if self.is_killed() => Some(RefusalKind::KillSwitch),
            // Nobody decided, which is not the same as an approval that came to nothing.
            ActionState::Expired if self.has_timed_out() => Some(RefusalKind::TimedOut),
            state => state.refusal(),
        }
    }

    /// Whether the kill switch denied it, and not policy.
    pub(crate) fn is_killed(&self) -> bool {
        self.refusal.as_deref() == Some(RefusalKind::KillSwitch.as_str())
    }

    /// Whether it was denied whatever policy says.
    pub(crate) fn is_overruled(&self) -> bool {
        self.is_killed()
            || self.refusal.as_deref().is_some_and(|word| Objection::word(word).is_some())
    }

    /// Whether it expired while it waited for a person.
    #[must_use]
    pub fn has_timed_out(&self) -> bool {
        self.state == ActionState::Expired
            && self.decision == Decision::RequireApproval
            && self.reviewed_by.is_none()
    }

    /// Why the decision is what it is now.
    #[must_use]
    pub fn current_reason(&self) -> String {
        match self.state {
            ActionState::Rejected => {
                self.comments.clone().unwrap_or_else(|| "rejected by an approver".to_owned())
            }
            // The words of ASCEND's example.
            ActionState::Expired if self.has_timed_out() => "Approval timeout".to_owned(),
            ActionState::Expired => "the decision expired before it was used".to_owned(),
            ActionState::Withdrawn => "it was withdrawn".to_owned(),
            ActionState::Executing | ActionState::Completed | ActionState::Failed => {
                format!("action {} already ran", self.id)
            }
            ActionState::Approved if self.votes.iter().any(|vote| vote.grant.is_some()) => {
                format!("approved by {}", self.reviewed_by.as_deref().unwrap_or("a grant"))
            }
            _ => self.reason.clone(),
        }
    }

    pub(crate) fn approval(&self) -> Option<Approval> {
        self.reviewed_by.as_ref().map(|reviewer| Approval {
            reviewed_by: Some(reviewer.clone()),
            comments: self.comments.clone(),
        })
    }

    /// Why it cannot run as it stands.
    pub(crate) fn rejection(&self) -> Rejection {
        let kind = match self.state {
            ActionState::Pending => RefusalKind::ApprovalMissing,
            _ => self.current_refusal().unwrap_or(RefusalKind::Denied),
        };
        Rejection {
            kind,
            reason: Some(self.current_reason()),
            reviewed_by: self.reviewed_by.clone(),
        }
    }

    pub(crate) fn evaluation(&self) -> Evaluation {
        let decision = self.current_decision();
        Evaluation {
            decision,
            action_id: self.action_id(),
            risk_score: self.risk_score,
            risk_level: self.risk_level,
            reason: Some(self.current_reason()),
            refusal: self.current_refusal(),
            approval: (self.state == ActionState::Approved).then(|| self.approval()).flatten(),
            estimated_approval_time: None,
            expires_in: (decision == Decision::RequireApproval).then(|| {
                let left = self.expires_at.duration_since(Timestamp::now());
                std::time::Duration::try_from(left).unwrap_or_default()
            }),
            in_client_approval: self.takes_word_of_client(),
        }
    }

    /// Whether the client's user can decide on it now.
    pub(crate) fn takes_word_of_client(&self) -> bool {
        self.in_client && self.state == ActionState::Pending
    }

    /// How the wait for a person ended; `None` while it has not.
    pub(crate) fn review(&self) -> Option<Review> {
        match self.state {
            ActionState::Pending => None,
            ActionState::Approved => Some(Review::Approved(self.approval().unwrap_or_default())),
            ActionState::Allowed => Some(Review::AutoApproved),
            _ => Some(Review::Rejected(self.rejection())),
        }
    }
}

impl FromRow for Record {
    fn from_row(row: &Row<'_>) -> Result<Self, sqlx::Error> {
        // In the order of the columns, in which they are found at once.
        let mut record = Self {
            id: row.read("id")?,
            state: word(row, "state")?,
            decision: json_word(row, "decision")?,
            refusal: row.read("refusal")?,
            created_at: time(row, "created_at")?,
            expires_at: time(row, "expires_at")?,
            server_id: row.read("server_id")?,
            tool: row.read("tool")?,
            namespace: row.read("namespace")?,
            verb: row.read("verb")?,
            resource: row.read("resource")?,
            summary: row.read("summary")?,
            parameters: json(row, "parameters")?,
            user_context: json(row, "user_context")?,
            session_id: row.read("session_id")?,
            client: row.read("client")?,
            risk_score: risk_score(row)?,
            risk_level: word(row, "risk_level")?,
            reason: row.read("reason")?,
            matched: json(row, "matched")?,
            digest: word(row, "digest")?,
            idempotency_key: row.read("idempotency_key")?,
            requested_by: row.read("requested_by")?,
            reviewed_by: row.read("reviewed_by")?,
            comments: row.read("comments")?,
            reviewed_at: optional_time(row, "reviewed_at")?,
            promised: row.flag("promised")?,
            outcome: row.read("outcome")?,
            erased_at: optional_time(row, "erased_at")?,
            in_client: row.flag("in_client")?,
            rules: json(row, "rules")?,
            votes: json(row, "votes")?,
            escalates_at: optional_time(row, "escalates_at")?,
            traceparent: row
                .read::<Option<String>>("traceparent")?
                .and_then(|text| TraceParent::parse(&text)),
        };
        if record.rules.is_empty() && record.decision == Decision::RequireApproval {
            // It was opened before there were rules.
            record.rules.push(Rule::default().frozen(true));
        }
        Ok(record)
    }
}

fn unreadable(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) }
}

pub(crate) fn word<T>(row: &Row<'_>, column: &str) -> Result<T, sqlx::Error>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: &str = row.read(column)?;
    text.parse().map_err(|error| unreadable(column, error))
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
) -> Result<T, sqlx::Error> {
    let text: &str = row.read(column)?;
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

pub(crate) fn json_word<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
) -> Result<T, sqlx::Error> {
    let text: String = row.read(column)?;
    serde_json::from_value(Value::String(text)).map_err(|error| unreadable(column, error))
}

pub(crate) fn risk_score(row: &Row<'_>) -> Result<u8, sqlx::Error> {
    let score: i64 = row.read("risk_score")?;
    u8::try_from(score).map_err(|error| unreadable("risk_score", error))
}

pub(crate) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp, sqlx::Error> {
    timestamp(column, row.read(column)?)
}

fn optional_time(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    row.read::<Option<i64>>(column)?.map(|at| timestamp(column, at)).transpose()
}

fn timestamp(column: &str, milliseconds: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| unreadable(column, error))
}
