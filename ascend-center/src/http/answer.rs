//! Actions in ASCEND's words.

use ascend_sdk::RefusalKind;
use serde_json::{Value, json};

use crate::{ActionState, Record};

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

/// The answer to an evaluation, and where an action stands later.
pub(super) fn standing(record: &Record) -> Value {
    let pending = record.state == ActionState::Pending;
    let refusal = record.current_refusal().filter(|kind| *kind != RefusalKind::Denied);
    json!({
        "action_id": record.id,
        "id": record.id,
        "server_id": record.server_id,
        "decision": record.current_decision(),
        "status": status_word(record),
        "state": record.state,
        "decision_ready": !pending,
        "requires_approval": pending,
        "refusal": refusal.map(RefusalKind::as_str),
        "reason": record.current_reason(),
        "risk_score": record.risk_score,
        "risk_level": record.risk_level,
        "matched_policies":
            record.matched.iter().map(|matched| &matched.policy).collect::<Vec<_>>(),
        // Nobody knows how long a person takes.
        "estimated_approval_time": null,
        "timestamp": record.created_at,
        "expires_at": record.expires_at,
        "digest": record.digest,
        "reviewed_by": record.reviewed_by,
        "comments": record.comments,
        "in_client_approval": record.takes_word_of_client(),
        // Tells our SDK that this center has a claim endpoint.
        "claim": true,
    })
}

/// All that an approver may see of an action.
pub(super) fn listed(record: &Record) -> Value {
    let mut answer = standing(record);
    if let (Value::Object(answer), Ok(Value::Object(whole))) =
        (&mut answer, serde_json::to_value(record))
    {
        for (key, value) in whole {
            answer.entry(key).or_insert(value);
        }
    }
    answer
}
