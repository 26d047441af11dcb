//! What differs between two manifests, for a review.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use ascend_sdk::RiskLevel;
use serde::Serialize;
use serde_json::{Map, Value};

use super::manifest::Manifest;

/// One thing that differs between two manifests.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The tool; `None` for what is of the whole server.
    pub tool: Option<String>,
    /// Where in the tool's entry, as `floor.riskLevel`; empty for a tool that came or went.
    pub path: String,
    /// What was there; `None` where nothing was.
    pub old: Option<Value>,
    /// What is there; `None` where nothing is.
    pub new: Option<Value>,
    /// What that does to the tool's governance.
    pub effect: ChangeEffect,
}

/// Whether a change leaves less between an agent and a tool's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ChangeEffect {
    /// Less is asked, hidden or refused.
    Weaker,
    /// More is.
    Stronger,
    /// That is for people to say.
    Neither,
}

impl Manifest {
    /// What differs in `newer`, tool by tool.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let mut found = Found::default();
        let server = |manifest: &Self| Some(Value::from(manifest.server.as_str()));
        found.compare(&mut vec!["server".to_owned()], server(self), server(newer));
        let (old, new) = (entries(self), entries(newer));
        let names: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
        for name in names {
            found.tool = Some(name.to_owned());
            match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) => {
                    found.objects(&mut Vec::new(), (*old).clone(), (*new).clone());
                }
                (old, new) => {
                    let ungoverned =
                        new.is_some_and(|new| new.get("governed") == Some(&Value::Bool(false)));
                    let effect =
                        if ungoverned { ChangeEffect::Weaker } else { ChangeEffect::Neither };
                    let entry = |entry: Option<&&Map<String, Value>>| {
                        entry.map(|entry| Value::Object((*entry).clone()))
                    };
                    found.add(&[], entry(old), entry(new), effect);
                }
            }
        }
        found.changes
    }
}

fn entries(manifest: &Manifest) -> BTreeMap<&str, &Map<String, Value>> {
    let names = manifest.tools.iter().map(|tool| tool.name.as_str());
    names.zip(manifest.entries.iter().filter_map(Value::as_object)).collect()
}

#[derive(Default)]
struct Found {
    tool: Option<String>,
    changes: Vec<Change>,
}

impl Found {
    fn add(
        &mut self,
        path: &[String],
        old: Option<Value>,
        new: Option<Value>,
        effect: ChangeEffect,
    ) {
        let (tool, path) = (self.tool.clone(), path.join("."));
        self.changes.push(Change { tool, path, old, new, effect });
    }

    fn objects(
        &mut self,
        path: &mut Vec<String>,
        mut old: Map<String, Value>,
        mut new: Map<String, Value>,
    ) {
        // It follows from what stands beside it.
        if old.get("inputSchema") != new.get("inputSchema") {
            old.remove("inputSchemaSha256");
            new.remove("inputSchemaSha256");
        }
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
        for key in keys {
            let values = (old.remove(&key), new.remove(&key));
            path.push(key);
            self.compare(path, values.0, values.1);
            path.pop();
        }
    }

    fn compare(&mut self, path: &mut Vec<String>, old: Option<Value>, new: Option<Value>) {
        // Written or left out, it says nothing.
        let empty = |value: &Value| match value {
            Value::Null => true,
            value => path[..] == ["governed"] && value == &Value::Bool(true),
        };
        let (old, new) = (old.filter(|it| !empty(it)), new.filter(|it| !empty(it)));
        match (old, new) {
            (old, new) if old == new => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) => self.objects(path, old, new),
            (old, new) if is_set(path) => {
                let (old, new) = (elements(old), elements(new));
                for gone in old.iter().filter(|element| !new.contains(element)) {
                    let effect = of_element(path, false);
                    self.add(path, Some(gone.clone()), None, effect);
                }
                for added in new.iter().filter(|element| !old.contains(element)) {
                    let effect = of_element(path, true);
                    self.add(path, None, Some(added.clone()), effect);
                }
            }
            (old, new) => {
                let effect = of_value(path, old.as_ref(), new.as_ref());
                self.add(path, old, new, effect);
            }
        }
    }
}

/// Whether a list's order says nothing.
fn is_set(path: &[String]) -> bool {
    match path {
        [key] => matches!(key.as_str(), "sensitive" | "traced"),
        [schema, .., parent, key] => {
            schema == "inputSchema"
                && parent != "properties"
                && matches!(key.as_str(), "required" | "enum")
        }
        [schema, key] => schema == "inputSchema" && key == "required",
        [] => false,
    }
}

fn elements(list: Option<Value>) -> Vec<Value> {
    match list {
        Some(Value::Array(elements)) => elements,
        Some(other) => vec![other],
        None => Vec::new(),
    }
}

fn of_element(path: &[String], added: bool) -> ChangeEffect {
    match path.last().map(String::as_str) {
        Some("sensitive") => effect(!added),
        // More leaves the process, or is taken.
        Some("traced" | "enum") => effect(added),
        _ => ChangeEffect::Neither,
    }
}

const fn effect(weaker: bool) -> ChangeEffect {
    if weaker { ChangeEffect::Weaker } else { ChangeEffect::Stronger }
}

fn of_value(path: &[String], old: Option<&Value>, new: Option<&Value>) -> ChangeEffect {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["governed"] => effect(new.is_some()),
        ["risk"] | ["floor", "riskLevel"] => match (level(old), level(new)) {
            (Some(old), Some(new)) if old != new => effect(new < old),
            _ => ChangeEffect::Neither,
        },
        ["floor"] if new.is_none() => ChangeEffect::Weaker,
        ["floor", "requireHumanApproval"] => effect(new != Some(&Value::Bool(true))),
        ["annotations", "destructiveHint"] => effect(new != Some(&Value::Bool(true))),
        ["annotations", "readOnlyHint"] => effect(new == Some(&Value::Bool(true))),
        ["inputSchema", .., "properties", _] => ChangeEffect::Neither,
        ["inputSchema", .., key] => of_bound(key, old, new),
        _ => ChangeEffect::Neither,
    }
}

/// `None` within where there is no floor; `None` where the level follows from a call.
fn level(value: Option<&Value>) -> Option<Option<RiskLevel>> {
    match value {
        None => Some(None),
        Some(value) => serde_json::from_value(value.clone()).ok().map(Some),
    }
}

/// A keyword that narrows what a schema takes.
fn of_bound(key: &str, old: Option<&Value>, new: Option<&Value>) -> ChangeEffect {
    let upper = match key {
        "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties" => true,
        "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties" => false,
        "additionalProperties" => {
            return match (old, new) {
                (Some(Value::Bool(false)), _) => ChangeEffect::Weaker,
                (_, Some(Value::Bool(false))) => ChangeEffect::Stronger,
                _ => ChangeEffect::Neither,
            };
        }
        "pattern" | "const" | "format" => {
            return match (old, new) {
                (Some(_), None) => ChangeEffect::Weaker,
                (None, Some(_)) => ChangeEffect::Stronger,
                _ => ChangeEffect::Neither,
            };
        }
        _ => return ChangeEffect::Neither,
    };
    match (old.map(Value::as_f64), new.map(Value::as_f64)) {
        (Some(_), None) => ChangeEffect::Weaker,
        (None, Some(_)) => ChangeEffect::Stronger,
        (Some(Some(old)), Some(Some(new))) => match new.partial_cmp(&old) {
            Some(Ordering::Greater) => effect(upper),
            Some(Ordering::Less) => effect(!upper),
            _ => ChangeEffect::Neither,
        },
        _ => ChangeEffect::Neither,
    }
}
