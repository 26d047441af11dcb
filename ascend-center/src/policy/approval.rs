//! What a policy says of the approval that it asks for: `@approvers`, `@quorum`,
//! `@within`, `@escalate_to` and `@grants`.

use std::time::Duration;

use cedar_policy::Policy;
use jiff::{Span, SpanRelativeTo};

use super::{
    annotations::annotation_at,
    problem::{Problem, Source},
};
use crate::{
    identity,
    quorum::{GrantUse, Rule},
    submission::LONGEST_APPROVAL_TIMEOUT,
};

pub(super) const ANNOTATIONS: [&str; 5] =
    ["approvers", "quorum", "within", "escalate_to", "grants"];

/// The most people whom a policy may ask.
const LARGEST_QUORUM: u32 = 100;

/// Reads the rule of a policy, which `asks` for an approval or not. What is wrong
/// with it is added to the problems.
pub(super) fn rule(
    source: &Source,
    start: usize,
    policy: &Policy,
    asks: bool,
    problems: &mut Vec<Problem>,
) -> Rule {
    let mut rule = Rule {
        policies: policy.annotation("id").map(str::to_owned).into_iter().collect(),
        ..Rule::default()
    };
    let given: Vec<&str> =
        ANNOTATIONS.into_iter().filter(|key| policy.annotation(key).is_some()).collect();
    let mut wrong = |key: &str, message: String, help: &str| {
        let at = annotation_at(source, start, key);
        problems.push(source.problem(at, message).with_help(help));
    };
    if !asks {
        for key in given {
            let message = format!("`@{key}` stands on a policy that asks for no approval");
            wrong(key, message, "write it beside `@decision(\"require_approval\")`");
        }
        return rule;
    }
    for key in ["approvers", "escalate_to"] {
        let Some(group) = policy.annotation(key) else { continue };
        if let Err(error) = identity::group_name(group) {
            let help = format!("name a group of people, as in `@{key}(\"dba\")`");
            wrong(key, format!("`@{key}({group:?})` is no group: {error}"), &help);
        }
        let group = Some(group.to_owned());
        match key {
            "approvers" => rule.approvers = group,
            _ => rule.escalate_to = group,
        }
    }
    if let Some(text) = policy.annotation("quorum") {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(quorum) if digits && (1..=LARGEST_QUORUM).contains(&quorum) => rule.quorum = quorum,
            _ => {
                let message =
                    format!("`@quorum({text:?})` is no number from 1 to {LARGEST_QUORUM}");
                wrong("quorum", message, "write it as text, as in `@quorum(\"2\")`");
            }
        }
    }
    if let Some(text) = policy.annotation("within") {
        rule.within = time(text);
        if rule.within.is_none() {
            let message = format!("`@within({text:?})` is no time from 1 second to 30 days");
            wrong("within", message, "write it as in `@within(\"15m\")` or `@within(\"1h 30m\")`");
        }
    }
    match policy.annotation("grants") {
        None => {}
        Some("allow") => rule.grants = GrantUse::Allow,
        Some("deny") => rule.grants = GrantUse::Deny,
        Some(text) => wrong(
            "grants",
            format!("unknown `@grants({text:?})`"),
            "write `@grants(\"allow\")` or `@grants(\"deny\")`; without it grants count unless the \
             risk is critical or the tool requires a person each time",
        ),
    }
    if given.contains(&"escalate_to") {
        if !given.contains(&"within") {
            let message = "`@escalate_to` stands on a policy without `@within`".to_owned();
            wrong(
                "escalate_to",
                message,
                "say within what time, as in `@within(\"15m\")`: at half of it the action is \
                 escalated",
            );
        }
        if rule.approvers.is_none() {
            let message = "`@escalate_to` stands on a policy without `@approvers`".to_owned();
            wrong(
                "escalate_to",
                message,
                "name the group that is asked first, as in `@approvers(\"dba\")`; without it every \
                 approver is",
            );
        } else if rule.approvers == rule.escalate_to {
            let message = "`@escalate_to` names the group of `@approvers`".to_owned();
            wrong(
                "escalate_to",
                message,
                "name another, which is asked when half of the time passed",
            );
        }
    }
    let reserved = given.iter().find(|key| matches!(**key, "approvers" | "quorum"));
    if let Some(key) = reserved
        && policy.annotation("in_client_approval").is_some()
    {
        let message = format!("`@in_client_approval` stands beside `@{key}`");
        wrong(
            "in_client_approval",
            message,
            "the user of a client is in no group, and is one; leave one of the two out",
        );
    }
    rule
}

/// A time such as `15m`, `1h 30m` or `2d`, in whole seconds.
pub(super) fn time(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let time = Duration::try_from(time).ok()?;
    let fits = time.subsec_nanos() == 0
        && time >= Duration::from_secs(1)
        && time <= LONGEST_APPROVAL_TIMEOUT;
    fits.then_some(time)
}
