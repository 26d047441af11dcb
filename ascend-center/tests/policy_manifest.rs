//! `ascend-center policy check --manifest`: what policies let the tools of a server do.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ascend-center"))
        .args(["policy", "check"])
        .args(arguments)
        .env_remove("ASCEND_CENTER_TOOLS")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const EXAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/manifests/08_mcp_server.json");

fn tool(name: &str, verb: Option<&str>, resource: &str) -> Value {
    json!({
        "name": name,
        "action": {
            "namespace": "crm",
            "verb": verb,
            "verbSource": if verb.is_some() { "word" } else { "arguments" },
        },
        "resource": resource,
        "floor": { "riskLevel": null, "requireHumanApproval": false },
        "sensitive": [],
        "inputSchema": { "type": "object", "properties": { "cents": { "type": "integer" } }, "required": ["cents"] },
    })
}

fn manifest(tools: &[Value]) -> Value {
    json!({ "manifest": 1, "server": "crm-1", "tools": tools })
}

/// What is said of `manifest` under `policies`, as JSON.
fn review(policies: &str, manifest: &Value) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), policies, manifest, &["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn run(directory: &Path, policies: &str, manifest: &Value, more: &[&str]) -> Output {
    let (policy, file) = (directory.join("p.cedar"), directory.join("manifest.json"));
    std::fs::write(&policy, policies).unwrap();
    std::fs::write(&file, manifest.to_string()).unwrap();
    let files = [policy.to_str().unwrap(), "--manifest", file.to_str().unwrap()];
    check(&[&files, more].concat())
}

/// The outcome of the only tool, and when its policies match.
fn outcome(policies: &str, tool: Value) -> (String, Vec<String>) {
    let whole = review(policies, &manifest(&[tool]));
    let tool = &whole["review"]["tools"][0];
    let conditions = tool["matches"].as_array().unwrap().iter();
    let conditions =
        conditions.map(|found| found["condition"].as_str().unwrap_or("always").to_owned());
    (tool["outcome"].as_str().unwrap().to_owned(), conditions.collect())
}

#[test]
fn example_08_reads_without_a_person_and_deletes_with_one() {
    let output = check(&["--manifest", EXAMPLE]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for line in [
        "  query_analytics: MAY RUN WITHOUT A PERSON\n",
        "      `reads` permits, always\n",
        "      `sql-drops` denies, when context has sql && context.sql.kinds.containsAny([\"drop\", \"truncate\"])\n",
        "  delete_records: never without a person\n",
        "      the tool itself requires a person's approval\n",
        "policy `commands` matches no tool\n",
        "2 tools: 1 may run without a person, 1 never without one, 0 denied; 10 policies match no tool\n",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let output = check(&["--manifest", EXAMPLE, "--deny-warnings"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("there are 10 warnings"), "{}", text(&output.stderr));
}

#[test]
fn what_no_policy_permits_is_denied_and_worth_a_warning() {
    let policies =
        "@id(\"a\") permit (principal, action, resource) when { context.tool == \"other\" };";
    let whole = review(policies, &manifest(&[tool("refund", Some("refund"), "crm://orders")]));
    assert_eq!(whole["review"]["tools"][0]["outcome"], "denied");
    let warnings: Vec<&str> =
        whole["warnings"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(warnings[0], "no policy permits the tool `refund`");
    assert!(warnings[1].ends_with("p.cedar:1:1: policy `a` matches no tool"), "{warnings:?}");
}

#[test]
fn what_is_decided_by_what_is_known_is_decided() {
    let all = "@id(\"a\") permit (principal, action, resource);";
    let refund = || tool("refund", Some("refund"), "crm://orders");
    assert_eq!(outcome(all, refund()), ("runs".to_owned(), vec!["always".to_owned()]));

    let mut floor = refund();
    floor["floor"]["requireHumanApproval"] = true.into();
    assert_eq!(outcome(all, floor).0, "asks");

    let asks = format!(
        "{all} @id(\"b\") @decision(\"require_approval\") forbid (principal == Agent::\"crm-1\", action, resource) \
         when {{ resource.words.contains(\"orders\") && context.verb == \"refund\" }};"
    );
    assert_eq!(outcome(&asks, refund()).0, "asks");
    let denies = format!(
        "{all} @id(\"b\") forbid (principal, action, resource == Resource::\"crm://orders\");"
    );
    assert_eq!(outcome(&denies, refund()).0, "denied");
    let other = tool("refund", Some("refund"), "crm://customers");
    assert_eq!(outcome(&denies, other).0, "runs");
}

#[test]
fn what_depends_on_the_call_may_run() {
    let all = "@id(\"a\") permit (principal, action, resource);";
    let refund = |resource: &str| tool("refund", Some("refund"), resource);
    let limit = format!(
        "{all} @id(\"b\") @decision(\"require_approval\") forbid (principal, action, resource) \
         when {{ context.arguments has refund && context.arguments.refund.cents > 5000 }};"
    );
    let (outcome_of_limit, conditions) = outcome(&limit, refund("crm://orders"));
    assert_eq!(outcome_of_limit, "may_run");
    // As Cedar writes it.
    assert_eq!(conditions, ["always", "!(context.arguments.refund.cents <= 5000)"]);
    let other = tool("other", Some("refund"), "crm://orders");
    let whole = review(&limit, &manifest(&[refund("crm://orders"), other]));
    assert_eq!(whole["review"]["tools"][1]["outcome"], "runs", "it has other arguments");
    assert_eq!(whole["review"]["policies"][1]["tools"], json!(["refund"]));
    let hyphen = limit.replace("context.arguments has refund", r#"context.arguments has "a-b""#);
    let hyphen = hyphen.replace("context.arguments.refund", r#"context.arguments["a-b"]"#);
    let (_, conditions) = outcome(&hyphen, tool("a-b", Some("refund"), "crm"));
    assert_eq!(conditions[1], r#"!(context.arguments["a-b"].cents <= 5000)"#);

    // A resource that follows from the arguments may be any.
    let one = format!(
        "{all} @id(\"b\") forbid (principal, action, resource == Resource::\"crm://orders/7\");"
    );
    assert_eq!(outcome(&one, refund("crm://orders/{id}")).0, "may_run");

    // Who is asked for by facts, or by the user, may be there or not.
    for condition in [
        "context has sql && context.sql.parsed",
        "!(context has sql)",
        "context.user.hasTag(\"role\")",
        "context.now > datetime(\"2026-01-01\")",
        "context.session has client_name",
    ] {
        let only =
            format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};");
        let (outcome, conditions) = outcome(&only, refund("crm://orders"));
        assert_eq!(outcome, "may_run", "{condition}");
        assert_eq!(conditions.len(), 1, "{condition}");
    }
}

#[test]
fn a_verb_from_the_arguments_may_be_any() {
    let reads = "@id(\"a\") permit (principal, action in Action::\"read\", resource);";
    let (outcome_of_reads, conditions) = outcome(reads, tool("crm", None, "crm"));
    assert_eq!(outcome_of_reads, "may_run");
    assert_eq!(conditions, ["action in Action::\"read\""]);
    let asks = "@id(\"a\") permit (principal, action, resource);\n\
                @id(\"b\") @decision(\"require_approval\") forbid (principal, action, resource);";
    assert_eq!(outcome(asks, tool("crm", None, "crm")).0, "asks");
}

#[test]
fn an_ungoverned_tool_runs_without_a_person() {
    let tool = |reason: Value| json!({ "name": "clock", "governed": false, "reason": reason, "inputSchema": {} });
    let policies = "@id(\"a\") permit (principal, action, resource);";
    let whole = review(policies, &manifest(&[tool("it tells the time".into())]));
    let found = &whole["review"]["tools"][0];
    assert_eq!(
        (&found["outcome"], &found["reason"]),
        (&json!("ungoverned"), &json!("it tells the time"))
    );
    let whole = review(policies, &manifest(&[tool(Value::Null)]));
    assert_eq!(whole["warnings"][0], "the tool `clock` is ungoverned, and nothing says why");
}

#[test]
fn a_manifest_that_is_none_is_told_as_what_it_is() {
    let good = tool("refund", Some("refund"), "crm://orders");
    let without = |key: &str| {
        let mut tool = good.clone();
        tool.as_object_mut().unwrap().remove(key);
        manifest(&[tool])
    };
    let with = |key: &str, value: Value| {
        let mut tool = good.clone();
        tool[key] = value;
        manifest(&[tool])
    };
    let cases = [
        (json!({ "tools": [] }), "this is no manifest"),
        (json!([]), "this is no manifest"),
        (
            json!({ "manifest": 2 }),
            "this is a manifest of version 2\n  help: version 1 is read here",
        ),
        (json!({ "manifest": "1" }), "this is a manifest of version \"1\""),
        (json!({ "manifest": 1 }), "`server` is missing"),
        (json!({ "manifest": 1, "server": "s", "tools": {} }), "`tools` is no list"),
        (manifest(&[json!(7)]), "tools[0]: `name` is missing"),
        (without("name"), "tools[0]: `name` is missing"),
        (without("action"), "`refund`: `action`: `namespace` is missing"),
        (without("resource"), "`refund`: `resource` is missing"),
        (without("floor"), "`refund`: `floor` is missing"),
        (without("inputSchema"), "missing field `inputSchema`"),
        (
            with("floor", json!({ "riskLevel": "HIHG", "requireHumanApproval": true })),
            "unknown `riskLevel` \"HIHG\"",
        ),
        (
            with("floor", json!({ "riskLevel": null })),
            "`requireHumanApproval` is neither true nor false",
        ),
        (
            with("action", json!({ "namespace": "crm", "verbSource": "guess" })),
            "`verbSource` is neither",
        ),
        (with("action", json!({ "namespace": "crm", "verbSource": "word" })), "`verb` is missing"),
        (with("governed", "no".into()), "`governed` is \"no\""),
        (manifest(&[good.clone(), good.clone()]), "two tools are named `refund`"),
    ];
    for (manifest, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        let output = run(
            directory.path(),
            "@id(\"a\") permit (principal, action, resource);",
            &manifest,
            &[],
        );
        assert!(!output.status.success(), "{manifest}");
        let said = text(&output.stderr);
        assert!(said.contains("manifest.json") && said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn a_policy_that_names_an_argument_is_checked_against_the_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let policies = "@id(\"a\") permit (principal, action, resource) when { context.arguments has refund && context.arguments.refund.cnts > 1 };";
    let manifest = manifest(&[tool("refund", Some("refund"), "crm://orders")]);
    let output = run(directory.path(), policies, &manifest, &[]);
    assert!(text(&output.stderr).contains("did you mean `cents`?"), "{}", text(&output.stderr));
}
