//! Texts with U+0000, which PostgreSQL does not take: the same over both databases.

use ascend_center::{ServeConfig, VerifyAudit};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    face::{Face, call},
    postgres,
};

const EVALUATE: &str = "/mcp/governance/evaluate";

/// One over each database.
async fn both() -> [Face; 2] {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    postgres::choose(directories[1].path());
    let [sqlite, postgresql] = directories;
    let config = || ServeConfig::new().agent_rate(0).tenant_rate(0);
    [Face::over(sqlite, config()).await, Face::over(postgresql, config()).await]
}

/// Each text in a value, by its JSON pointer.
fn texts(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(place.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                texts(item, &format!("{place}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                texts(field, &format!("{place}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// The last word of each place that an answer says does not fit.
fn named(answer: &Value) -> Vec<&str> {
    let errors = answer["detail"].as_array().map_or(&[][..], Vec::as_slice);
    errors
        .iter()
        .map(|error| error["loc"].as_array().unwrap().last().unwrap().as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn arguments_are_kept_shown_and_bound_to_the_letter() {
    let mut answers = Vec::new();
    for face in both().await {
        let mut body = call("delete", "production_db");
        body["parameters"] = json!({
            "where\0": "name = 'a\0b'", "list": ["\0", { "\0": 1 }], "text": r"not one: \u0000",
        });
        body["user_context"] = json!({ "user": "bob\0" });
        body["metadata"] = json!({ "ticket": "T\0-7" });
        let answer = face.evaluate(body.clone()).await;
        assert_eq!(answer["decision"], "REQUIRE_APPROVAL", "{answer}");
        let path = format!("/api/v1/actions/{}", answer["action_id"]);
        let (_, details) = face.send(Method::GET, &path, &face.approver, None).await;
        assert_eq!(details["parameters"], body["parameters"]);
        assert_eq!(details["user_context"], body["user_context"]);
        assert_eq!(details["request"], body);

        let (status, _) = face.approver(&format!("{path}/approve"), json!({})).await;
        assert_eq!(status, 200);
        let claim = json!({ "digest": answer["digest"] });
        let (_, claimed) = face.agent(&format!("{path}/claim"), claim).await;
        assert_eq!(claimed["granted"], true, "{claimed}");
        // What went wrong must reach the record, so less of it is kept.
        let path = format!("/api/agent-action/{}/fail", answer["action_id"]);
        let (status, _) = face.agent(&path, json!({ "error": "read \0" })).await;
        assert_eq!(status, 200);
        let record = face.center.action(answer["action_id"].as_i64().unwrap()).await.unwrap();
        assert_eq!(record.unwrap().outcome.as_deref(), Some("read \u{fffd}"));
        face.center.verify_audit(&VerifyAudit::new()).await.unwrap();

        let other = call("delete", "production_db");
        let other = face.evaluate(other).await;
        assert_ne!(other["digest"], answer["digest"]);
        answers.push(answer["digest"].clone());
    }
    assert_eq!(answers[0], answers[1], "of the same call");
}

#[tokio::test]
async fn elsewhere_the_field_is_named_and_nothing_is_done() {
    for face in both().await {
        let mut body = call("delete", "production_db");
        body["session_context"] =
            json!({ "session_id": "s", "client_name": "c", "client_version": "1" });
        for (name, value) in [("summary", "Delete"), ("tool", "delete"), ("idempotency_key", "k")] {
            body[name] = value.into();
        }
        for place in [
            "/server_id",
            "/namespace",
            "/verb",
            "/resource",
            "/summary",
            "/tool",
            "/idempotency_key",
            "/session_context/session_id",
            "/session_context/client_name",
            "/session_context/client_version",
        ] {
            let mut body = body.clone();
            *body.pointer_mut(place).unwrap() = "a\0b".into();
            let (status, answer) = face.agent(EVALUATE, body).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{place}: {answer}");
            assert_eq!(named(&answer), [place.rsplit('/').next().unwrap()], "{answer}");
        }
        assert!(face.center.actions(None, 10).await.unwrap().is_empty());

        let id = face.evaluate(body).await["action_id"].clone();
        for (verb, name) in [("approve", "comment"), ("approve", "comments"), ("reject", "comment")]
        {
            let path = format!("/api/v1/actions/{id}/{verb}");
            let (status, answer) = face.approver(&path, json!({ name: "\0" })).await;
            assert_eq!((status, named(&answer)), (StatusCode::UNPROCESSABLE_ENTITY, vec![name]));
        }
        assert_eq!(face.status(&id).await["status"], "pending");

        for (path, place) in [
            ("/api/agents/health/a%00b", "path"),
            ("/api/registry/mcp-servers/a%00b", "path"),
            ("/api/v1/actions?status=pending&agent_id=a%00b", "agent_id"),
            ("/api/agent-activity?agent_id=%00", "agent_id"),
        ] {
            let (status, answer) = face.send(Method::GET, path, &face.approver, None).await;
            assert_eq!(
                (status, named(&answer)),
                (StatusCode::UNPROCESSABLE_ENTITY, vec![place]),
                "{path}"
            );
        }
        // That is a percent sign and two digits.
        let path = "/api/agents/health/a%2500b";
        assert_eq!(
            face.send(Method::GET, path, &face.approver, None).await.0,
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test]
async fn no_endpoint_fails_on_it() {
    let mut statuses = Vec::new();
    for face in both().await {
        let pending = face.evaluate(call("delete", "production_db")).await["action_id"].clone();
        let of = |verb: &str| format!("/api/v1/actions/{pending}/{verb}");
        let mut action = json!({
            "agent_id": "agent", "agent_name": "An agent", "action_type": "database.delete",
            "resource": "db", "resource_id": "7", "action_details": { "tool_name": "t", "description": "d" },
            "context": { "session_id": "s", "ticket": "T", "metadata": { "a": "b" } },
            "risk_indicators": { "a": "b" }, "orchestration_session_id": "o", "model_id": "m",
            "metadata": { "a": "b" }, "mcp_server_name": "srv",
        });
        let requests = [
            ("/api/v1/actions/submit", &face.agent, action.clone()),
            (
                "/api/v1/mcp/actions/submit",
                &face.agent,
                json!({
                    "mcp_server": "srv", "namespace": "database", "verb": "delete", "resource": "db",
                    "parameters": { "a": "b" }, "environment": "e", "action_type": "x",
                }),
            ),
            ("/api/governance/policies/evaluate-realtime", &face.agent, {
                action["parameters"] = json!({ "a": "b" });
                action
            }),
            (
                "/api/registry/agents",
                &face.agent,
                json!({
                    "agent_id": "agent", "display_name": "A", "capabilities": ["a"], "metadata": { "a": "b" },
                }),
            ),
            (
                "/api/agents/health/heartbeat",
                &face.agent,
                json!({ "agent_id": "agent", "note": "n" }),
            ),
            (
                "/api/registry/mcp-servers",
                &face.approver,
                json!({
                    "server_name": "srv", "description": "d", "connection_config": { "a": "b" },
                }),
            ),
            ("/api/registry/mcp-servers/srv/deactivate", &face.approver, json!({ "reason": "r" })),
            (
                "/api/webhooks/configure",
                &face.agent,
                json!({
                    "url": "https://example.com/hook", "events": ["action.approved"], "agent_id": "agent",
                    "secret": "long enough",
                }),
            ),
            (&of("promise"), &face.agent, json!({ "holder": "h" })),
            (&of("withdraw"), &face.agent, json!({ "reason": "r" })),
            (
                "/api/v1/grants",
                &face.approver,
                json!({
                    "tool": "t", "resource": "db", "action": "database.delete", "agent": "a", "comment": "c",
                    "when": "true", "calls": 1,
                }),
            ),
            ("/api/v1/kill-switch", &face.approver, json!({ "reason": "r" })),
            ("/api/v1/login", &face.agent, json!({ "name": "n", "password": "p" })),
            ("/api/v1/tokens", &face.approver, json!({ "name": "n" })),
        ];
        let mut answers = Vec::new();
        for (path, token, body) in requests {
            let mut places = Vec::new();
            texts(&body, "", &mut places);
            assert!(!places.is_empty(), "{path}");
            for place in places {
                let mut body = body.clone();
                *body.pointer_mut(&place).unwrap() = "a\0b".into();
                let request = face.http.post(format!("{}{path}", face.url)).bearer_auth(token);
                let answer = request.json(&body).send().await.unwrap();
                let status = answer.status();
                assert!(!status.is_server_error(), "{path} {place}: {status}");
                answers.push((path.to_owned(), place, status));
            }
        }
        assert_eq!(face.center.kill_switch().await.unwrap(), None);
        statuses.push(answers);
    }
    assert_eq!(statuses[0], statuses[1], "both databases take the same");
    assert!(statuses[0].iter().any(|(.., status)| status.is_success()));
}
