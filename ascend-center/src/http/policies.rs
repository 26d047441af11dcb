//! The policies' part of `GET /health`.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Center, PolicyStatus};

/// The policies in use, and those that are only asked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PoliciesHealth {
    #[serde(flatten)]
    in_use: SetHealth,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    shadow: Option<SetHealth>,
}

/// A set of policies.
#[derive(Debug, Serialize, ToSchema)]
struct SetHealth {
    /// How many policies.
    in_use: usize,
    #[schema(value_type = Option<String>, format = DateTime)]
    loaded_at: Option<Timestamp>,
    /// Whether there are newer ones that have a mistake.
    newer_refused: bool,
    /// Which mistakes; for approvers alone, since they quote the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    problems: Option<Vec<String>>,
}

pub(super) fn health(center: &Center, detailed: bool) -> PoliciesHealth {
    PoliciesHealth {
        in_use: told(&center.policy_status(), detailed),
        shadow: center.shadow_status().map(|status| told(&status, detailed)),
    }
}

fn told(status: &PolicyStatus, detailed: bool) -> SetHealth {
    let problems = status.refused.as_ref().filter(|_| detailed);
    SetHealth {
        in_use: status.policies,
        loaded_at: status.loaded_at,
        newer_refused: status.refused.is_some(),
        problems: problems
            .map(|refused| refused.problems.iter().map(ToString::to_string).collect()),
    }
}
