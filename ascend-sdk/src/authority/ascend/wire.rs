//! What is sent: the union of the request shapes that ASCEND's API has had
//! (`docs/ascend-api.md`, rows 2, 11 and 12), and what our own center reads beyond them.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Action, ActionId, ClientAnswer, Confirmation, Digest, Facts, Floor, SessionContext};

/// The most characters of a failure that are reported.
const FAILURE_LIMIT: usize = 2_000;

/// Who asks, where that is configured.
#[derive(Debug, Clone, Default)]
pub(super) struct Agent {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
}

/// The body of an evaluation request.
#[derive(Serialize)]
pub(super) struct EvaluateRequest<'a> {
    server_id: &'a str,
    mcp_server: &'a str,
    namespace: &'a str,
    verb: &'a str,
    resource: &'a str,
    parameters: &'a Map<String, Value>,
    user_context: &'a Map<String, Value>,
    session_context: &'a SessionContext,
    session_id: &'a str,
    client_id: &'a str,
    agent_id: &'a str,
    agent_name: &'a str,
    action_type: String,
    description: &'a str,
    tool_name: &'a str,
    context: RequestContext,
    require_approval: bool,
    // Read by our own center alone.
    tool: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    floor: Floor,
    facts: &'a Facts,
    metadata: &'a BTreeMap<String, String>,
    digest: Digest,
    idempotency_key: &'a str,
    approval_timeout_seconds: u64,
    /// An allowed call is run at once: its decision may be claimed with this.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    claim: bool,
}

#[derive(Serialize)]
struct RequestContext {
    require_human_approval: bool,
}

impl<'a> EvaluateRequest<'a> {
    pub(super) fn new(action: &'a Action, agent: &'a Agent, claim: bool) -> Self {
        let session = &action.session_context;
        let agent_id = agent.id.as_deref().unwrap_or(&action.server_id);
        let required = action.floor.require_human_approval;
        Self {
            server_id: &action.server_id,
            mcp_server: &action.server_id,
            namespace: &action.namespace,
            verb: &action.verb,
            resource: &action.resource,
            parameters: &action.parameters,
            user_context: &action.user_context,
            session_context: session,
            session_id: &session.session_id,
            client_id: session.client_name.as_deref().unwrap_or(agent_id),
            agent_id,
            agent_name: agent.name.as_deref().unwrap_or(agent_id),
            action_type: action.action_type(),
            // An empty one would be answered with 422.
            description: if action.description.is_empty() {
                &action.tool
            } else {
                &action.description
            },
            tool_name: &action.tool,
            context: RequestContext { require_human_approval: required },
            require_approval: required,
            tool: &action.tool,
            summary: action.summary.as_deref(),
            floor: action.floor,
            facts: &action.facts,
            metadata: &action.metadata,
            digest: action.digest,
            idempotency_key: &action.idempotency_key,
            approval_timeout_seconds: whole_seconds(action.approval_timeout),
            claim,
        }
    }
}

/// Rounded up, so that a center never gives up before the caller does.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// As text, since each run is told of: a tree of values takes longer than to write it.
pub(super) fn completed(id: &ActionId, duration: Duration) -> String {
    format!(
        r#"{{"action_id":{},"status":"completed","completed_at":"{}","duration_ms":{}}}"#,
        id_value(id),
        timestamp(),
        milliseconds(duration),
    )
}

pub(super) fn failed(id: &ActionId, duration: Option<Duration>, error: &str) -> String {
    let mut body = json!({
        "action_id": id_value(id),
        "status": "failed",
        "failed_at": timestamp(),
        "error": error.chars().take(FAILURE_LIMIT).collect::<String>(),
    });
    if let Some(duration) = duration {
        body["duration_ms"] = milliseconds(duration).into();
    }
    body.to_string()
}

/// How long a promised action has left; `None` when it was not promised.
pub(super) fn promised(body: &[u8]) -> Result<Option<Duration>, String> {
    #[derive(serde::Deserialize)]
    struct Promised {
        promised: bool,
        expires_in_ms: Option<u64>,
    }
    let Promised { promised, expires_in_ms } =
        serde_json::from_slice(body).map_err(|error| format!("its promise: {error}"))?;
    Ok(promised.then(|| Duration::from_millis(expires_in_ms.unwrap_or_default())))
}

pub(super) fn confirmed(confirmation: &Confirmation) -> Value {
    let decision = match confirmation.answer {
        ClientAnswer::Approved => "approve",
        ClientAnswer::Rejected => "reject",
    };
    json!({ "decision": decision, "session_context": confirmation.session })
}

/// What [`Outcome::Withdrawn`] looks like to a server that knows only failures.
pub(super) fn withdrawn_as_failure(id: &ActionId, reason: &str) -> String {
    failed(id, None, &format!("withdrawn: {reason}"))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// ISO 8601 in UTC with microseconds and `+00:00`, as ASCEND's SDK writes it.
pub(super) fn timestamp() -> String {
    let mut text = String::with_capacity("2026-01-01T00:00:00.000000+00:00".len());
    let _ = write!(text, "{:.6}", Timestamp::now());
    text.pop();
    text.push_str("+00:00");
    text
}

/// An id that reads as a number goes back as the number it was.
fn id_value(id: &ActionId) -> Value {
    match id.as_str().parse::<u64>() {
        Ok(number) if number.to_string() == id.as_str() => number.into(),
        _ => id.as_str().into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_microseconds_and_a_numeric_offset() {
        let text = timestamp();
        assert_eq!(text.len(), "2026-11-22T14:00:00.123456+00:00".len(), "{text}");
        assert!(text.ends_with("+00:00"), "{text}");
        assert!(text.parse::<Timestamp>().is_ok(), "{text}");
    }

    #[test]
    fn what_is_told_of_a_run_is_json() {
        for id in ["123", "6f9619ff-8b86"] {
            let id = ActionId::new(id).unwrap();
            let told: Value =
                serde_json::from_str(&completed(&id, Duration::from_secs(2))).unwrap();
            let at = told["completed_at"].as_str().unwrap().to_owned();
            let expected = json!({
                "action_id": id_value(&id),
                "status": "completed",
                "completed_at": at,
                "duration_ms": 2_000,
            });
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn ids_go_back_in_the_type_they_came_in() {
        let value = |text: &str| id_value(&ActionId::new(text).unwrap());
        assert_eq!(value("123"), json!(123));
        assert_eq!(value("007"), json!("007"));
        assert_eq!(value("6f9619ff-8b86"), json!("6f9619ff-8b86"));
    }
}
