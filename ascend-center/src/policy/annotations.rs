//! What a policy says of itself: `@id`, `@risk`, `@decision` and `@reason`.

use cedar_policy::{Effect as CedarEffect, Policy};

use super::problem::{Place, Problem, Source, nearest};
use crate::record::Effect;

/// What a policy's annotations say.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) id: String,
    pub(super) effect: Effect,
    pub(super) reason: Option<String>,
    pub(super) risk: Option<u8>,
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

const ANNOTATIONS: [&str; 4] = ["id", "risk", "decision", "reason"];

/// Reads a policy's annotations; all that is wrong with them is the error.
pub(super) fn lint(source: &Source, start: usize, policy: &Policy) -> Result<About, Vec<Problem>> {
    let mut problems = Vec::new();
    let at = |key: &str| annotation_at(source, start, key);
    let forbids = policy.effect() == CedarEffect::Forbid;
    let keyword = if forbids { "forbid" } else { "permit" };

    for (key, _) in policy.annotations() {
        if !ANNOTATIONS.contains(&key) {
            let problem = source.problem(at(key), format!("unknown annotation `@{key}`"));
            problems.push(match nearest(key, ANNOTATIONS) {
                Some(meant) => problem.with_help(format!("did you mean `@{meant}`?")),
                None => problem.with_help("a policy has `@id`, `@risk`, `@decision` and `@reason`"),
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
            place: source.place(start),
        })
    } else {
        Err(problems)
    }
}
