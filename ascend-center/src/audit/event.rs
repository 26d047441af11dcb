//! What the audit log tells: an event, and the entry that it becomes.

use std::{borrow::Cow, convert::Infallible, fmt, str::FromStr};

use ascend_sdk::{Decision, Digest, RiskLevel};
use jiff::Timestamp;
use serde::{
    Deserialize, Serialize, de,
    ser::{self, SerializeMap as _},
};

use super::{EntryHash, PublicKey};
use crate::{
    life::{ActionState, Life},
    quorum::Rule,
    store::StoreError,
};

/// The longest text in an entry, in bytes; what is longer ends in `…`.
const TEXT_LIMIT: usize = 4096;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $word:literal,)+) => {
        /// What happened.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum AuditKind {
            $($(#[doc = $doc])+ $kind,)+
            /// A word that this version does not know: a later one wrote it.
            Other(String),
        }

        impl AuditKind {
            /// Every kind that this version writes.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The kind as the word in the log.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$kind => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for AuditKind {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$kind,)+
                    _ => Self::Other(word.to_owned()),
                }
            }
        }
    };
}

kinds! {
    /// The log begins; `detail` says what was taken over from before.
    Genesis = "genesis",
    /// The log is signed with another key from here on.
    SigningKeyChanged = "signing_key_changed",
    /// Entries up to a checkpoint were removed, and old arguments erased.
    Pruned = "pruned",
    /// Policy decided on an action.
    Evaluated = "evaluated",
    /// An identical call joined a promised action.
    Joined = "joined",
    /// An identical call was told how a promised action ended.
    Told = "told",
    /// An agent was promised that an action waits for it.
    Promised = "promised",
    /// A person, or a grant, gave one of several approvals.
    Voted = "voted",
    /// A person took their approval back.
    VoteWithdrawn = "vote_withdrawn",
    /// Half of an action's time passed, and further groups may approve.
    Escalated = "escalated",
    /// All approvals are there; by whom the last one was.
    Approved = "approved",
    /// A person rejected.
    Rejected = "rejected",
    /// The decision was used up for its one run.
    Claimed = "claimed",
    /// A claim was refused.
    ClaimRefused = "claim_refused",
    /// The action ran.
    Completed = "completed",
    /// The action ran, and failed.
    Failed = "failed",
    /// The action was given up.
    Withdrawn = "withdrawn",
    /// The action's time ran out; told when it is noticed.
    Expired = "expired",
    /// The kill switch was raised.
    Killed = "killed",
    /// The kill switch was released.
    Released = "released",
    /// A policy set is used for the first time by a process, or after a change.
    PoliciesLoaded = "policies_loaded",
    /// Somebody logged in.
    LoggedIn = "logged_in",
    /// Somebody tried to log in, in vain.
    LoginFailed = "login_failed",
    /// Somebody logged out.
    LoggedOut = "logged_out",
    /// A credential was made.
    CredentialCreated = "credential_created",
    /// A credential was replaced by a new one.
    CredentialRotated = "credential_rotated",
    /// A credential ended.
    CredentialRevoked = "credential_revoked",
    /// A user was added.
    UserCreated = "user_created",
    /// A user's name, role, groups or password was changed.
    UserChanged = "user_changed",
    /// A user was removed.
    UserRemoved = "user_removed",
    /// An agent registered itself, or told something else of itself.
    AgentRegistered = "agent_registered",
    /// The registration of an agent ended.
    AgentDeregistered = "agent_deregistered",
    /// An agent told that it has seen a command.
    CommandAcknowledged = "command_acknowledged",
    /// An MCP server was registered.
    McpServerRegistered = "mcp_server_registered",
    /// A person let calls name an MCP server.
    McpServerActivated = "mcp_server_activated",
    /// A person let no further call name an MCP server.
    McpServerDeactivated = "mcp_server_deactivated",
    /// The registration of an MCP server ended.
    McpServerDeleted = "mcp_server_deleted",
    /// A webhook was added.
    WebhookAdded = "webhook_added",
    /// A webhook was changed.
    WebhookChanged = "webhook_changed",
    /// A webhook was removed.
    WebhookDeleted = "webhook_deleted",
    /// A standing grant was given.
    GrantCreated = "grant_created",
    /// A standing grant gave the vote of its giver.
    GrantUsed = "grant_used",
    /// A standing grant was used as often as it could be.
    GrantUsedUp = "grant_used_up",
    /// A standing grant ended before its time.
    GrantRevoked = "grant_revoked",
}

impl fmt::Display for AuditKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AuditKind {
    type Err = Infallible;

    fn from_str(word: &str) -> Result<Self, Infallible> {
        Ok(word.into())
    }
}

impl Serialize for AuditKind {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AuditKind {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Cow::<'de, str>::deserialize(deserializer)?.as_ref().into())
    }
}

/// Who did it, as their credential says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// Which one.
    pub name: String,
    /// What they are: `agent`; the role of a person, such as `approver`; `center`, …
    pub role: Cow<'static, str>,
}

impl Actor {
    /// One of a role.
    pub fn new(role: impl Into<Cow<'static, str>>, name: impl Into<String>) -> Self {
        Self { role: role.into(), name: name.into() }
    }

    pub(crate) fn agent(name: impl Into<String>) -> Self {
        Self::new("agent", name)
    }

    /// The center itself, as for what time does.
    pub(crate) fn center() -> Self {
        Self::new("center", "center")
    }
}

/// One event, before it has its number and time.
///
/// It holds no argument, no credential and no text by an agent: `content` and
/// `outcome` are hashes of those.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEvent {
    /// What happened.
    pub kind: AuditKind,
    /// Who did it.
    pub actor: Actor,
    /// The action that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<i64>,
    /// Where the action stands from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ActionState>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_time")]
    pub expires_at: Option<Timestamp>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Which refusal it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// From 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_score: Option<u8>,
    /// The score's level, or the floor's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_level: Option<RiskLevel>,
    /// Why, in the words of the policies that decided, or of who raised the kill switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the approver wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What an approval of it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// All whose approvals counted, where that is not the actor alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviewers: Vec<String>,
    /// The standing grant that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<i64>,
    /// The policies that matched, by `@id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The policy set that decided: a SHA-256 of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_set: Option<EntryHash>,
    /// The server that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Its tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The area it acts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What it does there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// What the decision is bound to: tool, resource and arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The other digest that a refused claim named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_digest: Option<Digest>,
    /// A hash of the action as the center keeps it, its masked arguments included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<EntryHash>,
    /// A hash of what the caller told of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<EntryHash>,
    /// How long the body ran, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// Whom or what it concerns, when that is no action: a credential, a user, a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// More, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The key that signs the log from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKey>,
}

impl AuditEvent {
    /// An event by `actor`.
    pub fn new(kind: AuditKind, actor: Actor) -> Self {
        Self {
            kind,
            actor,
            action: None,
            state: None,
            expires_at: None,
            decision: None,
            refusal: None,
            risk_score: None,
            risk_level: None,
            reason: None,
            comment: None,
            rules: Vec::new(),
            reviewers: Vec::new(),
            grant: None,
            policies: Vec::new(),
            policy_set: None,
            server: None,
            tool: None,
            namespace: None,
            verb: None,
            digest: None,
            claimed_digest: None,
            content: None,
            outcome: None,
            duration_ms: None,
            subject: None,
            detail: None,
            public_key: None,
        }
    }

    /// Of this action.
    #[must_use]
    pub fn action(mut self, id: i64) -> Self {
        self.action = Some(id);
        self
    }

    /// Of this credential, user, folder.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// With this to say.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// After which the action stands so.
    pub(crate) fn standing(mut self, life: Life) -> Result<Self, StoreError> {
        let expires_at = Timestamp::from_millisecond(life.expires_at)
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        self.state = Some(life.state);
        self.expires_at = Some(expires_at);
        Ok(self)
    }

    /// The event with texts of bounded length.
    pub(crate) fn bounded(mut self) -> Self {
        let texts = [
            &mut self.refusal,
            &mut self.reason,
            &mut self.comment,
            &mut self.server,
            &mut self.tool,
            &mut self.namespace,
            &mut self.verb,
            &mut self.subject,
            &mut self.detail,
        ];
        for text in texts.into_iter().flatten() {
            if text.len() > TEXT_LIMIT {
                text.truncate(text.floor_char_boundary(TEXT_LIMIT - '…'.len_utf8()));
                text.push('…');
            }
        }
        self
    }
}

/// One entry of the log. Serialized, its keys are in the order of RFC 8785.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Its number, from 1 without a gap.
    pub seq: i64,
    /// When, by the center's clock.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: AuditEvent,
}

/// By hand: a derived one would write the keys of the event among its own, in the order
/// of the fields, and the log would have to read and sort them for each entry.
impl Serialize for AuditEntry {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn some<M: ser::SerializeMap>(
            keys: &mut M,
            key: &'static str,
            value: Option<&impl Serialize>,
        ) -> Result<(), M::Error> {
            value.map_or(Ok(()), |value| keys.serialize_entry(key, value))
        }

        let Self { seq, at, event } = self;
        let AuditEvent {
            kind,
            actor,
            action,
            state,
            expires_at,
            decision,
            refusal,
            risk_score,
            risk_level,
            reason,
            comment,
            rules,
            reviewers,
            grant,
            policies,
            policy_set,
            server,
            tool,
            namespace,
            verb,
            digest,
            claimed_digest,
            content,
            outcome,
            duration_ms,
            subject,
            detail,
            public_key,
        } = event;
        let mut keys = serializer.serialize_map(None)?;
        some(&mut keys, "action", action.as_ref())?;
        keys.serialize_entry("actor", actor)?;
        keys.serialize_entry("at", &Written(*at))?;
        some(&mut keys, "claimed_digest", claimed_digest.as_ref())?;
        some(&mut keys, "comment", comment.as_ref())?;
        some(&mut keys, "content", content.as_ref())?;
        some(&mut keys, "decision", decision.as_ref())?;
        some(&mut keys, "detail", detail.as_ref())?;
        some(&mut keys, "digest", digest.as_ref())?;
        some(&mut keys, "duration_ms", duration_ms.as_ref())?;
        some(&mut keys, "expires_at", expires_at.map(Written).as_ref())?;
        some(&mut keys, "grant", grant.as_ref())?;
        keys.serialize_entry("kind", kind)?;
        some(&mut keys, "namespace", namespace.as_ref())?;
        some(&mut keys, "outcome", outcome.as_ref())?;
        some(&mut keys, "policies", Some(policies).filter(|policies| !policies.is_empty()))?;
        some(&mut keys, "policy_set", policy_set.as_ref())?;
        some(&mut keys, "public_key", public_key.as_ref())?;
        some(&mut keys, "reason", reason.as_ref())?;
        some(&mut keys, "refusal", refusal.as_ref())?;
        some(&mut keys, "reviewers", Some(reviewers).filter(|reviewers| !reviewers.is_empty()))?;
        some(&mut keys, "risk_level", risk_level.as_ref())?;
        some(&mut keys, "risk_score", risk_score.as_ref())?;
        some(&mut keys, "rules", Some(rules).filter(|rules| !rules.is_empty()))?;
        keys.serialize_entry("seq", seq)?;
        some(&mut keys, "server", server.as_ref())?;
        some(&mut keys, "state", state.as_ref())?;
        some(&mut keys, "subject", subject.as_ref())?;
        some(&mut keys, "tool", tool.as_ref())?;
        some(&mut keys, "verb", verb.as_ref())?;
        keys.end()
    }
}

impl AuditEntry {
    pub(crate) fn new(seq: i64, at: Timestamp, event: AuditEvent) -> Self {
        Self { seq, at, event }
    }

    /// As the log keeps and hashes it. But for the order of keys serde_json writes texts and
    /// whole numbers below 2^53, and there is nothing else, as RFC 8785 does.
    pub(crate) fn canonical(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// As the log writes it: UTC, to the millisecond.
pub(crate) fn written(at: Timestamp) -> String {
    Written(at).to_string()
}

struct Written(Timestamp);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Written {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(super) mod time {
    use super::*;

    pub(crate) fn serialize<S: ser::Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Written(*at).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: de::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(deserializer)
    }
}

mod optional_time {
    use super::*;

    pub(super) fn serialize<S: ser::Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::time::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: de::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Option::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;
    use crate::audit::canonical;

    #[test]
    fn kinds_are_read_back_and_later_ones_are_kept() {
        for kind in AuditKind::ALL {
            assert_eq!(AuditKind::from(kind.as_str()), *kind);
        }
        let later = AuditKind::from("teleported");
        assert_eq!(later, AuditKind::Other("teleported".to_owned()));
        assert_eq!(serde_json::to_string(&later).unwrap(), "\"teleported\"");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let event = AuditEvent::new(AuditKind::Killed, Actor::center());
        let event = event.detail("ß".repeat(TEXT_LIMIT)).bounded();
        let detail = event.detail.unwrap();
        assert!(detail.len() <= TEXT_LIMIT && detail.ends_with("ß…"), "{}", detail.len());
    }

    #[test]
    fn an_entry_is_read_back() {
        let event = AuditEvent::new(AuditKind::Approved, Actor::new("approver", "alice")).action(7);
        let at = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let entry = AuditEntry::new(3, at, AuditEvent { expires_at: Some(at), ..event });
        let text = serde_json_canonicalizer::to_string(&entry).unwrap();
        assert_eq!(
            text,
            "{\"action\":7,\"actor\":{\"name\":\"alice\",\"role\":\"approver\"},\
             \"at\":\"2023-11-14T22:13:20.000Z\",\"expires_at\":\"2023-11-14T22:13:20.000Z\",\
             \"kind\":\"approved\",\"seq\":3}"
        );
        assert_eq!(canonical(&entry).unwrap(), text);
        assert_eq!(entry.canonical().unwrap(), text);
        assert_eq!(serde_json::from_str::<AuditEntry>(&text).unwrap(), entry);
    }

    #[test]
    fn an_entry_is_written_in_the_canonical_form() {
        let odd: String = ('\u{0}'..='\u{a0}').chain("\u{2028}\u{fb33}😀".chars()).collect();
        let text = || Some(odd.clone());
        let hash = EntryHash::of("test", []);
        let at = Timestamp::from_millisecond(1_700_000_000_001).unwrap();
        let rule = Rule {
            approvers: text(),
            escalate_to: text(),
            policies: vec![odd.clone()],
            within: Some(Duration::from_secs(60)),
            ..Rule::default()
        };
        let event = AuditEvent {
            kind: AuditKind::Other(odd.clone()),
            actor: Actor::new(odd.clone(), odd.clone()),
            action: Some((1 << 53) - 1),
            state: Some(ActionState::Pending),
            expires_at: Some(at),
            decision: Some(Decision::RequireApproval),
            refusal: text(),
            risk_score: Some(70),
            risk_level: Some(RiskLevel::High),
            reason: text(),
            comment: text(),
            rules: vec![rule.clone(), Rule::default()],
            reviewers: vec![odd.clone(), odd.clone()],
            grant: Some(-1),
            policies: vec![odd.clone()],
            policy_set: Some(hash),
            server: text(),
            tool: text(),
            namespace: text(),
            verb: text(),
            digest: Some("ab".repeat(32).parse().unwrap()),
            claimed_digest: Some("cd".repeat(32).parse().unwrap()),
            content: Some(hash),
            outcome: Some(hash),
            duration_ms: Some(0),
            subject: text(),
            detail: text(),
            public_key: Some("ef".repeat(32).parse().unwrap()),
        };
        let entry = AuditEntry::new(3, at, event);
        let text = entry.canonical().unwrap();
        assert_eq!(text, serde_json_canonicalizer::to_string(&entry).unwrap());
        assert_eq!(text, canonical(&entry).unwrap());
        assert_eq!(serde_json::from_str::<AuditEntry>(&text).unwrap(), entry);
    }
}
