//! An action, for the person who decides. Whatever an agent wrote is shown as
//! what it is: a character that would be invisible, or change how others are
//! shown, stands there as an escape.

use std::io::{self, Write};

pub(crate) use ascend_center::moment;
use ascend_center::{Effect, Record, span};
pub(crate) use ascend_sdk::shown;
use jiff::Timestamp;
use serde_json::Value;

use crate::desk::{Desk, LIMIT};

/// JSON in ASCII: the same to a program, and harmless on a terminal.
pub(crate) fn ascii_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() && (character == '\n' || !character.is_ascii_control()) {
            out.push(character);
            continue;
        }
        // JSON has such characters in strings alone, where this stands for them.
        for unit in character.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

pub(crate) async fn heading(desk: &Desk, count: usize) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    if let Some(switch) = desk.kill_switch().await? {
        lines.push(format!(
            "The kill switch is raised since {}, by {}: {}",
            moment(switch.at),
            shown(&switch.by),
            shown(&switch.reason)
        ));
    }
    lines.push(match count {
        0 => "Nothing waits for approval.".to_owned(),
        1 => "1 action waits for approval.".to_owned(),
        count if count >= LIMIT as usize => {
            format!("At least {count} actions wait for approval; these are the oldest.")
        }
        count => format!("{count} actions wait for approval."),
    });
    Ok(lines)
}

pub(crate) fn write(
    out: &mut impl Write,
    record: &Record,
    command: &str,
    now: Timestamp,
) -> io::Result<()> {
    let field = |out: &mut dyn Write, name: &str, text: &str| writeln!(out, "  {name:<10} {text}");
    writeln!(out)?;
    writeln!(out, "Action {}  risk {} {}", record.id, record.risk_score, record.risk_level)?;
    if let Some(summary) = &record.summary {
        field(out, "what", &shown(summary))?;
    }
    let what = format!("{}.{}", record.namespace, record.verb);
    field(
        out,
        "tool",
        &shown(&match record.tool.as_str() {
            "" => what,
            tool => format!("{tool} ({what})"),
        }),
    )?;
    field(out, "resource", &shown(&record.resource))?;
    write_json(out, "arguments", &record.parameters)?;
    field(out, "why", &shown(&record.reason))?;
    for matched in record.matched.iter().filter(|matched| matched.effect == Effect::Allow) {
        let risk = matched.risk.map_or_else(String::new, |risk| format!(", risk {risk}"));
        let reason =
            matched.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let text = format!("also matched: policy `{}`{risk}{reason}", matched.policy);
        field(out, "", &shown(&text))?;
    }
    let client =
        record.client.as_ref().map_or_else(String::new, |client| format!(", client {client}"));
    field(
        out,
        "asked by",
        &shown(&format!(
            "{}, session {}{client}, by the credential `{}`",
            record.server_id, record.session_id, record.requested_by
        )),
    )?;
    if !record.user_context.is_empty() {
        write_json(out, "for", &record.user_context)?;
    }
    field(
        out,
        "since",
        &format!("{} ({} ago)", moment(record.created_at), span(record.created_at, now)),
    )?;
    field(
        out,
        "until",
        &format!("{} ({} left)", moment(record.expires_at), span(now, record.expires_at)),
    )?;
    approvals(out, record, now)?;
    if let Some(parent) = record.traceparent {
        field(out, "trace", &parent.trace_id())?;
    }
    field(out, "approve", &format!("{command} approve {}", record.id))?;
    field(out, "reject", &format!("{command} reject {}", record.id))
}

/// What its approval takes, and who has given theirs; nothing where any one
/// approver will do.
fn approvals(out: &mut dyn Write, record: &Record, now: Timestamp) -> io::Result<()> {
    let is_plain =
        matches!(&record.rules[..], [rule] if rule.approvers.is_none() && rule.quorum == 1);
    if is_plain && record.votes.is_empty() {
        return Ok(());
    }
    let mut label = "needs";
    let mut field = |text: &str| {
        let line = writeln!(out, "  {label:<10} {}", shown(text));
        label = "";
        line
    };
    for progress in record.progress() {
        let by = match &progress.approved_by[..] {
            [] => String::new(),
            names => format!(": {}", names.join(", ")),
        };
        field(&format!("{progress}{by}"))?;
    }
    for vote in record.votes.iter().filter(|vote| vote.counts_for.is_empty()) {
        field(&format!("{} approved, and may not any more", vote.person))?;
    }
    if let Some(at) = record.escalates_at.filter(|at| *at > now) {
        let groups = record.rules.iter().filter_map(|rule| rule.escalate_to.as_deref());
        let groups: Vec<String> = groups.map(|group| format!("`{group}`")).collect();
        field(&format!("in {} also from {}", span(now, at), groups.join(", ")))?;
    }
    Ok(())
}

/// Every value in full, as JSON.
fn write_json(
    out: &mut dyn Write,
    mut label: &str,
    object: &serde_json::Map<String, Value>,
) -> io::Result<()> {
    if object.is_empty() {
        writeln!(out, "  {label:<10} none")?;
    }
    for (name, value) in object {
        // Of the line breaks, those that the formatter makes are structure;
        // those in a text itself are escaped by JSON.
        let json = serde_json::to_string_pretty(value).unwrap_or_default();
        let entry = format!("{}: {json}", Value::from(name.as_str()));
        for line in entry.lines() {
            writeln!(out, "  {label:<10} {}", shown(line))?;
            label = "";
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_are_shown_as_what_they_are() {
        let text = "a\u{1b}[2Jb\rc\u{202e}d\u{200b}e\u{7}";
        assert_eq!(shown(text), r"a\u{1b}[2Jb\u{d}c\u{202e}d\u{200b}e\u{7}");
        assert_eq!(shown("größe 価格 `x`"), "größe 価格 `x`");
    }

    #[test]
    fn json_in_ascii_is_the_same_json() {
        let value = Value::from("a\u{9b}1m\u{202e}\u{7f}\u{e0041}größe");
        let json = ascii_json(&value.to_string());
        assert!(json.chars().all(|c| c.is_ascii_graphic()), "{json}");
        assert_eq!(serde_json::from_str::<Value>(&json).ok(), Some(value));
    }
}
