//! Tools under the SDK's decorators: their bodies run only when allowed.

use serde_json::{Value, json};

use crate::Setting;

/// An order for a tool under `decorator`. It asks often whether it was approved.
fn tool(decorator: &str, action_type: &str) -> Value {
    json!({
        "govern": decorator,
        "of": [action_type, "staging_db"],
        "config": { "approval_poll_interval_seconds": 0.05, "approval_timeout_seconds": 60 },
        "arguments": { "table": "users" },
    })
}

impl Setting {
    async fn run(&mut self, order: Value) -> Value {
        self.sdk.order(order).await;
        self.sdk.outcome().await
    }

    /// The newest action's state.
    async fn newest(&mut self) -> Value {
        let mut list = self.sdk.call("list_actions", json!({ "limit": 1 })).await;
        list["actions"][0]["state"].take()
    }
}

#[tokio::test]
async fn a_body_runs_when_policy_allows_and_is_reported() {
    let mut setting = Setting::new().await;
    for decorator in ["mcp_governance", "require_governance", "middleware"] {
        for sync in [false, true] {
            let mut order = tool(decorator, "database.read");
            order["sync"] = sync.into();
            let outcome = setting.run(order).await;
            assert_eq!(outcome["ran"], 1, "{outcome}");
            assert_eq!(outcome["result"]["ran with"]["table"], "users");
            assert_eq!(setting.newest().await, "completed");
        }
    }
    let mut order = tool("mcp_governance", "database.read");
    order["fail"] = true.into();
    let outcome = setting.run(order).await;
    assert_eq!((&outcome["ran"], &outcome["error"]), (&json!(1), &json!("RuntimeError")));
    assert_eq!(setting.newest().await, "failed");
}

#[tokio::test]
async fn a_denied_body_never_runs() {
    let mut setting = Setting::new().await;
    for decorator in ["mcp_governance", "high_risk_action"] {
        let outcome = setting.run(tool(decorator, "database.drop")).await;
        assert_eq!((&outcome["ran"], &outcome["error"]), (&json!(0), &json!("AuthorizationError")));
        assert!(outcome["message"].as_str().unwrap().contains("never allowed"), "{outcome}");
    }
    // What the SDK returns instead of raising must not be a run either.
    let mut order = tool("mcp_governance", "database.drop");
    order["config"]["raise_on_denial"] = false.into();
    let outcome = setting.run(order).await;
    assert_eq!((&outcome["ran"], &outcome["result"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn a_high_risk_action_waits_for_a_person() {
    let mut setting = Setting::new().await;
    // Policy alone would allow it.
    for (action_type, decorator) in
        [("database.read", "high_risk_action"), ("database.delete", "mcp_governance")]
    {
        setting.sdk.order(tool(decorator, action_type)).await;
        setting.decide("approve").await;
        let outcome = setting.sdk.outcome().await;
        assert_eq!(outcome["ran"], 1, "{outcome}");
        assert_eq!(setting.newest().await, "completed");

        setting.sdk.order(tool(decorator, action_type)).await;
        setting.decide("reject").await;
        let outcome = setting.sdk.outcome().await;
        assert_eq!((&outcome["ran"], &outcome["error"]), (&json!(0), &json!("AuthorizationError")));
        assert!(outcome["message"].as_str().unwrap().contains("as the test wants"), "{outcome}");
    }
    let risks = setting.sdk.call("list_actions", json!({ "status": "completed" })).await;
    let risk = &risks["actions"][1]["risk_score"];
    assert_eq!(risk, 61, "a read under `risk_level=\"high\"` has at least a high risk: {risks}");
}

#[tokio::test]
async fn a_body_that_nobody_approves_never_runs() {
    let mut setting = Setting::new().await;
    let mut order = tool("high_risk_action", "database.read");
    order["config"]["approval_timeout_seconds"] = 0.3.into();
    let outcome = setting.run(order).await;
    assert_eq!(outcome["ran"], 0, "{outcome}");
    assert!(outcome["message"].as_str().unwrap().contains("Approval timeout"), "{outcome}");

    let mut order = tool("high_risk_action", "database.read");
    order["config"]["wait_for_approval"] = false.into();
    let outcome = setting.run(order).await;
    assert_eq!(outcome["ran"], 0, "{outcome}");
    assert!(outcome["error"].is_string(), "{outcome}");
}

#[tokio::test]
async fn an_approval_under_the_kill_switch_runs_nothing() {
    let mut setting = Setting::new().await;
    setting.sdk.order(tool("high_risk_action", "database.read")).await;
    setting.center.approver().pending().await;
    setting.center.approver().run(&["kill", "an incident"]).await;
    setting.decide("approve").await;
    let outcome = setting.sdk.outcome().await;
    assert_eq!((&outcome["ran"], &outcome["error"]), (&json!(0), &json!("AuthorizationError")));
    assert!(outcome["message"].as_str().unwrap().contains("an incident"), "{outcome}");
}
