//! What a policy reads, by its JSON form.

use serde_json::Value;

/// One thing that is read, or asked for with `has`: `context.recent.tool`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read<'p> {
    /// Of the context itself; else of something that is worked out.
    pub(super) of_context: bool,
    /// The attributes, in order; none where the whole context is used.
    pub(super) names: Vec<&'p str>,
}

impl Read<'_> {
    /// Whether it is the context as a whole.
    pub(super) fn is_whole(&self) -> bool {
        self.of_context && self.names.is_empty()
    }
}

/// All that `policy` reads, each as far as it goes.
pub(super) fn reads(policy: &Value) -> Vec<Read<'_>> {
    let mut found = Vec::new();
    collect(policy, &mut found);
    found
}

fn collect<'p>(value: &'p Value, found: &mut Vec<Read<'p>>) {
    if let Some(names) = chain(value) {
        found.push(Read { of_context: true, names });
        return;
    }
    if let Some((_, names)) = step(value) {
        found.push(Read { of_context: false, names });
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(entries) => entries.values().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The attributes that lead from the context to `value`.
fn chain(value: &Value) -> Option<Vec<&str>> {
    if value.get("Var").and_then(Value::as_str) == Some("context") {
        return Some(Vec::new());
    }
    let (left, names) = step(value)?;
    let mut chain = chain(left)?;
    chain.extend(names);
    Some(chain)
}

/// The sides of `left.name`, `left has name` and `left has name.name`.
fn step(value: &Value) -> Option<(&Value, Vec<&str>)> {
    let step = value.get(".").or_else(|| value.get("has"))?;
    let names = match step.get("attr")? {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    Some((step.get("left")?, names))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn all_ways_to_read_are_seen() {
        let read = |condition: &str| {
            let text = format!("permit (principal, action, resource) when {{ {condition} }};");
            let policy: cedar_policy::Policy = text.parse().unwrap();
            let json = policy.to_json().unwrap();
            let mut found: Vec<(bool, String)> = reads(&json)
                .into_iter()
                .map(|read| (read.of_context, read.names.join(".")))
                .collect();
            found.sort();
            found
        };
        let of_context = |name: &str| vec![(true, name.to_owned())];
        assert_eq!(read("context.a.b == 1"), of_context("a.b"));
        assert_eq!(read(r#"context["a"]["b c"] == 1"#), of_context("a.b c"));
        assert_eq!(read("context has a"), of_context("a"));
        assert_eq!(read("context.a has b"), of_context("a.b"));
        assert_eq!(read("context.a has b.c.d"), of_context("a.b.c.d"));
        assert_eq!(read("context.a.getTag(\"x\").contains(1)"), of_context("a"));
        assert_eq!(read("context == context"), [of_context(""), of_context("")].concat());
        let worked_out = read("(if true then context else context.b).a == 1");
        let expected = [(false, "a"), (true, ""), (true, "b")];
        assert_eq!(worked_out, expected.map(|(is, name)| (is, name.to_owned())));
    }
}
