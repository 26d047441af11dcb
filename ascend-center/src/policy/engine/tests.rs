#![allow(clippy::unwrap_used, reason = "tests")]

use std::{sync::LazyLock, time::Duration};

use ascend_sdk::{Digest, Facts, Floor, SessionContext};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    policy::{
        load::{Files, testing::files},
        recent::Recent,
    },
    submission::Submission,
};

fn engine(policies: &str) -> Engine {
    Engine::new(files(policies).check().unwrap()).unwrap()
}

fn default_engine() -> Engine {
    Engine::new(Files::built_in().check().unwrap()).unwrap()
}

fn asked(namespace: &str, verb: &str, resource: &str) -> Submission {
    Submission {
        server_id: "mcp-server-001".to_owned(),
        tool: "tool".to_owned(),
        namespace: namespace.to_owned(),
        verb: verb.to_owned(),
        resource: resource.to_owned(),
        parameters: serde_json::Map::new(),
        summary: None,
        floor: Floor::NONE,
        facts: Facts::default(),
        metadata: std::collections::BTreeMap::new(),
        user_context: serde_json::Map::new(),
        session: SessionContext::default(),
        digest: "00".repeat(32).parse::<Digest>().unwrap(),
        idempotency_key: None,
        approval_timeout: Duration::from_secs(300),
        mcp_server: None,
        model: None,
        requested_by: "test".to_owned(),
        owner: None,
        traceparent: None,
        request: "{}".to_owned(),
    }
}

static NOTHING: LazyLock<Recent> = LazyLock::new(Recent::default);

fn at(submission: &Submission, now: Timestamp) -> Asked<'_> {
    submission.asked(now, &NOTHING)
}

fn evaluate(engine: &Engine, submission: &Submission) -> Verdict {
    engine.evaluate(&at(submission, Timestamp::UNIX_EPOCH))
}

use Decision::{Allow, Deny, RequireApproval};

#[test]
fn the_floor_is_the_least_that_holds() {
    let engine = default_engine();
    let mut read = asked("database", "read", "database://staging");
    read.floor = Floor::HIGH_RISK;
    let verdict = evaluate(&engine, &read);
    assert_eq!((verdict.decision, verdict.risk_score), (RequireApproval, 61));
    let mut drop = asked("database", "drop", "database://staging");
    drop.floor = Floor::HIGH_RISK;
    assert_eq!(evaluate(&engine, &drop).decision, Deny);
}

#[test]
fn two_passes_give_deny_over_approval_over_allow_over_the_default() {
    let permit = r#"@id("p") permit (principal, action, resource);"#;
    let ask = r#"@id("a") @decision("require_approval") forbid (principal, action, resource);"#;
    let deny = r#"@id("d") forbid (principal, action, resource);"#;
    let submission = asked("database", "read", "x");
    for (with_permit, with_ask, with_deny) in
        (0..8).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0))
    {
        let mut text =
            r#"@id("never") permit (principal == Agent::"nobody", action, resource);"#.to_owned();
        for (included, policy) in [(with_permit, permit), (with_ask, ask), (with_deny, deny)] {
            if included {
                text.push_str(policy);
            }
        }
        let expected = match (with_permit, with_ask, with_deny) {
            (_, _, true) | (false, _, _) => Deny,
            (true, true, false) => RequireApproval,
            (true, false, false) => Allow,
        };
        let verdict = evaluate(&engine(&text), &submission);
        assert_eq!(verdict.decision, expected, "{with_permit} {with_ask} {with_deny}");
    }
}

/// Cedar skips a `forbid` that errs, and would answer Allow.
#[test]
fn an_error_in_any_policy_denies() {
    let permit = r#"@id("p") permit (principal, action, resource);"#;
    // An overflow: the schema cannot see it coming.
    let erring = r#"forbid (principal, action, resource)
        when { context.number.hasTag("n") && context.number.getTag("n") + 1 > 0 };"#;
    let mut submission = asked("database", "read", "x");
    submission.parameters = json!({ "n": i64::MAX }).as_object().cloned().unwrap();
    for annotation in ["", r#"@decision("require_approval")"#] {
        let engine = engine(&format!(r#"{permit} @id("overflow") {annotation} {erring}"#));
        let verdict = evaluate(&engine, &submission);
        assert_eq!(verdict.decision, Deny);
        assert!(verdict.reason.contains("overflow"), "{}", verdict.reason);
    }
    let erring_permit = erring.replace("forbid", "permit");
    let engine = engine(&format!(r#"{permit} @id("overflow") {erring_permit}"#));
    assert_eq!(evaluate(&engine, &submission).decision, Deny);
}

#[test]
fn matching_policies_raise_the_risk_and_none_lowers_it() {
    let policies = r#"
        @id("low") @risk("1") permit (principal, action, resource);
        @id("high") @risk("77") permit (principal, action, resource);
        @id("elsewhere") @risk("99") permit (principal, action == Action::"write", resource);
        @id("denied") @reason("closed") forbid (principal, action, resource)
          when { context.verb == "get" };"#;
    let engine = engine(policies);
    assert_eq!(evaluate(&engine, &asked("database", "read", "x")).risk_score, 77);
    let denied = evaluate(&engine, &asked("database", "get", "x"));
    assert_eq!((denied.decision, denied.risk_score), (Deny, 77));
    assert_eq!(denied.reason, "closed (policy `denied`)");
    let policies: Vec<_> = denied.matched.iter().map(|matched| matched.policy.as_str()).collect();
    assert_eq!(policies, ["denied", "high", "low"]);
}

#[test]
fn policies_read_typed_facts_and_arguments() {
    let policies = r#"
        @id("all") permit (principal, action, resource);
        @id("refunds") @decision("require_approval") forbid (principal, action, resource)
          when { context.number.hasTag("cents") && context.number.getTag("cents") > 10000 };
        @id("nested") forbid (principal, action, resource)
          when { context.text.hasTag("to.0.name") && context.text.getTag("to.0.name") == "eve" };
        @id("friday") forbid (principal, action, resource)
          when { context.now.toDate() == datetime("2026-11-27") && context.session.id like "bot-*" };
        @id("flags") forbid (principal, action, resource)
          when { context.flag.hasTag("force") && context.flag.getTag("force") };
        @id("agent") forbid (principal == Agent::"banned", action, resource);
        @id("name") forbid (principal, action, resource)
          when { resource.scheme == "database" && resource.name == "secret" };"#;
    let engine = engine(policies);
    let with = |arguments: serde_json::Value| {
        let mut submission = asked("crm", "refund", "x");
        submission.parameters = arguments.as_object().cloned().unwrap();
        submission
    };
    let decide = |submission: &Submission| evaluate(&engine, submission).decision;
    assert_eq!(decide(&with(json!({ "cents": 10_000 }))), Allow);
    assert_eq!(decide(&with(json!({ "cents": 10_000.01 }))), RequireApproval);
    assert_eq!(decide(&with(json!({ "to": [{ "name": "eve" }] }))), Deny);
    assert_eq!(decide(&with(json!({ "force": true }))), Deny);
    assert_eq!(decide(&with(json!({ "a.b": 1, "a": { "b": 2 } }))), Deny, "ambiguous");
    let mut banned = with(json!({}));
    banned.server_id = "banned".to_owned();
    assert_eq!(decide(&banned), Deny);
    assert_eq!(decide(&asked("database", "read", "database://secret/table")), Deny);
    let mut bot = with(json!({}));
    bot.session.session_id = "bot-7".to_owned();
    let friday = "2026-11-27T08:00:00Z".parse().unwrap();
    assert_eq!(engine.evaluate(&at(&bot, friday)).decision, Deny);
    assert_eq!(decide(&bot), Allow);
}

#[test]
fn an_action_of_ones_own_says_what_its_verb_does() {
    let schema = format!(
        "{}\naction \"crm\";\naction \"crm.refund\" in [\"execute\", \"crm\"] \
         appliesTo {{ principal: Agent, resource: Resource, context: Call }};",
        crate::policy::load::DEFAULT_SCHEMA
    );
    let policies = r#"
        @id("commands") permit (principal, action in Action::"execute", resource);
        @id("crm") @risk("91") permit (principal, action in Action::"crm", resource);"#;
    let files = files(policies).with_schema(&schema);
    let engine = Engine::new(files.check().unwrap()).unwrap();
    let refund = evaluate(&engine, &asked("crm", "refund", "x"));
    assert_eq!((refund.decision, refund.risk_score), (Allow, 91));
    // Also what is not declared belongs to a declared namespace.
    let other = evaluate(&engine, &asked("crm", "frobnicate", "x"));
    assert_eq!((other.decision, other.risk_score), (Allow, 91));
    // A namespace cannot borrow a class's permits.
    assert_eq!(evaluate(&engine, &asked("execute", "frobnicate", "x")).decision, Deny);
    // Nor a verb another action's.
    assert_eq!(evaluate(&engine, &asked("", "crm.refund", "x")).decision, Deny);
}

fn clause() -> impl Strategy<Value = String> {
    let actions =
        ["read", "write", "delete", "database", "database.read", "database.delete", "other"];
    let scope = prop_oneof![
        Just("action".to_owned()),
        prop::sample::select(actions.to_vec()).prop_map(|id| format!("action == Action::\"{id}\"")),
        prop::sample::select(actions.to_vec()).prop_map(|id| format!("action in Action::\"{id}\"")),
        prop::sample::subsequence(actions.to_vec(), 1..4).prop_map(|ids| {
            let ids: Vec<_> = ids.iter().map(|id| format!("Action::\"{id}\"")).collect();
            format!("action in [{}]", ids.join(", "))
        }),
    ];
    let effect = prop_oneof![
        3 => Just("permit"),
        1 => Just("forbid"),
        1 => Just("@decision(\"require_approval\") forbid"),
    ];
    let condition = prop_oneof![
        3 => Just(""),
        1 => Just(" when { context.verb == \"read\" }"),
        1 => Just(" unless { resource.words.contains(\"production\") }"),
    ];
    (effect, scope, condition, 0_u8..=100).prop_map(|(effect, scope, condition, risk)| {
        format!("@risk(\"{risk}\") {effect} (principal, {scope}, resource){condition};\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn slicing_changes_no_answer(clauses in prop::collection::vec(clause(), 1..12)) {
        let text: String = clauses
            .iter()
            .enumerate()
            .map(|(index, clause)| format!("@id(\"policy-{index}\") {clause}"))
            .collect();
        let engine = engine(&text);
        let unsliced = engine.set_of(0..engine.len());
        for (namespace, verb) in [
            ("database", "read"), ("database", "delete"), ("database", "frob"),
            ("clock", "read"), ("crm", "write"), ("crm", "frob"), ("read", "frob"),
        ] {
            for resource in ["x", "database://production"] {
                let submission = asked(namespace, verb, resource);
                let sliced = evaluate(&engine, &submission);
                let asked = at(&submission, Timestamp::UNIX_EPOCH);
                let doing = engine.doing(&asked);
                let (whole, _) = engine.evaluate_with(&asked, &doing, &unsliced);
                prop_assert_eq!(sliced, whole);
            }
        }
    }
}

#[test]
fn a_slice_holds_only_what_can_match() {
    let mut text = String::new();
    for index in 0..200 {
        text.push_str(&format!(
            "@id(\"writes-{index}\") permit (principal, action in Action::\"write\", resource);\n"
        ));
    }
    text.push_str(r#"@id("reads") permit (principal, action in Action::"read", resource);"#);
    let engine = engine(&text);
    let read = asked("database", "read", "x");
    let read = engine.doing(&at(&read, Timestamp::UNIX_EPOCH));
    assert_eq!(engine.slice(&read).all.policies().count(), 1);
    // However many verbs agents make up, the slices stay few.
    for index in 0..50 {
        let _ = evaluate(&engine, &asked("made_up", &format!("verb_{index}"), "x"));
    }
    assert_eq!(engine.slices.read().unwrap().len(), 2);
}
