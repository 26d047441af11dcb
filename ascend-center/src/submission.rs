//! What is asked of the center, in process or over HTTP.

use std::{collections::BTreeMap, time::Duration};

use ascend_sdk::{Action, Digest, Facts, Floor, SessionContext, TraceContext, TraceParent};
use serde_json::{Map, Value};

/// One request for a decision.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    pub(crate) server_id: String,
    pub(crate) tool: String,
    pub(crate) namespace: String,
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) summary: Option<String>,
    pub(crate) floor: Floor,
    pub(crate) facts: Facts,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) user_context: Map<String, Value>,
    pub(crate) session: SessionContext,
    pub(crate) digest: Digest,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) approval_timeout: Duration,
    /// The registered MCP server that it names; it must be active then.
    pub(crate) mcp_server: Option<String>,
    /// The model that it names.
    pub(crate) model: Option<String>,
    /// The agent's name.
    pub(crate) requested_by: String,
    /// Whose key the agent asked with.
    pub(crate) owner: Option<String>,
    /// The span in which it is asked.
    pub(crate) traceparent: Option<TraceParent>,
    /// The request as JSON, as it came.
    pub(crate) request: String,
}

/// ASCEND's time for an approval.
pub(crate) const DEFAULT_APPROVAL_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest time for an approval.
pub(crate) const LONGEST_APPROVAL_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 3600);

impl Submission {
    pub(crate) fn of(action: &Action, requested_by: &str) -> Result<Self, serde_json::Error> {
        Ok(Self {
            server_id: action.server_id.clone(),
            tool: action.tool.clone(),
            namespace: action.namespace.clone(),
            verb: action.verb.clone(),
            resource: action.resource.clone(),
            parameters: action.parameters.clone(),
            summary: action.summary.clone(),
            floor: action.floor,
            facts: action.facts.clone(),
            metadata: action.metadata.clone(),
            user_context: action.user_context.clone(),
            session: action.session_context.clone(),
            digest: action.digest,
            idempotency_key: Some(action.idempotency_key.clone()).filter(|key| !key.is_empty()),
            approval_timeout: bounded(action.approval_timeout),
            mcp_server: None,
            model: None,
            requested_by: requested_by.to_owned(),
            owner: None,
            traceparent: action.trace.as_ref().map(TraceContext::parent),
            request: serde_json::to_string(action)?,
        })
    }

    /// A text with U+0000, which not every database takes. JSON escapes it, so that
    /// arguments and what else is kept as JSON may have it.
    pub(crate) fn unfit(&self) -> Option<&'static str> {
        let session = &self.session;
        let texts = [
            ("server_id", Some(&self.server_id)),
            ("tool", Some(&self.tool)),
            ("namespace", Some(&self.namespace)),
            ("verb", Some(&self.verb)),
            ("resource", Some(&self.resource)),
            ("summary", self.summary.as_ref()),
            ("session_id", Some(&session.session_id)),
            ("client_name", session.client_name.as_ref()),
            ("client_version", session.client_version.as_ref()),
            ("idempotency_key", self.idempotency_key.as_ref()),
        ];
        let has_nul = |text: &String| text.contains('\0');
        texts.into_iter().find(|(_, text)| text.is_some_and(has_nul)).map(|(name, _)| name)
    }

    /// The client program, as it called itself.
    pub(crate) fn client(&self) -> Option<String> {
        let name = self.session.client_name.as_ref()?;
        Some(match &self.session.client_version {
            Some(version) => format!("{name} {version}"),
            None => name.clone(),
        })
    }
}

/// Zero stands for ASCEND's default.
pub(crate) fn bounded(timeout: Duration) -> Duration {
    if timeout.is_zero() { DEFAULT_APPROVAL_TIMEOUT } else { timeout.min(LONGEST_APPROVAL_TIMEOUT) }
}
