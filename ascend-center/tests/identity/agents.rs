//! What agents keep at the center, and what they ask as ASCEND's SDK does.

use ascend_center::{DecideError, NewKey, Role};
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
