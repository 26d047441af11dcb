//! A call as people write it down, to ask what the policies say of it.

use std::{collections::BTreeMap, path::Path};

use ascend_sdk::{Facts, Floor};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    asked::Asked,
    problem::{PolicyError, Source, nearest},
    recent::Recent,
};
use crate::identity::EMBEDDED;

/// A call, described for [`PolicySet::explain`](crate::PolicySet::explain) and
/// in test cases. What is left out is empty.
///
/// ```
/// let call: ascend_center::CallDescription = serde_json::from_value(serde_json::json!({
///     "action": "crm.refund",
///     "resource": "crm://orders/7",
///     "arguments": { "cents": 20_000 },
/// }))?;
/// assert_eq!(call.action, "crm.refund");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CallDescription {
    /// Namespace and verb: `database.delete`.
    pub action: String,
    /// What it acts on.
    pub resource: String,
    /// The server that asks. Default: `agent`.
    #[serde(default = "agent")]
    pub agent: String,
    /// The credential that asks: the agent for which its key was made, or `embedded`,
    /// where the center is in the server's own process. Default: `embedded`.
    #[serde(default = "credential")]
    pub credential: String,
    /// The tool. Default: `tool`.
    #[serde(default = "tool")]
    pub tool: String,
    /// The arguments.
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// What a parser found in them.
    #[serde(default, deserialize_with = "known_facts")]
    pub facts: Facts,
    /// The tool's metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// On whose behalf the server runs.
    #[serde(default)]
    pub user: Map<String, Value>,
    /// The calling session.
    #[serde(default = "session")]
    pub session: String,
    /// The calling program.
    #[serde(default)]
    pub client: Option<String>,
    /// Whether the tool itself requires a person's approval.
    #[serde(default)]
    pub high_risk: bool,
    /// When it is asked. Default: now.
    #[serde(default = "Timestamp::now")]
    pub at: Timestamp,
    /// What was called before. Default: nothing but this call.
    #[serde(default)]
    pub recent: Recent,
}

fn agent() -> String {
    "agent".to_owned()
}

fn credential() -> String {
    EMBEDDED.to_owned()
}

fn tool() -> String {
    "tool".to_owned()
}

fn session() -> String {
    ascend_sdk::SessionContext::default().session_id
}

/// A misspelt fact would be none, and a test that relies on it would test nothing.
fn known_facts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Facts, D::Error> {
    use serde::de::Error;
    let given = Value::deserialize(deserializer)?;
    let facts: Facts = serde_json::from_value(given.clone()).map_err(D::Error::custom)?;
    let known = serde_json::to_value(&facts).map_err(D::Error::custom)?;
    match unknown_key(&given, &known) {
        None => Ok(facts),
        Some((key, known)) => Err(D::Error::custom(match nearest(&key, known) {
            Some(meant) => format!("unknown fact `{key}`; did you mean `{meant}`?"),
            None => format!("unknown fact `{key}`"),
        })),
    }
}

fn unknown_key<'a>(given: &Value, known: &'a Value) -> Option<(String, Vec<&'a str>)> {
    let (Value::Object(given), Value::Object(known)) = (given, known) else { return None };
    given.iter().find_map(|(key, given)| match known.get(key) {
        Some(known) => unknown_key(given, known),
        None if given.is_null() => None,
        None => {
            let parts = ["risk_level", "sql", "shell", "file"];
            Some((key.clone(), known.keys().map(String::as_str).chain(parts).collect()))
        }
    })
}

impl CallDescription {
    /// Reads a call from a file: TOML where its name ends in `.toml`, else JSON.
    ///
    /// # Errors
    ///
    /// When it cannot be read, with the place.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let source = Source::read(path.to_owned())?;
        let call = if path.extension().is_some_and(|extension| extension == "toml") {
            toml::from_str(&source.text).map_err(|error| source.in_toml(&error))
        } else {
            serde_json::from_str(&source.text).map_err(|error| source.in_json(&error))
        };
        call.map_err(PolicyError::from)
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        // A verb has no dot, a namespace may have one.
        let (namespace, verb) = self.action.rsplit_once('.').unwrap_or(("", &self.action));
        Asked {
            server_id: &self.agent,
            credential: &self.credential,
            tool: &self.tool,
            namespace,
            verb,
            resource: &self.resource,
            parameters: &self.arguments,
            floor: if self.high_risk { Floor::HIGH_RISK } else { Floor::NONE },
            facts: &self.facts,
            metadata: &self.metadata,
            user_context: &self.user,
            session_id: &self.session,
            client_name: self.client.as_deref(),
            client_version: None,
            now: self.at,
            recent: &self.recent,
        }
    }
}
