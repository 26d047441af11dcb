//! Over HTTP: what approvers and agents are answered, and what webhooks hear.

use std::time::Duration;

use ascend_center::{AuditKind, ServeConfig};
use axum::{Router, body::Bytes, extract::State};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    Town,
    support::{
        face::{Face, call},
        served::token as credential,
        until,
    },
    token,
};

#[tokio::test]
async fn a_partial_approval_answers_who_is_missing_and_stays_pending() {
    let town = Town::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let center = town.center.clone();
    tokio::spawn(async move {
        center.serve(listener, ServeConfig::new(), std::future::pending()).await.unwrap();
    });
    let http = reqwest::Client::new();
    let send = async |method: Method, path: String, token: &str, body: Value| {
        let request = http.request(method, format!("{url}{path}")).bearer_auth(token).json(&body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let agent = credential(&town.directory.path().join("center"), "agent.key");
    let owner = credential(&town.directory.path().join("center"), "approver.key");
    let (bob, carol) = (token(&town.center, "bob").await, token(&town.center, "carol").await);

    let asked = json!({
        "agent_id": "agent-1", "action_type": "crm.delete", "resource": "crm://orders/7",
    });
    let (_, answer) = send(Method::POST, "/api/v1/actions/submit".to_owned(), &agent, asked).await;
    assert_eq!(
        (&answer["status"], &answer["decision"]),
        (&json!("pending_approval"), &json!("pending"))
    );
    assert_eq!(answer["required_approvers"], json!(["dba"]));
    let id = answer["action_id"].as_i64().unwrap();
    let path = |rest: &str| format!("/api/v1/actions/{id}{rest}");

    let (status, answer) = send(Method::POST, path("/approve"), &owner, json!({})).await;
    assert_eq!(status, 403);
    let told = answer["detail"].as_str().unwrap();
    assert!(told.contains("for `dba` to decide; alice is in no group"), "{told}");
    let (status, answer) = send(Method::POST, path("/approve"), &bob, json!({})).await;
    assert_eq!(
        (status, &answer["status"], &answer["state"]),
        (200, &json!("pending"), &json!("pending"))
    );
    let expected = json!([{ "who": "`dba`", "quorum": 2, "approved_by": ["bob"], "missing": 1 }]);
    assert_eq!((&answer["approvals"], &answer["requires_approval"]), (&expected, &json!(true)));
    let (status, answer) = send(Method::DELETE, path("/approve"), &bob, json!({})).await;
    assert_eq!((status, &answer["approvals"][0]["missing"]), (200, &json!(2)));
    let (status, _) = send(Method::DELETE, path("/approve"), &bob, json!({})).await;
    assert_eq!(status, 409);
    send(Method::POST, path("/approve"), &bob, json!({})).await;

    let (_, answer) = send(Method::GET, path(""), &owner, json!({})).await;
    assert_eq!(answer["rules"][0]["policies"], json!(["deletes"]));
    assert_eq!(answer["rules"][0]["within_seconds"], 3600);
    assert_eq!(
        (&answer["votes"][0]["person"], &answer["votes"][0]["counts_for"]),
        (&json!("bob"), &json!([0]))
    );
    let (_, answer) = send(Method::GET, path("/status"), &agent, json!({})).await;
    assert_eq!((&answer["status"], &answer["decision_ready"]), (&json!("pending"), &json!(false)));

    let (_, answer) = send(Method::POST, path("/approve"), &carol, json!({})).await;
    assert_eq!(
        (&answer["status"], &answer["reviewed_by"]),
        (&json!("approved"), &json!("bob, carol"))
    );
    let (_, answer) = send(Method::GET, path("/status"), &agent, json!({})).await;
    assert_eq!((&answer["status"], &answer["decision"]), (&json!("approved"), &json!("allowed")));
}

#[tokio::test]
async fn grants_are_given_shown_and_revoked_as_described() {
    let face = Face::new().await;
    let pending = face.evaluate(call("delete", "production_db")).await;
    let id = pending["action_id"].clone();
    let approve = format!("/api/v1/actions/{id}/approve");
    let (status, answer) = face.approver(&approve, json!({ "also_for": {} })).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["detail"][0]["msg"].as_str().unwrap().contains("needs an end"), "{answer}");
    let also = json!({ "also_for": { "seconds": 60, "calls": 1 } });
    let (status, answer) = face.approver(&approve, also).await;
    assert_eq!((status, &answer["grant"]["calls"]), (StatusCode::OK, &json!(1)), "{answer}");

    let granted = face.evaluate(call("delete", "production_db")).await;
    assert_eq!(granted["decision"], "ALLOW");
    assert_eq!(
        (&granted["status"], &granted["reviewed_by"]),
        (&json!("approved"), &json!("grant 1 of alice"))
    );
    let pending = face.evaluate(call("delete", "production_db")).await;
    assert_eq!(pending["decision"], "REQUIRE_APPROVAL");

    let body = json!({ "action": "database.delete", "resource": "production_db", "calls": 5 });
    let (status, answer) = face.approver("/api/v1/grants", body).await;
    assert_eq!((status, &answer["standing"]), (StatusCode::CREATED, &json!("live")), "{answer}");
    for (body, field) in [
        (json!({ "resource": "x", "calls": 1 }), "tool"),
        (json!({ "tool": "t", "calls": 1 }), "resource"),
        (json!({ "tool": "t", "resource": "x" }), "seconds"),
        (json!({ "tool": "t", "resource": "x", "calls": 5000 }), "calls"),
        (json!({ "tool": "t", "resource": "x", "calls": -1 }), "calls"),
        (json!({ "tool": "t", "resource": "x", "calls": 1, "when": "1 +" }), "when"),
    ] {
        let (status, answer) = face.approver("/api/v1/grants", body.clone()).await;
        assert_eq!(
            (status.as_u16(), &answer["detail"][0]["loc"][1]),
            (422, &json!(field)),
            "{body}: {answer}"
        );
    }
    let (_, list) = face.send(Method::GET, "/api/v1/grants", &face.approver, None).await;
    assert_eq!((&list["total"], &list["grants"][1]["standing"]), (&json!(2), &json!("used_up")));
    let (_, list) = face.send(Method::GET, "/api/v1/grants?live=true", &face.approver, None).await;
    assert_eq!((&list["total"], &list["grants"][0]["id"]), (&json!(1), &json!(2)));
    let (status, answer) =
        face.send(Method::DELETE, "/api/v1/grants/2", &face.approver, None).await;
    assert_eq!((status.as_u16(), &answer["revoked"]), (200, &json!(true)));
    for path in ["/api/v1/grants/99", "/api/v1/grants/x"] {
        assert_eq!(face.send(Method::DELETE, path, &face.approver, None).await.0, 404);
    }
    let (status, _) = face.send(Method::GET, "/api/v1/grants", &face.agent, None).await;
    assert_eq!(status, 403, "agents see no grants");
}

async fn receive(State(messages): State<mpsc::UnboundedSender<Value>>, body: Bytes) {
    messages.send(serde_json::from_slice(&body).unwrap()).unwrap();
}

/// Somebody's web server.
async fn receiver() -> (String, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, messages) = mpsc::unbounded_channel();
    let router = Router::new().fallback(receive).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, messages)
}

#[tokio::test]
async fn webhooks_hear_of_votes_escalation_expiry_and_grants() {
    let town = Town::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let center = town.center.clone();
    tokio::spawn(async move {
        center.serve(listener, ServeConfig::new(), std::future::pending()).await.unwrap();
    });
    let (hook, mut messages) = receiver().await;
    let (of_agent, mut told_agent) = receiver().await;
    let directory = town.directory.path().join("center");
    let events = [
        "action.pending",
        "action.voted",
        "action.escalated",
        "action.approved",
        "action.expired",
        "grant.created",
        "grant.used_up",
        "grant.revoked",
    ];
    for (key, hook) in [("approver.key", hook), ("agent.key", of_agent)] {
        let body = json!({ "url": hook, "events": events });
        let request = reqwest::Client::new().post(format!("{url}/api/webhooks/configure"));
        let answer = request.bearer_auth(credential(&directory, key)).json(&body).send().await;
        assert_eq!(answer.unwrap().status(), 201);
    }
    let mut next = async |expected: &str| {
        let message = tokio::time::timeout(Duration::from_secs(30), messages.recv()).await;
        let message = message.expect("a message arrives").unwrap();
        assert_eq!(message["type"], expected, "{message}");
        message["data"].clone()
    };

    let id = town.pending("delete").await;
    let pending = next("action.pending").await;
    assert_eq!(
        (&pending["action_id"], &pending["approvals"][0]["missing"]),
        (&json!(id), &json!(2))
    );
    town.center.approve(id, &town.bob, None).await.unwrap();
    assert_eq!(next("action.voted").await["approvals"][0]["approved_by"], json!(["bob"]));
    town.sql("UPDATE actions SET escalates_at = 1 WHERE state = 'pending'").await;
    next("action.escalated").await;
    town.center.approve(id, &town.dan, None).await.unwrap();
    assert_eq!(next("action.approved").await["approved_by"], "bob, dan");

    let grant = ascend_center::NewGrant::of_action("crm.refund", "*").calls(1);
    let grant = town.center.grant(&town.bob, grant).await.unwrap();
    assert_eq!(next("grant.created").await["grant"]["granter"], "bob");
    town.ask("refund").await;
    // Nobody has to look at what a grant lets pass.
    assert_eq!(next("grant.used_up").await["grant_id"], json!(grant.id));
    assert_eq!(next("action.approved").await["approved_by"], "grant 1 of bob");
    town.center.revoke_grant(&town.carol, grant.id).await.unwrap();
    assert_eq!(next("grant.revoked").await["by"], "carol");

    town.pending("refund").await;
    next("action.pending").await;
    town.sql("UPDATE actions SET expires_at = 1 WHERE state = 'pending'").await;
    next("action.expired").await;
    until("it is noted", async || town.count(AuditKind::Expired).await == 1).await;
    // They were another credential's, and grants are the approvers' own.
    assert!(told_agent.try_recv().is_err());
}
