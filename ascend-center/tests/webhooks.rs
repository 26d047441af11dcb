//! Webhooks: what arrives, what is tried again, what is given up.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use ascend_center::ServeConfig;
use ascend_sdk::Authority as _;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use support::face::{Face, call};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

const SECRET: &str = "a shared secret";

#[derive(Debug)]
struct Message {
    headers: HeaderMap,
    body: Bytes,
}

impl Message {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn signature(&self, secret: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(self.headers["x-ascend-timestamp"].as_bytes());
        mac.update(b".");
        mac.update(&self.body);
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    }
}

/// Somebody's web server. It answers with the statuses given, then with 200.
struct Receiver {
    url: String,
    messages: mpsc::UnboundedReceiver<Message>,
    serving: JoinHandle<()>,
}

type Script = (mpsc::UnboundedSender<Message>, Arc<Mutex<VecDeque<u16>>>);

async fn receive(
    State((messages, statuses)): State<Script>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    messages.send(Message { headers, body }).unwrap();
    let status = statuses.lock().unwrap().pop_front().unwrap_or(200);
    (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")]).into_response()
}

impl Receiver {
    async fn on(address: &str, statuses: &[u16]) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, messages) = mpsc::unbounded_channel();
        let statuses = Arc::new(Mutex::new(statuses.iter().copied().collect()));
        let router = Router::new().fallback(receive).with_state((sender, statuses));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, messages, serving }
    }

    async fn next(&mut self) -> Message {
        let message = tokio::time::timeout(Duration::from_secs(30), self.messages.recv()).await;
        message.expect("a message arrives").unwrap()
    }
}

fn hook(url: &str) -> Value {
    json!({
        "url": url,
        "events": ["action.pending", "action.approved", "action.denied", "policy.violation"],
        "secret": SECRET,
        "agent_id": "agent-001",
    })
}

async fn configure(face: &Face, token: &str, body: Value) -> Value {
    let path = "/api/webhooks/configure";
    let (status, answer) = face.send(Method::POST, path, token, Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer
}

async fn deliveries(face: &Face, state: &str) -> Vec<Value> {
    let path = format!("/api/webhooks/deliveries?state={state}");
    let (_, mut answer) = face.send(Method::GET, &path, &face.agent, None).await;
    serde_json::from_value(answer["deliveries"].take()).unwrap()
}

#[tokio::test]
async fn what_happens_is_told_signed_and_to_whom_it_concerns() {
    let face = Face::new().await;
    let (mut own, mut all) =
        (Receiver::on("127.0.0.1:0", &[]).await, Receiver::on("127.0.0.1:0", &[]).await);
    let answer = configure(&face, &face.agent, hook(&own.url)).await;
    assert!(answer.get("secret").is_none(), "only what the center made is shown: {answer}");
    let mut of_all = hook(&all.url);
    of_all["agent_id"] = Value::Null;
    configure(&face, &face.approver, of_all).await;
    let mut another = Receiver::on("127.0.0.1:0", &[]).await;
    let mut of_another = hook(&another.url);
    of_another["agent_id"] = json!("another-server");
    configure(&face, &face.approver, of_another).await;

    // Another credential's.
    face.center.evaluate(&support::action("database", "drop", "x")).await.unwrap();
    let mut kinds =
        [all.next().await.json()["type"].clone(), all.next().await.json()["type"].clone()];
    kinds.sort_by_key(Value::to_string);
    assert_eq!(kinds, ["action.denied", "policy.violation"]);

    let id = face.evaluate(call("delete", "database://staging")).await["action_id"].clone();
    let told = own.next().await;
    assert_eq!(told.headers["x-ascend-signature"], *told.signature(SECRET));
    assert_eq!(told.headers["x-owkai-signature"], *told.signature(SECRET));
    assert_ne!(told.headers["x-ascend-signature"], *told.signature("another"));
    let sent: i64 = told.headers["x-ascend-timestamp"].to_str().unwrap().parse().unwrap();
    assert!((jiff::Timestamp::now().as_second() - sent).abs() < 300);
    assert_eq!(told.headers["x-ascend-event"], "action.pending");
    let pending = told.json();
    assert_eq!((&pending["type"], &pending["data"]["action_id"]), (&json!("action.pending"), &id));
    assert_eq!(pending["metadata"]["idempotency_key"], pending["id"]);
    assert!(!told.body.is_empty() && pending["data"].get("parameters").is_none());

    face.approver(&format!("/api/v1/actions/{id}/approve"), json!({ "comment": "fine" })).await;
    let approved = own.next().await.json();
    assert_eq!(approved["type"], "action.approved");
    assert_eq!(approved["data"]["approved_by"], "alice");
    assert_eq!(approved["data"]["comments"], "fine");
    assert_ne!(approved["id"], pending["id"]);
    assert!(own.messages.try_recv().is_err(), "nothing of other agents");
    let mut theirs = call("delete", "database://staging");
    theirs["server_id"] = json!("another-server");
    let id = face.evaluate(theirs).await["action_id"].clone();
    let first = another.next().await.json();
    assert_eq!((&first["type"], &first["data"]["action_id"]), (&json!("action.pending"), &id));
}

#[tokio::test]
async fn what_does_not_arrive_is_tried_again_until_it_is_given_up() {
    let face = Face::serving(ServeConfig::new().webhook_attempts(2)).await;
    let mut receiver = Receiver::on("127.0.0.1:0", &[500, 200, 302, 503]).await;
    configure(&face, &face.agent, hook(&receiver.url)).await;
    face.evaluate(call("delete", "x")).await;
    let (first, again) = (receiver.next().await, receiver.next().await);
    assert_eq!((first.json(), &first.body), (again.json(), &again.body), "the same message");
    support::until("it is delivered", async || deliveries(&face, "delivered").await.len() == 1)
        .await;
    assert_eq!(deliveries(&face, "delivered").await[0]["attempts"], 2);

    face.evaluate(call("delete", "y")).await;
    receiver.next().await;
    support::until("it is queued again", async || {
        deliveries(&face, "queued").await.iter().any(|queued| queued["problem"].is_string())
    })
    .await;
    let queued = &deliveries(&face, "queued").await[0];
    assert_eq!(queued["problem"], "it was answered 302: redirects are not followed");
    assert!(queued["due_at"].is_string());
    receiver.next().await;
    support::until("it is given up", async || !deliveries(&face, "dead").await.is_empty()).await;
    let dead = &deliveries(&face, "dead").await[0];
    assert_eq!((&dead["problem"], &dead["attempts"]), (&json!("it was answered 503"), &json!(2)));
    assert!(receiver.messages.try_recv().is_err(), "nothing was redirected");
}

#[tokio::test]
async fn what_is_queued_outlives_the_process() {
    let face = Face::new().await;
    let receiver = Receiver::on("127.0.0.1:0", &[]).await;
    configure(&face, &face.agent, hook(&receiver.url)).await;
    receiver.serving.abort();
    assert!(receiver.serving.await.unwrap_err().is_cancelled());
    let id = face.evaluate(call("delete", "x")).await["action_id"].clone();
    support::until("it was tried", async || {
        deliveries(&face, "queued").await.iter().any(|queued| queued["problem"].is_string())
    })
    .await;
    drop(face.stop);
    face.serving.await.unwrap();
    face.center.close().await;
    let address = receiver.url.strip_prefix("http://").unwrap().strip_suffix("/hook").unwrap();
    let mut receiver = Receiver::on(address, &[]).await;
    let face = Face::over(face.directory, ServeConfig::new()).await;
    assert_eq!(receiver.next().await.json()["data"]["action_id"], id);
    support::until("it is delivered", async || deliveries(&face, "delivered").await.len() == 1)
        .await;
}

#[tokio::test]
async fn a_webhook_is_checked_shown_changed_tried_and_removed() {
    let face = Face::new().await;
    let mut receiver = Receiver::on("127.0.0.1:0", &[202, 418]).await;
    let path = "/api/webhooks/configure";
    for (url, events, secret) in [
        ("http://hooks.example/", json!(["action.pending"]), SECRET),
        ("https://169.254.169.254/", json!(["action.pending"]), SECRET),
        ("https://hooks.example/", json!(["everything"]), SECRET),
        ("https://hooks.example/", json!([]), SECRET),
        ("https://hooks.example/", json!(["action.pending"]), "short"),
    ] {
        let body = json!({ "url": url, "events": events, "secret": secret });
        let (status, answer) = face.agent(path, body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{url}: {answer}");
        assert_eq!(answer["detail"].as_array().unwrap().len(), 1, "{answer}");
    }
    let mut body = hook(&receiver.url);
    body.as_object_mut().unwrap().remove("secret");
    let made = configure(&face, &face.agent, body).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() > 60);
    let path = format!("/api/webhooks/{}", made["webhook_id"].as_str().unwrap());

    let tried = async || {
        let path = format!("{path}/test");
        face.send(Method::POST, &path, &face.agent, None).await.1
    };
    let first = tried().await;
    assert_eq!((&first["success"], &first["status_code"]), (&json!(true), &json!(202)));
    let message = receiver.next().await;
    assert_eq!(message.headers["x-ascend-signature"], *message.signature(secret));
    assert_eq!(message.json()["type"], "webhook.test");
    let second = tried().await;
    assert_eq!((&second["success"], &second["status_code"]), (&json!(false), &json!(418)));

    let change = json!({ "events": ["action.denied"], "secret": SECRET });
    let (status, changed) = face.send(Method::PUT, &path, &face.agent, Some(change)).await;
    assert_eq!((status, &changed["events"]), (StatusCode::OK, &json!(["action.denied"])));
    let (_, list) = face.send(Method::GET, "/api/webhooks", &face.agent, None).await;
    assert_eq!((&list["total"], list["webhooks"][0].get("secret")), (&json!(1), None));
    receiver.next().await;
    face.evaluate(call("delete", "x")).await;
    face.evaluate(call("drop", "x")).await;
    let denied = receiver.next().await;
    assert_eq!(denied.json()["type"], "action.denied", "not the pending one");
    assert_eq!(denied.headers["x-ascend-signature"], *denied.signature(SECRET));

    let seen = async |token: &str| face.send(Method::DELETE, &path, token, None).await.0;
    assert_eq!(seen(&face.agent).await, StatusCode::OK);
    assert_eq!(seen(&face.agent).await, StatusCode::NOT_FOUND);
    let (_, list) = face.send(Method::GET, "/api/webhooks", &face.approver, None).await;
    assert_eq!(list, json!({ "total": 0, "webhooks": [] }));
}
