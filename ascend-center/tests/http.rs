//! The center over HTTP: shapes, credentials, bounds.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use ascend_center::{ActionState, AuditKind, AuditQuery, NewKey};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use support::{
    digest,
    face::{Face, call},
    open, state,
};

#[tokio::test]
async fn the_examples_flow_works_to_the_end() {
    let face = Face::new().await;
    let allowed = face.evaluate(call("read", "database://staging")).await;
    assert_eq!(allowed["decision"], "ALLOW");
    assert_eq!(allowed["status"], "auto_approved");
    assert_eq!(allowed["risk_score"], 15);
    assert_eq!(allowed["risk_level"], "LOW");
    assert_eq!(allowed["requires_approval"], false);
    assert_eq!(allowed["claim"], true);
    assert!(allowed["action_id"].is_i64());

    let denied = face.evaluate(call("drop", "database://staging")).await;
    assert_eq!((&denied["decision"], &denied["status"]), (&json!("DENY"), &json!("denied")));
    assert!(denied["reason"].as_str().unwrap().contains("never allowed"));
    assert_eq!(denied["refusal"], Value::Null);

    let pending = face.evaluate(call("delete", "database://production")).await;
    assert_eq!(pending["decision"], "REQUIRE_APPROVAL");
    assert_eq!(pending["requires_approval"], true);
    assert_eq!(pending["risk_score"], 85);
    assert!(pending["expires_at"].is_string() && pending.get("estimated_approval_time").is_some());
    let id = &pending["action_id"];
    assert_eq!(face.status(id).await["status"], "pending");
    assert_eq!(face.status(id).await["decision_ready"], false);

    let (status, answer) =
        face.approver(&format!("/api/v1/actions/{id}/approve"), json!({ "comment": "fine" })).await;
    assert_eq!(status, 200, "{answer}");
    let approved = face.status(id).await;
    assert_eq!(
        (&approved["status"], &approved["decision"]),
        (&json!("approved"), &json!("allowed"))
    );
    assert_eq!(approved["reviewed_by"], "alice");
    assert_eq!(approved["comments"], "fine");
    assert_eq!(approved["requires_approval"], false);

    // A client that knows of no claims reports all the same.
    let body = json!({ "action_id": id, "status": "completed", "duration_ms": 12.5 });
    let (status, _) = face.agent(&format!("/api/agent-action/{id}/complete"), body).await;
    assert_eq!(status, 200);
    assert_eq!(face.status(id).await["status"], "executed");
    let claim = json!({ "digest": pending["digest"] });
    let (status, claimed) = face.agent(&format!("/api/v1/actions/{id}/claim"), claim).await;
    assert_eq!((status, &claimed["granted"]), (StatusCode::OK, &json!(false)));
    assert_eq!(claimed["refusal"], "already_executed");

    let rejected = face.evaluate(call("delete", "database://production")).await;
    let id = &rejected["action_id"];
    face.approver(&format!("/api/v1/actions/{id}/reject"), json!({ "comment": "no" })).await;
    let rejected = face.status(id).await;
    assert_eq!((&rejected["status"], &rejected["comments"]), (&json!("rejected"), &json!("no")));
    assert_eq!(rejected["decision"], "denied");
    let again = face.approver(&format!("/api/v1/actions/{id}/approve"), json!({})).await;
    assert_eq!(again.0, StatusCode::CONFLICT);
    assert!(again.1["detail"].as_str().unwrap().contains("rejected by alice"));
}

#[tokio::test]
async fn several_decisions_are_asked_for_in_one_request() {
    let face = Face::new().await;
    let path = "/api/v1/actions/evaluations";
    let one = |key: &str, call: Value| json!({ "key": key, "call": call });
    let mut claiming = call("read", "database://staging");
    claiming["claim"] = json!(true);
    let mut unfit = call("read", "database://staging");
    unfit["parameters"] = json!(["no", "object"]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut traced = one("first", claiming.clone());
    traced["traceparent"] = json!(parent);
    let asked = json!({ "evaluations": [
        traced,
        one("second", call("delete", "database://production")),
        one("third", unfit.clone()),
        one("fourth", call("read", "database://staging")),
    ]});
    let (status, answer) = face.agent(path, asked.clone()).await;
    assert_eq!(status, 200, "{answer}");
    let said = answer["evaluations"].as_array().unwrap();
    let of = |index: usize| (&said[index]["key"], &said[index]["status"], &said[index]["body"]);
    let (key, status, first) = of(0);
    assert_eq!((key, status, &first["claimed"]), (&json!("first"), &json!(200), &json!(true)));
    let (key, status, second) = of(1);
    assert_eq!((key, status), (&json!("second"), &json!(200)));
    assert_eq!(second["decision"], "REQUIRE_APPROVAL");
    let (key, status, third) = of(2);
    assert_eq!((key, status), (&json!("third"), &json!(422)));
    // As each would be answered by itself.
    let by_itself = face.agent("/mcp/governance/evaluate", unfit).await;
    assert_eq!((by_itself.0.as_u16(), &by_itself.1), (422, third));
    assert_eq!((of(3).1, &of(3).2["decision"]), (&json!(200), &json!("ALLOW")));
    let record = face.center.action(first["action_id"].as_i64().unwrap()).await.unwrap().unwrap();
    assert_eq!(record.state, ActionState::Executing);
    assert_eq!(record.traceparent.unwrap().to_string(), parent);

    // Asked again, as a client does that missed the answer: with others, or alone under
    // the same key. Nothing is opened, and nothing is claimed, a second time.
    let (_, again) = face.agent(path, asked).await;
    for index in [0, 1, 3] {
        let (first, again) = (&said[index]["body"], &again["evaluations"][index]["body"]);
        assert_eq!(
            (&again["action_id"], &again["claimed"]),
            (&first["action_id"], &first["claimed"])
        );
    }
    let alone = face.evaluate_under("first", claiming.clone()).await;
    assert_eq!((&alone["action_id"], &alone["claimed"]), (&first["action_id"], &json!(true)));
    let mut other = claiming;
    other["digest"] = json!("ab".repeat(32));
    let reused = json!({ "evaluations": [one("first", other)] });
    assert_eq!(face.agent(path, reused).await.1["evaluations"][0]["status"], 409);
    assert_eq!(face.center.actions(None, 100).await.unwrap().len(), 3);

    for (asked, place) in [
        (json!({}), json!(["body", "evaluations"])),
        (json!({ "evaluations": [] }), json!(["body", "evaluations"])),
        (json!({ "evaluations": [7] }), json!(["body", "evaluations", 0])),
        (json!({ "evaluations": [{ "key": "k" }] }), json!(["body", "evaluations", 0, "call"])),
        (json!({ "evaluations": [{ "call": {} }] }), json!(["body", "evaluations", 0, "key"])),
        (json!({ "evaluations": vec![one("k", json!({})); 65] }), json!(["body", "evaluations"])),
    ] {
        let (status, answer) = face.agent(path, asked).await;
        assert_eq!((status.as_u16(), &answer["detail"][0]["loc"]), (422, &place), "{answer}");
    }
}

#[tokio::test]
async fn several_outcomes_are_told_in_one_request() {
    let face = Face::new().await;
    let path = "/api/v1/actions/outcomes";
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut body = call("read", "database://staging");
        body["claim"] = json!(true);
        let allowed = face.evaluate(body).await;
        assert_eq!(allowed["decision"], "ALLOW");
        ids.push(allowed["action_id"].clone());
    }
    let pending = face.evaluate(call("delete", "database://production")).await;
    let denied = &pending["action_id"];
    face.approver(&format!("/api/v1/actions/{denied}/reject"), json!({})).await;
    let alice = face.center.local_approver().await.unwrap();
    let other = face.center.create_key(&alice, NewKey::of("other")).await.unwrap();
    let told = json!({ "outcomes": [
        { "action_id": ids[0], "status": "completed", "duration_ms": 12 },
        { "action_id": ids[1], "status": "failed", "error": { "code": 7 }, "duration_ms": 3 },
        { "action_id": denied, "status": "completed" },
        { "action_id": 4711, "status": "completed" },
    ]});
    let (status, answer) = face.agent(path, told.clone()).await;
    assert_eq!(status, 200, "{answer}");
    let refused = |index: usize| {
        let noted = &answer["outcomes"][index];
        assert_eq!(noted["success"], false, "{noted}");
        noted["detail"].as_str().unwrap().to_owned()
    };
    let noted = json!({ "action_id": ids[0], "success": true, "state": "completed" });
    assert_eq!(answer["outcomes"][0], noted);
    let noted = json!({ "action_id": ids[1], "success": true, "state": "failed" });
    assert_eq!(answer["outcomes"][1], noted);
    assert_eq!(refused(2), format!("action {denied} is rejected; that cannot be reported of it"));
    assert_eq!(refused(3), "there is no action 4711");
    let record = face.center.action(ids[1].as_i64().unwrap()).await.unwrap().unwrap();
    assert_eq!(record.outcome.as_deref(), Some(r#"{"code":7}"#));

    let body = json!({ "outcomes": [{ "action_id": ids[0], "status": "failed" }] });
    let theirs = face.send(Method::POST, path, other.token.expose_secret(), Some(body)).await.1;
    assert_eq!(theirs["outcomes"][0]["detail"], format!("there is no action {}", ids[0]));

    // Told twice, as a client does that missed the answer.
    assert_eq!(face.agent(path, told).await.1, answer);

    for (told, place) in [
        (json!({}), json!(["body", "outcomes"])),
        (json!({ "outcomes": [] }), json!(["body", "outcomes"])),
        (json!({ "outcomes": ["x"] }), json!(["body", "outcomes", 0])),
        (
            json!({ "outcomes": [{ "action_id": ids[0], "status": "completed" }, { "status": "failed" }] }),
            json!(["body", "outcomes", 1, "action_id"]),
        ),
        (
            json!({ "outcomes": [{ "action_id": 1, "status": "withdrawn" }] }),
            json!(["body", "outcomes", 0, "status"]),
        ),
    ] {
        let (status, answer) = face.agent(path, told).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert_eq!(answer["detail"][0]["loc"], place);
    }
}

#[tokio::test]
async fn what_our_sdk_adds_is_understood() {
    let face = Face::new().await;
    let mut body = call("read", "database://staging");
    let extras = json!({
        "tool": "query_database",
        "description": "Runs SQL.",
        "summary": "Run `…`",
        "floor": { "risk_level": "high", "require_human_approval": true },
        "facts": { "sql": { "kinds": ["select"], "statements": 1, "parsed": true } },
        "metadata": { "team": "data" },
        "digest": digest(7),
        "idempotency_key": "key-1",
        "approval_timeout_seconds": 600,
        "unknown_field": { "kept": true },
    });
    body.as_object_mut().unwrap().extend(extras.as_object().cloned().unwrap());
    let pending = face.evaluate(body.clone()).await;
    assert_eq!(pending["decision"], "REQUIRE_APPROVAL");
    assert_eq!((&pending["risk_level"], &pending["risk_score"]), (&json!("HIGH"), &json!(61)));
    assert_eq!(pending["digest"], digest(7).to_string());
    let id = pending["action_id"].as_i64().unwrap();
    let record = face.center.action(id).await.unwrap().unwrap();
    let lifetime = record.expires_at.duration_since(record.created_at);
    assert_eq!(lifetime.as_secs(), 600);
    assert_eq!(record.tool, "query_database");
    assert_eq!(face.evaluate(body.clone()).await["action_id"], id, "the key is known");

    let claim = async |byte| {
        let path = format!("/api/v1/actions/{id}/claim");
        face.agent(&path, json!({ "digest": digest(byte) })).await.1
    };
    assert_eq!(claim(7).await["refusal"], "approval_missing");
    face.approver(&format!("/api/v1/actions/{id}/approve"), json!({})).await;
    let granted = claim(7).await;
    assert_eq!((&granted["granted"], &granted["action_id"]), (&json!(true), &json!(id)));
    assert_eq!(claim(7).await["refusal"], "already_executed");

    body["idempotency_key"] = Value::Null;
    let other = face.evaluate(body.clone()).await["action_id"].clone();
    assert_ne!(other, id);
    let path = format!("/api/v1/actions/{other}/withdraw");
    let (status, withdrawn) = face.agent(&path, json!({ "reason": "gone" })).await;
    assert_eq!((status, &withdrawn["state"]), (StatusCode::OK, &json!("withdrawn")));
    let late = face.approver(&format!("/api/v1/actions/{other}/approve"), json!({})).await;
    assert_eq!(late.0, StatusCode::CONFLICT);
    assert_eq!(face.status(&other).await["status"], "cancelled");
    assert_eq!(face.status(&other).await["refusal"], "cancelled");

    // The header stands in for the field; another call under the same key is refused.
    let send = async |resource: &str| {
        face.http
            .post(format!("{}/mcp/governance/evaluate", face.url))
            .header("x-api-key", &face.agent)
            .header("idempotency-key", "key-2")
            .json(&call("read", resource))
            .send()
            .await
            .unwrap()
    };
    assert_eq!(send("a").await.status(), 200);
    assert_eq!(send("a").await.status(), 200);
    assert_eq!(send("b").await.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn ascends_other_shapes_are_understood() {
    let face = Face::new().await;
    let mut body = call("read", "database://staging");
    body.as_object_mut().unwrap().remove("session_context");
    body["session_id"] = "s-9".into();
    body["client_id"] = "claude".into();
    body["require_approval"] = true.into();
    let pending = face.evaluate(body).await;
    assert_eq!(pending["decision"], "REQUIRE_APPROVAL");
    let record = face.center.action(pending["action_id"].as_i64().unwrap()).await.unwrap().unwrap();
    assert_eq!((&*record.session_id, record.client.as_deref()), ("s-9", Some("claude")));

    let mut body = call("read", "database://staging");
    body["context"] = json!({ "require_human_approval": true });
    assert_eq!(face.evaluate(body).await["decision"], "REQUIRE_APPROVAL");

    let id = &pending["action_id"];
    face.approver(&format!("/api/v1/actions/{id}/approve"), json!({})).await;
    let error = json!({ "error": { "code": 7 }, "status": "failed" });
    face.agent(&format!("/api/agent-action/{id}/fail"), error).await;
    assert_eq!(face.status(id).await["state"], "failed");
}

#[tokio::test]
async fn what_does_not_fit_is_named() {
    let face = Face::new().await;
    let path = "/mcp/governance/evaluate";
    let body = json!({
        "server_id": 7,
        "verb": " ",
        "resource": "x",
        "parameters": [],
        "session_context": { "session_id": 1 },
        "floor": { "risk_level": "enormous" },
        "digest": "xyz",
        "approval_timeout_seconds": -1,
        "context": { "require_human_approval": "yes" },
    });
    let (status, answer) = face.agent(path, body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let errors = answer["detail"].as_array().unwrap();
    let mut places: Vec<_> = errors
        .iter()
        .map(|error| {
            assert!(error["msg"].is_string() && error["type"].is_string());
            let place: Vec<_> = error["loc"]
                .as_array()
                .unwrap()
                .iter()
                .map(|part| part.as_str().unwrap())
                .collect();
            place.join(".")
        })
        .collect();
    places.sort();
    let expected = [
        "body.approval_timeout_seconds",
        "body.context.require_human_approval",
        "body.digest",
        "body.floor",
        "body.namespace",
        "body.parameters",
        "body.server_id",
        "body.session_context.session_id",
        "body.verb",
    ];
    assert_eq!(places, expected);

    for body in ["", "[]", "{", "null"] {
        let answer = face
            .http
            .post(format!("{}{path}", face.url))
            .bearer_auth(&face.agent)
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body:?}");
    }
    let answer = face
        .http
        .post(format!("{}{path}", face.url))
        .bearer_auth(&face.agent)
        .body(format!("{{\"x\":\"{}\"}}", "y".repeat(1024 * 1024)))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let get = async |path: &str| face.send(Method::GET, path, &face.approver, None).await.0;
    assert_eq!(get("/api/v1/actions?status=nonsense").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(get("/api/v1/actions/1/status").await, StatusCode::NOT_FOUND);
    assert_eq!(get("/api/v1/actions/..%2f1/status").await, StatusCode::NOT_FOUND);
    assert_eq!(get("/nothing").await, StatusCode::NOT_FOUND);
    assert_eq!(get("/mcp/governance/evaluate").await, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(face.center.actions(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn each_credential_is_for_its_own_side() {
    let face = Face::new().await;
    let id = &face.evaluate(call("delete", "x")).await["action_id"];
    let digest = json!({ "digest": digest(1) });
    let agents = [
        ("/mcp/governance/evaluate".to_owned(), call("read", "x")),
        (format!("/api/v1/actions/{id}/claim"), digest),
        (format!("/api/v1/actions/{id}/withdraw"), json!({})),
        (format!("/api/agent-action/{id}/complete"), json!({})),
        (format!("/api/agent-action/{id}/fail"), json!({})),
    ];
    let approvers = [
        (Method::POST, format!("/api/v1/actions/{id}/approve")),
        (Method::POST, format!("/api/v1/actions/{id}/reject")),
        (Method::GET, "/api/v1/actions?status=pending".to_owned()),
    ];
    for (path, body) in agents {
        assert_eq!(face.approver(&path, body.clone()).await.0, StatusCode::FORBIDDEN, "{path}");
        let unknown = face.send(Method::POST, &path, "ascend_agent_00", Some(body)).await.0;
        assert_eq!(unknown, StatusCode::UNAUTHORIZED, "{path}");
        let nobody = face.http.post(format!("{}{path}", face.url)).send().await.unwrap();
        assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    for (method, path) in approvers {
        let agent = face.send(method.clone(), &path, &face.agent, None).await.0;
        assert_eq!(agent, StatusCode::FORBIDDEN, "{path}");
        let request = face.http.request(method, format!("{}{path}", face.url));
        // An approver's token is no API key.
        let as_key = request.header("x-api-key", &face.approver).send().await.unwrap();
        assert_eq!(as_key.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(state(&face.center, id.as_i64().unwrap()).await, ActionState::Pending, "untouched");

    let url = format!("{}/api/v1/actions/{id}/status", face.url);
    let both = face.http.get(&url).bearer_auth(&face.agent).header("x-api-key", &face.agent);
    assert_eq!(both.send().await.unwrap().status(), 200);
    let differing = face.http.get(&url).bearer_auth(&face.agent).header("x-api-key", "other");
    assert_eq!(differing.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let basic = face.http.get(&url).header("authorization", format!("Basic {}", face.agent));
    assert_eq!(basic.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);

    // An agent knows only of what it asked itself.
    let embedded = ascend_sdk::Authority::evaluate(&face.center, &support::delete()).await.unwrap();
    let path = format!("/api/v1/actions/{}/status", embedded.action_id);
    assert_eq!(face.send(Method::GET, &path, &face.agent, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(face.send(Method::GET, &path, &face.approver, None).await.0, 200);
    let path = format!("/api/v1/actions/{}/claim", embedded.action_id);
    let claim = json!({ "digest": support::digest(1) });
    assert_eq!(face.agent(&path, claim).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn health_tells_whether_the_credential_is_good() {
    let face = Face::new().await;
    let url = format!("{}/health", face.url);
    assert_eq!(face.http.get(&url).send().await.unwrap().status(), 200);
    let good = face.http.get(&url).bearer_auth(&face.agent).send().await.unwrap();
    assert_eq!(good.json::<Value>().await.unwrap()["status"], "healthy");
    let bad = face.http.get(&url).bearer_auth("ascend_agent_00").send().await.unwrap();
    assert_eq!(bad.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn foreign_hosts_are_refused() {
    let face = Face::new().await;
    for (host, expected) in [("localhost", 200), ("evil.example", 403), ("127.0.0.1.evil", 403)] {
        let answer = face.http.get(format!("{}/health", face.url)).header("host", host);
        assert_eq!(answer.send().await.unwrap().status(), expected, "{host}");
    }
}

#[tokio::test]
async fn a_status_request_is_held_until_the_decision() {
    let face = Face::new().await;
    let id = face.evaluate(call("delete", "x")).await["action_id"].clone();
    let get = |wait: &str| {
        let url = format!("{}/api/v1/actions/{id}/status?wait={wait}", face.url);
        face.http.get(url).bearer_auth(&face.agent).send()
    };
    let started = Instant::now();
    let answer = get("1").await.unwrap();
    assert_eq!(answer.headers()["x-ascend-wait"], "1");
    assert_eq!(answer.json::<Value>().await.unwrap()["status"], "pending");
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(get("soon").await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);

    let waiting = tokio::spawn(get("25"));
    // Decided in another center over the same files.
    let console = open(face.directory.path()).await;
    let alice = console.local_approver().await.unwrap();
    console.approve(id.as_i64().unwrap(), &alice, None).await.unwrap();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.headers()["x-ascend-wait"], "25");
    assert_eq!(answer.json::<Value>().await.unwrap()["status"], "approved");

    // A stopping center answers what it holds.
    let id = face.evaluate(call("delete", "y")).await["action_id"].clone();
    let url = format!("{}/api/v1/actions/{id}/status?wait=30", face.url);
    let mut held = tokio::spawn(face.http.get(url).bearer_auth(&face.agent).send());
    let early = tokio::time::timeout(Duration::from_millis(300), &mut held).await;
    assert!(early.is_err(), "it is held");
    let started = Instant::now();
    drop(face.stop);
    let answer: Value = held.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["status"], "pending");
    face.serving.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn the_kill_switch_is_shown_and_holds() {
    let face = Face::new().await;
    let path = "/api/sdk/kill-switch/status";
    let (_, answer) = face.send(Method::GET, path, &face.agent, None).await;
    assert_eq!(answer, json!({ "blocked": false }));
    let allowed = face.evaluate(call("read", "x")).await;
    let alice = face.center.local_approver().await.unwrap();
    face.center.kill("an incident", &alice).await.unwrap();
    let (_, answer) = face.send(Method::GET, path, &face.agent, None).await;
    assert_eq!((&answer["blocked"], &answer["reason"]), (&json!(true), &json!("an incident")));
    let denied = face.evaluate(call("read", "x")).await;
    assert_eq!((&denied["decision"], &denied["refusal"]), (&json!("DENY"), &json!("kill_switch")));
    let path = format!("/api/v1/actions/{}/claim", allowed["action_id"]);
    let (_, claimed) = face.agent(&path, json!({ "digest": allowed["digest"] })).await;
    assert_eq!(claimed["refusal"], "kill_switch");
}

#[tokio::test]
async fn approvers_see_what_waits() {
    let face = Face::new().await;
    let id = face.evaluate(call("delete", "x")).await["action_id"].clone();
    face.evaluate(call("read", "x")).await;
    let (_, list) =
        face.send(Method::GET, "/api/v1/actions?status=pending", &face.approver, None).await;
    assert_eq!((&list["total"], &list["actions"][0]["action_id"]), (&json!(1), &id));
    assert_eq!(list["actions"][0]["parameters"]["database"], "production");
    assert_eq!(list["actions"][0]["requested_by"], "local-agent");
    let path = format!("/api/v1/actions/{id}");
    let (_, details) = face.send(Method::GET, &path, &face.approver, None).await;
    assert_eq!(details["matched"][0]["policy"], "deletes");
}

#[tokio::test]
async fn a_claim_with_the_evaluation_is_told_again_until_it_is_used() {
    let face = Face::new().await;
    let asked = |key: &str| {
        let mut body = call("read", "database://staging");
        body["claim"] = json!(true);
        body["idempotency_key"] = json!(key);
        body
    };
    let first = face.evaluate(asked("one")).await;
    assert_eq!((&first["decision"], &first["claimed"]), (&json!("ALLOW"), &json!(true)));
    assert_eq!(first["status"], "auto_approved");
    let id = &first["action_id"];
    assert_eq!(face.status(id).await["status"], "executed");
    // Nobody learns the key by which it could be had again.
    for path in [format!("/api/v1/actions/{id}"), "/api/agent-activity".to_owned()] {
        let (_, shown) = face.send(Method::GET, &path, &face.agent, None).await;
        assert!(!shown.to_string().contains("\"one\""), "{shown}");
    }

    // Its answer got lost: the same request is told the same.
    let again = face.evaluate(asked("one")).await;
    assert_eq!((&again["action_id"], &again["claimed"]), (id, &json!(true)));
    // Whoever claims it otherwise comes too late.
    let claim = json!({ "digest": first["digest"] });
    let (_, other) = face.agent(&format!("/api/v1/actions/{id}/claim"), claim).await;
    assert_eq!(other["refusal"], "already_executed");

    let alice = face.center.local_approver().await.unwrap();
    face.center.kill("an incident", &alice).await.unwrap();
    assert_eq!(face.evaluate(asked("one")).await.get("claimed"), None);
    face.center.release(&alice).await.unwrap();
    assert_eq!(face.evaluate(asked("one")).await["claimed"], true);

    let body = json!({ "action_id": id, "status": "completed", "duration_ms": 1 });
    face.agent(&format!("/api/agent-action/{id}/complete"), body).await;
    let over = face.evaluate(asked("one")).await;
    assert_eq!((over.get("claimed"), &over["status"]), (None, &json!("executed")));

    let mut unasked = asked("two");
    unasked["claim"] = json!(false);
    assert_eq!(face.evaluate(unasked).await.get("claimed"), None);
    let mut pending = call("delete", "database://production");
    pending["claim"] = json!(true);
    assert_eq!(face.evaluate(pending).await.get("claimed"), None);
}

#[tokio::test]
async fn a_claim_is_told_again_under_its_key_until_it_is_used() {
    let face = Face::new().await;
    let opened = face.evaluate(call("delete", "database://production")).await;
    let (id, digest) = (&opened["action_id"], &opened["digest"]);
    assert_eq!(face.claim(id, digest, "one").await, "approval_missing");
    face.approver(&format!("/api/v1/actions/{id}/approve"), json!({})).await;
    assert_eq!(face.claim(id, digest, "one").await, "granted");
    // Its answer got lost: the same claim is told the same, and no other is.
    assert_eq!(face.claim(id, digest, "one").await, "granted");
    assert_eq!(face.claim(id, digest, "two").await, "already_executed");
    assert_eq!(face.claim(id, digest, "").await, "already_executed");
    assert_eq!(face.claim(id, &json!("00".repeat(32)), "one").await, "already_executed");

    let alice = face.center.local_approver().await.unwrap();
    face.center.kill("an incident", &alice).await.unwrap();
    assert_eq!(face.claim(id, digest, "one").await, "already_executed");
    face.center.release(&alice).await.unwrap();
    assert_eq!(face.claim(id, digest, "one").await, "granted");

    let body = json!({ "action_id": id, "status": "completed", "duration_ms": 1 });
    face.agent(&format!("/api/agent-action/{id}/complete"), body).await;
    assert_eq!(face.claim(id, digest, "one").await, "already_executed");
    let claims = AuditQuery::new().kind(AuditKind::Claimed).limit(10);
    assert_eq!(
        face.center.audit_entries(&claims).await.unwrap().len(),
        1,
        "one claim, told thrice"
    );
}

#[tokio::test]
async fn a_claim_is_told_again_only_while_there_is_time_for_its_run() {
    let face = Face::new().await;
    let mut body = call("read", "database://staging");
    body["approval_timeout_seconds"] = json!(1);
    let opened = face.evaluate(body).await;
    let (id, digest) = (&opened["action_id"], &opened["digest"]);
    assert_eq!(face.claim(id, digest, "one").await, "granted");
    let expiry: jiff::Timestamp = opened["expires_at"].as_str().unwrap().parse().unwrap();
    let left = expiry.duration_since(jiff::Timestamp::now()).as_millis() + 1;
    tokio::time::sleep(Duration::from_millis(left.max(0).try_into().unwrap())).await;
    assert_eq!(face.claim(id, digest, "one").await, "already_executed");
}

#[tokio::test]
async fn what_runs_is_given_up_only_by_who_claimed_it() {
    let face = Face::new().await;
    let withdraw = async |id: &Value, body: Value| {
        face.agent(&format!("/api/v1/actions/{id}/withdraw"), body).await.0.as_u16()
    };
    // Claimed by itself, and with the evaluation.
    let mut at_once = call("read", "database://staging");
    at_once["claim"] = json!(true);
    at_once["idempotency_key"] = json!("one");
    for (body, claims) in [(call("read", "database://staging"), true), (at_once, false)] {
        let opened = face.evaluate(body).await;
        let id = &opened["action_id"];
        if claims {
            assert_eq!(face.claim(id, &opened["digest"], "one").await, "granted");
        }
        assert_eq!(withdraw(id, json!({})).await, 409);
        assert_eq!(withdraw(id, json!({ "claim_key": "two" })).await, 409);
        assert_eq!(face.status(id).await["status"], "executed");
        assert_eq!(withdraw(id, json!({ "claim_key": "one" })).await, 200);
        assert_eq!(face.status(id).await["status"], "cancelled");
        assert_eq!(face.claim(id, &opened["digest"], "one").await, "cancelled");
    }
    // What nobody has claimed is anybody's of this agent to give up.
    let id = &face.evaluate(call("delete", "x")).await["action_id"];
    assert_eq!(withdraw(id, json!({ "claim_key": "any" })).await, 200);
}
