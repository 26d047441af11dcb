//! `POST /mcp/governance/evaluate`: the union of ASCEND's request shapes, and
//! the fields that our SDK adds.

use std::collections::BTreeMap;

use ascend_sdk::{Digest, Facts, Floor, SessionContext};
use axum::{Json, extract::State, http::HeaderMap};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{AgentCaller, Body, Face, Fields, Problem, standing};
use crate::submission::{LONGEST_APPROVAL_TIMEOUT, Submission, bounded};

/// The most bytes of a server's id, a namespace or a verb.
const WORD_LIMIT: usize = 256;
/// The most bytes of a resource.
const RESOURCE_LIMIT: usize = 8 * 1024;

pub(super) async fn evaluate(
    State(face): State<Face>,
    AgentCaller(caller): AgentCaller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let submission =
        Submission { owner: caller.owner, ..read(&mut fields, &headers, caller.name)? };
    let record = face.center.submit(submission).await?;
    Ok(Json(standing(&record)))
}

fn read(
    fields: &mut Fields,
    headers: &HeaderMap,
    requested_by: String,
) -> Result<Submission, Problem> {
    let server_id = fields.required_text("server_id", WORD_LIMIT);
    let namespace = fields.required_text("namespace", WORD_LIMIT);
    let verb = fields.required_text("verb", WORD_LIMIT);
    let resource = fields.required_text("resource", RESOURCE_LIMIT);
    let parameters = fields.object("parameters");
    let user_context = fields.object("user_context");
    let session = session(fields);
    let tool = fields.text("tool").or_else(|| fields.text("tool_name")).unwrap_or_default();
    let summary = fields.text("summary").or_else(|| fields.text("description"));
    let floor = floor(fields);
    let facts: Facts = fields.typed("facts");
    let metadata = metadata(fields);
    let digest = fields.parsed::<Digest>("digest", "64 hexadecimal digits");
    let idempotency_key = idempotency_key(fields, headers);
    let approval_timeout = fields.seconds("approval_timeout_seconds").unwrap_or_default();
    if approval_timeout > LONGEST_APPROVAL_TIMEOUT {
        fields.error(&["approval_timeout_seconds"], "expected at most 30 days", "less_than_equal");
    }
    fields.finish()?;

    let digest = match digest {
        Some(digest) => digest,
        None => digest_of(&tool, &resource, &parameters)?,
    };
    let request = serde_json::to_string(fields.whole()).map_err(Problem::internal)?;
    Ok(Submission {
        server_id,
        tool,
        namespace,
        verb,
        resource,
        parameters,
        summary,
        floor,
        facts,
        metadata,
        user_context,
        session,
        digest,
        idempotency_key,
        approval_timeout: bounded(approval_timeout),
        requested_by,
        owner: None,
        request,
    })
}

/// ASCEND's example nests the session's id, its reference has it at the top.
fn session(fields: &mut Fields) -> SessionContext {
    let top = fields.text("session_id");
    let client = fields.text("client_id");
    let nested = fields.object("session_context");
    let mut text = |name: &str| match nested.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            fields.error(&["session_context", name], "expected text", "string_type");
            None
        }
    };
    let session_id = text("session_id").or(top);
    let client_name = text("client_name").or(client);
    let client_version = text("client_version");
    let default = SessionContext::default();
    SessionContext {
        session_id: session_id.unwrap_or(default.session_id),
        client_name,
        client_version,
    }
}

/// Ours, ASCEND's `require_approval`, and its SDK's `context.require_human_approval`:
/// the strictest counts.
fn floor(fields: &mut Fields) -> Floor {
    let mut floor: Floor = fields.typed("floor");
    floor.require_human_approval |= fields.flag("require_approval");
    match fields.object("context").get("require_human_approval") {
        None | Some(Value::Null) => {}
        Some(Value::Bool(required)) => floor.require_human_approval |= required,
        Some(_) => {
            let path = ["context", "require_human_approval"];
            fields.error(&path, "expected true or false", "bool_type");
        }
    }
    floor
}

fn metadata(fields: &mut Fields) -> BTreeMap<String, String> {
    fields
        .object("metadata")
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, other.to_string()),
        })
        .collect()
}

fn idempotency_key(fields: &mut Fields, headers: &HeaderMap) -> Option<String> {
    let key = fields.text("idempotency_key").or_else(|| {
        headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned)
    });
    let key = key.filter(|key| !key.trim().is_empty())?;
    if key.len() > WORD_LIMIT {
        let message = format!("expected at most {WORD_LIMIT} bytes");
        fields.error(&["idempotency_key"], &message, "string_too_long");
    }
    Some(key)
}

/// For a client that sends no digest: SHA-256 over the canonical JSON of what
/// it asked, as our SDK makes it where nothing is sensitive.
fn digest_of(
    tool: &str,
    resource: &str,
    parameters: &Map<String, Value>,
) -> Result<Digest, Problem> {
    let call = json!({ "tool": tool, "resource": resource, "arguments": parameters });
    let canonical = serde_json_canonicalizer::to_vec(&call).map_err(Problem::internal)?;
    hex::encode(Sha256::digest(canonical)).parse().map_err(Problem::internal)
}
