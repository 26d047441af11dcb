//! The policies' part of `GET /health`.

use serde_json::{Value, json};

use crate::{Center, PolicyStatus};

/// What is wrong with a file is for approvers alone: it quotes the file.
pub(super) fn health(center: &Center, detailed: bool) -> Value {
    let mut health = told(&center.policy_status(), detailed);
    if let Some(shadow) = center.shadow_status() {
        health["shadow"] = told(&shadow, detailed);
    }
    health
}

fn told(status: &PolicyStatus, detailed: bool) -> Value {
    let mut told = json!({
        "in_use": status.policies,
        "loaded_at": status.loaded_at,
        "newer_refused": status.refused.is_some(),
    });
    if let (true, Some(refused)) = (detailed, &status.refused) {
        let problems = refused.problems.iter().map(|problem| Value::from(problem.to_string()));
        told["problems"] = problems.collect();
    }
    told
}
