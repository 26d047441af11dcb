//! What an authority answers.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ActionId, RefusalKind, RiskLevel, SessionContext, digest::Salt, shown};

/// An authority's answer, from the mildest to the strictest, so that
/// `max` is the stricter of two.
///
/// ```
/// use ascend_sdk::Decision;
/// assert_eq!(Decision::Allow.max(Decision::RequireApproval), Decision::RequireApproval);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Decision {
    /// It may run.
    Allow,
    /// It may run once a person has approved.
    RequireApproval,
    /// It may not run.
    Deny,
}

impl Decision {
    /// The decision as ASCEND's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::RequireApproval => "REQUIRE_APPROVAL",
            Self::Deny => "DENY",
        }
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to one evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What the authority decided.
    pub decision: Decision,
    /// Its name for the action.
    pub action_id: ActionId,
    /// From 0 to 100; 0 when the authority gave none.
    pub risk_score: u8,
    /// The level, as the authority named it or as its score says.
    pub risk_level: RiskLevel,
    /// Why, in the authority's words.
    pub reason: Option<String>,
    /// With [`Decision::Deny`]: which refusal it is, when it is not a plain denial
    /// (a raised kill switch, an action that already ran, one that failed).
    pub refusal: Option<RefusalKind>,
    /// With [`Decision::Allow`]: the person who approved, where the authority already has one.
    pub approval: Option<Approval>,
    /// How long an approval is expected to take.
    pub estimated_approval_time: Option<Duration>,
    /// With [`Decision::RequireApproval`]: how long the authority keeps it open, where it
    /// says so. A call waits that long where it is longer than its own timeout.
    pub expires_in: Option<Duration>,
    /// With [`Decision::RequireApproval`]: whether the authority takes the word of
    /// the client's user for it, by [`Authority::confirm`](crate::Authority::confirm).
    pub in_client_approval: bool,
}

/// A person's consent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Approval {
    /// Who approved; `None` when the authority does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_by: Option<String>,
    /// What they wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comments: Option<String>,
}

/// What the user of a client answered, when the client asked them about a pending
/// action. It is the client's word: no proof that a person was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// What they answered.
    pub answer: ClientAnswer,
    /// The session in which they were asked.
    pub session: SessionContext,
}

/// A user's answer to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAnswer {
    /// It may run.
    Approved,
    /// It may not.
    Rejected,
}

impl Confirmation {
    /// Who decided, in words that cannot be taken for a person's name: `the user
    /// of claude-code 2.1 (in client)`.
    ///
    /// ```
    /// use ascend_sdk::{ClientAnswer, Confirmation, SessionContext};
    /// let session = SessionContext {
    ///     client_name: Some("claude-code".to_owned()),
    ///     client_version: Some("2.1".to_owned()),
    ///     ..SessionContext::default()
    /// };
    /// let confirmation = Confirmation { answer: ClientAnswer::Approved, session };
    /// assert_eq!(confirmation.reviewer(), "the user of claude-code 2.1 (in client)");
    /// ```
    #[must_use]
    pub fn reviewer(&self) -> String {
        let name = self.session.client_name.as_deref().unwrap_or("an unnamed client");
        let version = self.session.client_version.as_deref().unwrap_or_default();
        let client = format!("{name} {version}");
        format!("the user of {} (in client)", shown(client.trim()))
    }
}

/// Why a pending action will not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which refusal it is: a person's, an expiry, a cancellation …
    pub kind: RefusalKind,
    /// Why, in the authority's words.
    pub reason: Option<String>,
    /// Who rejected it; `None` when no person did or the authority does not say.
    pub reviewed_by: Option<String>,
}

/// How the wait for a pending action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// A person approved.
    Approved(Approval),
    /// The authority let it pass without a person. Not enough where a floor
    /// asks for one.
    AutoApproved,
    /// It will not run.
    Rejected(Rejection),
}

/// The answer to the claim that is made immediately before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// This caller, and no other, may run it now.
    Granted,
    /// It must not run: consumed, expired, withdrawn, killed since, or for other arguments.
    Refused(Rejection),
}

/// What became of an action that was allowed to run.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The body returned a value.
    Completed {
        /// How long the body ran, the wait for an approval not counted.
        duration: Duration,
    },
    /// The body returned an error, panicked, or was abandoned.
    Failed {
        /// How long the body ran, the wait for an approval not counted.
        duration: Duration,
        /// What happened, without arguments.
        error: String,
    },
    /// It was pending or allowed, and not run: the caller went away. A promised
    /// one lives on.
    Withdrawn {
        /// Why, for the record.
        reason: String,
    },
    /// It was pending or allowed, and all to whom `holder` promised it gave it up:
    /// it ends, unless another holder was promised it too.
    Abandoned {
        /// Why, for the record.
        reason: String,
        /// Who gives it up.
        holder: Holder,
    },
}

/// Who an action was promised to ([`Authority::promise`](crate::Authority::promise)):
/// a name that a governor makes up, one for each action that it keeps. Where two
/// hold an action, it ends when both have given it up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder(String);

/// A text that names no [`Holder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a holder is named by 1 to 64 letters, digits, `-` and `_`")]
pub struct InvalidHolder;

impl FromStr for Holder {
    type Err = InvalidHolder;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        if (1..=64).contains(&name.len()) && name.bytes().all(is_plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidHolder)
        }
    }
}

impl Default for Holder {
    /// All those that do not name themselves.
    fn default() -> Self {
        Self("unnamed".to_owned())
    }
}

impl Holder {
    /// A name that nobody else has.
    pub(crate) fn random() -> Self {
        Self(hex::encode(&Salt::random().public()[..16]))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The governance object of one call: ASCEND's `status`, `reason`,
/// `risk_score`, `action_id`, `decision`, `reviewed_by`.
pub(crate) fn governance_object(
    status: &str,
    fields: impl IntoIterator<Item = (&'static str, Option<Value>)>,
) -> Value {
    // With room for all of them at once.
    let mut object = Map::with_capacity(8);
    object.insert("status".to_owned(), status.into());
    object.extend(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Value::Object(object)
}
