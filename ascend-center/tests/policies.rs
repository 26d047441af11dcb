//! Policies as people work on them: explained, simulated, shadowed, limited,
//! typed by the tools, and changed while the center runs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    path::Path,
    process::{Command, Output},
};

use ascend_center::{
    ActionState, CallDescription, Center, CenterConfig, Held, OpenError, PolicySet, ServeConfig,
    ShadowReport,
};
use ascend_sdk::{Action, Authority, Decision, Holder, Outcome, Refusal, mcp_governance, tools};
use serde_json::{Value, json};
use support::{action, action_json, database, delete, digest, number, open, served::token, until};

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

/// A folder with this one file of policies.
fn folder(directory: &Path, name: &str, policies: &str) -> std::path::PathBuf {
    let folder = directory.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("own.cedar"), policies).unwrap();
    folder
}

fn config(directory: &Path) -> CenterConfig {
    support::config(&directory.join("center"))
}

async fn center_with(directory: &Path, policies: &str) -> Center {
    let policies = folder(directory, "policies", policies);
    Center::open(config(directory).policies(policies)).await.unwrap()
}

fn cli(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ascend-center"))
        .arg("policy")
        .args(arguments)
        .current_dir(directory)
        .env("ASCEND_CENTER_DIR", directory.join("center"))
        .envs(database::variable(&directory.join("center")))
        .env("RUST_LOG", "warn")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn paying(cents: i64) -> Action {
    let mut json = action_json("crm", "refund", "crm://orders/7");
    json["tool"] = "refund".into();
    json["parameters"] = json!({ "order": "7", "cents": cents });
    serde_json::from_value(json).unwrap()
}

async fn decide(center: &Center, action: &Action) -> Decision {
    center.evaluate(action).await.unwrap().decision
}

use Decision::{Allow, Deny, RequireApproval};

// --- Explained ---

fn explained(policies: &str, call: Value) -> ascend_center::Explanation {
    let directory = tempfile::tempdir().unwrap();
    let call: CallDescription = serde_json::from_value(call).unwrap();
    PolicySet::read(&folder(directory.path(), "p", policies)).unwrap().explain(&call)
}

/// The parts of the only policy that decide, and what they are.
fn deciding(policies: &str) -> Vec<(String, Held)> {
    let call = json!({
        "action": "database.read", "resource": "database://staging", "tool": "query",
        "arguments": { "n": i64::MAX },
    });
    let explanation = explained(policies, call);
    let parts = explanation.policies[0].parts.iter().filter(|part| part.decides);
    parts.map(|part| (part.text.clone(), part.held.clone())).collect()
}

#[test]
fn the_part_that_does_not_hold_is_named() {
    let no = |text: &str| (text.to_owned(), Held::No);
    let yes = |text: &str| (text.to_owned(), Held::Yes);
    let policy = |rest: &str| format!("@id(\"a\") permit (principal, action, resource) {rest};");
    for (rest, expected) in [
        ("", vec![]),
        ("when { context.tool == \"query\" }", vec![]),
        ("when { context.tool == \"x\" }", vec![no("context.tool == \"x\"")]),
        (
            "when { context.tool == \"query\" && context has sql && context.sql.parsed }",
            vec![no("context has sql")],
        ),
        (
            "when { context.tool == \"x\" || context.tool == \"query\" && context.high_risk }",
            vec![no("context.tool == \"x\""), no("context.high_risk")],
        ),
        ("unless { context.tool == \"query\" }", vec![yes("context.tool == \"query\"")]),
        (
            // The first `unless` does not stand in the way; the `when` does.
            "unless { context.tool == \"query\" && context.high_risk } when { context has file }",
            vec![no("context has file")],
        ),
    ] {
        assert_eq!(deciding(&policy(rest)), expected, "{rest}");
    }
    let elsewhere = "@id(\"a\") permit (principal == Agent::\"b\", action, resource) \
                     when { context.high_risk };";
    assert_eq!(deciding(elsewhere), [no("principal == Agent::\"b\"")]);
}

#[test]
fn what_cannot_be_evaluated_is_told_and_denies() {
    let policy = "@id(\"a\") permit (principal, action, resource) when \
                  { context.number.hasTag(\"n\") && context.number.getTag(\"n\") + 1 > 0 };";
    let call = json!({ "action": "a.b", "resource": "c", "arguments": { "n": i64::MAX } });
    let explanation = explained(policy, call);
    assert_eq!(explanation.decision, Deny);
    let finding = &explanation.policies[0];
    let Held::Error(error) = &finding.held else { panic!("an error: {finding:?}") };
    assert!(error.contains("overflow"), "{error}");
    assert!(matches!(finding.parts.last().unwrap().held, Held::Error(_)), "{finding:?}");
}

#[tokio::test]
async fn a_recorded_action_is_explained_as_it_was_asked() {
    let directory = tempfile::tempdir().unwrap();
    let center = Center::open(config(directory.path())).await.unwrap();
    let mut json = action_json("database", "query", "db\u{202e}://x");
    json["facts"] = json!({ "sql": { "kinds": ["drop"], "statements": 1, "parsed": true } });
    json["floor"] = json!({ "risk_level": "HIGH", "require_human_approval": true });
    json["metadata"] = json!({ "team": "payments" });
    json["session_context"] =
        json!({ "session_id": "s-1", "client_name": "cli", "client_version": "7" });
    let id = center.evaluate(&serde_json::from_value(json).unwrap()).await.unwrap().action_id;

    let shown = cli(directory.path(), &["explain", id.as_str()]);
    let shown = text(&shown.stdout);
    for expected in [
        r"database.query on db\u{202e}://x by mcp-server-001",
        "DENY, risk 100 CRITICAL",
        "A policy that no person may overrule matches, so there is no second pass",
        "  100  policy `sql-drops` (forbid)",
        "   61  the tool itself: HIGH starts at 61",
        "matched   forbid `sql-drops`",
    ] {
        assert!(shown.contains(expected), "{expected}\nis not in\n{shown}");
    }
    assert!(!shown.contains("decided otherwise"), "{shown}");

    // Facts, metadata and session are those of the call.
    let own = "@id(\"a\") permit (principal, action, resource) when { \
               context.sql.kinds.contains(\"drop\") && context.session.id == \"s-1\" && \
               context.session has client_version && context.session.client_version == \"7\" && \
               context.metadata.hasTag(\"team\") && context.high_risk };";
    let own = own.replace("context.sql.kinds", "context has sql && context.sql.kinds");
    let own = folder(directory.path(), "own", &own);
    let shown = cli(
        directory.path(),
        &["explain", id.as_str(), "--policies", own.to_str().unwrap(), "--json"],
    );
    let found: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(found["explanation"]["policies"][0]["held"], "yes", "{found:#}");
    assert_eq!(found["explanation"]["decision"], "REQUIRE_APPROVAL");
    assert_eq!(found["explanation"]["raised_by_the_tool"], true);
    assert_eq!(found["record"]["decision"], "DENY");
    let shown = cli(directory.path(), &["explain", id.as_str(), "--policies", "own"]);
    assert!(text(&shown.stdout).contains("decided otherwise: DENY, risk 100"));

    let unknown = cli(directory.path(), &["explain", "77"]);
    assert_eq!(unknown.status.code(), Some(3));
    let nothing = cli(directory.path(), &["explain", "nowhere.toml"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("nowhere.toml: cannot be read"));
}

// --- Tested ---

#[test]
fn mistakes_in_cases_are_named_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.test.toml");
    let call = "call = { action = \"a.b\", resource = \"c\" }";
    for (cases, expected) in [
        (String::new(), "there is no test case"),
        ("[[case]]\nname = 7".to_owned(), "a.test.toml:2:8: invalid type"),
        (format!("[[case]]\nname = \"x\"\n{call}\nexpect = {{}}"), "a.test.toml:1:1: the case `x`"),
        (
            format!("[[case]]\nname = \"x\"\n{call}\nexpect = {{ decision = \"maybe\" }}"),
            "a.test.toml:4:23: unknown decision `maybe`; expected `allow`",
        ),
        (
            format!("[[case]]\nname = \"x\"\n{call}\nexpect = {{ rsik = 7 }}"),
            "a.test.toml:4:12: unknown field `rsik`",
        ),
        (
            "[[case]]\nname = \"x\"\nexpect = { risk = 1 }\n\
             call = { action = \"a.b\", resource = \"c\", facts.sql.statments = 1 }"
                .to_owned(),
            "unknown fact `statments`; did you mean `statements`?",
        ),
    ] {
        std::fs::write(&file, &cases).unwrap();
        let output = cli(directory.path(), &["test", "--cases", "a.test.toml"]);
        assert_eq!(output.status.code(), Some(1), "{cases}");
        let told = text(&output.stderr);
        assert!(told.contains(expected), "{cases}\n{told}");
    }
}

#[test]
fn the_outcome_of_tests_is_there_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    let cases = "[[case]]\nname = \"good\"\ncall = { action = \"database.read\", resource = \"x\" }\n\
                 expect = { decision = \"ALLOW\", matched = [\"reads\"] }\n\
                 [[case]]\nname = \"bad\"\ncall = { action = \"database.read\", resource = \"x\" }\n\
                 expect = { matched = [\"drops\", \"nothing\"] }";
    std::fs::write(directory.path().join("a.test.toml"), cases).unwrap();
    let output = cli(directory.path(), &["test", "--cases", "a.test.toml", "--json"]);
    assert_eq!(output.status.code(), Some(5));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["passed"], &found["failed"]), (&json!(1), &json!(1)));
    assert_eq!(
        found["cases"][1]["failures"],
        json!(["policy `drops` does not match", "there is no policy `nothing`"])
    );
    assert_eq!(found["cases"][1]["place"]["line"], 5);
    assert_eq!(found["cases"][0]["explanation"]["decision"], "ALLOW");
}

#[test]
fn the_built_in_policies_pass_their_tests() {
    let directory = tempfile::tempdir().unwrap();
    let output = cli(directory.path(), &["test"]);
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(text(&output.stdout).ends_with(" passed, 0 failed\n"));
}

// --- Simulated ---

#[tokio::test]
async fn a_changed_set_is_tried_on_what_was_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let center = Center::open(config(directory.path())).await.unwrap();
    let alice = center.local_approver().await.unwrap();
    for _ in 0..520 {
        center.evaluate(&action("database", "read", "x")).await.unwrap();
    }
    center.evaluate(&delete()).await.unwrap();
    center.kill("a drill", &alice).await.unwrap();
    center.evaluate(&action("database", "read", "x")).await.unwrap();

    let same = cli(directory.path(), &["simulate", "--help"]);
    assert!(same.status.success());
    let simulation = center.simulate(&PolicySet::built_in().unwrap(), 10_000).await.unwrap();
    assert_eq!((simulation.replayed, simulation.left_out), (521, 1));
    assert_eq!(simulation.differences, []);

    // Reads at another risk, deletes refused.
    let changed = "@id(\"all\") @risk(\"20\") permit (principal, action, resource);\n\
                   @id(\"never\") @reason(\"no deletes\") \
                   forbid (principal, action in Action::\"delete\", resource);";
    let changed = folder(directory.path(), "changed", changed);
    let simulation = center.simulate(&PolicySet::read(&changed).unwrap(), 10_000).await.unwrap();
    assert_eq!((simulation.stricter(), simulation.milder()), (1, 0));
    assert_eq!(simulation.differences.len(), 521);
    let newest = &simulation.differences[0];
    assert_eq!((newest.decision, newest.record.decision), (Deny, RequireApproval));

    let output = cli(directory.path(), &["simulate", "changed", "--last", "3"]);
    assert_eq!(output.status.code(), Some(5));
    let shown = text(&output.stdout);
    assert!(shown.contains("would be  DENY, risk 70: no deletes (policy `never`)"), "{shown}");
    assert!(
        shown.ends_with(
            "2 replayed: 1 would be decided more strictly, 0 more mildly, 1 alike at another risk; \
             1 that the kill switch had denied are left out\n"
        ),
        "{shown}"
    );
}

#[tokio::test]
async fn limits_are_simulated_as_of_then() {
    let directory = tempfile::tempdir().unwrap();
    let center = center_with(directory.path(), PERMIT).await;
    for _ in 0..5 {
        center.evaluate(&paying(100)).await.unwrap();
    }
    let limited = "@id(\"two\") forbid (principal, action, resource) \
                   when { context.recent.tool.calls_1h > 2 };";
    let limited = folder(directory.path(), "limited", &format!("{PERMIT}{limited}"));
    let simulation = center.simulate(&PolicySet::read(&limited).unwrap(), 100).await.unwrap();
    let mut denied: Vec<i64> =
        simulation.differences.iter().map(|difference| difference.record.id).collect();
    denied.sort_unstable();
    assert_eq!(denied, [3, 4, 5]);
}

// --- In the shadow ---

async fn report(center: &Center, asked: u64) -> ShadowReport {
    until("the shadow policies answered", async || {
        center.shadow_report(10).await.unwrap().asked >= asked
    })
    .await;
    center.shadow_report(10).await.unwrap()
}

#[tokio::test]
async fn shadow_policies_are_recorded_and_never_obeyed() {
    let directory = tempfile::tempdir().unwrap();
    let enforced = folder(
        directory.path(),
        "policies",
        &format!("{PERMIT}@id(\"no\") forbid (principal, action in Action::\"delete\", resource);"),
    );
    let shadow = "@id(\"deletes\") permit (principal, action in Action::\"delete\", resource);\n\
                  @id(\"writes\") permit (principal, action in Action::\"write\", resource);";
    let shadow = folder(directory.path(), "shadow", shadow);
    let config = config(directory.path()).policies(enforced).shadow_policies(shadow);
    let center = Center::open(config).await.unwrap();
    assert_eq!(decide(&center, &delete()).await, Deny, "the shadow would allow it");
    assert_eq!(decide(&center, &action("database", "read", "x")).await, Allow, "and deny this");
    assert_eq!(decide(&center, &action("database", "write", "x")).await, Allow);
    let report = report(&center, 3).await;
    assert_eq!((report.asked, report.differing), (3, 2));
    let said: Vec<_> = report
        .differences
        .iter()
        .map(|(record, shadow)| (record.decision, shadow.decision))
        .collect();
    assert_eq!(said, [(Allow, Deny), (Deny, Allow)]);

    let shown = cli(directory.path(), &["explain", "1", "--policies", "policies"]);
    let shown = text(&shown.stdout);
    assert!(shown.contains("The shadow policies said otherwise: ALLOW, risk 70"), "{shown}");
    let listed = cli(directory.path(), &["shadow", "--last", "1", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["differing"], 2);
    assert_eq!(listed["differences"].as_array().unwrap().len(), 1);
    assert_eq!(listed["differences"][0]["shadow"]["decision"], "DENY");
}

#[tokio::test]
async fn shadow_policies_with_a_mistake_hinder_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let shadow = folder(directory.path(), "shadow", "permit (principal, action, resorce);");
    let config = config(directory.path()).shadow_policies(&shadow);
    let center = Center::open(config).await.unwrap();
    let refused = center.shadow_status().unwrap().refused.unwrap();
    assert!(refused.to_string().contains("own.cedar:1:"), "{refused}");
    assert_eq!(decide(&center, &action("database", "read", "x")).await, Allow);
    let found = report(&center, 1).await;
    assert_eq!(found.differences[0].1.reason, "the shadow policies have a mistake");

    // An error at evaluation is recorded too.
    let overflow = format!(
        "{PERMIT}@id(\"o\") forbid (principal, action, resource) when \
         {{ context.number.hasTag(\"cents\") && context.number.getTag(\"cents\") + 1 > 7 }};"
    );
    std::fs::write(shadow.join("own.cedar"), overflow).unwrap();
    until("the shadow policies are mended", async || {
        center.shadow_status().unwrap().refused.is_none()
    })
    .await;
    let mut json = action_json("database", "read", "x");
    json["parameters"] = json!({ "cents": i64::MAX });
    assert_eq!(decide(&center, &serde_json::from_value(json).unwrap()).await, Allow);
    let reason = &report(&center, 2).await.differences[0].1.reason;
    assert!(reason.contains("could not be evaluated"), "{reason}");
}

// --- Tools ---

/// Refunds an order.
#[mcp_governance(action_type = "crm.refund", resource = "crm://orders/{order}")]
async fn refund(
    order: String,
    cents: u32,
    note: Option<String>,
    tags: Vec<String>,
    #[sensitive] token: String,
) -> Result<String, Refusal> {
    Ok(format!("{order} {cents} {note:?} {tags:?} {}", token.len()))
}

async fn with_tools(directory: &Path, policies: &str) -> Result<Center, OpenError> {
    let policies = folder(directory, "policies", policies);
    Center::open(config(directory).policies(policies).tools(&tools![refund])).await
}

#[tokio::test]
async fn policies_name_the_arguments_that_the_tools_have() {
    for (condition, mistake) in [
        (
            "context.arguments has refund && context.arguments.refund.sents > 1",
            "own.cedar:2:111: the tool `refund` has no argument `sents`\n  \
             help: did you mean `cents`?",
        ),
        (
            "context.arguments has refund && context.arguments.refund has sents",
            "the tool `refund` has no argument `sents`",
        ),
        ("context.arguments has refund.sents && true", "the tool `refund` has no argument `sents`"),
        ("context.arguments has refnd", "no tool is named `refnd`\n  help: did you mean `refund`?"),
        (
            "context.arguments has refund && context.arguments.refund.token == \"x\"",
            "policies cannot read the argument `token` of the tool `refund`\n  \
             help: it is sensitive",
        ),
        (
            "context.arguments has refund && context.arguments.refund.note == \"x\"",
            "unable to guarantee safety of access to optional attribute",
        ),
        ("context.arguments has refund && context.arguments.refund.cents == \"x\"", "own.cedar:2:"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let policy = format!(
            "{PERMIT}@id(\"a\") forbid (principal, action, resource) when {{ {condition} }};"
        );
        let error = with_tools(directory.path(), &policy).await.unwrap_err().to_string();
        assert!(error.contains(mistake), "{condition}\n{error}");
        assert_eq!(error.matches("own.cedar").count(), 1, "told once: {error}");
    }
}

#[tokio::test]
async fn typed_arguments_are_those_of_the_call() {
    let directory = tempfile::tempdir().unwrap();
    let policies = format!(
        "{PERMIT}\
         @id(\"large\") forbid (principal, action, resource) when \
         {{ context.arguments has refund && context.arguments.refund.cents > 10000 }};\n\
         @id(\"note\") @decision(\"require_approval\") forbid (principal, action, resource) when \
         {{ context.arguments has refund.note && context.arguments.refund.note like \"*urgent*\" }};\n\
         @id(\"tag\") @decision(\"require_approval\") forbid (principal, action, resource) when \
         {{ context.arguments has refund && context.arguments.refund.tags.contains(\"vip\") }};"
    );
    let center = with_tools(directory.path(), &policies).await.unwrap();
    let call = |parameters: Value| {
        let mut json = action_json("crm", "refund", "crm://orders/7");
        json["tool"] = "refund".into();
        json["parameters"] = parameters;
        serde_json::from_value::<Action>(json).unwrap()
    };
    let whole = |cents: Value, note: Value, tags: Value| {
        call(
            json!({ "order": "7", "cents": cents, "note": note, "tags": tags, "token": "[sensitive]" }),
        )
    };
    let none = || Value::Null;
    assert_eq!(decide(&center, &whole(json!(500), none(), json!([]))).await, Allow);
    assert_eq!(decide(&center, &whole(json!(10_001), none(), json!([]))).await, Deny);
    let urgent = json!("very urgent!");
    assert_eq!(decide(&center, &whole(json!(1), urgent, json!([]))).await, RequireApproval);
    assert_eq!(decide(&center, &whole(json!(1), none(), json!(["vip"]))).await, RequireApproval);
    // What is not as the tool says could be read otherwise by the tool.
    for misfit in [whole(json!("99999"), none(), json!([])), call(json!({ "order": "7" }))] {
        let answer = center.evaluate(&misfit).await.unwrap();
        assert_eq!(answer.decision, Deny);
        let reason = answer.reason.unwrap();
        assert!(
            reason.contains("the argument `cents` of `refund` is not what the tool's schema says"),
            "{reason}"
        );
    }
    // Other tools have nothing to do with it.
    assert_eq!(decide(&center, &action("database", "read", "x")).await, Allow);
}

#[tokio::test]
async fn a_file_of_tools_that_changes_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let tools = directory.path().join("listed.json");
    let listed = |property: &str| {
        json!({ "tools": [{ "name": "refund", "description": "x", "inputSchema": {
            "type": "object", "properties": { property: { "type": "integer" } },
            "required": [property] } }] })
        .to_string()
    };
    std::fs::write(&tools, listed("cents")).unwrap();
    let policies = format!(
        "{PERMIT}@id(\"large\") forbid (principal, action, resource) when \
         {{ context.arguments has refund && context.arguments.refund.cents > 10 }};"
    );
    let policies = folder(directory.path(), "policies", &policies);
    let config = config(directory.path()).policies(&policies).tools_file(&tools);
    let center = Center::open(config).await.unwrap();
    assert_eq!(decide(&center, &paying(11)).await, Deny);

    std::fs::write(&tools, listed("amount")).unwrap();
    until("the renamed argument is noticed", async || center.policy_status().refused.is_some())
        .await;
    let refused = center.policy_status().refused.unwrap().to_string();
    assert!(refused.contains("the tool `refund` has no argument `cents`"), "{refused}");
    assert_eq!(decide(&center, &paying(11)).await, Deny, "the earlier set stays");

    for (content, mistake) in [
        ("{", "listed.json:1:"),
        ("{ \"tools\": 7 }", "listed.json: this is no list of tools"),
        (
            "[{ \"name\": \"a\", \"inputSchema\": {} }, { \"name\": \"a\", \"inputSchema\": \
             { \"properties\": { \"b\": { \"type\": \"string\" } } } }]",
            "two tools are named `a`",
        ),
    ] {
        std::fs::write(&tools, content).unwrap();
        let output = cli(directory.path(), &["check", "--tools", "listed.json"]);
        let told = text(&output.stderr);
        assert!(told.contains(mistake), "{told}");
    }
}

// --- Spellings ---

#[tokio::test]
async fn another_spelling_of_an_action_has_the_same_policies() {
    let directory = tempfile::tempdir().unwrap();
    let policies = "@id(\"customers\") permit (principal, action, resource) \
                    when { context.namespace == \"crm\" };\n\
                    @id(\"deletions\") forbid (principal, action, resource) \
                    when { context.namespace == \"crm\" && context.verb == \"delete\" };";
    let center = center_with(directory.path(), policies).await;
    assert_eq!(decide(&center, &action("crm", "read", "x")).await, Allow);
    for (namespace, verb) in
        [("crm", "delete"), ("crm", "Delete"), ("CRM", "delete "), (" Crm", "DELETE")]
    {
        let decision = decide(&center, &action(namespace, verb, "x")).await;
        assert_eq!(decision, Deny, "{namespace:?} {verb:?}");
    }
}

#[tokio::test]
async fn a_dot_in_a_verb_makes_it_no_other_action() {
    let directory = tempfile::tempdir().unwrap();
    let schema = format!(
        "{}\naction \"crm.orders.delete\" in [\"delete\"] \
         appliesTo {{ principal: Agent, resource: Resource, context: Call }};",
        include_str!("../policies/schema.cedarschema")
    );
    let policies =
        "@id(\"orders\") permit (principal, action == Action::\"crm.orders.delete\", resource);";
    let folder = folder(directory.path(), "policies", policies);
    std::fs::write(folder.join("schema.cedarschema"), schema).unwrap();
    let center = Center::open(config(directory.path()).policies(folder)).await.unwrap();
    assert_eq!(decide(&center, &action("crm.orders", "delete", "x")).await, Allow);
    for _ in 0..2 {
        assert_eq!(decide(&center, &action("crm", "orders.delete", "x")).await, Deny);
        assert_eq!(decide(&center, &action("crm", "x.y", "x")).await, Deny);
    }
}

#[test]
fn values_are_named_where_they_stand_alone() {
    for (condition, named) in [
        ("Numbers::\\\"recent.tool.sum_24h\\\".hasTag(\\\"cents\\\")", "Numbers"),
        ("Texts::\\\"user\\\".hasTag(\\\"trusted\\\")", "Texts"),
    ] {
        let condition = condition.replace("\\\"", "\"");
        let directory = tempfile::tempdir().unwrap();
        let policy = format!(
            "{PERMIT}@id(\"a\") forbid (principal, action, resource) when {{ {condition} }};"
        );
        folder(directory.path(), "policies", &policy);
        let output = cli(directory.path(), &["check", "policies"]);
        let told = text(&output.stderr);
        assert!(!output.status.success(), "{named}: {told}");
        assert!(told.contains("cannot name `Texts`, `Numbers` or `Flags` by an id"), "{told}");
        assert!(told.contains("context.user"), "{told}");
    }
}

// --- Limits ---

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_calls_at_once_no_more_pass_than_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let limited = "@id(\"five\") @reason(\"five an hour\") forbid (principal, action, resource) \
                   when { context.recent.agent.calls_1h > 5 };";
    let first = center_with(directory.path(), &format!("{PERMIT}{limited}")).await;
    let second = Center::open(config(directory.path()).policies(directory.path().join("policies")))
        .await
        .unwrap();
    let calls: Vec<_> = (0..40)
        .map(|index| {
            let center = if index % 2 == 0 { first.clone() } else { second.clone() };
            tokio::spawn(async move { decide(&center, &paying(1)).await })
        })
        .collect();
    let mut allowed = 0;
    for call in calls {
        allowed += u32::from(call.await.unwrap() == Allow);
    }
    assert_eq!(allowed, 5);
}

#[tokio::test]
async fn a_budget_counts_what_was_granted_or_waits() {
    let directory = tempfile::tempdir().unwrap();
    let policies = format!(
        "{PERMIT}\
         @id(\"budget\") @reason(\"1000 a day\") forbid (principal, action, resource) when \
         {{ context.recent.tool.sum_24h.hasTag(\"cents\") && \
            context.recent.tool.sum_24h.getTag(\"cents\") > 1000 }};\n\
         @id(\"large\") @decision(\"require_approval\") forbid (principal, action, resource) when \
         {{ context.number.hasTag(\"cents\") && context.number.getTag(\"cents\") >= 600 }};"
    );
    let center = center_with(directory.path(), &policies).await;
    let alice = center.local_approver().await.unwrap();
    assert_eq!(decide(&center, &paying(400)).await, Allow);
    // What waits counts; what was rejected does not any more.
    let waiting = center.evaluate(&paying(600)).await.unwrap();
    assert_eq!(waiting.decision, RequireApproval);
    assert_eq!(decide(&center, &paying(1)).await, Deny);
    center.reject(number(&waiting.action_id), &alice, None).await.unwrap();
    // A negative one gives nothing back, and what was denied did not count.
    assert_eq!(decide(&center, &paying(-5_000)).await, Allow);
    assert_eq!(decide(&center, &paying(500)).await, Allow);
    assert_eq!(decide(&center, &paying(101)).await, Deny);
    let last = center.evaluate(&paying(100)).await.unwrap();
    assert_eq!(last.decision, Allow);
    assert_eq!(decide(&center, &paying(1)).await, Deny);
    // Who was allowed and gave up could have run.
    let given_up = Outcome::Withdrawn { reason: "gone".to_owned() };
    center.report(&last.action_id, &given_up).await.unwrap();
    assert_eq!(decide(&center, &paying(1)).await, Deny);
    // Another tool has a budget of its own.
    let mut other = action_json("crm", "refund", "crm://orders/7");
    other["parameters"] = json!({ "cents": 500 });
    assert_eq!(decide(&center, &serde_json::from_value(other).unwrap()).await, Allow);

    let denied = center.actions(Some(ActionState::Denied), 1).await.unwrap().pop().unwrap();
    let explained = cli(
        directory.path(),
        &["explain", &denied.id.to_string(), "--policies", "policies", "--json"],
    );
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(explained["explanation"]["decision"], "DENY", "with what was counted then");
}

#[tokio::test]
async fn what_waits_counts_until_it_ends_without_an_approval() {
    let directory = tempfile::tempdir().unwrap();
    let policies = format!(
        "{PERMIT}\
         @id(\"one\") @reason(\"one an hour\") forbid (principal, action, resource) when \
         {{ context.recent.tool.calls_1h > 1 }};\n\
         @id(\"people\") @decision(\"require_approval\") \
         forbid (principal, action, resource);"
    );
    let center = center_with(directory.path(), &policies).await;
    let alice = center.local_approver().await.unwrap();
    let waits = async || {
        let waiting = center.evaluate(&paying(1)).await.unwrap();
        assert_eq!(waiting.decision, RequireApproval, "{waiting:?}");
        assert_eq!(decide(&center, &paying(1)).await, Deny);
        waiting.action_id
    };
    let given_up = Outcome::Withdrawn { reason: "gone".to_owned() };
    let id = waits().await;
    center.report(&id, &given_up).await.unwrap();
    let id = waits().await;
    center.reject(number(&id), &alice, None).await.unwrap();
    let id = waits().await;
    let expired = format!("UPDATE actions SET expires_at = 1 WHERE id = {id}");
    database::sql(&directory.path().join("center"), expired).await;
    let id = waits().await;
    center.approve(number(&id), &alice, None).await.unwrap();
    // It could have run by now.
    center.report(&id, &given_up).await.unwrap();
    assert_eq!(decide(&center, &paying(1)).await, Deny);
}

/// However many calls there were, counting them stays cheap, and errs on the
/// side of the limit.
#[tokio::test]
async fn more_calls_than_are_counted_are_more_than_any_limit() {
    let directory = tempfile::tempdir().unwrap();
    let calls = "@id(\"calls\") forbid (principal, action, resource) \
                 when { context.recent.tool.calls_24h > 99000 };";
    let center = center_with(directory.path(), &format!("{PERMIT}{calls}")).await;
    assert_eq!(decide(&center, &paying(1)).await, Allow);
    let copies = |count: u32, as_they_are: &str| {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             INSERT INTO actions (state, decision, tool, counted, created_at, expires_at, server_id, \
             namespace, verb, resource, parameters, user_context, session_id, risk_score, \
             risk_level, reason, matched, digest, requested_by, request) \
             SELECT {as_they_are}, created_at, expires_at, server_id, namespace, verb, \
             resource, parameters, user_context, session_id, risk_score, risk_level, reason, \
             matched, digest, requested_by, request FROM actions, n WHERE id = 1"
        )
    };
    database::sql(
        &directory.path().join("center"),
        copies(9_998, "state, decision, tool, counted"),
    )
    .await;
    let began = std::time::Instant::now();
    assert_eq!(decide(&center, &paying(1)).await, Allow, "10,000 are counted one by one");
    println!("counting 10,000 calls took {:?} with the commit", began.elapsed());
    assert_eq!(decide(&center, &paying(1)).await, Allow);
    assert_eq!(decide(&center, &paying(1)).await, Deny);
    // What was denied takes the place of nothing that counts.
    database::sql(&directory.path().join("center"), copies(10_001, "'denied', 'DENY', 'other', 0"))
        .await;
    let mut other = action_json("crm", "refund", "crm://orders/7");
    other["tool"] = "other".into();
    assert_eq!(decide(&center, &serde_json::from_value(other).unwrap()).await, Allow);
    let explanation = center.explain(10_002, &PolicySet::built_in().unwrap()).await.unwrap();
    assert_eq!(explanation.unwrap().record.decision, Deny);
}

#[tokio::test]
async fn each_scope_counts_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let limit = |id: &str, scope: &str| {
        format!(
            "@id(\"{id}\") @reason(\"{id}\") forbid (principal, action, resource) \
             when {{ context.recent.{scope}.calls_1m > 2 }};\n"
        )
    };
    let policies = format!(
        "{PERMIT}{}{}{}",
        limit("too-many-by-agent", "agent").replace("> 2", "> 6"),
        limit("too-many-of-tool", "tool"),
        limit("too-many-on-resource", "resource"),
    );
    let center = center_with(directory.path(), &policies).await;
    let ask = async |server: &str, tool: &str, resource: &str| {
        let mut json = action_json("a", "b", resource);
        json["server_id"] = server.into();
        json["tool"] = tool.into();
        let answer = center.evaluate(&serde_json::from_value(json).unwrap()).await.unwrap();
        answer.reason.unwrap()
    };
    for (server, tool, resource, expected) in [
        ("one", "t", "r1", "`all`"),
        ("one", "t", "r2", "`all`"),
        ("one", "t", "r3", "`too-many-of-tool`"),
        ("two", "t", "r1", "`all`"),
        ("two", "u", "r1", "`too-many-on-resource`"),
        ("one", "v", "r4", "`all`"),
        ("one", "v", "r5", "`all`"),
        ("one", "w", "r6", "`all`"),
        ("one", "w", "r7", "`all`"),
        ("one", "x", "r8", "`too-many-by-agent`"),
    ] {
        let reason = ask(server, tool, resource).await;
        assert!(reason.contains(expected), "{server} {tool} {resource}: {reason}");
    }
}

#[tokio::test]
async fn a_call_that_comes_back_for_its_approval_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let policies = format!(
        "{PERMIT}@id(\"one\") forbid (principal, action, resource) \
         when {{ context.recent.tool.calls_24h > 1 }};\n\
         @id(\"ask\") @decision(\"require_approval\") forbid (principal, action, resource);"
    );
    let center = center_with(directory.path(), &policies).await;
    let alice = center.local_approver().await.unwrap();
    let id = center.evaluate(&paying(1)).await.unwrap().action_id;
    assert!(center.promise(&id, &Holder::default()).await.unwrap().is_some());
    center.approve(number(&id), &alice, None).await.unwrap();
    let joined = center.evaluate(&paying(1)).await.unwrap();
    assert_eq!((joined.decision, &joined.action_id), (Allow, &id));
    assert_eq!(center.claim(&id, &digest(1)).await.unwrap(), ascend_sdk::Claim::Granted);
    assert_eq!(decide(&center, &paying(1)).await, Deny);
}

// --- Changed while it runs ---

#[tokio::test]
async fn a_refused_set_is_told_in_the_health() {
    let directory = tempfile::tempdir().unwrap();
    let center = center_with(directory.path(), PERMIT).await;
    let own = directory.path().join("policies/own.cedar");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/health", listener.local_addr().unwrap());
    let serving = tokio::spawn({
        let center = center.clone();
        async move { center.serve(listener, ServeConfig::new(), std::future::pending()).await }
    });
    let http = reqwest::Client::new();
    let health = async |token: Option<String>| {
        let mut request = http.get(&url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let body = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str::<Value>(&body).unwrap()["policies"].clone()
    };
    let well = health(None).await;
    assert_eq!((&well["in_use"], &well["newer_refused"]), (&json!(1), &json!(false)));

    std::fs::write(&own, "@id(\"secret-name\") permit (principal, action, resorce);").unwrap();
    until("the mistake is noticed", async || center.policy_status().refused.is_some()).await;
    assert_eq!(decide(&center, &action("database", "read", "x")).await, Allow);
    let directory = center.directory();
    let (agent, approver) = (token(directory, "agent.key"), token(directory, "approver.key"));
    for others in [None, Some(agent)] {
        let told = health(others).await;
        assert_eq!((&told["in_use"], &told["newer_refused"]), (&json!(1), &json!(true)));
        assert_eq!(told.get("problems"), None);
    }
    let told = health(Some(approver)).await;
    let problem = told["problems"][0].as_str().unwrap();
    assert!(problem.contains("own.cedar:1:"), "{problem}");

    std::fs::write(&own, format!("{PERMIT}{}", PERMIT.replace("all", "again"))).unwrap();
    until("the mended set is used", async || center.policy_status().policies == 2).await;
    assert_eq!(health(None).await["newer_refused"], false);
    serving.abort();
}

/// An editor empties a file before it writes it.
#[tokio::test]
async fn an_emptied_file_does_not_take_its_policies_away() {
    let directory = tempfile::tempdir().unwrap();
    let center = center_with(directory.path(), PERMIT).await;
    let file = directory.path().join("policies/forbid.cedar");
    std::fs::write(&file, "@id(\"never\") forbid (principal, action, resource);").unwrap();
    center.reload_policies().unwrap();
    assert_eq!(decide(&center, &action("database", "read", "x")).await, Deny);
    std::fs::write(&file, " \n").unwrap();
    until("the emptied file is noticed", async || center.policy_status().refused.is_some()).await;
    let refused = center.policy_status().refused.unwrap().to_string();
    assert!(refused.contains("forbid.cedar: the file is empty"), "{refused}");
    assert_eq!(decide(&center, &action("database", "read", "x")).await, Deny);
    std::fs::remove_file(&file).unwrap();
    until("the file is gone", async || center.policy_status().refused.is_none()).await;
    assert_eq!(decide(&center, &action("database", "read", "x")).await, Allow);
}

#[tokio::test]
async fn a_center_without_files_has_a_status_too() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let status = center.policy_status();
    assert!(status.policies > 10 && status.loaded_at.is_some() && status.refused.is_none());
    assert_eq!(center.shadow_status(), None);
}
