#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::{CallDescription, PolicySet, ToolSchema};

fn set() -> PolicySet {
    let tools = json!([{
        "name": "refund",
        "inputSchema": {
            "type": "object",
            "properties": { "cents": { "type": "integer" }, "note": { "type": "string" } },
            "required": ["cents"],
        },
    }]);
    let tools: Vec<ToolSchema> = serde_json::from_value(tools).unwrap();
    PolicySet::built_in_with(tools).unwrap()
}

fn granted(resource: &str, condition: Option<&str>) -> Granted {
    Granted {
        id: 1,
        tool: Some("refund".to_owned()),
        resource: resource.to_owned(),
        condition: condition.map(str::to_owned),
    }
}

fn covers(set: &PolicySet, granted: Granted, resource: &str, cents: i64) -> bool {
    let call: CallDescription = serde_json::from_value(json!({
        "action": "crm.refund",
        "resource": resource,
        "tool": "refund",
        "arguments": { "cents": cents },
    }))
    .unwrap();
    set.engine.covered(&call.asked(), &[granted]) == [1]
}

#[test]
fn a_grant_covers_what_it_names() {
    let set = set();
    let limit = Some("context.arguments.refund.cents <= 100");
    for (resource, condition, called, cents, expected) in [
        ("crm://orders/7", None, "crm://orders/7", 1, true),
        ("crm://orders/7", None, "crm://orders/77", 1, false),
        ("crm://orders/*", None, "crm://orders/77", 1, true),
        ("*", None, "anything", 1, true),
        (r"crm://\*", None, "crm://*", 1, true),
        (r"crm://\*", None, "crm://orders", 1, false),
        (r"c:\\orders", None, r"c:\orders", 1, true),
        (r"c:\orders", None, r"c:\orders", 1, true),
        ("crm://orders/*", limit, "crm://orders/7", 100, true),
        ("crm://orders/*", limit, "crm://orders/7", 101, false),
        ("*", Some("principal.id == \"agent\""), "x", 1, true),
        ("*", Some("principal.id == \"other\""), "x", 1, false),
        ("*", Some("true // and so on"), "x", 1, true),
    ] {
        let grant = granted(resource, condition);
        assert_eq!(set.engine.check_grant(&grant), Ok(()), "{resource} {condition:?}");
        assert_eq!(
            covers(&set, grant, called, cents),
            expected,
            "{resource} {condition:?} {called}"
        );
    }
}

#[test]
fn a_condition_that_says_nothing_is_refused_when_it_is_given() {
    let set = set();
    for (condition, expected) in [
        ("context.arguments.refund.sents <= 100", "did you mean `cents`?"),
        ("context.arguments.refunds.cents <= 100", "did you mean `refund`?"),
        ("context.arguments.refund.cents <= \"100\"", "type"),
        ("context.arguments.refund.note == \"x\"", "`context.arguments.refund has note && ..`"),
        ("context has json && context.json == 7", "it holds of no call"),
        ("1 == 2", "it holds of no call"),
        ("context.recent.tool.calls_1h < 10", "say for how many calls"),
        ("context == context", "say for how many calls"),
        ("true }; permit (principal, action, resource) when { true", "unexpected"),
        ("true } when { true", "unexpected"),
        ("", "unexpected"),
        ("1 + ", "unexpected"),
    ] {
        let error = set.engine.check_grant(&granted("*", Some(condition))).unwrap_err();
        assert!(error.contains(expected), "{condition}: {error}");
        assert!(!covers(&set, granted("*", Some(condition)), "x", 1), "{condition}");
    }
    let long = format!("true{}", " ".repeat(LONGEST));
    assert!(set.engine.check_grant(&granted("*", Some(&long))).unwrap_err().contains("bytes"));
}

/// What a pattern means, written down a second time.
fn fits(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['\\', escaped @ ('*' | '\\'), rest @ ..] => {
            text.first() == Some(escaped) && fits(rest, &text[1..])
        }
        ['*', rest @ ..] => (0..=text.len()).any(|skip| fits(rest, &text[skip..])),
        [plain, rest @ ..] => text.first() == Some(plain) && fits(rest, &text[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_written_a_pattern_is_one_pattern(
        pattern in r#"[ab*\\"\n} ]{0,8}"#,
        text in r#"[ab*\\"\n} ]{0,8}"#,
    ) {
        static SET: std::sync::LazyLock<PolicySet> = std::sync::LazyLock::new(set);
        let set = &*SET;
        let grant = Granted { tool: None, ..granted(&pattern, None) };
        prop_assert_eq!(set.engine.check_grant(&grant), Ok(()));
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = fits(&characters(&pattern), &characters(&text));
        prop_assert_eq!(covers(set, grant, &text, 1), expected);
    }
}
