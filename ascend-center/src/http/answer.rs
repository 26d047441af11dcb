//! Actions in ASCEND's words.

use ascend_sdk::RefusalKind;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Face, Problem};
use crate::{ActionState, Effect, Grant, Matched, Progress, Record, Rule, Vote};

impl Face {
    /// The action as its agent may be told of it. Clients that never claim run
    /// what they are told is allowed, so under the kill switch nothing is.
    pub(super) async fn told(&self, mut record: Record) -> Result<Record, Problem> {
        if matches!(record.state, ActionState::Allowed | ActionState::Approved)
            && let Some(switch) = self.center.kill_switch().await?
        {
            record.state = ActionState::Denied;
            record.refusal = Some(RefusalKind::KillSwitch.as_str().to_owned());
            record.reason = switch.sentence();
        }
        Ok(record)
    }
}

/// ASCEND's status word. Its clients take `executed` for something that must
/// not run again, and any word they do not know for a denial.
fn status_word(record: &Record) -> &'static str {
    match record.state {
        ActionState::Expired if record.has_timed_out() => "timeout",
        ActionState::Pending => "pending",
        ActionState::Allowed => "auto_approved",
        ActionState::Approved => "approved",
        ActionState::Rejected => "rejected",
        ActionState::Expired => "expired",
        ActionState::Withdrawn => "cancelled",
        ActionState::Executing | ActionState::Completed | ActionState::Failed => "executed",
        ActionState::Denied => "denied",
    }
}

/// More than that it is denied; `None` where that is all.
fn refusal_word(record: &Record) -> Option<&'static str> {
    record.current_refusal().filter(|kind| *kind != RefusalKind::Denied).map(RefusalKind::as_str)
}

fn policies(record: &Record) -> Vec<String> {
    record.matched.iter().map(|matched| matched.policy.clone()).collect()
}

/// The answer to an evaluation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Standing {
    action_id: i64,
    /// The same.
    id: i64,
    server_id: String,
    /// `ALLOW`, `REQUIRE_APPROVAL` or `DENY`.
    decision: &'static str,
    /// `auto_approved`, `approved`, `pending`, `denied`, `rejected`, `timeout`,
    /// `expired`, `cancelled` or `executed`.
    pub(super) status: &'static str,
    /// Where it stands, in the center's own words.
    state: &'static str,
    decision_ready: bool,
    /// Whether a person must decide.
    requires_approval: bool,
    /// Why it is denied, where that is more than that.
    refusal: Option<&'static str>,
    reason: String,
    /// From 0 to 100.
    risk_score: u8,
    /// `LOW`, `MEDIUM`, `HIGH` or `CRITICAL`.
    risk_level: &'static str,
    matched_policies: Vec<String>,
    /// Always null: nobody knows how long a person takes.
    estimated_approval_time: Option<f64>,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// What the decision is bound to.
    digest: String,
    reviewed_by: Option<String>,
    comments: Option<String>,
    /// Whether the word of the client's user counts as an approval.
    in_client_approval: bool,
    /// How far each of its rules is met, while a person must decide.
    approvals: Vec<Progress>,
    /// The grant that was given with the approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    grant: Option<Grant>,
    /// That this center has a claim endpoint.
    claim: bool,
    /// That the decision was claimed for this very request, which asked for it by
    /// `"claim": true`. It is to be run now, once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    claimed: bool,
}

impl Standing {
    /// The same, claimed for whoever asked.
    pub(super) fn claimed(self) -> Self {
        Self { claimed: true, ..self }
    }
}

impl Standing {
    /// With the grant that was given with the approval.
    pub(super) fn with_grant(self, grant: Grant) -> Self {
        Self { grant: Some(grant), ..self }
    }
}

/// The answer to an evaluation, and where an action stands later.
pub(super) fn standing(record: &Record) -> Standing {
    let pending = record.state == ActionState::Pending;
    Standing {
        action_id: record.id,
        id: record.id,
        server_id: record.server_id.clone(),
        decision: record.current_decision().as_str(),
        status: status_word(record),
        state: record.state.as_str(),
        decision_ready: !pending,
        requires_approval: pending,
        refusal: refusal_word(record),
        reason: record.current_reason(),
        risk_score: record.risk_score,
        risk_level: record.risk_level.as_str(),
        matched_policies: policies(record),
        estimated_approval_time: None,
        timestamp: record.created_at,
        expires_at: record.expires_at,
        digest: record.digest.to_string(),
        reviewed_by: record.reviewed_by.clone(),
        comments: record.comments.clone(),
        in_client_approval: record.takes_word_of_client(),
        approvals: if pending { record.progress() } else { Vec::new() },
        grant: None,
        claim: true,
        claimed: false,
    }
}

/// All that may be seen of an action.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listed {
    #[serde(flatten)]
    pub(super) standing: Standing,
    /// Empty when the client told none.
    tool: String,
    namespace: String,
    verb: String,
    resource: String,
    summary: Option<String>,
    parameters: Map<String, Value>,
    user_context: Map<String, Value>,
    session_id: String,
    client: Option<String>,
    matched: Vec<Matched>,
    /// The credential that asked.
    requested_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    reviewed_at: Option<Timestamp>,
    /// Whether its agent was told that it waits on, and is to come back for it.
    promised: bool,
    /// Whether the word of the client's user counts as an approval.
    in_client: bool,
    /// What its approval takes: all of these.
    rules: Vec<Rule>,
    /// Who has approved so far.
    votes: Vec<Vote>,
    /// When the groups count to which rules escalate it.
    #[schema(value_type = Option<String>, format = DateTime)]
    escalates_at: Option<Timestamp>,
    /// The trace of the call, where its client told of one.
    trace_id: Option<String>,
    /// The span in it in which it was asked.
    traceparent: Option<String>,
}

pub(super) fn listed(record: &Record) -> Listed {
    Listed {
        standing: standing(record),
        tool: record.tool.clone(),
        namespace: record.namespace.clone(),
        verb: record.verb.clone(),
        resource: record.resource.clone(),
        summary: record.summary.clone(),
        parameters: record.parameters.clone(),
        user_context: record.user_context.clone(),
        session_id: record.session_id.clone(),
        client: record.client.clone(),
        matched: record.matched.clone(),
        requested_by: record.requested_by.clone(),
        created_at: record.created_at,
        reviewed_at: record.reviewed_at,
        promised: record.promised,
        in_client: record.in_client,
        rules: record.rules.clone(),
        votes: record.votes.clone(),
        escalates_at: record.escalates_at,
        trace_id: record.traceparent.map(|parent| parent.trace_id()),
        traceparent: record.traceparent.map(|parent| parent.to_string()),
    }
}

/// The same in the words of ASCEND's Python SDK. It reads lower case alone,
/// takes a `decision` or `status` of `executed` for an allowance, and an MCP
/// action for allowed unless `status` is `denied`, `success` is false or
/// `requires_approval` is true.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verdict {
    action_id: i64,
    /// The same.
    id: i64,
    server_id: String,
    /// False when it must not run; only in the answer to a submission.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    success: Option<bool>,
    /// `allowed`, `pending` or `denied`.
    decision: &'static str,
    /// As for an evaluation; a submission answers `pending_approval` for `pending`.
    status: &'static str,
    /// Where it stands, in the center's own words.
    state: &'static str,
    decision_ready: bool,
    /// Whether a person must decide.
    requires_approval: bool,
    /// Why it is denied, where that is more than that.
    refusal: Option<&'static str>,
    reason: String,
    message: String,
    /// From 0 to 100.
    risk_score: u8,
    /// `low`, `medium`, `high` or `critical`.
    risk_level: String,
    /// How many policies matched.
    matched_policies: usize,
    /// Which.
    policies: Vec<String>,
    /// Those that forbid it, or ask for a person.
    policy_violations: Vec<String>,
    /// The groups that are asked for approvals; none for any approver.
    required_approvers: Vec<String>,
    /// Where to ask whether a person approved; null when nobody has to.
    approval_request_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// What the decision is bound to.
    digest: String,
    reviewed_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    reviewed_at: Option<Timestamp>,
    comments: Option<String>,
    /// That this center has a claim endpoint.
    claim: bool,
}

/// Where an action stands.
pub(super) fn verdict(record: &Record) -> Verdict {
    let pending = record.state == ActionState::Pending;
    let reason = record.current_reason();
    let decision = match record.state {
        ActionState::Pending => "pending",
        ActionState::Allowed | ActionState::Approved => "allowed",
        _ => "denied",
    };
    let asked = record.decision == ascend_sdk::Decision::RequireApproval;
    Verdict {
        action_id: record.id,
        id: record.id,
        server_id: record.server_id.clone(),
        success: None,
        decision,
        status: status_word(record),
        state: record.state.as_str(),
        decision_ready: !pending,
        requires_approval: pending,
        refusal: refusal_word(record),
        message: format!("{decision}: {reason}"),
        reason,
        risk_score: record.risk_score,
        risk_level: record.risk_level.as_str().to_ascii_lowercase(),
        matched_policies: record.matched.len(),
        policies: policies(record),
        policy_violations: record
            .matched
            .iter()
            .filter(|matched| matched.effect != Effect::Allow)
            .map(|matched| matched.policy.clone())
            .collect(),
        required_approvers: record
            .rules
            .iter()
            .filter(|_| pending)
            .filter_map(|rule| rule.approvers.clone())
            .collect(),
        approval_request_id: asked.then(|| record.id.to_string()),
        timestamp: record.created_at,
        expires_at: record.expires_at,
        digest: record.digest.to_string(),
        reviewed_by: record.reviewed_by.clone(),
        reviewed_at: record.reviewed_at,
        comments: record.comments.clone(),
        claim: true,
    }
}

/// The answer to a submission.
pub(super) fn submitted(record: &Record) -> Verdict {
    let verdict = verdict(record);
    let status = if verdict.requires_approval { "pending_approval" } else { verdict.status };
    Verdict { success: Some(verdict.decision != "denied"), status, ..verdict }
}

/// Whether a person approved.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalAnswer {
    approval_request_id: String,
    action_id: i64,
    /// `pending`, `approved` or `rejected`. Whatever ends without an approval,
    /// or was approved and has run, is `rejected`.
    status: &'static str,
    approved_by: Option<String>,
    rejected_by: Option<String>,
    rejection_reason: Option<String>,
    comments: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

pub(super) fn approval(record: &Record) -> ApprovalAnswer {
    let (status, is_rejected) = match record.state {
        ActionState::Pending => ("pending", false),
        ActionState::Approved => ("approved", false),
        _ => ("rejected", true),
    };
    let approved = record.state == ActionState::Approved;
    let rejected = record.state == ActionState::Rejected;
    ApprovalAnswer {
        approval_request_id: record.id.to_string(),
        action_id: record.id,
        status,
        approved_by: record.reviewed_by.clone().filter(|_| approved),
        rejected_by: record.reviewed_by.clone().filter(|_| rejected),
        rejection_reason: is_rejected.then(|| record.current_reason()),
        comments: record.comments.clone(),
        decided_at: record.reviewed_at,
        expires_at: record.expires_at,
    }
}
