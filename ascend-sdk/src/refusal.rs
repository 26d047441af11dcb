//! Why a call did not run.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{ActionId, Decision, Rejection, decision::governance_object};

/// Which refusal it is. Every one means: *the body did not run*.
///
/// Exhaustive on purpose: a new way to be refused should break the build of
/// those who tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The authority's policy denies the call.
    Denied,
    /// A person rejected it.
    Rejected,
    /// No person has decided yet. The action goes on waiting, and an identical
    /// call joins it. Only calls of MCP clients end so.
    Pending,
    /// No person decided in time.
    TimedOut,
    /// The approval, or the action itself, expired before the run.
    Expired,
    /// A person's approval is required, and the authority showed none.
    ApprovalMissing,
    /// The authority could not be asked.
    Unreachable,
    /// The authority answered something that cannot be understood.
    Malformed,
    /// The authority does not accept this server's credentials.
    Unauthorized,
    /// The kill switch is raised.
    KillSwitch,
    /// The caller went away, or the server is stopping.
    Cancelled,
    /// The decision was already used for a run.
    AlreadyExecuted,
    /// The decision was for other arguments.
    DigestMismatch,
    /// The server's own allow list or block list forbids the tool.
    Blocked,
    /// The call could not be described to an authority.
    Invalid,
    /// No governor is installed.
    NoGovernor,
}

impl RefusalKind {
    /// The kind as a word, as it stands in the governance object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Pending => "pending",
            Self::TimedOut => "timed_out",
            Self::Expired => "expired",
            Self::ApprovalMissing => "approval_missing",
            Self::Unreachable => "unreachable",
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::KillSwitch => "kill_switch",
            Self::Cancelled => "cancelled",
            Self::AlreadyExecuted => "already_executed",
            Self::DigestMismatch => "digest_mismatch",
            Self::Blocked => "blocked",
            Self::Invalid => "invalid",
            Self::NoGovernor => "no_governor",
        }
    }

    /// `rejected` where a wait for a person ended, `pending` where it did not,
    /// `blocked` otherwise: the first and the last are the words of ASCEND's MCP example.
    #[must_use]
    pub const fn status(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Rejected | Self::TimedOut | Self::Expired | Self::Cancelled => "rejected",
            _ => "blocked",
        }
    }

    /// A sentence that a model can act on.
    const fn sentence(self) -> &'static str {
        match self {
            Self::Denied => {
                "Action blocked by ASCEND governance policy. It was not executed; do not retry it unchanged"
            }
            Self::Rejected => {
                "Action rejected by approver. It was not executed; do not retry it unchanged"
            }
            Self::Pending => {
                "The action waits for a person's approval. It was not executed yet; call again with the same arguments once it is approved"
            }
            Self::TimedOut => {
                "Nobody approved the action in time. It was not executed; ask the user to have it approved, then call again"
            }
            Self::Expired => {
                "The approval expired before the action could run. It was not executed; call again to ask anew"
            }
            Self::ApprovalMissing => {
                "The action needs a person's approval, and the authority recorded none. It was not executed"
            }
            Self::Unreachable => {
                "The authorization service could not be reached. The action was not executed; try again later"
            }
            Self::Malformed => {
                "The authorization service gave an answer that cannot be understood. The action was not executed"
            }
            Self::Unauthorized => {
                "The authorization service does not accept this server's credentials. The action was not executed; tell the user to check the API key"
            }
            Self::KillSwitch => {
                "All actions of this agent are stopped by the kill switch. The action was not executed; do not retry it"
            }
            Self::Cancelled => "The call was cancelled. The action was not executed",
            Self::AlreadyExecuted => {
                "This decision was already used. The action was not executed again"
            }
            Self::DigestMismatch => {
                "The decision was for other arguments. The action was not executed"
            }
            Self::Blocked => "Tool blocked by server policy. It was not executed",
            Self::Invalid => {
                "The action could not be described to the authorization service. It was not executed"
            }
            Self::NoGovernor => {
                "No governor is installed, so nothing may run. The action was not executed"
            }
        }
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call that was refused: its body did not run.
///
/// A governed function's error type takes it by `From`:
///
/// ```
/// # use ascend_sdk::{Refusal, RefusalKind};
/// #[derive(Debug, thiserror::Error)]
/// enum DbError {
///     #[error(transparent)]
///     Refused(#[from] Refusal),
/// }
/// let error = DbError::from(Refusal::new(RefusalKind::Denied));
/// assert!(error.to_string().starts_with("Action blocked by ASCEND governance policy"));
/// ```
///
/// It serialises to the governance object: `status`, `refusal`, `reason`,
/// `risk_score`, `action_id`, `decision`, `reviewed_by`.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: RefusalKind,
    reason: Option<String>,
    action_id: Option<ActionId>,
    risk_score: Option<u8>,
    decision: Option<Decision>,
    reviewed_by: Option<String>,
    wait: Option<Wait>,
}

/// What an agent is told of an action that goes on waiting. How to approve is
/// not in it: an agent with a shell of its own would be tempted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The summary, or the tool's name.
    pub(crate) what: String,
    /// How long it can be decided yet.
    pub(crate) left: Duration,
}

/// A duration in words, to the second.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = (duration + Duration::from_millis(500)).as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

impl Refusal {
    /// A refusal of which only the kind is known.
    #[must_use]
    pub fn new(kind: RefusalKind) -> Self {
        Self(Box::new(Inner {
            kind,
            reason: None,
            action_id: None,
            risk_score: None,
            decision: None,
            reviewed_by: None,
            wait: None,
        }))
    }

    /// What an authority says to a call that will not run.
    pub(crate) fn rejected(rejection: Rejection) -> Self {
        let Rejection { kind, reason, reviewed_by } = rejection;
        let mut refusal = Self::new(kind);
        refusal.0.reason = reason;
        refusal.0.reviewed_by = reviewed_by;
        refusal
    }

    pub(crate) fn with_wait(mut self, wait: Wait) -> Self {
        self.0.wait = Some(wait);
        self
    }

    /// How long the action that waits can be decided yet.
    #[cfg(feature = "server")]
    pub(crate) fn left(&self) -> Option<Duration> {
        self.0.wait.as_ref().map(|wait| wait.left)
    }

    /// Says why, in the authority's or approver's words.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// Names the authority's action.
    #[must_use]
    pub fn with_action_id(mut self, id: ActionId) -> Self {
        self.0.action_id = Some(id);
        self
    }

    /// Tells the authority's risk score, 0 to 100.
    #[must_use]
    pub fn with_risk_score(mut self, score: u8) -> Self {
        self.0.risk_score = Some(score);
        self
    }

    /// Tells what the authority had decided.
    #[must_use]
    pub fn with_decision(mut self, decision: Decision) -> Self {
        self.0.decision = Some(decision);
        self
    }

    /// Names the person who decided.
    #[must_use]
    pub fn with_reviewed_by(mut self, reviewer: impl Into<String>) -> Self {
        self.0.reviewed_by = Some(reviewer.into());
        self
    }

    /// Which refusal it is.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        self.0.kind
    }

    /// Why, in the authority's or approver's words.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The authority's name for the action, once it had one.
    #[must_use]
    pub fn action_id(&self) -> Option<&ActionId> {
        self.0.action_id.as_ref()
    }

    /// The authority's risk score, 0 to 100.
    #[must_use]
    pub fn risk_score(&self) -> Option<u8> {
        self.0.risk_score
    }

    /// What the authority had decided.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        self.0.decision
    }

    /// The person who decided.
    #[must_use]
    pub fn reviewed_by(&self) -> Option<&str> {
        self.0.reviewed_by.as_deref()
    }

    /// The governance object as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let inner = &self.0;
        governance_object(
            inner.kind.status(),
            [
                (
                    "refusal",
                    (inner.kind != RefusalKind::Pending).then(|| inner.kind.as_str().into()),
                ),
                ("reason", inner.reason.clone().map(Value::from)),
                ("risk_score", inner.risk_score.map(Value::from)),
                ("action_id", inner.action_id.as_ref().map(|id| id.as_str().into())),
                ("decision", inner.decision.map(|decision| decision.as_str().into())),
                ("reviewed_by", inner.reviewed_by.clone().map(Value::from)),
                ("expires_in_seconds", inner.wait.as_ref().map(|wait| wait.left.as_secs().into())),
            ],
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind.sentence())?;
        if let Some(Wait { what, left }) = &self.0.wait {
            let left = spoken(*left);
            write!(f, ". It then runs, once. What waits: {what}")?;
            write!(f, ". Ask the user to have it approved within {left}")?;
        }
        if let Some(reason) = self.reason() {
            write!(f, ". Reason: {reason}")?;
        }
        if let Some(reviewer) = self.reviewed_by() {
            write!(f, ". Reviewed by: {reviewer}")?;
        }
        if let Some(id) = self.action_id() {
            write!(f, " (action {id})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Refusal {}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// For functions whose error is text, as is common in MCP servers.
impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        refusal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spoken_as_people_do() {
        let spoken = |milliseconds| spoken(Duration::from_millis(milliseconds));
        assert_eq!(spoken(299_999), "5 min");
        assert_eq!(spoken(285_000), "4 min 45 s");
        assert_eq!(spoken(3_600_000), "1 h");
        assert_eq!(spoken(0), "0 s");
    }
}
