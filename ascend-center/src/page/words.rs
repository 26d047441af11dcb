//! Times, sizes and states in words.

use ascend_sdk::RiskLevel;
use jiff::Timestamp;
use maud::{Markup, html};

use crate::{ActionState, Record, moment, span};

/// A time, of which the script keeps the relative part up to date.
pub(super) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (moment(at)) } }
}

/// A time with how long ago it was.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(at) data-ago { (moment(at)) " (" (span(at, now)) " ago)" } }
}

/// A time with how long it is until then.
pub(super) fn until(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(at) data-until { (moment(at)) " (" (span(now, at)) " left)" } }
}

/// A number with its thousands apart.
pub(super) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// As `1 action` or `1,200 actions`.
pub(super) fn counted(number: usize, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {one}{s}", count(number))
}

/// Bytes, as people say them.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{} B", count(bytes)),
        _ => format!("{} KB", count(bytes.div_ceil(1024))),
    }
}

/// A risk, by its number and its level's color.
pub(super) fn risk(score: u8, level: RiskLevel) -> Markup {
    html! {
        span.risk.(level_word(level)) { span.sr { "risk " } b { (score) } " " (level_word(level)) }
    }
}

pub(super) const fn level_word(level: RiskLevel) -> &'static str {
    match level {
        RiskLevel::Low => "low",
        RiskLevel::Medium => "medium",
        RiskLevel::High => "high",
        RiskLevel::Critical => "critical",
    }
}

pub(super) fn state(state: ActionState) -> Markup {
    html! { span.state.(state.as_str()) { (state) } }
}

/// How the action stands, in one sentence.
pub(super) fn outcome(record: &Record) -> String {
    let by = record.reviewed_by.as_deref().map_or_else(String::new, |name| format!(" by {name}"));
    match record.state {
        ActionState::Pending => "waits for approval".to_owned(),
        ActionState::Allowed => "was allowed by policy, and has not run yet".to_owned(),
        ActionState::Approved => format!("was approved{by}, and has not run yet"),
        ActionState::Rejected => format!("was rejected{by}"),
        ActionState::Expired if record.has_timed_out() => "expired; nobody decided".to_owned(),
        ActionState::Expired => "expired before it ran".to_owned(),
        ActionState::Withdrawn => "was withdrawn by its caller".to_owned(),
        ActionState::Executing if by.is_empty() => "was allowed by policy and runs".to_owned(),
        ActionState::Executing => format!("was approved{by} and runs"),
        ActionState::Completed if by.is_empty() => "was allowed by policy and ran".to_owned(),
        ActionState::Completed => format!("was approved{by} and ran"),
        ActionState::Failed => "ran and failed".to_owned(),
        ActionState::Denied => "was denied by policy".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(["0", "999", "1,000", "12,345,678"], [0, 999, 1000, 12_345_678].map(count));
        assert_eq!(
            (counted(1, "action"), counted(0, "action")),
            ("1 action".into(), "0 actions".into())
        );
        assert_eq!(["12 B", "1 KB", "64 KB"], [12, 1024, 65_536].map(size));
    }
}
