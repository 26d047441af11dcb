//! What a policy says of itself: `@id`, `@risk`, `@decision`,
//! `@in_client_approval` and `@reason`; and with them what its approval takes.

use cedar_policy::{Effect as CedarEffect, Policy};

use super::{
    approval,
    problem::{Place, Problem, Source, nearest},
};
use crate::{quorum::Rule, record::Effect};

/// What a policy's annotations say.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) id: String,
    pub(super) effect: Effect,
    pub(super) reason: Option<String>,
    pub(super) risk: Option<u8>,
    /// Whether it takes the word of the client's user for the approval it asks for.
    pub(super) in_client: bool,
    /// What the approval takes that it asks for, when it does.
    pub(super) rule: Rule,
    pub(super) place: Place,
}

/// Where the annotation `key` of the policy that starts at `start` stands.
pub(super) fn annotation_at(source: &Source, start: usize, key: &str) -> usize {
    let marker = format!("@{key}");
    let rest = source.text.get(start..).unwrap_or_default();
    let at = rest.match_indices(&marker).find(|(at, _)| {
        let next = rest[at + marker.len()..].chars().next();
        !next.is_some_and(|next| next.is_ascii_alphanumeric() || next == '_')
    });
    start + at.map_or(0, |(at, _)| at)
}

const ANNOTATIONS: [&str; 5] = ["id", "risk", "decision", "in_client_approval", "reason"];

/// Reads a policy's annotations; all that is wrong with them is the error.
pub(super) fn lint(source: &Source, start: usize, policy: &Policy) -> Result<About, Vec<Problem>> {
    let mut problems = Vec::new();
    let at = |key: &str| annotation_at(source, start, key);
    let forbids = policy.effect() == CedarEffect::Forbid;
    let keyword = if forbids { "forbid" } else { "permit" };

    for (key, _) in policy.annotations() {
        let known = ANNOTATIONS.into_iter().chain(approval::ANNOTATIONS);
        if !known.clone().any(|known| known == key) {
            let problem = source.problem(at(key), format!("unknown annotation `@{key}`"));
            problems.push(match nearest(key, known) {
                Some(meant) => problem.with_help(format!("did you mean `@{meant}`?")),
                None => problem.with_help(
                    "a policy has `@id`, `@risk`, `@decision`, `@in_client_approval` and `@reason`, \
                     and one that asks for an approval `@approvers`, `@quorum`, `@within`, \
                     `@escalate_to` and `@grants`",
                ),
            });
        }
    }

    let id = policy.annotation("id").unwrap_or_default();
    let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if policy.annotation("id").is_none() {
        problems.push(
            source
                .problem(start, format!("this `{keyword}` has no `@id`"))
                .with_help(format!("write `@id(\"what-it-is-about\")` above `{keyword}`")),
        );
    } else if id.is_empty() || id.len() > 128 || !id.chars().all(is_id) {
        problems.push(source.problem(
            at("id"),
            "an `@id` is 1 to 128 letters, digits, `-`, `_` or `.`, as in `@id(\"file-reads\")`",
        ));
    }

    let risk = policy.annotation("risk").map(|text| {
        let sound = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|risk| sound && *risk <= 100).ok_or(text)
    });
    if let Some(Err(text)) = risk {
        problems.push(
            source
                .problem(at("risk"), format!("`@risk({text:?})` is no number from 0 to 100"))
                .with_help("write it as text, as in `@risk(\"70\")`"),
        );
    }

    let effect = match policy.annotation("decision") {
        None if forbids => Effect::Deny,
        None => Effect::Allow,
        Some("require_approval") if forbids => Effect::RequireApproval,
        Some("require_approval") => {
            problems.push(
                source
                    .problem(
                        at("decision"),
                        "`@decision(\"require_approval\")` stands on a `permit`",
                    )
                    .with_help(
                        "write `permit` without it, and a `forbid` with it for what needs a person",
                    ),
            );
            Effect::Allow
        }
        Some(text) => {
            let help = match text {
                "deny" => "a `forbid` without `@decision` denies",
                "allow" => "a `permit` without `@decision` allows",
                _ => "the only decision is `@decision(\"require_approval\")`",
            };
            problems.push(
                source
                    .problem(at("decision"), format!("unknown `@decision({text:?})`"))
                    .with_help(help),
            );
            Effect::Deny
        }
    };

    let in_client = policy.annotation("in_client_approval");
    if let Some(word) = in_client {
        let place = at("in_client_approval");
        if word != "allow" {
            problems.push(
                source
                    .problem(place, format!("unknown `@in_client_approval({word:?})`"))
                    .with_help("the only one is `@in_client_approval(\"allow\")`; without it an approval is the approvers' own"),
            );
        } else if policy.annotation("decision") != Some("require_approval") {
            problems.push(
                source
                    .problem(
                        place,
                        "`@in_client_approval` stands on a policy that asks for no approval",
                    )
                    .with_help("write it beside `@decision(\"require_approval\")`"),
            );
        }
    }

    let asks = policy.annotation("decision") == Some("require_approval");
    let rule = approval::rule(source, start, policy, asks, &mut problems);

    let reason = policy.annotation("reason");
    if reason.is_some_and(|reason| reason.trim().is_empty()) {
        problems.push(
            source
                .problem(at("reason"), "`@reason` says nothing")
                .with_help("tell the approver and the agent why"),
        );
    }

    if problems.is_empty() {
        Ok(About {
            id: id.to_owned(),
            effect,
            reason: reason.map(str::to_owned),
            risk: risk.and_then(Result::ok),
            in_client: in_client.is_some(),
            rule,
            place: source.place(start),
        })
    } else {
        Err(problems)
    }
}
