//! A tool's metadata: constants that an attribute writes down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{RiskLevel, StateRequirement, Template};

/// What is known of a tool before any call.
#[derive(Debug, Clone, Copy)]
pub struct ToolSpec {
    /// The tool's name, unique in a server.
    pub name: &'static str,
    /// A name for people.
    pub title: Option<&'static str>,
    /// What it does, for its callers.
    pub description: &'static str,
    /// The area it acts on.
    pub namespace: &'static str,
    /// What it does there; `None` when that follows from the arguments.
    pub verb: Option<&'static str>,
    /// What it acts on.
    pub resource: Template,
    /// What an approver reads.
    pub summary: Option<Template>,
    /// The least that must hold whatever the authority answers.
    pub floor: Floor,
    /// How long a call waits for a person; `None` for the governor's default.
    pub approval_timeout: Option<Duration>,
    /// Sent with every request.
    pub metadata: &'static [(&'static str, &'static str)],
    /// The parameters that a caller gives, by their names in JSON.
    pub parameters: &'static [Parameter],
    /// The server's state that the body takes.
    pub state: &'static [StateRequirement],
    /// Annotations given by hand; the others follow from verb and risk.
    pub hints: Hints,
    /// Where it is written.
    pub location: Location,
}

impl ToolSpec {
    /// Whether the parameter `name` must stay unreadable outside the process.
    #[must_use]
    pub fn is_sensitive(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.sensitive && parameter.name == name)
    }

    /// Whether an entry called `name` may hold a sensitive parameter: serde may
    /// take one by other names as well.
    pub(crate) fn may_be_sensitive(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.sensitive)
            && !self.parameters.iter().any(|it| !it.sensitive && it.name == name)
    }

    /// The risk shown in the tool's description: the floor's level, else what
    /// the verb says, else `varies`.
    #[must_use]
    pub fn risk(&self) -> &'static str {
        match (self.floor.risk_level, self.verb) {
            (Some(level), _) => level.as_str(),
            (None, Some(verb)) => verb_risk(verb).as_str(),
            (None, None) => "varies",
        }
    }

    /// The annotations: those given by hand, the rest from verb and risk.
    #[must_use]
    pub fn annotations(&self) -> Hints {
        let reads = self.verb.is_some_and(is_read);
        let adds = self.verb.is_some_and(is_addition);
        let high = self.floor.risk_level >= Some(RiskLevel::High);
        let read_only = self.hints.read_only.unwrap_or(reads && !high);
        Hints {
            read_only: Some(read_only),
            destructive: self.hints.destructive.or(Some(!read_only && (high || !adds))),
            idempotent: self.hints.idempotent.or(Some(read_only)),
            open_world: self.hints.open_world.or(Some(self.verb.is_none_or(is_execution))),
        }
    }
}

fn is_read(verb: &str) -> bool {
    matches!(
        verb,
        "read"
            | "query"
            | "get"
            | "list"
            | "search"
            | "select"
            | "view"
            | "describe"
            | "count"
            | "fetch"
    )
}

fn is_addition(verb: &str) -> bool {
    matches!(verb, "create" | "insert" | "append" | "add" | "post" | "notify")
}

fn is_execution(verb: &str) -> bool {
    matches!(
        verb,
        "execute" | "run" | "exec" | "send" | "post" | "publish" | "fetch" | "notify" | "deploy"
    )
}

/// ASCEND's table of risk by operation, for the verbs it names and their kin.
pub(crate) fn verb_risk(verb: &str) -> RiskLevel {
    match verb {
        _ if is_read(verb) => RiskLevel::Low,
        "delete" | "drop" | "truncate" | "remove" | "purge" | "execute" | "run" | "exec" => {
            RiskLevel::High
        }
        _ => RiskLevel::Medium,
    }
}

/// The local floor: the effective decision is the stricter of this and the
/// authority's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Floor {
    /// The risk is at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_level: Option<RiskLevel>,
    /// A person must have approved.
    #[serde(default)]
    pub require_human_approval: bool,
}

impl Floor {
    /// The floor of `#[high_risk_action]`.
    pub const HIGH_RISK: Self =
        Self { risk_level: Some(RiskLevel::High), require_human_approval: true };

    /// No floor: the authority's answer stands.
    pub const NONE: Self = Self { risk_level: None, require_human_approval: false };
}

/// One parameter that a caller gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in JSON.
    pub name: &'static str,
    /// Whether its value must stay unreadable outside the process.
    pub sensitive: bool,
    /// Whether its value stands in traces.
    pub traced: bool,
}

/// MCP's tool annotations; `None` where nothing was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hints {
    /// `readOnlyHint`
    pub read_only: Option<bool>,
    /// `destructiveHint`
    pub destructive: Option<bool>,
    /// `idempotentHint`
    pub idempotent: Option<bool>,
    /// `openWorldHint`
    pub open_world: Option<bool>,
}

/// A place in source code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// As `file!()` gives it.
    pub file: &'static str,
    /// From 1.
    pub line: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
