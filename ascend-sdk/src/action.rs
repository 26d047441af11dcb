//! What is asked of an authority.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Digest, Facts, Floor, TraceContext,
    digest::{self, CallKey, DigestKey, Salt},
    facts::Verb,
    spec::{Parameter, ToolSpec},
};

/// How much harm a call can do. Ordered: `Low < Medium < High < Critical`.
///
/// Reads either case (`high`, `HIGH`), writes upper case, as ASCEND does.
///
/// ```
/// use ascend_sdk::RiskLevel;
/// assert_eq!("high".parse(), Ok(RiskLevel::High));
/// assert_eq!(RiskLevel::High.to_string(), "HIGH");
/// assert!(RiskLevel::Low < RiskLevel::Critical);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RiskLevel {
    /// Reads within one system: risk scores 0 to 30.
    Low,
    /// Writes that can be undone: 31 to 60.
    Medium,
    /// Deletes and commands: 61 to 85.
    High,
    /// Harm that cannot be undone: 86 to 100.
    Critical,
}

impl RiskLevel {
    /// The level of a risk score from 0 to 100; a greater score is critical.
    #[must_use]
    pub const fn of_score(score: u8) -> Self {
        match score {
            0..=30 => Self::Low,
            31..=60 => Self::Medium,
            61..=85 => Self::High,
            _ => Self::Critical,
        }
    }

    /// The level as its upper-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }
}

impl fmt::Display for RiskLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for RiskLevel {
    type Err = UnknownRiskLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Low, Self::Medium, Self::High, Self::Critical]
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text.trim()))
            .ok_or(UnknownRiskLevel)
    }
}

impl<'de> Deserialize<'de> for RiskLevel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A word that names no [`RiskLevel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown risk level; expected LOW, MEDIUM, HIGH or CRITICAL")]
pub struct UnknownRiskLevel;

/// The authority's name for one action: opaque, compared as text.
///
/// ASCEND has numbers and UUIDs in different versions of its API
/// (`docs/ascend-api.md`, row 4), so nothing is read into it. It is at most
/// 128 visible ASCII characters, so that it can stand in a URL path and in a log.
///
/// ```
/// use ascend_sdk::ActionId;
/// assert_eq!(ActionId::new("123").unwrap().as_str(), "123");
/// assert!(ActionId::new("../admin").is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActionId(Arc<str>);

impl ActionId {
    /// An id from the authority's text; `None` when it is empty, longer than
    /// 128 characters, or has characters other than ASCII letters, digits, `-`, `_`, `.`, `:`,
    /// or is made of dots alone.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Option<Self> {
        let text = text.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        let sound = (1..=128).contains(&text.len())
            && text.chars().all(allowed)
            && !text.chars().all(|c| c == '.');
        sound.then_some(Self(text))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ActionId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text).ok_or("an action id is 1 to 128 letters, digits, `-`, `_`, `.` or `:`")
    }
}

impl From<ActionId> for String {
    fn from(id: ActionId) -> Self {
        (*id.0).to_owned()
    }
}

/// Who calls: the client's session, as far as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionContext {
    /// The session's id; ASCEND's default is `mcp-session-default`.
    pub session_id: String,
    /// The client program's name, as it gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The client program's version, as it gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_version: Option<String>,
}

impl Default for SessionContext {
    fn default() -> Self {
        Self {
            session_id: "mcp-session-default".to_owned(),
            client_name: None,
            client_version: None,
        }
    }
}

/// One call of a governed tool, as an authority and an approver see it.
///
/// Sensitive values are masked in it; the [`digest`](Self::digest) covers them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Action {
    /// The id of the server that offers the tool.
    pub server_id: String,
    /// The tool's name.
    pub tool: String,
    /// What the tool does, in the words of its description.
    pub description: String,
    /// The area the tool acts on, such as `database`.
    pub namespace: String,
    /// What it does there, such as `read`.
    pub verb: String,
    /// What it acts on, such as `database://production`.
    pub resource: String,
    /// The arguments by name, sensitive values masked.
    pub parameters: Map<String, Value>,
    /// One sentence for the approver, rendered from the arguments.
    pub summary: Option<String>,
    /// The least that must hold whatever the authority answers.
    pub floor: Floor,
    /// What a parser found in the arguments.
    pub facts: Facts,
    /// The tool's fixed metadata.
    pub metadata: BTreeMap<String, String>,
    /// The user on whose behalf the server runs, as the server was told.
    pub user_context: Map<String, Value>,
    /// The calling session.
    pub session_context: SessionContext,
    /// SHA-256 over the canonical JSON of tool, resource and arguments.
    pub digest: Digest,
    /// Made once per call, so that a retried request opens one action.
    pub idempotency_key: String,
    /// How long the caller waits for a person.
    pub approval_timeout: Duration,
    /// The trace that the call belongs to, where it does. No part of the call
    /// itself: it is not written as JSON.
    #[serde(skip)]
    pub trace: Option<TraceContext>,
    /// `None` for one that was read from JSON.
    #[serde(skip)]
    pub(crate) call: Option<CallKey>,
    /// What the tool says of its parameters; empty for one that was read from JSON.
    #[serde(skip)]
    described: &'static [Parameter],
}

/// Why a call could not be described to an authority. It did not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAction(pub(crate) String);

/// The most bytes of an argument in a trace.
#[cfg(feature = "opentelemetry")]
const TRACED_LIMIT: usize = 256;

/// As much of `text` as a trace takes.
#[cfg(feature = "opentelemetry")]
fn bounded(text: &str) -> String {
    match text.floor_char_boundary(TRACED_LIMIT) {
        end if end == text.len() => text.to_owned(),
        end => format!("{}…", &text[..end]),
    }
}

/// The text that stands for a sensitive value outside this process.
pub(crate) const MASK: &str = "[sensitive]";

impl Action {
    /// Describes a call of the tool `spec` with `arguments`, as serialised.
    ///
    /// # Errors
    ///
    /// When `arguments` is no JSON object, or the verb is not one or more of
    /// lower-case ASCII letters, digits and `_`.
    pub fn new(spec: &ToolSpec, verb: Verb, arguments: Value) -> Result<Self, InvalidAction> {
        Self::keyed(spec, verb, arguments, None)
    }

    /// The same, with a digest that `key` makes, where there is one.
    pub(crate) fn keyed(
        spec: &ToolSpec,
        verb: Verb,
        arguments: Value,
        key: Option<&DigestKey>,
    ) -> Result<Self, InvalidAction> {
        let Value::Object(arguments) = arguments else {
            return Err(InvalidAction(format!(
                "the arguments of `{}` are not a JSON object",
                spec.name
            )));
        };
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if verb.name.is_empty() || verb.name.len() > 64 || !verb.name.chars().all(is_word) {
            return Err(InvalidAction(format!(
                "the verb of `{}` is not a word of lower-case letters, digits and `_`",
                spec.name
            )));
        }
        let missing = |name: &str| {
            InvalidAction(format!(
                "the resource or summary of `{}` names `{name}`, which the arguments lack",
                spec.name
            ))
        };
        let resource = spec.resource.render_resource(&arguments).map_err(missing)?;
        let summary = spec
            .summary
            .map(|summary| summary.render_summary(&arguments).map_err(missing))
            .transpose()?;
        let salt = Salt::random();
        let (digest, call) = digest::of_call(
            spec.name,
            &resource,
            &arguments,
            |name| spec.is_sensitive(name),
            key.map_or(&salt, DigestKey::salt),
        );
        let parameters = mask(arguments, |name| spec.is_sensitive(name));
        Ok(Self {
            server_id: String::new(),
            tool: spec.name.to_owned(),
            description: spec.description.to_owned(),
            namespace: spec.namespace.to_owned(),
            verb: verb.name.into_owned(),
            resource,
            parameters,
            summary,
            floor: spec.floor,
            facts: verb.facts,
            metadata: spec
                .metadata
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            user_context: Map::new(),
            session_context: SessionContext::default(),
            digest,
            idempotency_key: hex::encode(&salt.public()[..16]),
            approval_timeout: spec.approval_timeout.unwrap_or_default(),
            trace: None,
            call: Some(call),
            described: spec.parameters,
        })
    }

    /// The arguments that are to stand in traces, as text of a bounded length. A
    /// sensitive one is masked here as well.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn traced(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.described.iter().filter(|parameter| parameter.traced).filter_map(|parameter| {
            let text = match self.parameters.get(parameter.name)? {
                Value::String(text) => bounded(text),
                value => bounded(&value.to_string()),
            };
            Some((parameter.name, text))
        })
    }

    /// The action's type in ASCEND's words: `namespace.verb`.
    #[must_use]
    pub fn action_type(&self) -> String {
        format!("{}.{}", self.namespace, self.verb)
    }
}

fn mask(
    mut arguments: Map<String, Value>,
    is_sensitive: impl Fn(&str) -> bool,
) -> Map<String, Value> {
    for (name, value) in &mut arguments {
        if is_sensitive(name) {
            *value = Value::String(MASK.to_owned());
        }
    }
    arguments
}
