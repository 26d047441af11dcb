//! What agents keep at the center, and what they ask as ASCEND's SDK does.

use ascend_center::{DecideError, NewKey, Role, ServeConfig};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::house::{Credential, House};

#[tokio::test]
async fn a_submission_is_not_approved_by_the_owner_of_its_key() {
    let house = House::new().await;
    let bob = house.person("bob", Role::Approver).await;
    let (_, key) = house.key(NewKey::of("billing").owned_by("bob")).await;
    let key = Credential::Token(key);
    for (path, body) in [
        (
            "/mcp/governance/evaluate",
            json!({
                "server_id": "srv", "namespace": "database", "verb": "delete", "resource": "x",
            }),
        ),
        (
            "/api/v1/actions/submit",
            json!({ "agent_id": "a", "action_type": "database.delete", "resource": "x" }),
        ),
        (
            "/api/v1/mcp/actions/submit",
            json!({
                "mcp_server": "srv", "namespace": "database", "verb": "delete", "resource": "x",
            }),
        ),
    ] {
        if path.contains("/mcp/actions/") {
            let register = "/api/registry/mcp-servers";
            let server = Some(json!({ "server_name": "srv" }));
            let (status, answer) = house.send(Method::POST, register, &key, server).await;
            assert_eq!(status, StatusCode::CREATED, "{answer}");
            let owner = crate::support::served::token(house.directory.path(), "approver.key");
            let activate = format!("{register}/srv/activate");
            let owner = Credential::Token(owner);
            let (status, answer) = house.send(Method::POST, &activate, &owner, None).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
        let (status, answer) = house.send(Method::POST, path, &key, Some(body)).await;
        assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("pending")), "{path}");
        let id = answer["action_id"].as_i64().unwrap();
        let by = house.center.approver(&bob.clone().into()).await.unwrap();
        // Also when the key is another's by then: what counts is when it was asked.
        house.sql("UPDATE agent_keys SET owner = NULL").await;
        let refused = house.center.approve(id, &by, None).await;
        assert!(matches!(refused, Err(DecideError::OwnRequest(_))), "{path}: {refused:?}");
        house.center.approve(id, &house.owner, None).await.unwrap();
        house.sql("UPDATE agent_keys SET owner = 'bob'").await;
    }
}

#[tokio::test]
async fn what_an_agent_keeps_is_no_other_agents() {
    let house = House::new().await;
    let mine = Credential::Token(house.agent("mine").await);
    let other = Credential::Token(house.agent("other").await);
    let post = async |path: &str, body| house.send(Method::POST, path, &mine, Some(body)).await;
    let hook = json!({ "url": "http://localhost:9/hook", "events": ["action.pending"] });
    let (status, webhook) = post("/api/webhooks/configure", hook).await;
    assert_eq!(status, StatusCode::CREATED, "{webhook}");
    let webhook = format!("/api/webhooks/{}", webhook["webhook_id"].as_str().unwrap());
    let (status, _) = post("/api/registry/agents", json!({ "agent_id": "a-1" })).await;
    assert_eq!(status, StatusCode::CREATED);
    let server = json!({ "server_name": "files" });
    assert_eq!(post("/api/registry/mcp-servers", server).await.0, StatusCode::CREATED);

    for (method, path) in [
        (Method::PUT, webhook.as_str()),
        (Method::POST, &format!("{webhook}/test")),
        (Method::GET, "/api/registry/mcp-servers/files"),
        (Method::GET, "/api/agents/health/a-1"),
        (Method::DELETE, "/api/registry/agents/a-1"),
        (Method::DELETE, &webhook),
    ] {
        let body = (method == Method::PUT).then(|| json!({ "events": ["action.denied"] }));
        let (status, answer) = house.send(method.clone(), path, &other, body.clone()).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer}");
        let (status, answer) = house.send(method.clone(), path, &mine, body).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}: {answer}");
    }
    for (path, list) in [("/api/webhooks", "webhooks"), ("/api/registry/mcp-servers", "servers")] {
        let (_, answer) = house.send(Method::GET, path, &other, None).await;
        assert_eq!(answer[list], json!([]), "{path}");
    }
    house.pending(&house.agent("mine-too").await).await;
    let (_, log) = house.send(Method::GET, "/audit/logs", &other, None).await;
    assert_eq!(log["total"], 0, "of other agents' actions it hears nothing: {log}");
}

#[tokio::test]
async fn a_limit_by_credential_counts_whatever_agent_it_says_it_is() {
    let policies = "@id(\"all\") permit (principal, action, resource);\n\
        @id(\"two\") @reason(\"two a day\") forbid (principal, action, resource) \
        when { context.recent.credential.calls_24h > 2 };\n\
        @id(\"own\") @reason(\"its own key alone\") \
        forbid (principal == Agent::\"crm-1\", action, resource) \
        unless { context.credential == \"crm\" };";
    let house = House::by(Some(policies), ServeConfig::new()).await;
    let crm = Credential::Token(house.agent("crm").await);
    let other = Credential::Token(house.agent("other").await);
    let ask = async |key: &Credential, server: &str| {
        let body = json!({
            "server_id": server, "namespace": "crm", "verb": "read", "resource": server,
        });
        let path = "/mcp/governance/evaluate";
        let (status, answer) = house.send(Method::POST, path, key, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        (answer["decision"] == "ALLOW").then_some(()).ok_or(answer["reason"].to_string())
    };
    let refused = ask(&other, "crm-1").await.unwrap_err();
    assert!(refused.contains("its own key alone"), "{refused}");
    for server in ["crm-1", "crm-2"] {
        ask(&crm, server).await.unwrap();
    }
    let refused = ask(&crm, "crm-3").await.unwrap_err();
    assert!(refused.contains("two a day"), "{refused}");
    ask(&other, "crm-2").await.unwrap();
}

#[tokio::test]
async fn what_one_agent_registers_binds_no_other_before_it_is_activated() {
    let house = House::new().await;
    let (one, other) = (house.agent("one").await, house.agent("other").await);
    let (one, other) = (Credential::Token(one), Credential::Token(other));
    let owner = crate::support::served::token(house.directory.path(), "approver.key");
    let owner = Credential::Token(owner);
    let register = "/api/registry/mcp-servers";
    let server = json!({ "server_name": "billing", "blocked_tools": ["read"] });
    let (status, answer) = house.send(Method::POST, register, &one, Some(server)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let ask = async |key: &Credential| {
        let body = json!({
            "server_id": "billing", "namespace": "crm", "verb": "read", "resource": "x",
        });
        let path = "/mcp/governance/evaluate";
        house.send(Method::POST, path, key, Some(body)).await.1["decision"].clone()
    };
    assert_eq!((ask(&one).await, ask(&other).await), (json!("DENY"), json!("ALLOW")));
    let activate = format!("{register}/billing/activate");
    let (status, answer) = house.send(Method::POST, &activate, &owner, None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(ask(&other).await, "DENY");
}

#[tokio::test]
async fn the_kill_switch_is_a_command_for_as_long_as_it_is_raised() {
    let house = House::new().await;
    let key = Credential::Token(house.agent("one").await);
    let commands = async || {
        let path = "/api/registry/agents/one/commands";
        let (_, mut list) = house.send(Method::GET, path, &key, None).await;
        list["commands"].take()
    };
    assert_eq!(commands().await, json!([]));
    house.center.kill("an incident", &house.owner).await.unwrap();
    let before = jiff::Timestamp::now() + std::time::Duration::from_millis(1);
    house.center.prune_audit(before, &house.owner).await.unwrap();
    let raised = commands().await;
    assert_eq!(raised[0]["command_type"], "BLOCK", "{raised}");
    assert_eq!(
        (&raised[0]["reason"], &raised[0]["issued_by"]),
        (&json!("an incident"), &json!(house.owner.name()))
    );
    house.center.release(&house.owner).await.unwrap();
    let released = commands().await;
    assert_eq!(
        (&released[0]["command_type"], released.as_array().unwrap().len()),
        (&json!("UNBLOCK"), 1)
    );
}
