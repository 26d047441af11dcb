//! What a server's tools may do, as a document to be reviewed.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Hints, Parameter, Route, ToolSpec, Tools, digest};

/// What an agent may do with a server: every tool with its action, its resource,
/// its floor, its sensitive arguments and its schemas, as stable JSON.
///
/// Keep what it prints in a file, and let a test or a step of CI compare them:
/// a change of what an agent may do is then a line in a review. The lines of
/// source code are not in it, since they change when nothing else does.
///
/// ```
/// use ascend_sdk::{Manifest, Refusal, high_risk_action, tools};
///
/// /// Deletes a user.
/// #[high_risk_action(action_type = "user.delete", resource = "users/{name}")]
/// async fn delete_user(name: String) -> Result<(), Refusal> {
///     Ok(())
/// }
///
/// let manifest = Manifest::new("mcp-server-001", &tools![delete_user]).to_string();
/// assert!(manifest.contains(r#""resource": "users/{name}""#));
/// assert!(manifest.contains(r#""requireHumanApproval": true"#));
/// ```
///
/// A tool of an rmcp server that [`#[ungoverned]`](macro@crate::ungoverned) exempts has
/// `"governed": false` in the place of action, resource and floor, and the reason.
///
/// `ascend-center policy check --tools` and `--manifest` read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    /// The version of this form.
    manifest: u32,
    server: String,
    tools: Vec<Value>,
}

impl Manifest {
    /// Of the server that authorities know as `server_id`.
    #[must_use]
    pub fn new(server_id: &str, tools: &Tools) -> Self {
        Self {
            manifest: 1,
            server: server_id.to_owned(),
            tools: tools.routes().iter().map(entry).collect(),
        }
    }
}

/// The same on every machine: keys in the order of the alphabet, and a line end.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut document = json!(self);
        document.sort_all_objects();
        writeln!(f, "{document:#}")
    }
}

#[cfg(feature = "server")]
impl Extend<Value> for Manifest {
    fn extend<I: IntoIterator<Item = Value>>(&mut self, entries: I) {
        self.tools.extend(entries);
    }
}

fn entry(route: &Route) -> Value {
    of_tool(route.spec(), route.input_schema(), route.output_schema())
}

/// A governed method of an rmcp server.
#[cfg(feature = "server")]
pub(crate) fn of_method(spec: &ToolSpec, listing: &rmcp::model::Tool) -> Value {
    let output_schema = listing.output_schema.as_deref().cloned();
    let mut entry = of_tool(spec, (*listing.input_schema).clone(), output_schema);
    entry["description"] = listing.description.as_deref().unwrap_or_default().into();
    if let Some(title) = &listing.title {
        entry["title"] = title.clone().into();
    }
    entry
}

/// A tool that nobody is asked about, and why.
#[cfg(feature = "server")]
pub(crate) fn of_ungoverned(listing: &rmcp::model::Tool, reason: Option<&str>) -> Value {
    let input_schema = Value::Object((*listing.input_schema).clone());
    let hash = digest::of_value(&input_schema);
    let mut entry = json!({
        "name": listing.name,
        "description": listing.description.as_deref().unwrap_or_default(),
        "governed": false,
        "reason": reason,
        "inputSchema": input_schema,
        "inputSchemaSha256": hash.to_string(),
    });
    if let Some(schema) = listing.output_schema.as_deref() {
        entry["outputSchema"] = schema.clone().into();
    }
    entry
}

fn of_tool(
    spec: &ToolSpec,
    input_schema: Map<String, Value>,
    output_schema: Option<Map<String, Value>>,
) -> Value {
    let marked = |is: fn(&Parameter) -> bool| -> Vec<&str> {
        spec.parameters.iter().filter(|it| is(it)).map(|parameter| parameter.name).collect()
    };
    let traced = marked(|parameter| parameter.traced);
    let metadata: Map<String, Value> =
        spec.metadata.iter().map(|&(key, value)| (key.to_owned(), value.into())).collect();
    let Hints { read_only, destructive, idempotent, open_world } = spec.annotations();
    let hash = digest::of_value(&Value::Object(input_schema.clone()));
    let mut entry = json!({
        "name": spec.name,
        "description": spec.description,
        "action": {
            "namespace": spec.namespace,
            // Without a word of its own, the verb of each call follows from its
            // arguments.
            "verb": spec.verb,
            "verbSource": if spec.verb.is_some() { "word" } else { "arguments" },
        },
        "resource": spec.resource.to_string(),
        "risk": spec.risk(),
        "floor": {
            "riskLevel": spec.floor.risk_level.map(crate::RiskLevel::as_str),
            "requireHumanApproval": spec.floor.require_human_approval,
        },
        "sensitive": marked(|parameter| parameter.sensitive),
        "annotations": {
            "readOnlyHint": read_only,
            "destructiveHint": destructive,
            "idempotentHint": idempotent,
            "openWorldHint": open_world,
        },
        "inputSchema": input_schema,
        "inputSchemaSha256": hash.to_string(),
        "source": spec.location.file,
    });
    let optional = [
        ("title", spec.title.map(Value::from)),
        ("summary", spec.summary.map(|summary| summary.to_string().into())),
        ("approvalTimeoutSeconds", spec.approval_timeout.map(|it| it.as_secs().into())),
        ("metadata", (!metadata.is_empty()).then(|| metadata.into())),
        ("traced", (!traced.is_empty()).then(|| traced.into())),
        ("outputSchema", output_schema.map(Value::Object)),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            entry[key] = value;
        }
    }
    entry
}
