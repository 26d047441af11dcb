//! Webhook deliveries over real HTTP, which wake those who wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ascend_sdk::{
    ActionId, Authority as _, Review,
    authority::{Delivery, Webhook},
};
use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    center::{Center, Reply},
    tool::{quick, until},
};

const SECRET: &str = "whsec_0123456789";

/// The user's own server: its URL, and what each delivery came to.
async fn receiver(webhook: Webhook) -> (String, mpsc::UnboundedReceiver<Delivery>) {
    let (sender, deliveries) = mpsc::unbounded_channel();
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        match webhook.receive(headers.iter(), &body) {
            Ok(delivery) => {
                sender.send(delivery).unwrap();
                StatusCode::NO_CONTENT
            }
            Err(error) => StatusCode::from_u16(error.http_status()).unwrap(),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/ascend", listener.local_addr().unwrap());
    let app = Router::new().route("/ascend", post(handler));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, deliveries)
}

fn event(id: &str, action: u64) -> Value {
    json!({
        "id": id,
        "type": "action.approved",
        "organization_id": 4,
        "data": { "action_id": action, "agent_id": "agent-7", "approved_by": "ada" },
    })
}

fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let digits: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

async fn deliver(url: &str, secret: &str, event: &Value) -> u16 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let (timestamp, body) = (now.as_secs().to_string(), event.to_string());
    let request = reqwest::Client::new()
        .post(url)
        .header("X-OWkai-Signature", signature(secret, &timestamp, &body))
        .header("X-OWkai-Timestamp", timestamp)
        .body(body);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_delivery_wakes_the_call_that_waits_for_its_action_and_no_other() {
    let decided = Arc::new(AtomicBool::new(false));
    let is_decided = decided.clone();
    let center = Center::start(move |seen, _| match &*seen.path {
        "/api/v1/actions/status" => Reply::status(404, json!({})),
        "/api/v1/actions/7/status" if is_decided.load(Ordering::SeqCst) => {
            Reply::json(json!({"status": "approved", "reviewed_by": "ada"}))
        }
        _ => Reply::json(json!({"status": "pending"})),
    })
    .await;
    // The next question would come after half a minute at the earliest.
    let slow = quick(&center.url).polling(Duration::from_secs(60), Duration::from_secs(60));
    let ascend = Arc::new(slow.build().unwrap());
    let (url, mut deliveries) = receiver(ascend.webhook(SECRET.into()).unwrap()).await;
    let wait = |number: &'static str| {
        let ascend = ascend.clone();
        tokio::spawn(async move { ascend.await_review(&ActionId::new(number).unwrap()).await })
    };
    let (seven, eight) = (wait("7"), wait("8"));
    let asked = |number: u64| center.count(&format!("/actions/{number}/status"));
    until("both were asked for", || (asked(7), asked(8)) == (1, 1)).await;

    // Before it is decided, a delivery costs one question, and it waits on.
    assert_eq!(deliver(&url, SECRET, &event("evt_1", 7)).await, 204);
    assert_eq!(deliveries.recv().await, Some(Delivery::Woke));
    until("it is asked for again", || asked(7) == 2).await;

    // Sent again, by another, of another action, of none: nobody is woken.
    assert_eq!(deliver(&url, SECRET, &event("evt_1", 7)).await, 204);
    assert_eq!(deliveries.recv().await, Some(Delivery::Repeated));
    assert_eq!(deliver(&url, "whsec_forged", &event("evt_2", 7)).await, 401);
    assert_eq!(deliver(&url, SECRET, &event("evt_3", 99)).await, 204);
    assert_eq!(deliveries.recv().await, Some(Delivery::NobodyWaits));
    assert_eq!(
        deliver(&url, SECRET, &json!({"id": "evt_4", "type": "policy.violation"})).await,
        204
    );
    assert_eq!(deliveries.recv().await, Some(Delivery::NobodyWaits));

    // What it says is not believed: the status is read back.
    decided.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let mut rejected = event("evt_5", 7);
    rejected["type"] = json!("action.denied");
    assert_eq!(deliver(&url, SECRET, &rejected).await, 204);
    assert_eq!(deliveries.recv().await, Some(Delivery::Woke));
    let review = tokio::time::timeout(Duration::from_secs(20), seven).await.unwrap();
    let Review::Approved(approval) = review.unwrap().unwrap() else { panic!("approved") };
    assert_eq!(approval.reviewed_by.as_deref(), Some("ada"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!((asked(7), asked(8)), (3, 1));
    assert!(!eight.is_finished());
    eight.abort();
}
