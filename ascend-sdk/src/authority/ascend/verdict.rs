//! From a server's words to ours. Pure, and closed: what is unknown, missing,
//! of the wrong type or contradictory never becomes an allowance.
//!
//! The words and their meanings are the verdict table of `docs/ascend-api.md`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    answer::{Fields, fold},
    memory::ClaimMode,
    text::{ERROR_LIMIT, Quoter},
};
use crate::{
    ActionId, Approval, AuthorityError, Claim, Decision, Digest, Evaluation, RefusalKind,
    Rejection, Review, RiskLevel,
};

/// What one field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// It may run; no person is named as the reason.
    Allow,
    /// It was approved.
    Approved,
    /// It was approved without a person.
    AutoApproved,
    /// A person must decide.
    Pending,
    /// It must not run.
    No(RefusalKind),
}

fn meaning(word: &str) -> Says {
    match fold(word).as_str() {
        "allow" | "allowed" => Says::Allow,
        "approved" => Says::Approved,
        "auto_approved" => Says::AutoApproved,
        "require_approval" | "evaluate" | "pending" | "pending_approval" | "processing"
        | "escalated" => Says::Pending,
        "deny" | "denied" | "blocked" | "requires_modification" => Says::No(RefusalKind::Denied),
        "rejected" => Says::No(RefusalKind::Rejected),
        "timeout" => Says::No(RefusalKind::TimedOut),
        "expired" => Says::No(RefusalKind::Expired),
        "cancelled" | "withdrawn" => Says::No(RefusalKind::Cancelled),
        // The authority tried to decide and could not.
        "failed" | "error" => Says::No(RefusalKind::Unreachable),
        // It was allowed once, and ran.
        "executed" | "completed" => Says::No(RefusalKind::AlreadyExecuted),
        _ => Says::No(RefusalKind::Malformed),
    }
}

/// A word of our own center's `refusal` field.
fn refusal_kind(word: &str) -> RefusalKind {
    use RefusalKind as K;
    let word = fold(word);
    [
        K::Denied,
        K::Rejected,
        K::TimedOut,
        K::Expired,
        K::ApprovalMissing,
        K::Unreachable,
        K::Unauthorized,
        K::KillSwitch,
        K::Cancelled,
        K::AlreadyExecuted,
        K::DigestMismatch,
        K::Blocked,
        K::Invalid,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == word)
    .unwrap_or(K::Denied)
}

/// What all fields say together: the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow {
        /// Whether a field says `approved`, and none `auto_approved`.
        approved: bool,
    },
    Pending,
    No(RefusalKind),
}

fn strictest(said: &[Says]) -> Verdict {
    let refusals = || {
        said.iter().filter_map(|says| match says {
            Says::No(kind) => Some(*kind),
            _ => None,
        })
    };
    // `DENY` beside `FAILED` is a failure, `DENY` beside a word nobody knows a
    // denial: the most telling one is kept.
    let telling = |kind: &RefusalKind| match kind {
        RefusalKind::Malformed => 0,
        RefusalKind::Denied => 1,
        _ => 2,
    };
    if let Some(most) = refusals().map(|kind| telling(&kind)).max() {
        let kind = refusals().find(|kind| telling(kind) == most);
        return Verdict::No(kind.unwrap_or(RefusalKind::Malformed));
    }
    if said.contains(&Says::Pending) {
        return Verdict::Pending;
    }
    Verdict::Allow {
        approved: said.contains(&Says::Approved) && !said.contains(&Says::AutoApproved),
    }
}

/// What the fields of that name that are there say.
fn words<'a>(fields: &'a Fields<'_>, names: &'a [&'a str]) -> impl Iterator<Item = Says> + 'a {
    names.iter().filter_map(|name| fields.field(name)).map(|value| match value {
        Value::String(word) => meaning(word),
        _ => Says::No(RefusalKind::Malformed),
    })
}

/// What a yes-or-no field says when it has the value `when`.
fn flag(fields: &Fields<'_>, name: &str, when: bool, says: Says) -> Option<Says> {
    match fields.field(name)? {
        Value::Bool(value) => (*value == when).then_some(says),
        _ => Some(Says::No(RefusalKind::Malformed)),
    }
}

/// What holds of every verdict, first and later.
fn common(fields: &Fields<'_>, digest: Option<&Digest>) -> impl Iterator<Item = Says> {
    let refusal = fields
        .field("refusal")
        .map(|value| Says::No(value.as_str().map_or(RefusalKind::Malformed, refusal_kind)));
    let other_call = digest
        .is_some_and(|digest| !names_digest(fields, digest))
        .then_some(Says::No(RefusalKind::DigestMismatch));
    let failed = flag(fields, "success", false, Says::No(RefusalKind::Denied));
    [refusal, other_call, failed].into_iter().flatten()
}

/// Whether the answer is about the call with this digest, as far as it says so.
fn names_digest(fields: &Fields<'_>, digest: &Digest) -> bool {
    fields.field("digest").is_none_or(|named| {
        named.as_str().and_then(|text| text.parse::<Digest>().ok()) == Some(*digest)
    })
}

/// An evaluation, and what to remember of it.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) evaluation: Evaluation,
    pub(super) claim: ClaimMode,
    /// Whether a word let it pass without a person.
    pub(super) passed: bool,
    /// Whether the server claimed it for this very call.
    pub(super) claimed: bool,
}

/// Reads the answer to an evaluation of the call with `digest`. A denial that
/// names no action goes by `correlation`.
///
/// # Errors
///
/// When it would let something run, but names no action that could be claimed.
pub(super) fn evaluation(
    fields: &Fields<'_>,
    digest: &Digest,
    correlation: &ActionId,
    quoter: &Quoter,
) -> Result<Evaluated, AuthorityError> {
    let spoken: Vec<_> = words(fields, &["decision", "status", "enforcement_decision"]).collect();
    let mut said = spoken.clone();
    said.extend(common(fields, Some(digest)));
    said.extend(flag(fields, "requires_approval", true, Says::Pending));
    said.extend(match fields.field("required_approvers") {
        None => None,
        Some(Value::Array(approvers)) => (!approvers.is_empty()).then_some(Says::Pending),
        Some(_) => Some(Says::No(RefusalKind::Malformed)),
    });
    // While it is pending, it is of course not allowed yet.
    let barred = flag(fields, "execution_allowed", false, Says::No(RefusalKind::Denied));
    if barred != Some(Says::No(RefusalKind::Denied)) || !spoken.contains(&Says::Pending) {
        said.extend(barred);
    }

    let verdict = if spoken.is_empty() {
        Verdict::No(match strictest(&said) {
            Verdict::No(kind) => kind,
            _ => RefusalKind::Malformed,
        })
    } else {
        strictest(&said)
    };
    let (decision, refusal) = match verdict {
        Verdict::Allow { .. } => (Decision::Allow, None),
        Verdict::Pending => (Decision::RequireApproval, None),
        Verdict::No(RefusalKind::Denied) => (Decision::Deny, None),
        Verdict::No(kind) => (Decision::Deny, Some(kind)),
    };
    let action_id = match fields.action_id(quoter) {
        Some(id) => id,
        None if decision == Decision::Deny => correlation.clone(),
        None => {
            return Err(AuthorityError::Malformed(format!(
                "it says {decision} and names no usable `action_id`"
            )));
        }
    };
    let mut reason =
        fields.text(&["reason", "denial_reason", "rejection_reason", "message"], quoter);
    if refusal == Some(RefusalKind::Malformed) {
        reason = Some(unclear(fields, quoter));
    } else if reason.is_none() && decision == Decision::Deny {
        reason = word_as_reason(fields, quoter);
    }
    let risk_score = risk_score(fields);
    let approval = match verdict {
        Verdict::Allow { approved: true } => approval(fields, quoter),
        _ => None,
    };
    let claim = match fields.field("claim") {
        Some(Value::Bool(true)) => ClaimMode::Server,
        _ => ClaimMode::Local,
    };
    Ok(Evaluated {
        evaluation: Evaluation {
            decision,
            action_id,
            risk_score,
            risk_level: risk_level(fields, risk_score),
            reason,
            refusal,
            approval: approval.filter(|approval| approval.reviewed_by.is_some()),
            estimated_approval_time: estimated_time(fields),
            expires_in: time_left(fields).filter(|_| decision == Decision::RequireApproval),
            // Plain ASCEND reserves every approval to its own approvers.
            in_client_approval: claim == ClaimMode::Server
                && decision == Decision::RequireApproval
                && fields.field("in_client_approval") == Some(&Value::Bool(true)),
        },
        claim,
        passed: spoken
            .iter()
            .any(|says| matches!(says, Says::Allow | Says::Approved | Says::AutoApproved)),
        claimed: claim == ClaimMode::Server
            && decision == Decision::Allow
            && fields.field("claimed") == Some(&Value::Bool(true))
            && fields.field("digest").is_some(),
    })
}

/// Reads a status answer about the pending action `id`: `None` while it is
/// pending. `passed` tells that the evaluation had let it pass by a word,
/// so that an approval without a name is not taken for a person's.
///
/// # Errors
///
/// When it is about another action, or says nothing that is known.
pub(super) fn review(
    fields: &Fields<'_>,
    id: &ActionId,
    digest: Option<&Digest>,
    passed: bool,
    quoter: &Quoter,
) -> Result<Option<Review>, AuthorityError> {
    about(fields, id, quoter)?;
    let mut said: Vec<_> = words(fields, &["status", "decision", "enforcement_decision"]).collect();
    if said.is_empty() {
        said.push(Says::No(RefusalKind::Malformed));
    }
    said.extend(common(fields, digest));
    // Contradicting an approval, these two make it wait on.
    said.extend(flag(fields, "decision_ready", false, Says::Pending));
    said.extend(flag(fields, "execution_allowed", false, Says::Pending));
    match strictest(&said) {
        Verdict::Pending => Ok(None),
        Verdict::Allow { approved } => {
            let approval = approval(fields, quoter)
                .filter(|approval| approved && (approval.reviewed_by.is_some() || !passed));
            Ok(Some(approval.map_or(Review::AutoApproved, Review::Approved)))
        }
        Verdict::No(RefusalKind::Malformed) => {
            Err(AuthorityError::Malformed(unclear(fields, quoter)))
        }
        // The status route says `denied` where the example says `rejected` (row 5).
        Verdict::No(kind) => Ok(Some(Review::Rejected(Rejection {
            kind: if kind == RefusalKind::Denied { RefusalKind::Rejected } else { kind },
            reason: fields
                .text(&["rejection_reason", "comments", "reason", "message"], quoter)
                .or_else(|| word_as_reason(fields, quoter)),
            reviewed_by: fields.text(&["rejected_by", "reviewed_by"], quoter),
        }))),
    }
}

/// Reads our center's answer to a claim.
///
/// # Errors
///
/// When it is about another action, or does not say plainly whether it is granted.
pub(super) fn claim(
    fields: &Fields<'_>,
    id: &ActionId,
    digest: &Digest,
    quoter: &Quoter,
) -> Result<Claim, AuthorityError> {
    about(fields, id, quoter)?;
    let refused = |kind| {
        let reason = fields.text(&["reason", "message"], quoter);
        let reviewed_by = fields.text(&["rejected_by", "reviewed_by"], quoter);
        Ok(Claim::Refused(Rejection { kind, reason, reviewed_by }))
    };
    match (fields.field("granted"), strictest(&common(fields, Some(digest)).collect::<Vec<_>>())) {
        (Some(Value::Bool(false)), Verdict::No(kind)) => refused(kind),
        (Some(Value::Bool(false)), _) => refused(RefusalKind::Denied),
        (Some(Value::Bool(true)), Verdict::No(kind)) => refused(kind),
        (Some(Value::Bool(true)), _) => Ok(Claim::Granted),
        _ => Err(AuthorityError::Malformed("the claim is neither granted nor refused".to_owned())),
    }
}

/// Reads the kill switch: raised, unless it plainly says that it is not.
pub(super) fn kill_switch(fields: &Fields<'_>, quoter: &Quoter) -> Option<Rejection> {
    if fields.field("blocked") == Some(&Value::Bool(false)) {
        return None;
    }
    Some(Rejection {
        kind: RefusalKind::KillSwitch,
        reason: fields.text(&["reason"], quoter),
        reviewed_by: fields.text(&["activated_by"], quoter),
    })
}

/// What was approved, in the answer about an action that was claimed since.
pub(super) fn approved(fields: &Fields<'_>, quoter: &Quoter) -> Review {
    let approval = approval(fields, quoter).filter(|approval| approval.reviewed_by.is_some());
    approval.map_or(Review::AutoApproved, Review::Approved)
}

fn about(fields: &Fields<'_>, id: &ActionId, quoter: &Quoter) -> Result<(), AuthorityError> {
    if fields.field("action_id").is_some() && fields.action_id(quoter).as_ref() != Some(id) {
        return Err(AuthorityError::Malformed("it is about another action".to_owned()));
    }
    Ok(())
}

fn approval(fields: &Fields<'_>, quoter: &Quoter) -> Option<Approval> {
    Some(Approval {
        reviewed_by: fields.text(&["reviewed_by", "approved_by"], quoter),
        comments: fields.text(&["comments"], quoter),
    })
}

/// Says which part of an answer was not understood.
fn unclear(fields: &Fields<'_>, quoter: &Quoter) -> String {
    ["decision", "status", "enforcement_decision"]
        .iter()
        .filter_map(|name| Some((name, fields.field(name)?)))
        .find_map(|(name, value)| match value {
            Value::String(word) if meaning(word) != Says::No(RefusalKind::Malformed) => None,
            Value::String(word) => {
                Some(format!("unknown {name} `{}`", quoter.quote(word, ERROR_LIMIT)))
            }
            _ => Some(format!("`{name}` is no text")),
        })
        .unwrap_or_else(|| "it holds no decision, or a field of the wrong type".to_owned())
}

/// The refusing word itself, where the server gives no reason.
fn word_as_reason(fields: &Fields<'_>, quoter: &Quoter) -> Option<String> {
    ["status", "decision", "enforcement_decision"]
        .iter()
        .filter_map(|name| fields.field(name)?.as_str())
        .find(|word| matches!(meaning(word), Says::No(_)) && !is_plain_denial(word))
        .map(|word| format!("the authority says `{}`", quoter.quote(word, ERROR_LIMIT)))
}

fn is_plain_denial(word: &str) -> bool {
    matches!(fold(word).as_str(), "deny" | "denied" | "blocked" | "rejected")
}

/// From 0 to 100, rounded up; 0 when there is none. One that cannot be read is
/// shown as 100. No decision is ever made from it (row 13).
fn risk_score(fields: &Fields<'_>) -> u8 {
    match fields.field("risk_score") {
        None => 0,
        Some(score) => (0..=100)
            .find(|&whole| {
                score.as_f64().is_some_and(|score| score >= 0.0 && score <= f64::from(whole))
            })
            .unwrap_or(100),
    }
}

/// As named, in either case (row 7); as the score says when it is not named;
/// critical when the name is not known.
fn risk_level(fields: &Fields<'_>, score: u8) -> RiskLevel {
    match fields.field("risk_level") {
        None => RiskLevel::of_score(score),
        Some(level) => {
            level.as_str().and_then(|level| level.parse().ok()).unwrap_or(RiskLevel::Critical)
        }
    }
}

/// Until `expires_at`, where it can be read.
pub(super) fn time_left(fields: &Fields<'_>) -> Option<Duration> {
    let expires_at: Timestamp = fields.field("expires_at")?.as_str()?.parse().ok()?;
    Some(Duration::try_from(expires_at.duration_since(Timestamp::now())).unwrap_or_default())
}

/// Minutes, under either name (row 7).
fn estimated_time(fields: &Fields<'_>) -> Option<Duration> {
    const YEAR: f64 = 366.0 * 24.0 * 60.0;
    let minutes = fields
        .field("estimated_approval_time")
        .or_else(|| fields.field("estimated_review_time_minutes"))?
        .as_f64()?;
    (minutes > 0.0 && minutes <= YEAR).then(|| Duration::from_secs_f64(minutes * 60.0))
}

#[cfg(test)]
mod tests;
