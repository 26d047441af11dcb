//! What webhooks are told.

use ascend_sdk::Decision;
use serde_json::{Value, json};

use crate::{
    Record,
    store::{Happened, Webhook},
};

/// What a webhook is to hear of something: the event's name, and the body.
pub(super) fn message(webhook: &Webhook, happened: &Happened) -> Vec<(&'static str, String)> {
    let Happened { entry, action, grant } = happened;
    let kinds: &[&'static str] = match (&*entry.kind, action, grant) {
        // It waited for nobody.
        ("pending", Some(action), _) if action.is_granted() => &[],
        ("pending", Some(_), _) => &["action.pending"],
        ("voted" | "vote_withdrawn", Some(_), _) => &["action.voted"],
        ("escalated", Some(_), _) => &["action.escalated"],
        ("approved", Some(_), _) => &["action.approved"],
        ("rejected", Some(_), _) => &["action.denied", "action.rejected"],
        ("expired", Some(action), _) if has_waited(action) => &["action.denied", "action.expired"],
        ("denied", Some(_), _) => &["action.denied", "policy.violation"],
        ("grant_created", _, Some(_)) => &["grant.created"],
        ("grant_used_up", _, Some(_)) => &["grant.used_up"],
        ("grant_revoked", _, Some(_)) => &["grant.revoked"],
        _ => &[],
    };
    let data = match (grant, action) {
        (Some(grant), _) => json!({
            "grant_id": grant.id,
            "grant": grant,
            "action_id": action.as_ref().map(|action| action.id),
            "by": entry.by,
        }),
        (None, Some(action)) => of_action(happened, action),
        (None, None) => Value::Null,
    };
    // Grants are the approvers' own business.
    let concerns = match (&webhook.of_agent, grant, action) {
        // One that hears of all can name the one that it wants to hear of.
        (None, _, Some(action)) => {
            webhook.agent_id.as_ref().is_none_or(|named| *named == action.server_id)
        }
        (None, _, None) => true,
        (Some(agent), None, Some(action)) => *agent == action.requested_by,
        (Some(_), _, _) => false,
    };
    kinds
        .iter()
        .filter(|kind| concerns && webhook.events.iter().any(|event| event == *kind))
        .map(|kind| {
            let id = format!("evt_{}_{}_{kind}", entry.id, webhook.id);
            let body = json!({
                "id": id,
                "type": kind,
                "event": kind,
                "timestamp": entry.at,
                "data": data,
                "metadata": { "idempotency_key": id },
            });
            (*kind, body.to_string())
        })
        .collect()
}

fn has_waited(action: &Record) -> bool {
    action.decision == Decision::RequireApproval && action.reviewed_by.is_none()
}

fn of_action(Happened { entry, .. }: &Happened, action: &Record) -> Value {
    let is = |kind: &str| entry.kind == kind;
    json!({
        "action_id": action.id,
        "agent_id": action.server_id,
        "action_type": format!("{}.{}", action.namespace, action.verb),
        "resource": action.resource,
        "status": entry.kind,
        "risk_score": action.risk_score,
        "risk_level": action.risk_level.as_str(),
        "reason": action.reason,
        "expires_at": action.expires_at,
        "escalates_at": action.escalates_at,
        "approvals": action.progress(),
        // All of them, where it took several.
        "approved_by": is("approved").then_some(&action.reviewed_by),
        "rejected_by": is("rejected").then_some(&entry.by),
        "comments": action.comments,
        "trace_id": action.traceparent.map(|parent| parent.trace_id()),
        "traceparent": action.traceparent,
    })
}
