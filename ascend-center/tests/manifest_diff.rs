//! `ascend-center manifest diff`: what changed in what a server's tools may do.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

use serde_json::{Value, json};

fn diff(old: &Value, new: &Value, more: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let files = [("old.json", old), ("new.json", new)].map(|(name, manifest)| {
        let file = directory.path().join(name);
        std::fs::write(&file, manifest.to_string()).unwrap();
        file
    });
    Command::new(env!("CARGO_BIN_EXE_ascend-center"))
        .args(["manifest", "diff"])
        .args(files)
        .args(more)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn tool() -> Value {
    json!({
        "name": "delete_records",
        "description": "Deletes rows.",
        "action": { "namespace": "database", "verb": "delete", "verbSource": "word" },
        "resource": "production_db",
        "risk": "HIGH",
        "floor": { "riskLevel": "HIGH", "requireHumanApproval": true },
        "sensitive": ["pin"],
        "annotations": { "destructiveHint": true, "readOnlyHint": false },
        "inputSchema": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "limit": { "type": "integer", "maximum": 100 },
                "maximum": { "type": "integer" },
                "pin": { "type": "string" },
            },
            "required": ["limit", "pin"],
        },
        "inputSchemaSha256": "00",
    })
}

fn manifest(tools: &[Value]) -> Value {
    json!({ "manifest": 1, "server": "crm-1", "tools": tools })
}

/// The lines about `tool()` after `change`.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut new = tool();
    change(&mut new);
    let output = diff(&manifest(&[tool()]), &manifest(&[new]), &[]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn what_is_the_same_is_no_change() {
    let mut same = tool();
    same["governed"] = true.into();
    same["title"] = Value::Null;
    same["inputSchema"]["required"] = json!(["pin", "limit"]);
    let output = diff(&manifest(&[tool()]), &manifest(&[same]), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_weaker_floor_is_marked() {
    let lines = changed(|tool| {
        tool["risk"] = "MEDIUM".into();
        tool["floor"] = json!({ "riskLevel": "MEDIUM", "requireHumanApproval": false });
    });
    assert_eq!(
        lines,
        [
            "delete_records: floor.requireHumanApproval true -> false (weaker)",
            r#"delete_records: floor.riskLevel "HIGH" -> "MEDIUM" (weaker)"#,
            r#"delete_records: risk "HIGH" -> "MEDIUM" (weaker)"#,
        ]
    );
    let lines = changed(|tool| tool["floor"]["riskLevel"] = "CRITICAL".into());
    assert_eq!(lines, [r#"delete_records: floor.riskLevel "HIGH" -> "CRITICAL" (stronger)"#]);
    let lines = changed(|tool| tool["floor"]["riskLevel"] = Value::Null);
    assert_eq!(lines, [r#"delete_records: floor.riskLevel "HIGH" -> none (weaker)"#]);
}

#[test]
fn what_is_shown_and_traced_is_marked() {
    let lines = changed(|tool| {
        tool["sensitive"] = json!([]);
        tool["traced"] = json!(["limit"]);
    });
    assert_eq!(
        lines,
        [
            r#"delete_records: sensitive "pin" -> none (weaker)"#,
            r#"delete_records: traced none -> "limit" (weaker)"#,
        ]
    );
}

#[test]
fn bounds_of_arguments_are_compared_and_the_hash_is_not() {
    let lines = changed(|tool| {
        tool["inputSchema"]["properties"]["limit"]["maximum"] = 1000.into();
        tool["inputSchema"]["properties"].as_object_mut().unwrap().remove("maximum");
        tool["inputSchemaSha256"] = "01".into();
    });
    assert_eq!(
        lines,
        [
            "delete_records: inputSchema.properties.limit.maximum 100 -> 1000 (weaker)",
            r#"delete_records: inputSchema.properties.maximum {"type":"integer"} -> none"#,
        ]
    );
    let lines = changed(|tool| tool["inputSchemaSha256"] = "01".into());
    assert_eq!(lines, [r#"delete_records: inputSchemaSha256 "00" -> "01""#]);
}

#[test]
fn tools_come_and_go() {
    let mut other = tool();
    other["name"] = "purge".into();
    let free = json!({
        "name": "ping", "governed": false, "reason": "it does nothing",
        "inputSchema": { "type": "object" },
    });
    let output = diff(&manifest(&[tool()]), &manifest(&[other, free]), &[]);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(
        text(&output.stdout),
        "delete_records: is gone\n\
         ping: is new: ungoverned (weaker)\n\
         purge: is new: database.delete on production_db, never without a person\n"
    );
    assert_eq!(text(&output.stderr), "error: 3 things differ, 1 weaker\n");
}

#[test]
fn a_tool_that_is_governed_no_more_is_weaker() {
    let free = json!({
        "name": "delete_records", "governed": false, "reason": "why not",
        "inputSchema": tool()["inputSchema"], "inputSchemaSha256": "00",
    });
    let output = diff(&manifest(&[tool()]), &manifest(&[free]), &["--json"]);
    assert_eq!(output.status.code(), Some(5));
    let changes: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |path: &str| {
        changes.as_array().unwrap().iter().find(|change| change["path"] == path).unwrap()["effect"]
            .clone()
    };
    assert_eq!(of("governed"), "weaker");
    assert_eq!(of("floor"), "weaker");
    assert_eq!(of("sensitive"), "weaker");
}

#[test]
fn what_an_agent_could_not_see_is_shown_as_it_is() {
    let lines = changed(|tool| tool["description"] = "Deletes\u{202e} rows.\n".into());
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].contains('\u{202e}'), "{lines:?}");
}

#[test]
fn what_is_no_manifest_is_an_error_of_its_own() {
    let output = diff(&json!({}), &manifest(&[]), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("this is no manifest"), "{}", text(&output.stderr));
}
