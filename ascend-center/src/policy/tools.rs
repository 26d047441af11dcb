//! What tools take, by their JSON Schemas, as types that policies are checked
//! against: `context.arguments.refund.cents`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use ascend_sdk::Route;
use cedar_policy::RestrictedExpression;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    problem::{PolicyError, Source, nearest},
    reads::Read,
    request::Unfit,
};

mod types;
use types::{Field, Fields, Type, declared, fields, in_cedar, record};

/// The name of the generated type, which `Call` in the schema refers to.
const TYPE: &str = "Arguments";

/// What a tool takes, for policies that name its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
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

const MASKED: &str = "it is sensitive, and masked outside its server";
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

    pub(super) fn knows(&self, tool: &str) -> bool {
        self.0.contains_key(tool)
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
