//! A server's manifest, as `ascend_sdk::Manifest` prints it.

use std::{collections::BTreeMap, path::Path};

use ascend_sdk::{Floor, RiskLevel};
use serde_json::{Map, Value};

use super::{
    problem::{PolicyError, Problem, Source},
    tools::ToolSchema,
};

/// The version that is read.
const VERSION: u64 = 1;

/// What a server says its tools do, for [`PolicySet::review`](super::PolicySet::review)
/// and [`Manifest::changes`].
#[derive(Debug, Clone)]
pub struct Manifest {
    pub(super) server: String,
    pub(super) tools: Vec<Tool>,
    /// The tools as they are written.
    pub(super) entries: Vec<Value>,
    schemas: Vec<ToolSchema>,
}

/// One tool of a manifest.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) governance: Governance,
}

#[derive(Debug, Clone)]
pub(super) enum Governance {
    Governed(Box<Governed>),
    /// With the reason that was written down.
    Ungoverned(Option<String>),
}

#[derive(Debug, Clone)]
pub(super) struct Governed {
    pub(super) namespace: String,
    /// `None` where it follows from the arguments of a call.
    pub(super) verb: Option<String>,
    /// `None` where it follows from the arguments of a call.
    pub(super) resource: Option<String>,
    pub(super) floor: Floor,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads what `server --manifest` prints.
    ///
    /// # Errors
    ///
    /// Every mistake that was found in the file.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let source = Source::read(path.to_owned())?;
        let document: Value =
            serde_json::from_str(&source.text).map_err(|error| source.in_json(&error))?;
        let of_all = |message: String| -> Problem { source.problem_of_all(message) };
        match document.get("manifest") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            Some(version) => {
                let message = format!("this is a manifest of version {version}");
                let help = format!(
                    "version {VERSION} is read here: use an ascend-center as new as the server's SDK"
                );
                return Err(of_all(message).with_help(help).into());
            }
            None => {
                let help = "write what your server prints with `--manifest`";
                return Err(of_all("this is no manifest".to_owned()).with_help(help).into());
            }
        }
        let mut faults = Faults::default();
        let server = faults.text(&document, "", "server");
        let entries = match document.get("tools") {
            Some(Value::Array(entries)) => entries.as_slice(),
            _ => {
                faults.0.push("`tools` is no list".to_owned());
                &[]
            }
        };
        let mut tools: Vec<Tool> = Vec::new();
        let mut schemas = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let tool = faults.tool(entry, index);
            if tools.iter().any(|other| other.name == tool.name) {
                faults.0.push(format!("two tools are named `{}`", tool.name));
            }
            match serde_json::from_value::<ToolSchema>(entry.clone()) {
                Ok(schema) => schemas.push(schema),
                Err(error) => faults.0.push(format!("tools[{index}]: {error}")),
            }
            tools.push(tool);
        }
        if faults.0.is_empty() {
            Ok(Self { server, tools, entries: entries.to_vec(), schemas })
        } else {
            let problems = faults.0.into_iter().map(of_all).collect();
            Err(PolicyError { problems })
        }
    }

    /// What the tools take, for policies that name their arguments.
    #[must_use]
    pub fn schemas(&self) -> Vec<ToolSchema> {
        self.schemas.clone()
    }
}

/// What is wrong with a manifest.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn text(&mut self, of: &Value, place: &str, key: &str) -> String {
        match of.get(key) {
            Some(Value::String(text)) if !text.is_empty() => return text.clone(),
            Some(_) => self.0.push(format!("{place}`{key}` is no text")),
            None => self.0.push(format!("{place}`{key}` is missing")),
        }
        String::new()
    }

    fn tool(&mut self, entry: &Value, index: usize) -> Tool {
        let known = entry.get("name").and_then(Value::as_str);
        let place = known.map_or_else(|| format!("tools[{index}]: "), |name| format!("`{name}`: "));
        let name = self.text(entry, &place, "name");
        let governance = match entry.get("governed") {
            Some(Value::Bool(false)) => {
                let reason = entry.get("reason").and_then(Value::as_str).map(str::to_owned);
                Governance::Ungoverned(reason)
            }
            Some(Value::Bool(true)) | None => {
                Governance::Governed(Box::new(self.governed(entry, &place)))
            }
            Some(other) => {
                self.0
                    .push(format!("{place}`governed` is {other}, which is neither true nor false"));
                Governance::Ungoverned(None)
            }
        };
        Tool { name, governance }
    }

    fn governed(&mut self, entry: &Value, place: &str) -> Governed {
        let action = entry.get("action").unwrap_or(&Value::Null);
        let of_action = format!("{place}`action`: ");
        let namespace = self.text(action, &of_action, "namespace");
        let verb = match action.get("verbSource").and_then(Value::as_str) {
            Some("word") => Some(self.text(action, &of_action, "verb")),
            Some("arguments") => None,
            _ => {
                let text = "`verbSource` is neither `word` nor `arguments`";
                self.0.push(format!("{of_action}{text}"));
                None
            }
        };
        let resource = fixed(&self.text(entry, place, "resource"));
        let floor = match entry.get("floor").map(|floor| self.floor(floor, place)) {
            Some(floor) => floor,
            None => {
                self.0.push(format!("{place}`floor` is missing"));
                Floor::NONE
            }
        };
        let metadata = entry.get("metadata").and_then(Value::as_object);
        let metadata = metadata
            .into_iter()
            .flat_map(Map::iter)
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        Governed { namespace, verb, resource, floor, metadata: metadata.collect() }
    }

    fn floor(&mut self, floor: &Value, place: &str) -> Floor {
        let risk_level = match floor.get("riskLevel") {
            None | Some(Value::Null) => None,
            Some(level) => match serde_json::from_value::<RiskLevel>(level.clone()) {
                Ok(level) => Some(level),
                Err(_) => {
                    self.0.push(format!("{place}`floor`: unknown `riskLevel` {level}"));
                    None
                }
            },
        };
        let require_human_approval = match floor.get("requireHumanApproval") {
            Some(Value::Bool(required)) => *required,
            _ => {
                let text = "`requireHumanApproval` is neither true nor false";
                self.0.push(format!("{place}`floor`: {text}"));
                false
            }
        };
        Floor { risk_level, require_human_approval }
    }
}

/// The resource, where its template has no placeholder.
fn fixed(template: &str) -> Option<String> {
    let mut resource = String::with_capacity(template.len());
    let mut characters = template.chars().peekable();
    while let Some(character) = characters.next() {
        if matches!(character, '{' | '}') && characters.next_if_eq(&character).is_none() {
            return None;
        }
        resource.push(character);
    }
    Some(resource)
}

#[cfg(test)]
mod tests {
    use super::fixed;

    #[test]
    fn a_resource_with_a_placeholder_is_not_fixed() {
        assert_eq!(fixed("database://main").as_deref(), Some("database://main"));
        assert_eq!(fixed("a/{{b}}").as_deref(), Some("a/{b}"));
        assert_eq!(fixed("a/{b}"), None);
        assert_eq!(fixed("a/{+b}"), None);
    }
}
