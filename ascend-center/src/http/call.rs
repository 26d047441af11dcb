//! What all requests for a decision have in common: the union of ASCEND's
//! shapes, and the fields that our SDK adds.

use std::{collections::BTreeMap, time::Duration};

use ascend_sdk::{Digest, Facts, Floor, RiskLevel, SessionContext, TraceParent, canonical_json};
use axum::http::HeaderMap;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{Fields, Problem, told};
use crate::{
    identity::Agent,
    submission::{LONGEST_APPROVAL_TIMEOUT, Submission, bounded},
};

/// The most bytes of a server's id, a namespace or a verb.
pub(super) const WORD_LIMIT: usize = 256;
/// The most bytes of a resource.
pub(super) const RESOURCE_LIMIT: usize = 8 * 1024;

/// A call that a decision is asked for.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) server_id: String,
    pub(super) namespace: String,
    pub(super) verb: String,
    pub(super) resource: String,
    pub(super) parameters: Map<String, Value>,
    pub(super) user_context: Map<String, Value>,
    pub(super) tool: String,
    pub(super) summary: Option<String>,
    pub(super) floor: Floor,
    pub(super) facts: Facts,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) session: SessionContext,
    pub(super) mcp_server: Option<String>,
    pub(super) model: Option<String>,
    pub(super) digest: Option<Digest>,
    pub(super) idempotency_key: Option<String>,
    pub(super) approval_timeout: Duration,
    pub(super) traceparent: Option<TraceParent>,
}

impl Call {
    /// Reads what is the same wherever a decision is asked for.
    pub(super) fn read(fields: &mut Fields) -> Self {
        let approval_timeout = fields.seconds("approval_timeout_seconds").unwrap_or_default();
        if approval_timeout > LONGEST_APPROVAL_TIMEOUT {
            fields.error("approval_timeout_seconds", "expected at most 30 days", "less_than_equal");
        }
        Self {
            resource: fields.required_text("resource", RESOURCE_LIMIT),
            user_context: fields.object("user_context"),
            session: session(fields),
            tool: fields.text("tool").or_else(|| fields.text("tool_name")).unwrap_or_default(),
            summary: fields.text("summary").or_else(|| fields.text("description")),
            floor: floor(fields),
            facts: fields.typed("facts"),
            metadata: metadata(fields),
            digest: fields.parsed::<Digest>("digest", "64 hexadecimal digits"),
            idempotency_key: fields.text("idempotency_key"),
            approval_timeout,
            ..Self::default()
        }
    }

    /// What the headers add to the body.
    pub(super) fn read_headers(&mut self, headers: &HeaderMap, fields: &mut Fields) {
        self.idempotency_key = idempotency_key(self.idempotency_key.take(), headers, fields);
        self.traceparent = told(headers).map(|trace| trace.parent());
        if let Some(environment) = header(headers, "x-environment") {
            self.metadata.entry("environment".to_owned()).or_insert(environment);
        }
    }

    /// The submission, once all fields fit. Where the client sends no digest,
    /// `bound` is what the decision is for.
    pub(super) fn submission(
        self,
        bound: impl FnOnce(&Self) -> Value,
        caller: &Agent,
        fields: &mut Fields,
    ) -> Result<Submission, Problem> {
        fields.finish()?;
        let digest = match self.digest {
            Some(digest) => digest,
            None => digest_of(&bound(&self))?,
        };
        let request = serde_json::to_string(fields.whole()).map_err(Problem::internal)?;
        Ok(Submission {
            server_id: self.server_id,
            tool: self.tool,
            namespace: self.namespace,
            verb: self.verb,
            resource: self.resource,
            parameters: self.parameters,
            summary: self.summary,
            floor: self.floor,
            facts: self.facts,
            metadata: self.metadata,
            user_context: self.user_context,
            session: self.session,
            digest,
            idempotency_key: self.idempotency_key,
            approval_timeout: bounded(self.approval_timeout),
            mcp_server: self.mcp_server,
            model: self.model,
            requested_by: caller.name.clone(),
            owner: caller.owner.clone(),
            traceparent: self.traceparent,
            request,
        })
    }
}

/// The same in every attempt of a request: from its body, or from its headers.
pub(super) fn idempotency_key(
    told: Option<String>,
    headers: &HeaderMap,
    fields: &mut Fields,
) -> Option<String> {
    let key = told.or_else(|| header(headers, "idempotency-key"));
    let key = key.filter(|key| !key.trim().is_empty())?;
    if key.len() > WORD_LIMIT {
        let message = format!("expected at most {WORD_LIMIT} bytes");
        fields.error("idempotency_key", &message, "string_too_long");
    }
    Some(key)
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// ASCEND's example nests the session's id, its reference has it at the top.
pub(super) fn session(fields: &mut Fields) -> SessionContext {
    let top = fields.text("session_id");
    let client = fields.text("client_id");
    let default = SessionContext::default();
    fields.within("session_context", |fields| SessionContext {
        session_id: fields.text("session_id").or(top).unwrap_or(default.session_id),
        client_name: fields.text("client_name").or(client),
        client_version: fields.text("client_version"),
    })
}

/// Ours, ASCEND's `require_approval`, and its SDK's `context.require_human_approval`
/// and `context.risk_level`: the strictest counts.
fn floor(fields: &mut Fields) -> Floor {
    let mut floor: Floor = fields.typed("floor");
    floor.require_human_approval |= fields.flag("require_approval").unwrap_or_default();
    fields.within("context", |fields| {
        floor.require_human_approval |= fields.flag("require_human_approval").unwrap_or_default();
        if let Some(level) = fields.text("risk_level") {
            // A level that nobody knows is the highest.
            let level = level.trim().parse().unwrap_or(RiskLevel::Critical);
            floor.risk_level = floor.risk_level.max(Some(level));
        }
    });
    floor
}

fn metadata(fields: &mut Fields) -> BTreeMap<String, String> {
    texts(fields.object("metadata"))
}

/// Each value as text.
pub(super) fn texts(object: Map<String, Value>) -> BTreeMap<String, String> {
    object
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, other.to_string()),
        })
        .collect()
}

/// SHA-256 over canonical JSON, as our SDK makes it where nothing is sensitive.
fn digest_of(bound: &Value) -> Result<Digest, Problem> {
    hex::encode(Sha256::digest(canonical_json(bound))).parse().map_err(Problem::internal)
}
