//! What tools take, by their JSON Schemas, as types that policies are checked
//! against: `context.arguments.refund.cents`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use ascend_sdk::Route;
use cedar_policy::RestrictedExpression;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    problem::{PolicyError, Source, nearest},
    reads::Read,
    request::{Unfit, flag, long, string},
};

/// The name of the generated type, which `Call` in the schema refers to.
const TYPE: &str = "Arguments";

/// What a tool takes, for policies that name its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ToolSchema {
    /// The tool's name.
    pub name: String,
    /// The JSON Schema of its arguments.
    #[serde(rename = "inputSchema", alias = "input_schema")]
    pub input_schema: Map<String, Value>,
    /// The arguments that are masked outside the server.
    #[serde(default)]
    pub sensitive: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Manifest {
    Listed { tools: Vec<ToolSchema> },
    Bare(Vec<ToolSchema>),
}

impl ToolSchema {
    /// Of a tool as a server registers it.
    #[must_use]
    pub fn of(route: &Route) -> Self {
        let spec = route.spec();
        let sensitive = spec.parameters.iter().filter(|parameter| parameter.sensitive);
        Self {
            name: spec.name.to_owned(),
            input_schema: route.input_schema(),
            sensitive: sensitive.map(|parameter| parameter.name.to_owned()).collect(),
        }
    }

    /// Reads a JSON file of tools: what a server answers to `tools/list`, or its
    /// `tools` alone. A tool may name its `sensitive` arguments there.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or has another shape.
    pub fn read(path: &Path) -> Result<Vec<Self>, PolicyError> {
        let source = Source::read(path.to_owned())?;
        match serde_json::from_str::<Manifest>(&source.text) {
            Ok(Manifest::Listed { tools } | Manifest::Bare(tools)) => Ok(tools),
            Err(error) if error.is_data() => Err(source
                .problem_of_all("this is no list of tools")
                .with_help("write what a server answers to `tools/list`: names and `inputSchema`s")
                .into()),
            Err(error) => Err(source.in_json(&error).into()),
        }
    }
}

/// The types of all known tools.
#[derive(Debug, Clone, Default)]
pub(super) struct ToolTypes(BTreeMap<String, Fields>);

#[derive(Debug, Clone, PartialEq)]
enum Type {
    Text,
    Number,
    Flag,
    List(Box<Type>),
    Record(Fields),
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Fields {
    typed: BTreeMap<String, Field>,
    /// What policies cannot read, and why.
    untyped: BTreeMap<String, &'static str>,
}

#[derive(Debug, Clone, PartialEq)]
struct Field {
    kind: Type,
    required: bool,
}

const MASKED: &str = "it is sensitive, and masked outside its server";
const NO_TYPE: &str = "its schema gives it no single type; it may be in `context.text`, \
                       `context.number` or `context.flag`";

impl ToolTypes {
    /// The names that are given twice, with other arguments, are the error.
    pub(super) fn of(tools: &[ToolSchema]) -> Result<Self, String> {
        let mut types: BTreeMap<String, Fields> = BTreeMap::new();
        for tool in tools {
            let root = Value::Object(tool.input_schema.clone());
            let mut fields = fields(&root, &root, &mut Vec::new());
            for name in &tool.sensitive {
                fields.typed.remove(name);
                fields.untyped.insert(name.clone(), MASKED);
            }
            match types.get(&tool.name) {
                Some(earlier) if *earlier != fields => return Err(tool.name.clone()),
                _ => types.insert(tool.name.clone(), fields),
            };
        }
        Ok(Self(types))
    }

    /// The schema of `context.arguments`, in Cedar's JSON form.
    pub(super) fn schema(&self) -> Value {
        let tools: Map<String, Value> = self
            .0
            .iter()
            .map(|(name, fields)| (name.clone(), declared(record(fields), false)))
            .collect();
        json!({ "": {
            "commonTypes": { TYPE: { "type": "Record", "attributes": tools } },
            "entityTypes": {},
            "actions": {},
        } })
    }

    /// `context.arguments` of a call.
    pub(super) fn arguments(
        &self,
        tool: &str,
        parameters: &Map<String, Value>,
    ) -> Result<RestrictedExpression, Unfit> {
        let mut tools = Vec::new();
        if let Some(fields) = self.0.get(tool) {
            let record = in_cedar(fields, parameters)
                .map_err(|path| Misfit { tool: tool.to_owned(), argument: path.join(".") })?;
            tools.push((tool.to_owned(), record));
        }
        Ok(RestrictedExpression::new_record(tools)?)
    }

    /// The tools, and arguments of tools, that a policy names and that are not
    /// there.
    pub(super) fn unknown(&self, reads: &[Read<'_>]) -> Vec<Unknown> {
        let mut found = Vec::new();
        for Read { of_context, names } in reads {
            if let (true, ["arguments", tool, inside @ ..]) = (of_context, names.as_slice())
                && let Some(unknown) = self.missing(tool, inside)
                && !found.contains(&unknown)
            {
                found.push(unknown);
            }
        }
        found
    }

    fn missing(&self, tool: &str, inside: &[&str]) -> Option<Unknown> {
        let Some(mut fields) = self.0.get(tool) else {
            let known = self.0.keys().map(String::as_str);
            let help = match nearest(tool, known.clone()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if self.0.is_empty() => {
                    "no tools are known here: give the center its tools, or name a file of them \
                     with `--tools`"
                        .to_owned()
                }
                None => format!("known are {}", known.collect::<Vec<_>>().join(", ")),
            };
            let message = format!("no tool is named `{tool}`");
            return Some(Unknown { name: tool.to_owned(), message, help });
        };
        for (depth, name) in inside.iter().enumerate() {
            match fields.typed.get(*name) {
                Some(Field { kind: Type::Record(inner), .. }) => fields = inner,
                Some(_) => return None,
                None => {
                    let path = inside[..=depth].join(".");
                    return Some(fields.without(tool, name, &path));
                }
            }
        }
        None
    }
}

impl Fields {
    /// What to say of `name`, which is not among them; `path` leads to it.
    fn without(&self, tool: &str, name: &str, path: &str) -> Unknown {
        let name = name.to_owned();
        if let Some(why) = self.untyped.get(&name) {
            let message =
                format!("policies cannot read the argument `{path}` of the tool `{tool}`");
            return Unknown { name, message, help: (*why).to_owned() };
        }
        let known = self.typed.keys().map(String::as_str);
        let help = match nearest(&name, known.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("it has {}", known.collect::<Vec<_>>().join(", ")),
        };
        let message = format!("the tool `{tool}` has no argument `{path}`");
        Unknown { name, message, help }
    }
}

/// A tool, or an argument of one, that is not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// The name as it is written.
    pub(super) name: String,
    pub(super) message: String,
    pub(super) help: String,
}

/// An argument is not what the tool's schema says; a policy that reads it would
/// go by another value than the tool.
#[derive(Debug, thiserror::Error)]
#[error("the argument `{argument}` of `{tool}` is not what the tool's schema says")]
struct Misfit {
    tool: String,
    argument: String,
}

/// The tools whose arguments a policy reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    tools: BTreeSet<String>,
    /// It reads `context.arguments` in a way that names no tool.
    all: bool,
}

impl Named {
    pub(super) fn all() -> Self {
        Self { tools: BTreeSet::new(), all: true }
    }

    pub(super) fn of(reads: &[Read<'_>]) -> Self {
        let mut named = Self::default();
        for Read { of_context, names } in reads {
            match names.as_slice() {
                ["arguments", tool, ..] if *of_context => {
                    named.tools.insert((*tool).to_owned());
                }
                [] => named.all = true,
                names => named.all |= names.contains(&"arguments"),
            }
        }
        named
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.tools.extend(other.tools.iter().cloned());
        self.all |= other.all;
    }

    pub(super) fn is_nothing(&self) -> bool {
        !self.all && self.tools.is_empty()
    }

    pub(super) fn contains(&self, tool: &str) -> bool {
        self.all || self.tools.contains(tool)
    }
}

/// `within` are the references that lead here.
fn fields<'s>(schema: &'s Value, root: &'s Value, within: &mut Vec<&'s str>) -> Fields {
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

fn declared(mut kind: Value, required: bool) -> Value {
    if let Value::Object(kind) = &mut kind {
        kind.insert("required".to_owned(), required.into());
    }
    kind
}

fn record(fields: &Fields) -> Value {
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
fn in_cedar(
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
        let tool = ToolSchema {
            name: "t".to_owned(),
            input_schema: json!({
                "type": "object", "properties": properties, "required": required,
                "$defs": {
                    "Money": { "type": "object", "required": ["cents"],
                        "properties": { "cents": { "type": "integer" } } },
                    "Tree": { "type": "object",
                        "properties": { "left": { "$ref": "#/$defs/Tree" } } },
                },
            })
            .as_object()
            .cloned()
            .unwrap(),
            sensitive: vec!["secret".to_owned()],
        };
        ToolTypes::of(&[tool]).unwrap().0.remove("t").unwrap()
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
                "secret": { "type": "string" },
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
        assert_eq!(untyped, ["anything", "free", "mixed", "secret"]);
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
