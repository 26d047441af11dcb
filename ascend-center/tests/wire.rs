//! What holds of every request: bounds, limits, idempotency, names, and that
//! the API is as it describes itself.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use ascend_center::ServeConfig;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::face::{Face, call};

const SUBMIT: &str = "/api/v1/actions/submit";

fn action(action_type: &str) -> Value {
    json!({
        "agent_id": "agent-001",
        "agent_name": "An agent",
        "action_type": action_type,
        "resource": "staging_db",
        "action_details": { "table": "users" },
    })
}

async fn with_key(face: &Face, key: &str, body: &Value) -> (StatusCode, Value) {
    let request = face.http.post(format!("{}{SUBMIT}", face.url)).bearer_auth(&face.agent);
    let answer = request.header("idempotency-key", key).json(body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn what_is_described_is_served_and_nothing_else() {
    let face = Face::new().await;
    let described = face.described();
    assert!(described.len() > 25);
    for (_, path) in &described {
        let concrete = path.replace("{command_id}", "x").replace("{agent_id}", "x");
        let concrete = concrete.replace("{server_name}", "x").replace("{id}", "1");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let is_described = described.contains(&(method.to_owned(), path.clone()));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let request = face.http.request(method.clone(), format!("{}{concrete}", face.url));
            let status = request.bearer_auth(&face.agent).send().await.unwrap().status();
            let is_served = status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(is_served, is_described, "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn a_submission_keeps_what_the_center_does_not_know() {
    let face = Face::new().await;
    let mut body = action("database.read");
    body["callback_url"] = "https://example.com".into();
    body["context"] = json!({ "ticket": "T-7", "risk_level": "enormous" });
    body["risk_indicators"] = json!({ "pii_involved": true });
    body["resource_id"] = "row 7".into();
    let (status, answer) = face.agent(SUBMIT, body.clone()).await;
    assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!("allowed")), "{answer}");
    assert_eq!(answer["risk_level"], "critical", "a level that nobody knows is the highest");
    let path = format!("/api/v1/actions/{}", answer["action_id"]);
    for token in [&face.agent, &face.approver] {
        let (_, details) = face.send(Method::GET, &path, token, None).await;
        assert_eq!(details["request"], body);
        assert_eq!(
            (&details["agent_name"], &details["resource_id"]),
            (&json!("An agent"), &json!("row 7"))
        );
        assert_eq!(details["user_context"]["ticket"], "T-7", "for the approver to see");
        assert_eq!(details["user_context"]["risk_indicators"]["pii_involved"], true);
    }
}

#[tokio::test]
async fn a_submission_that_does_not_fit_says_which_field() {
    let face = Face::new().await;
    let body = json!({
        "agent_id": "",
        "action_type": ".read",
        "resource": 7,
        "action_details": [],
        "context": { "session_id": 1, "require_human_approval": "yes" },
        "risk_indicators": "high",
        "orchestration_depth": 6,
        "parent_action_id": "1",
        "mcp_server_name": " ",
    });
    let (status, answer) = face.agent(SUBMIT, body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let mut places: Vec<String> = answer["detail"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            let loc = error["loc"].as_array().unwrap().iter();
            loc.map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join(".")
        })
        .collect();
    places.sort();
    let expected = [
        "body.action_details",
        "body.action_type",
        "body.agent_id",
        "body.context.require_human_approval",
        "body.context.session_id",
        "body.mcp_server_name",
        "body.orchestration_depth",
        "body.parent_action_id",
        "body.resource",
        "body.risk_indicators",
    ];
    assert_eq!(places, expected);

    let mut huge = action("database.read");
    huge["action_details"]["text"] = "y".repeat(1024 * 1024).into();
    for path in [SUBMIT, "/api/v1/mcp/actions/submit", "/api/registry/agents"] {
        let (status, answer) = face.agent(path, huge.clone()).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{path}: {answer}");
    }
    assert_eq!(face.center.actions(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn an_idempotency_key_makes_retries_one_action() {
    let face = Face::new().await;
    let body = action("database.delete");
    let tries = (0..16).map(|_| with_key(&face, "k-1", &body));
    let answers = futures(tries).await;
    let (_, first) = &answers[0];
    assert_eq!(first["status"], "pending_approval");
    assert!(
        answers.iter().all(|(status, answer)| *status == 200 && answer == first),
        "{answers:?}"
    );
    assert_eq!(face.center.actions(None, 100).await.unwrap().len(), 1);

    for (name, value) in [
        ("action_type", json!("database.read")),
        ("resource", json!("other_db")),
        ("agent_id", json!("agent-002")),
        ("resource_id", json!("row 8")),
        ("context", json!({ "ticket": "T-8" })),
    ] {
        let mut other = body.clone();
        other[name] = value;
        let (status, answer) = with_key(&face, "k-1", &other).await;
        // The key is each agent's own.
        let expected = if name == "agent_id" { 200 } else { 409 };
        assert_eq!(status, expected, "{name}: {answer}");
    }

    // A retry that comes after the end is told the end, and never `allowed`.
    let allowed = action("database.read");
    let (_, first) = with_key(&face, "k-2", &allowed).await;
    assert_eq!((&first["decision"], &first["success"]), (&json!("allowed"), &json!(true)));
    let path = format!("/api/agent-action/{}/complete", first["action_id"]);
    face.agent(&path, json!({ "action_id": first["action_id"], "status": "completed" })).await;
    let (_, later) = with_key(&face, "k-2", &allowed).await;
    assert_eq!(later["action_id"], first["action_id"]);
    assert_eq!((&later["decision"], &later["success"]), (&json!("denied"), &json!(false)));
    assert_eq!(later["refusal"], "already_executed");

    // Nor under the kill switch, though it was allowed before.
    let (_, first) = with_key(&face, "k-3", &allowed).await;
    assert_eq!(first["decision"], "allowed");
    let alice = face.center.local_approver().await.unwrap();
    face.center.kill("an incident", &alice).await.unwrap();
    let (_, later) = with_key(&face, "k-3", &allowed).await;
    assert_eq!((&later["decision"], &later["refusal"]), (&json!("denied"), &json!("kill_switch")));
}

/// All of them, at once.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in &mut pending {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if pending.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pending.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn an_evaluation_with_a_used_key_for_another_verb_is_refused() {
    let face = Face::new().await;
    let mut read = call("read", "database://staging");
    read["idempotency_key"] = "k-1".into();
    let first = face.evaluate(read.clone()).await;
    assert_eq!(face.evaluate(read).await["action_id"], first["action_id"]);
    let mut delete = call("delete", "database://staging");
    delete["idempotency_key"] = "k-1".into();
    let (status, answer) = face.agent("/mcp/governance/evaluate", delete).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let config = ServeConfig::new().agent_rate(2).tenant_rate(50);
    let face = Face::serving(config).await;
    let post = |path: &str, token: &str| {
        let request = face.http.post(format!("{}{path}", face.url)).bearer_auth(token);
        request.json(&action("database.read")).send()
    };
    let first = post(SUBMIT, &face.agent).await.unwrap();
    let header = |name: &str| first.headers()[name].to_str().unwrap().parse::<u64>().unwrap();
    assert_eq!((header("x-ratelimit-limit-agent"), header("x-ratelimit-remaining-agent")), (2, 1));
    assert_eq!(
        (header("x-ratelimit-limit-tenant"), header("x-ratelimit-remaining-tenant")),
        (50, 49)
    );
    assert!(header("x-ratelimit-reset") > 1_700_000_000);
    let id = first.json::<Value>().await.unwrap()["action_id"].clone();
    post(SUBMIT, &face.agent).await.unwrap();

    let third = post("/api/governance/policies/evaluate-realtime", &face.agent).await.unwrap();
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = third.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(third.headers()["x-ratelimit-remaining-agent"], "0");
    let detail = third.json::<Value>().await.unwrap()["detail"].clone();
    assert_eq!(
        (&detail["limit_type"], &detail["retry_after"]),
        (&json!("agent"), &json!(wait as f64))
    );

    // What is under way goes on, and people are not limited.
    for _ in 0..5 {
        assert_eq!(face.status(&id).await["decision"], "allowed");
        let try_out = post("/api/governance/policies/evaluate-realtime", &face.approver);
        assert_eq!(try_out.await.unwrap().status(), StatusCode::OK);
    }
    let (status, _) = face.agent(&format!("/api/agent-action/{id}/complete"), json!({})).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_and_its_answer_share_a_name() {
    let face = Face::new().await;
    let ask = async |name: Option<&str>| {
        let mut request = face.http.get(format!("{}/health", face.url));
        if let Some(name) = name {
            request = request.header("x-correlation-id", name);
        }
        let answer = request.send().await.unwrap();
        answer.headers()["x-correlation-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(ask(Some("asc_0123456789abcdef")).await, "asc_0123456789abcdef");
    let made = ask(None).await;
    assert!(made.starts_with("asc_") && made.len() == 20, "{made}");
    for unsound in ["a b", "<script>", &"x".repeat(129)] {
        assert!(ask(Some(unsound)).await.starts_with("asc_"), "{unsound}");
    }
    let refused = face.http.get(format!("{}/audit/logs", face.url));
    let refused = refused.header("x-correlation-id", "mine").send().await.unwrap();
    assert_eq!(
        (refused.status(), &refused.headers()["x-correlation-id"]),
        (StatusCode::UNAUTHORIZED, &"mine".parse().unwrap())
    );
}

#[tokio::test]
async fn a_delegated_action_belongs_to_an_action_of_the_same_agent() {
    let face = Face::new().await;
    let mut parent = action("database.read");
    parent["orchestration_session_id"] = "o-1".into();
    let (_, parent) = face.agent(SUBMIT, parent).await;
    let child = |parent: Value, session: &str| {
        let mut child = action("database.read");
        child["parent_action_id"] = parent;
        child["orchestration_session_id"] = session.into();
        child["orchestration_depth"] = 1.into();
        child
    };
    let (status, answer) = face.agent(SUBMIT, child(parent["action_id"].clone(), "o-1")).await;
    assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!("allowed")));
    let foreign = ascend_sdk::Authority::evaluate(&face.center, &support::delete()).await.unwrap();
    let foreign: i64 = foreign.action_id.to_string().parse().unwrap();
    for (parent, session) in
        [(parent["action_id"].clone(), "o-2"), (json!(999), "o-1"), (json!(foreign), "o-1")]
    {
        let (status, answer) = face.agent(SUBMIT, child(parent, session)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    }
}

#[tokio::test]
async fn what_the_sdk_registers_outlives_the_process() {
    let face = Face::new().await;
    let server = json!({ "server_name": "files", "blocked_tools": ["shred"] });
    assert_eq!(face.agent("/api/registry/mcp-servers", server).await.0, StatusCode::CREATED);
    let activate = "/api/registry/mcp-servers/files/activate";
    assert_eq!(face.approver(activate, json!({})).await.0, StatusCode::OK);
    let agent = json!({ "agent_id": "agent-001", "agent_type": "supervised" });
    assert_eq!(face.agent("/api/registry/agents", agent).await.0, StatusCode::CREATED);
    let beat = json!({ "agent_id": "agent-001", "metrics": { "error_rate": 0.5 } });
    assert_eq!(face.agent("/api/agents/health/heartbeat", beat).await.0, StatusCode::OK);
    drop(face.stop);
    face.serving.await.unwrap();
    face.center.close().await;

    let face = Face::over(face.directory, ServeConfig::new()).await;
    let get = async |path: &str| face.send(Method::GET, path, &face.agent, None).await.1;
    assert_eq!(get("/api/registry/mcp-servers/files").await["server"]["is_active"], true);
    assert_eq!(get("/api/agents/health/agent-001").await["status"], "healthy");
    let shred = json!({
        "mcp_server": "files", "namespace": "filesystem", "verb": "read", "tool_name": "shred",
        "resource": "/srv/report",
    });
    let (status, answer) = face.agent("/api/v1/mcp/actions/submit", shred).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(answer["detail"]["code"], "mcp_tool_blocked");
    assert!(answer["detail"]["error"].as_str().unwrap().contains("governance"));
    let id = answer["detail"]["action_id"].as_i64().unwrap();
    let record = face.center.action(id).await.unwrap().unwrap();
    assert_eq!(record.state, ascend_center::ActionState::Denied, "what was refused is recorded");

    // A server that only evaluates is bound by what is registered of it, too.
    let mut evaluate = call("read", "database://staging");
    evaluate["server_id"] = "files".into();
    assert_eq!(face.evaluate(evaluate.clone()).await["decision"], "ALLOW");
    face.approver("/api/registry/mcp-servers/files/deactivate", json!({ "reason": "old" })).await;
    assert_eq!(face.evaluate(evaluate).await["decision"], "DENY");
}
