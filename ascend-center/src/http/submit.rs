//! How ASCEND's Python SDK asks: `POST /api/v1/actions/submit` for actions of
//! agents, `POST /api/v1/mcp/actions/submit` for tools of MCP servers, and
//! `POST /api/governance/policies/evaluate-realtime`, which asks without acting.

use std::time::Instant;

use ascend_sdk::Decision;
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    AgentCaller, AnyCaller, Body, Correlation, Face, Fields, Limited, Problem,
    answer::{Verdict, submitted},
    call::{Call, RESOURCE_LIMIT, WORD_LIMIT, texts},
    fields::body,
    visible,
};
use crate::{
    Effect, Matched,
    identity::{Agent, Identity},
    store::Objection,
    submission::Submission,
};

/// The deepest that agents may delegate to agents.
const DEEPEST: i64 = 5;

body!(
    /// An action of an agent.
    SubmitBody = read_action
);
body!(
    /// A call of an MCP server's tool.
    McpSubmitBody = read_mcp
);
body!(
    /// An action to try the policies with.
    TrialBody = read_trial
);

/// Submits an agent's action for a decision.
#[utoipa::path(
    post, path = "/api/v1/actions/submit", tag = "decisions",
    request_body = SubmitBody,
    responses(
        (status = 200, body = Verdict),
        (status = 403, description = "The register of MCP servers or models forbids it")
    )
)]
pub(super) async fn submit(
    State(face): State<Face>,
    Limited(AgentCaller(caller)): Limited<AgentCaller>,
    correlation: Correlation,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Verdict>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let (mut call, lineage) = read_action(&mut fields);
    call.read_headers(&headers, &mut fields);
    fields.finish()?;
    if let Some(parent) = lineage.parent {
        let record = visible(face.center.action(parent).await?, parent, &caller)
            .map_err(|_| Problem::forbidden("`parent_action_id` is no action of this agent"))?;
        if lineage.session.is_some() && lineage.session != session_of(&face, record.id).await? {
            return Err(Problem::forbidden(
                "`parent_action_id` belongs to another `orchestration_session_id`",
            ));
        }
    }
    // Whatever it says: there is no list of what of it matters to whoever acts on it.
    let whole = Value::Object(fields.whole().clone());
    let submission = call.submission(|_| whole, &caller, &mut fields)?;
    answer(&face, submission, &correlation).await
}

/// Submits a call of an MCP server's tool for a decision.
#[utoipa::path(
    post, path = "/api/v1/mcp/actions/submit", tag = "decisions",
    request_body = McpSubmitBody,
    responses(
        (status = 200, body = Verdict),
        (status = 403, description = "The register of MCP servers forbids it")
    )
)]
pub(super) async fn submit_mcp(
    State(face): State<Face>,
    Limited(AgentCaller(caller)): Limited<AgentCaller>,
    correlation: Correlation,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Verdict>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let mut call = read_mcp(&mut fields);
    call.read_headers(&headers, &mut fields);
    let whole = Value::Object(fields.whole().clone());
    let submission = call.submission(|_| whole, &caller, &mut fields)?;
    answer(&face, submission, &correlation).await
}

async fn answer(
    face: &Face,
    submission: Submission,
    correlation: &Correlation,
) -> Result<Json<Verdict>, Problem> {
    let server = submission.mcp_server.clone();
    let model = submission.model.clone();
    let record = face.told(face.center.submit(submission).await?).await?;
    if let Some(word) = record.refusal.as_deref().and_then(Objection::word) {
        // ASCEND's SDK takes this for a denial, any other 403 for an error.
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            json!({
                "error": "governance violation",
                "code": word,
                "detail": record.reason,
                "action_id": record.id,
                "correlation_id": correlation.as_str(),
                "mcp_server_name": server,
                "model_id": model,
            }),
        ));
    }
    Ok(Json(submitted(&record)))
}

/// Where an action stands among those of other agents.
#[derive(Debug, Default)]
struct Lineage {
    parent: Option<i64>,
    session: Option<String>,
}

async fn session_of(face: &Face, id: i64) -> Result<Option<String>, Problem> {
    let request = face.center.store().request(id).await?.unwrap_or_default();
    let request: Value = serde_json::from_str(&request).unwrap_or_default();
    Ok(request["orchestration_session_id"].as_str().map(str::to_owned))
}

fn read_action(fields: &mut Fields) -> (Call, Lineage) {
    let mut call = Call::read(fields);
    call.server_id = fields.required_text("agent_id", WORD_LIMIT);
    if let Some(name) = fields.text("agent_name") {
        call.metadata.insert("agent_name".to_owned(), name);
    }
    fields.require("action_type");
    (call.namespace, call.verb) = action_type(fields);
    call.parameters = fields.object("action_details");
    // Policies read these as texts, people among the circumstances.
    if let Some(id) = fields.text("resource_id") {
        call.metadata.insert("resource_id".to_owned(), id.clone());
        call.user_context.insert("resource_id".to_owned(), id.into());
    }
    let indicators = fields.object("risk_indicators");
    if !indicators.is_empty() {
        call.user_context.insert("risk_indicators".to_owned(), indicators.clone().into());
    }
    call.metadata.extend(
        texts(indicators).into_iter().map(|(key, text)| (format!("risk_indicators.{key}"), text)),
    );
    fields.within("action_details", |details| {
        if call.tool.is_empty() {
            call.tool = details.text("tool_name").unwrap_or_default();
        }
        call.summary = call.summary.take().or_else(|| details.text("description"));
    });
    circumstances(fields, &mut call);
    call.mcp_server = fields.bounded_text("mcp_server_name", WORD_LIMIT);
    call.model = fields.bounded_text("model_id", WORD_LIMIT);

    let session = fields.text("orchestration_session_id");
    if let Some(session) = &session {
        call.session.session_id.clone_from(session);
    }
    let depth = fields.whole_number("orchestration_depth");
    if depth.is_some_and(|depth| !(0..=DEEPEST).contains(&depth)) {
        fields.error("orchestration_depth", "expected a number from 0 to 5", "value_error");
    }
    (call, Lineage { parent: fields.whole_number("parent_action_id"), session })
}

fn read_mcp(fields: &mut Fields) -> Call {
    let mut call = Call::read(fields);
    call.server_id = fields.required_text("mcp_server", WORD_LIMIT);
    call.mcp_server = Some(call.server_id.clone());
    call.namespace = fields.required_text("namespace", WORD_LIMIT);
    call.verb = fields.required_text("verb", WORD_LIMIT);
    // A label for people; it decides nothing.
    fields.text("action_type");
    call.parameters = fields.object("parameters");
    if let Some(environment) = fields.text("environment") {
        call.metadata.insert("environment".to_owned(), environment);
    }
    circumstances(fields, &mut call);
    call
}

fn read_trial(fields: &mut Fields) -> Call {
    let mut call = Call {
        resource: fields.required_text("resource", RESOURCE_LIMIT),
        server_id: fields.text("agent_id").unwrap_or_default(),
        ..Call::default()
    };
    // Scores are the center's to give.
    fields.value("risk_score");
    fields.require("action_type");
    (call.namespace, call.verb) = action_type(fields);
    call.parameters = fields.object("parameters");
    circumstances(fields, &mut call);
    call
}

/// `database.query` is the verb `query` in the namespace `database`.
fn action_type(fields: &mut Fields) -> (String, String) {
    let text = fields.bounded_text("action_type", WORD_LIMIT).unwrap_or_default();
    let (namespace, verb) = text.rsplit_once('.').unwrap_or(("general", &text));
    if !text.trim().is_empty() && (namespace.trim().is_empty() || verb.trim().is_empty()) {
        fields.error("action_type", "expected a text such as `database.query`", "value_error");
    }
    (namespace.to_owned(), verb.to_owned())
}

/// What `context` tells of the circumstances is for policies and approvers to
/// see, but for what stands elsewhere in the action.
fn circumstances(fields: &mut Fields, call: &mut Call) {
    fields.within("context", |context| {
        if call.tool.is_empty() {
            call.tool = context.text("tool_name").unwrap_or_default();
        }
        if let Some(session) = context.text("session_id") {
            call.session.session_id = session;
        }
        for (key, value) in texts(context.object("metadata")) {
            call.metadata.entry(key).or_insert(value);
        }
    });
    const ELSEWHERE: [&str; 6] = [
        "arguments",
        "metadata",
        "require_human_approval",
        "risk_level",
        "session_id",
        "tool_name",
    ];
    let context = fields.object("context");
    for (key, value) in context.into_iter().filter(|(key, _)| !ELSEWHERE.contains(&&**key)) {
        call.user_context.entry(key).or_insert(value);
    }
}

/// What policy says of an action that nobody has submitted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    /// `ALLOW`, `REQUIRE_APPROVAL` or `DENY`. It lets nothing run.
    decision: &'static str,
    reason: String,
    matched_policies: Vec<Matched>,
    /// The policies that forbid it, or ask for a person.
    violations: Vec<String>,
    risk_score: u8,
    evaluation_time_ms: u64,
    /// Always true.
    dry_run: bool,
}

/// Tries the policies with an action, which is neither recorded nor allowed by it.
#[utoipa::path(
    post, path = "/api/governance/policies/evaluate-realtime", tag = "policies",
    request_body = TrialBody, responses((status = 200, body = Trial))
)]
pub(super) async fn try_policies(
    State(face): State<Face>,
    Limited(AnyCaller(caller)): Limited<AnyCaller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Trial>, Problem> {
    let started = Instant::now();
    let mut fields = Fields::parse(&body?)?;
    let mut call = read_trial(&mut fields);
    // People try what an agent of their name would ask.
    let caller = match caller {
        Identity::Agent(agent) => agent,
        Identity::Person(person) => Agent { name: person.name, owner: None },
    };
    if call.server_id.is_empty() {
        call.server_id.clone_from(&caller.name);
    }
    call.read_headers(&headers, &mut fields);
    let submission = call.submission(|_| Map::new().into(), &caller, &mut fields)?;
    let mut verdict = face.center.weigh(submission).await?;
    if let Some(switch) = face.center.kill_switch().await? {
        verdict.decision = Decision::Deny;
        verdict.reason = switch.sentence();
    }
    let violations = verdict.matched.iter().filter(|matched| matched.effect != Effect::Allow);
    Ok(Json(Trial {
        decision: verdict.decision.as_str(),
        reason: verdict.reason,
        violations: violations.map(|matched| matched.policy.clone()).collect(),
        matched_policies: verdict.matched,
        risk_score: verdict.risk_score,
        evaluation_time_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        dry_run: true,
    }))
}
