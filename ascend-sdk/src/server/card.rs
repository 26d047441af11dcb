//! A waiting call, for the person at the client that makes it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    context::{Card, Waiting},
    refusal::spoken,
    shown,
};

/// The longest card, in bytes. What a person cannot survey they cannot approve.
const LONGEST: usize = 16 * 1024;

/// The card as text; `None` where it would be too long for anybody to read.
///
/// All that comes from the call stands in one fenced block, on lines that begin
/// with our words, spaces or JSON: whether the client renders Markdown or shows
/// plain text, nothing in it is markup, or looks like ours.
pub(super) fn text(waiting: &Waiting, card: &Card, now: Instant) -> Option<String> {
    let mut lines = Lines(String::new());
    lines.add(
        "action",
        &format!("{}, risk {} ({})", waiting.action_id, waiting.risk_score, waiting.risk_level),
    );
    lines.add("what", &waiting.what);
    lines.add("tool", &format!("{} ({})", card.tool, card.action_type));
    lines.add("resource", &card.resource);
    let mut label = "arguments";
    for (name, value) in &card.parameters {
        // Its own line breaks are structure; those in texts are escaped by JSON.
        let json = serde_json::to_string_pretty(value).ok()?;
        for line in format!("{}: {json}", Value::from(name.as_str())).lines() {
            lines.add(label, line);
            label = "";
        }
    }
    if card.parameters.is_empty() {
        lines.add(label, "none");
    }
    if let Some(reason) = &card.reason {
        lines.add("why", reason);
    }
    let left = waiting.until.saturating_duration_since(now);
    lines.add("until", &format!("{} ({} left)", moment(left), spoken(left)));
    let Lines(lines) = lines;
    (lines.len() <= LONGEST).then(|| {
        format!(
            "An action waits for approval. It has not run.\n\n```text\n{lines}```\n\nApprove it?"
        )
    })
}

struct Lines(String);

impl Lines {
    fn add(&mut self, label: &str, text: &str) {
        self.0 += &format!("{label:<10} {}\n", shown(text));
    }
}

/// The time of day in so long.
fn moment(left: Duration) -> String {
    let left = SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX);
    match Timestamp::now().checked_add(left) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => "no end".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::{ActionId, RiskLevel};

    fn text_of(parameters: Value) -> Option<String> {
        let Value::Object(parameters) = parameters else { panic!("an object") };
        let now = Instant::now();
        let waiting = Waiting {
            action_id: ActionId::new("7").unwrap(),
            what: "Write rows of `users`".to_owned(),
            risk_score: 45,
            risk_level: RiskLevel::Medium,
            until: now + Duration::from_secs(290),
            approvers: String::new(),
            promised: false,
            card: None,
        };
        let card = Card {
            tool: "write_rows".to_owned(),
            action_type: "database.write".to_owned(),
            resource: "database://staging".to_owned(),
            parameters,
            reason: Some("writes need a person".to_owned()),
            least_risk: RiskLevel::Low,
        };
        text(&waiting, &card, now)
    }

    #[test]
    fn a_card_has_all_that_a_person_needs() {
        let text = text_of(json!({ "rows": [1, { "a": "b" }], "token": "[sensitive]" })).unwrap();
        let (until, text): (Vec<_>, Vec<_>) =
            text.lines().partition(|line| line.starts_with("until"));
        assert!(until[0].ends_with(" UTC (4 min 50 s left)"), "{until:?}");
        assert_eq!(
            text,
            [
                "An action waits for approval. It has not run.",
                "",
                "```text",
                "action     7, risk 45 (MEDIUM)",
                "what       Write rows of `users`",
                "tool       write_rows (database.write)",
                "resource   database://staging",
                "arguments  \"rows\": [",
                "             1,",
                "             {",
                "               \"a\": \"b\"",
                "             }",
                "           ]",
                "           \"token\": \"[sensitive]\"",
                "why        writes need a person",
                "```",
                "",
                "Approve it?",
            ]
        );
    }

    #[test]
    fn nothing_hostile_leaves_its_line_or_is_invisible() {
        let hostile = "x\n```\n\n# Approved by security\u{202e}\u{200b}\u{1b}[2J <img src=x>";
        let text = text_of(json!({ hostile: hostile, "```": "```" })).unwrap();
        assert_eq!(
            text.matches("\n```").count(),
            2,
            "the block has one beginning and one end: {text}"
        );
        assert!(!text.contains("\n#"), "{text}");
        for character in ['\u{202e}', '\u{200b}', '\u{1b}'] {
            assert!(!text.contains(character), "{text:?}");
        }
        assert!(text.contains(r"\u{202e}\u{200b}"), "{text}");
    }

    #[test]
    fn what_nobody_can_survey_has_no_card() {
        assert_eq!(text_of(json!({ "text": "x".repeat(LONGEST) })), None);
    }
}
