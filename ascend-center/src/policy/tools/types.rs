//! JSON Schemas as types, and values of these types in Cedar's terms.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::RestrictedExpression;
use serde_json::{Map, Value, json};

use crate::policy::request::{flag, long, string};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Text,
    Number,
    Flag,
    List(Box<Type>),
    Record(Fields),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Fields {
    pub(super) typed: BTreeMap<String, Field>,
    /// What policies cannot read, and why.
    pub(super) untyped: BTreeMap<String, &'static str>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) kind: Type,
    pub(super) required: bool,
}

const NO_TYPE: &str = "its schema gives it no single type; it may be in `context.text`, \
                       `context.number` or `context.flag`";

/// `within` are the references that lead here.
pub(super) fn fields<'s>(schema: &'s Value, root: &'s Value, within: &mut Vec<&'s str>) -> Fields {
    let required: BTreeSet<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut fields = Fields::default();
    for (name, property) in
        schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        match kind(property, root, within) {
            Some((kind, nullable)) => {
                let required = required.contains(name.as_str()) && !nullable;
                fields.typed.insert(name.clone(), Field { kind, required });
            }
            None => {
                fields.untyped.insert(name.clone(), NO_TYPE);
            }
        }
    }
    fields
}

/// The one type of a schema, and whether null stands for nothing.
fn kind<'s>(schema: &'s Value, root: &'s Value, within: &mut Vec<&'s str>) -> Option<(Type, bool)> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        if within.contains(&reference) {
            return None;
        }
        within.push(reference);
        let found = root
            .pointer(reference.trim_start_matches('#'))
            .and_then(|referred| kind(referred, root, within));
        within.pop();
        return found;
    }
    if let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        return kind(only, root, within);
    }
    let variants = schema.get("anyOf").or_else(|| schema.get("oneOf"));
    if let Some(variants) = variants.and_then(Value::as_array) {
        let mut one = None;
        let mut nullable = false;
        for variant in variants {
            if variant.get("type").and_then(Value::as_str) == Some("null") {
                nullable = true;
                continue;
            }
            let (kind, or_null) = kind(variant, root, within)?;
            nullable |= or_null;
            if one.get_or_insert_with(|| kind.clone()) != &kind {
                return None;
            }
        }
        return one.map(|kind| (kind, nullable));
    }
    let mut words: BTreeSet<&str> = match schema.get("type") {
        Some(Value::String(word)) => BTreeSet::from([word.as_str()]),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => match (schema.get("enum").and_then(Value::as_array), schema.get("const")) {
            (Some(values), _) => values.iter().map(word_of).collect(),
            (None, Some(value)) => BTreeSet::from([word_of(value)]),
            (None, None) => return None,
        },
    };
    let nullable = words.remove("null");
    // Every integer is a number.
    if words.contains("number") {
        words.remove("integer");
    }
    let mut words = words.into_iter();
    let (Some(word), None) = (words.next(), words.next()) else { return None };
    let kind = match word {
        "string" => Type::Text,
        "integer" | "number" => Type::Number,
        "boolean" => Type::Flag,
        "array" => match kind(schema.get("items")?, root, within)? {
            (item, false) => Type::List(Box::new(item)),
            (_, true) => return None,
        },
        "object" if schema.get("properties").is_some() => {
            Type::Record(fields(schema, root, within))
        }
        _ => return None,
    };
    Some((kind, nullable))
}

fn word_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

pub(super) fn declared(mut kind: Value, required: bool) -> Value {
    if let Value::Object(kind) = &mut kind {
        kind.insert("required".to_owned(), required.into());
    }
    kind
}

pub(super) fn record(fields: &Fields) -> Value {
    let attributes: Map<String, Value> = fields
        .typed
        .iter()
        .map(|(name, field)| (name.clone(), declared(in_schema(&field.kind), field.required)))
        .collect();
    json!({ "type": "Record", "attributes": attributes })
}

fn in_schema(kind: &Type) -> Value {
    match kind {
        Type::Text => json!({ "type": "String" }),
        Type::Number => json!({ "type": "Long" }),
        Type::Flag => json!({ "type": "Boolean" }),
        Type::List(item) => json!({ "type": "Set", "element": in_schema(item) }),
        Type::Record(fields) => record(fields),
    }
}

/// A value in Cedar's terms; the path to what does not fit is the error.
pub(super) fn in_cedar(
    fields: &Fields,
    values: &Map<String, Value>,
) -> Result<RestrictedExpression, Vec<String>> {
    let mut pairs = Vec::new();
    for (name, field) in &fields.typed {
        let within = |mut path: Vec<String>| {
            path.insert(0, name.clone());
            path
        };
        match values.get(name) {
            None | Some(Value::Null) if field.required => return Err(within(Vec::new())),
            None | Some(Value::Null) => {}
            Some(value) => pairs.push((name.clone(), one(&field.kind, value).map_err(within)?)),
        }
    }
    RestrictedExpression::new_record(pairs).map_err(|_| Vec::new())
}

fn one(kind: &Type, value: &Value) -> Result<RestrictedExpression, Vec<String>> {
    Ok(match (kind, value) {
        (Type::Text, Value::String(text)) => string(text),
        (Type::Number, Value::Number(number)) => RestrictedExpression::new_long(long(number)),
        (Type::Flag, Value::Bool(value)) => flag(*value),
        (Type::List(kind), Value::Array(items)) => {
            let mut set = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                set.push(one(kind, item).map_err(|mut path| {
                    path.insert(0, index.to_string());
                    path
                })?);
            }
            RestrictedExpression::new_set(set)
        }
        (Type::Record(fields), Value::Object(values)) => in_cedar(fields, values)?,
        _ => return Err(Vec::new()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn types(properties: Value, required: &[&str]) -> Fields {
        let schema = json!({
                "type": "object", "properties": properties, "required": required,
                "$defs": {
                    "Money": { "type": "object", "required": ["cents"],
                        "properties": { "cents": { "type": "integer" } } },
                    "Tree": { "type": "object",
                        "properties": { "left": { "$ref": "#/$defs/Tree" } } },
                },
        });
        fields(&schema, &schema, &mut Vec::new())
    }

    #[test]
    fn schemas_become_types() {
        let fields = types(
            json!({
                "text": { "type": "string" },
                "maybe": { "type": ["string", "null"] },
                "either": { "anyOf": [{ "type": "number" }, { "type": "null" }] },
                "word": { "enum": ["a", "b"] },
                "words": { "type": "array", "items": { "const": "x" } },
                "money": { "$ref": "#/$defs/Money" },
                "mixed": { "type": ["string", "integer"] },
                "free": { "type": "object" },
                "anything": true,
            }),
            &["text", "maybe", "money"],
        );
        let typed: Vec<(&str, &Type, bool)> = fields
            .typed
            .iter()
            .map(|(name, field)| (name.as_str(), &field.kind, field.required))
            .collect();
        let cents = Field { kind: Type::Number, required: true };
        let money = Type::Record(Fields {
            typed: BTreeMap::from([("cents".to_owned(), cents)]),
            untyped: BTreeMap::new(),
        });
        let list = Type::List(Box::new(Type::Text));
        assert_eq!(
            typed,
            [
                ("either", &Type::Number, false),
                ("maybe", &Type::Text, false),
                ("money", &money, true),
                ("text", &Type::Text, true),
                ("word", &Type::Text, false),
                ("words", &list, false),
            ]
        );
        let untyped: Vec<&str> = fields.untyped.keys().map(String::as_str).collect();
        assert_eq!(untyped, ["anything", "free", "mixed"]);
    }

    #[test]
    fn a_schema_without_end_ends() {
        let fields = types(json!({ "tree": { "$ref": "#/$defs/Tree" } }), &[]);
        let Type::Record(tree) = &fields.typed["tree"].kind else { panic!("a record") };
        assert!(tree.untyped.contains_key("left"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let fields = types(
            json!({ "money": { "$ref": "#/$defs/Money" }, "list": { "type": "array", "items": { "type": "string" } } }),
            &["money"],
        );
        let misfit = |value: Value| {
            in_cedar(&fields, value.as_object().unwrap()).err().map(|path| path.join("."))
        };
        assert_eq!(misfit(json!({ "money": { "cents": 7 }, "more": true })), None);
        assert_eq!(misfit(json!({})), Some("money".to_owned()));
        assert_eq!(misfit(json!({ "money": { "cents": "7" } })), Some("money.cents".to_owned()));
        assert_eq!(
            misfit(json!({ "money": { "cents": 7 }, "list": ["a", 1] })),
            Some("list.1".to_owned())
        );
    }
}
