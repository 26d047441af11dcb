//! ASCEND's official Python SDK, unchanged, against `ascend-center serve`.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod governed;
mod sdk;

use ascend_tests::client::RemoteCenter;
use reqwest::Method;
use sdk::Sdk;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A center, and the SDK with an agent's key.
struct Setting {
    _directory: TempDir,
    center: RemoteCenter,
    sdk: Sdk,
    http: reqwest::Client,
}

impl Setting {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let center = sdk::center(directory.path()).await;
        let sdk = Sdk::start(&center, "agent.key");
        Self { _directory: directory, center, sdk, http: reqwest::Client::new() }
    }

    /// A request that the SDK itself cannot make.
    async fn raw(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.center.url()));
        let request = request.bearer_auth(self.center.token("agent.key")).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Evaluates without waiting for a person.
    async fn evaluate(&mut self, action_type: &str, resource: &str) -> Value {
        let action = json!({
            "action_type": action_type,
            "resource": resource,
            "parameters": { "table": "users" },
            "wait_for_decision": false,
        });
        self.sdk.call("evaluate_action", action).await
    }

    async fn decide(&self, decision: &str) -> i64 {
        let approver = self.center.approver();
        let pending = approver.pending().await;
        assert_eq!(pending.len(), 1, "{pending:?}");
        let id = pending[0]["id"].as_i64().unwrap();
        approver.run(&[decision, &id.to_string(), "--comment", "as the test wants"]).await;
        id
    }
}

#[tokio::test]
async fn an_action_is_decided_reported_and_recorded() {
    let mut setting = Setting::new().await;
    let allowed = setting.evaluate("database.read", "staging_db").await;
    assert_eq!(
        (&allowed["decision"], &allowed["raw_status"]),
        (&json!("allowed"), &json!("auto_approved"))
    );
    assert_eq!(allowed["execution_allowed"], true);
    assert_eq!((&allowed["risk_score"], &allowed["risk_level"]), (&json!(15), &json!("low")));

    let denied = setting.evaluate("database.drop", "staging_db").await;
    assert_eq!((&denied["decision"], &denied["raw_status"]), (&json!("denied"), &json!("denied")));
    assert_eq!(denied["execution_allowed"], false);
    assert!(denied["reason"].as_str().unwrap().contains("never allowed"), "{denied}");
    assert_eq!(denied["policy_violations"], json!(["drops"]));

    let pending = setting.evaluate("database.delete", "staging_db").await;
    assert_eq!(
        (&pending["decision"], &pending["status"]),
        (&json!("pending"), &json!("pending_approval"))
    );
    assert_eq!(pending["raw_status"], "pending_approval");
    assert_eq!(pending["approval_request_id"], pending["action_id"]);

    let id = &allowed["action_id"];
    let report = json!({ "action_id": id, "result": { "rows": 3 }, "duration_ms": 12 });
    let logged = setting.sdk.call("log_action_completed", report).await;
    assert_eq!(logged["state"], "completed", "{logged}");
    let second = setting.evaluate("database.read", "staging_db").await["action_id"].clone();
    let report = json!({ "action_id": second, "error": { "code": "E7" }, "duration_ms": 12 });
    let logged = setting.sdk.call("log_action_failed", report).await;
    assert_eq!(logged["state"], "failed", "{logged}");

    let details = setting.sdk.call("get_action_details", json!({ "action_id": id })).await;
    assert_eq!(details["action_type"], "database.read");
    assert_eq!(
        (&details["agent_id"], &details["agent_name"]),
        (&json!("agent-001"), &json!("agent-001"))
    );
    assert_eq!(details["status"], "auto_approved");
    let trail: Vec<_> = details["audit_trail"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&trail[0]["event_type"], &trail[1]["event_type"]),
        (&json!("allowed"), &json!("completed"))
    );
    for (id, word) in [(&pending["action_id"], "pending"), (&denied["action_id"], "denied")] {
        let details = setting.sdk.call("get_action_details", json!({ "action_id": id })).await;
        assert_eq!(details["status"], word);
    }

    let list = setting.sdk.call("list_actions", json!({ "limit": 2 })).await;
    assert_eq!((&list["total"], list["actions"].as_array().unwrap().len()), (&json!(4), 2));
    let waiting = setting.sdk.call("list_actions", json!({ "status": "pending_approval" })).await;
    assert_eq!(
        (&waiting["total"], &waiting["actions"][0]["resource"]),
        (&json!(1), &json!("staging_db"))
    );

    let log = setting.sdk.call("query_audit_log", json!({ "limit": 100 })).await;
    assert_eq!(log["total"], 6, "four decisions and two reports: {log}");
    let events = log["events"].as_array().unwrap();
    assert_eq!(
        (&events[0]["event_type"], &events[0]["actor"]),
        (&json!("failed"), &json!("local-agent"))
    );
    assert_eq!(events[5]["action"], "database.read");
    let page = setting.sdk.call("query_audit_log", json!({ "limit": 2, "offset": 4 })).await;
    assert_eq!(page["events"].as_array().unwrap()[..], events[4..]);
}

#[tokio::test]
async fn a_decision_that_is_waited_for_comes_from_a_person() {
    let mut setting = Setting::new().await;
    for (decision, expected) in [("approve", "allowed"), ("reject", "denied")] {
        let action = json!({
            "action_type": "database.delete", "resource": "staging_db", "timeout": 60,
        });
        setting.sdk.order(json!({ "call": "evaluate_action", "with": action })).await;
        let id = setting.decide(decision).await;
        let outcome = setting.sdk.outcome().await;
        assert_eq!(outcome["result"]["decision"], expected, "{outcome}");
        assert_eq!(outcome["result"]["action_id"], id.to_string());
        assert_eq!(outcome["result"]["comments"], "as the test wants");
    }
}

/// Every end that an action can come to, each read in every way that the SDK has.
#[tokio::test]
async fn only_an_open_decision_is_ever_told_as_allowed() {
    let mut setting = Setting::new().await;
    let submit = "/api/v1/actions/submit";
    let body = |action_type: &str, timeout: f64| {
        json!({
            "agent_id": "agent-001", "action_type": action_type, "resource": "staging_db",
            "approval_timeout_seconds": timeout,
        })
    };
    let opened = async |setting: &Setting, action_type: &str, timeout: f64| {
        let answer = setting.raw(Method::POST, submit, body(action_type, timeout)).await;
        answer["action_id"].as_i64().unwrap_or_else(|| panic!("{answer}"))
    };
    let mut ends = Vec::new();
    ends.push(("pending", opened(&setting, "database.delete", 300.0).await));
    setting.center.approver().run(&["reject", &ends[0].1.to_string()]).await;
    ends[0].0 = "rejected";
    for (end, path) in [
        ("withdrawn", "/api/v1/actions/ID/withdraw"),
        ("completed", "/api/agent-action/ID/complete"),
        ("failed", "/api/agent-action/ID/fail"),
    ] {
        let id = opened(&setting, "database.delete", 300.0).await;
        if end != "withdrawn" {
            setting.center.approver().run(&["approve", &id.to_string()]).await;
        }
        setting.raw(Method::POST, &path.replace("ID", &id.to_string()), json!({})).await;
        ends.push((end, id));
    }
    ends.push(("expired", opened(&setting, "database.delete", 0.001).await));
    ends.push(("expired", opened(&setting, "database.read", 0.001).await));
    ends.push(("denied", opened(&setting, "database.drop", 300.0).await));
    ends.push(("pending", opened(&setting, "database.delete", 300.0).await));

    for (end, id) in ends {
        let status = format!("/api/v1/actions/{id}/status");
        let told = setting.raw(Method::GET, &status, json!({})).await;
        assert_eq!(told["state"], end);
        let id = id.to_string();
        let decision = setting.sdk.call("get_action_status", json!({ "action_id": id })).await;
        let expected = if end == "pending" { "pending" } else { "denied" };
        assert_eq!(decision["decision"], expected, "{end}");
        assert_eq!(decision["execution_allowed"], false, "{end}");
        let asked =
            setting.sdk.attempt("check_approval", json!({ "approval_request_id": id })).await;
        if asked.get("error").is_none() {
            assert_eq!(asked["result"]["approved"], false, "{end}");
            assert_eq!(asked["result"]["pending"], end == "pending", "{end}");
            assert_eq!(asked["result"]["denied"], end != "pending", "{end}");
        }
    }
}

#[tokio::test]
async fn nothing_is_told_as_allowed_under_the_kill_switch() {
    let mut setting = Setting::new().await;
    let allowed = setting.evaluate("database.read", "staging_db").await["action_id"].clone();
    let approved = setting.evaluate("database.delete", "staging_db").await["action_id"].clone();
    setting.decide("approve").await;
    let status = json!({ "action_id": approved });
    assert_eq!(setting.sdk.call("get_action_status", status.clone()).await["decision"], "allowed");

    assert_eq!(setting.sdk.call("is_blocked", json!({})).await, false);
    assert_eq!(setting.sdk.call("get_pending_commands", json!({})).await, json!([]));
    setting.center.approver().run(&["kill", "an incident"]).await;
    for id in [&allowed, &approved] {
        let decision = setting.sdk.call("get_action_status", json!({ "action_id": id })).await;
        assert_eq!(decision["decision"], "denied");
        assert!(decision["reason"].as_str().unwrap().contains("an incident"), "{decision}");
    }
    let check = json!({ "approval_request_id": approved });
    let asked = setting.sdk.call("check_approval", check).await;
    assert_eq!((&asked["approved"], &asked["denied"]), (&json!(false), &json!(true)));
    let denied = setting.evaluate("database.read", "staging_db").await;
    assert_eq!(denied["decision"], "denied");
    let tried = json!({ "action_type": "database.read", "resource": "staging_db" });
    assert_eq!(setting.sdk.call("evaluate_policy", tried.clone()).await["decision"], "DENY");

    setting.sdk.call("start_kill_switch_polling", json!({ "interval_seconds": 3600 })).await;
    assert_eq!(setting.sdk.call("is_blocked", json!({})).await, true);
    let blocked = setting.sdk.attempt("evaluate_action", tried).await;
    assert_eq!(blocked["error"], "KillSwitchError", "{blocked}");

    let commands = setting.sdk.call("get_pending_commands", json!({})).await;
    assert_eq!(commands[0]["command_type"], "BLOCK");
    assert_eq!((&commands[0]["reason"], &commands[0]["issued_by"]).0, "an incident");
    let id = json!({ "command_id": commands[0]["command_id"] });
    assert_eq!(setting.sdk.call("ack_command", id.clone()).await, true);
    assert_eq!(setting.sdk.call("get_pending_commands", json!({})).await, json!([]));
    setting.center.approver().run(&["release"]).await;
    let commands = setting.sdk.call("get_pending_commands", json!({})).await;
    assert_eq!(commands[0]["command_type"], "UNBLOCK");
    assert_eq!(setting.sdk.attempt("ack_command", id).await["error"], "HTTPError");
    setting.sdk.call("start_kill_switch_polling", json!({ "interval_seconds": 3600 })).await;
    assert_eq!(setting.sdk.call("is_blocked", json!({})).await, false);
}

#[tokio::test]
async fn mcp_actions_run_only_through_an_active_server_and_only_when_allowed() {
    let mut setting = Setting::new().await;
    let mut people = Sdk::start(&setting.center, "approver.key");
    let action = |verb: &str, tool: Option<&str>| {
        json!({
            "mcp_server": "files", "namespace": "filesystem", "verb": verb,
            "resource": "/srv/report", "parameters": { "path": "/srv/report" },
            "environment": "staging", "tool_name": tool,
        })
    };
    let expect = async |setting: &mut Setting, action: Value, decision: &str, why: &str| {
        let answer = setting.sdk.call("evaluate_mcp_action", action).await;
        assert_eq!(answer["decision"], decision, "{answer}");
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(why), "{reason:?} should say {why:?}");
        answer
    };
    expect(&mut setting, action("read", None), "denied", "no MCP server `files` is registered")
        .await;
    let registration = json!({
        "server_name": "files", "display_name": "Files", "blocked_tools": ["shred_file"],
        "auto_approve_tools": ["delete_file"], "tool_risk_overrides": { "read_file": 77 },
        "connection_config": { "command": "files" },
    });
    let registered = setting.sdk.call("register_mcp_server", registration.clone()).await;
    assert_eq!(registered["server"]["is_active"], false);
    assert!(registered["message"].as_str().unwrap().contains("allows nothing"), "{registered}");
    let again = setting.sdk.call("register_mcp_server", registration.clone()).await;
    assert_eq!(again["server"], registered["server"], "a retry changes nothing");
    let mut changed = registration;
    changed["blocked_tools"] = json!([]);
    let changed = setting.sdk.attempt("register_mcp_server", changed).await;
    assert_eq!(changed["error"], "HTTPError", "{changed}");
    assert!(changed["message"].as_str().unwrap().starts_with("409"), "{changed}");
    expect(&mut setting, action("read", None), "denied", "not active").await;

    let name = json!({ "server_name": "files" });
    let refused = setting.sdk.attempt("activate_mcp_server", name.clone()).await;
    assert_eq!(refused["error"], "AuthorizationError", "an agent cannot activate: {refused}");
    people.call("activate_mcp_server", name.clone()).await;
    assert_eq!(setting.sdk.call("get_mcp_server", name.clone()).await["server"]["is_active"], true);
    assert_eq!(people.call("list_mcp_servers", json!({})).await["total"], 1);

    let allowed = expect(&mut setting, action("read", None), "allowed", "").await;
    assert_eq!(allowed["risk_score"], 20);
    let risky = expect(&mut setting, action("read", Some("read_file")), "allowed", "").await;
    assert_eq!(risky["risk_score"], 77, "an override raises the risk");
    expect(&mut setting, action("drop", None), "denied", "never allowed").await;
    expect(&mut setting, action("read", Some("Shred_File")), "denied", "blocks the tool").await;
    let pending = expect(&mut setting, action("delete", Some("delete_file")), "pending", "").await;
    let status = json!({ "action_id": pending["action_id"] });
    assert_eq!(setting.sdk.call("get_action_status", status.clone()).await["decision"], "pending");
    setting.decide("approve").await;
    assert_eq!(setting.sdk.call("get_action_status", status).await["decision"], "allowed");

    let with_server = |model: Option<&str>| {
        json!({
            "action_type": "database.read", "resource": "staging_db",
            "mcp_server_name": "files", "model_id": model,
        })
    };
    assert_eq!(setting.sdk.call("evaluate_action", with_server(None)).await["decision"], "allowed");
    let model = setting.sdk.call("evaluate_action", with_server(Some("gpt"))).await;
    assert_eq!(
        (&model["decision"], &model["metadata"]["model_id"]),
        (&json!("denied"), &json!("gpt"))
    );

    let why = json!({ "server_name": "files", "reason": "an incident" });
    people.call("deactivate_mcp_server", why).await;
    expect(&mut setting, action("read", None), "denied", "not active").await;
    assert_eq!(setting.sdk.call("evaluate_action", with_server(None)).await["decision"], "denied");
    let commands = setting.sdk.call("get_pending_commands", json!({})).await;
    assert_eq!(
        (&commands[0]["target_type"], &commands[0]["parameters"]["mcp_server"]),
        (&json!("mcp_server"), &json!("files"))
    );
    people.call("delete_mcp_server", name.clone()).await;
    assert_eq!(setting.sdk.attempt("get_mcp_server", name).await["error"], "HTTPError");
    expect(&mut setting, action("read", None), "denied", "registered").await;

    setting.center.approver().run(&["kill", "an incident"]).await;
    expect(&mut setting, action("read", None), "denied", "an incident").await;
}

#[tokio::test]
async fn agents_register_and_show_that_they_live() {
    let mut setting = Setting::new().await;
    let connection = setting.sdk.call("test_connection", json!({})).await;
    assert_eq!(
        (&connection["connected"], &connection["status"]),
        (&json!(true), &json!("connected"))
    );
    assert_eq!(setting.sdk.attempt("get_agent_status", json!({})).await["error"], "HTTPError");
    let about = json!({ "agent_type": "autonomous", "capabilities": ["read"] });
    let registered = setting.sdk.call("register", about.clone()).await;
    assert_eq!(
        (&registered["success"], &registered["status"]),
        (&json!(true), &json!("registered"))
    );
    assert_eq!(setting.sdk.call("register", about).await, registered, "again changes nothing");
    let wrong = setting.sdk.attempt("register", json!({ "agent_type": "rogue" })).await;
    assert_eq!(wrong["error"], "ValidationError", "{wrong}");
    assert!(wrong["message"].as_str().unwrap().contains("agent_type"), "{wrong}");
    assert_eq!(setting.sdk.call("get_agent_status", json!({})).await["status"], "unknown");
    let beat = json!({ "response_time_ms": 12, "error_rate": 0.25, "requests_count": 7 });
    setting.sdk.call("heartbeat", beat).await;
    let status = setting.sdk.call("get_agent_status", json!({})).await;
    assert_eq!((&status["agent_id"], &status["status"]), (&json!("agent-001"), &json!("healthy")));
    assert_eq!(status["metadata"]["error_rate"], 0.25);
    setting.sdk.call("deregister", json!({})).await;
    assert_eq!(setting.sdk.attempt("deregister", json!({})).await["error"], "HTTPError");
}

#[tokio::test]
async fn policies_can_be_tried_without_acting() {
    let mut setting = Setting::new().await;
    for (action_type, decision, policies) in [
        ("database.read", "ALLOW", json!([])),
        ("database.delete", "REQUIRE_APPROVAL", json!(["deletes-need-approval"])),
        ("database.drop", "DENY", json!(["drops"])),
    ] {
        let action = json!({
            "action_type": action_type, "resource": "staging_db", "risk_score": 1.0,
            "context": { "ticket": "T-7" },
        });
        let tried = setting.sdk.call("evaluate_policy", action).await;
        assert_eq!((&tried["decision"], &tried["violations"]), (&json!(decision), &policies));
        assert!(!tried["matched_policies"].as_array().unwrap().is_empty());
    }
    assert_eq!(setting.sdk.call("list_actions", json!({})).await["total"], 0);
}

#[tokio::test]
async fn webhooks_are_configured_listed_changed_and_deleted() {
    let mut setting = Setting::new().await;
    let wanted = json!({
        "url": "https://localhost:1/hook", "events": ["action.pending", "policy.violation"],
        "secret": "a shared secret",
    });
    let made = setting.sdk.call("configure_webhook", wanted.clone()).await;
    assert_eq!((&made["url"], &made["events"]), (&wanted["url"], &wanted["events"]));
    let list = setting.sdk.call("list_webhooks", json!({})).await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((&list[0]["webhook_id"], &list[0]["secret"]), (&made["webhook_id"], &Value::Null));
    let id = json!({ "webhook_id": made["webhook_id"] });
    let tested = setting.sdk.call("test_webhook", id.clone()).await;
    assert_eq!(tested["success"], false, "nobody listens there: {tested}");
    assert!(tested["error"].as_str().unwrap().contains("could not be sent"), "{tested}");
    let mut change = id.clone();
    change["events"] = json!(["action.denied"]);
    let changed = setting.sdk.call("update_webhook", change).await;
    assert_eq!((&changed["events"], &changed["active"]), (&json!(["action.denied"]), &json!(true)));
    let metadata = json!({ "url": "https://169.254.169.254/", "events": ["action.pending"] });
    let refused = setting.sdk.attempt("configure_webhook", metadata).await;
    assert_eq!(refused["error"], "ValidationError", "{refused}");
    setting.sdk.call("delete_webhook", id.clone()).await;
    assert_eq!(setting.sdk.call("list_webhooks", json!({})).await, json!([]));
    assert_eq!(setting.sdk.attempt("delete_webhook", id).await["error"], "HTTPError");
}
