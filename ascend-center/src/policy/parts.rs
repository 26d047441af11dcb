//! Which parts of a call the policies look at. The others are not put into
//! Cedar's terms, which takes longer than the policies themselves.

use std::collections::BTreeSet;

use serde_json::Value;

use super::reads::Read;

/// What is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// The attributes of the context.
    of_context: BTreeSet<String>,
    /// Those of the agent and the resource.
    attributes: bool,
    /// Where it cannot be told.
    all: bool,
}

impl Parts {
    pub(super) fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// What one policy looks at, by its JSON form.
    pub(super) fn of(policy: &Value, reads: &[Read<'_>]) -> Self {
        // Those entities can be named past the context: `Texts::"user"`.
        let mut parts = Self { all: names_values(policy), ..Self::default() };
        for Read { of_context, names } in reads {
            match (of_context, names.first()) {
                (true, Some(name)) => {
                    parts.of_context.insert((*name).to_owned());
                }
                (true, None) => parts.all = true,
                (false, _) => parts.attributes = true,
            }
        }
        parts
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.of_context.extend(other.of_context.iter().cloned());
        self.attributes |= other.attributes;
        self.all |= other.all;
    }

    /// Whether `context.name` is looked at.
    pub(super) fn has(&self, name: &str) -> bool {
        self.all || self.of_context.contains(name)
    }

    /// Whether an attribute of an entity is looked at.
    pub(super) fn has_attributes(&self) -> bool {
        self.all || self.attributes
    }
}

/// Whether an entity is named whose values could be read.
pub(super) fn names_values(policy: &Value) -> bool {
    match policy {
        Value::Array(items) => items.iter().any(names_values),
        Value::Object(entries) => {
            let named = entries.get("__entity").and_then(|entity| entity.get("type"));
            let is_plain =
                |kind: &Value| matches!(kind.as_str(), Some("Action" | "Agent" | "Resource"));
            named.is_some_and(|kind| !is_plain(kind)) || entries.values().any(names_values)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::policy::reads::reads;

    fn parts(condition: &str) -> Parts {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let policy: cedar_policy::Policy = text.parse().unwrap();
        let json = policy.to_json().unwrap();
        Parts::of(&json, &reads(&json))
    }

    #[test]
    fn what_a_policy_looks_at_is_all_that_it_names() {
        let only = parts("context.text.hasTag(\"a\") && context.session.id == \"s\"");
        assert!(only.has("text") && only.has("session") && !only.has("number"));
        assert!(!only.has_attributes());
        assert!(parts("context has sql").has("sql"));
        let scope_alone = parts("resource == Resource::\"a\" && principal in [Agent::\"b\"]");
        assert_eq!(scope_alone, Parts::default());
        for attributes in
            ["resource.words.contains(\"x\")", "Agent::\"a\".id == \"b\"", "resource has uri"]
        {
            assert!(parts(attributes).has_attributes(), "{attributes}");
        }
    }

    #[test]
    fn where_it_cannot_be_told_everything_is_looked_at() {
        for condition in [
            "context == context",
            "Texts::\"user\".hasTag(\"name\")",
            "[Numbers::\"arguments\"].contains(context.number)",
            "(if true then context else context).verb == \"x\"",
        ] {
            let parts = parts(condition);
            assert!(parts.has("metadata") && parts.has_attributes(), "{condition}");
        }
    }
}
