//! What the tests share.
#![allow(clippy::unwrap_used, dead_code, reason = "tests; not each uses all")]

pub(crate) mod contract;
pub(crate) mod database;
pub(crate) mod face;
pub(crate) mod guide;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod served;

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use ascend_center::{ActionState, Center, CenterConfig};
use ascend_sdk::{Action, ActionId, Digest};
use serde_json::{Value, json};

pub(crate) async fn open(directory: &Path) -> Center {
    Center::open(config(directory)).await.unwrap()
}

/// Over the database that the test chose.
pub(crate) fn config(directory: &Path) -> CenterConfig {
    let config = CenterConfig::new(directory).approver("alice");
    #[cfg(feature = "postgres")]
    let config = postgres::of(directory).into_iter().fold(config, CenterConfig::database);
    config
}

pub(crate) fn digest(byte: u8) -> Digest {
    hex::encode([byte; 32]).parse().unwrap()
}

static KEYS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn action_json(namespace: &str, verb: &str, resource: &str) -> Value {
    let key = format!("key-{}-{}", std::process::id(), KEYS.fetch_add(1, Ordering::Relaxed));
    json!({
        "server_id": "mcp-server-001",
        "tool": "tool",
        "description": "A tool.",
        "namespace": namespace,
        "verb": verb,
        "resource": resource,
        "parameters": { "table": "users" },
        "summary": "Work on `users`",
        "floor": { "require_human_approval": false },
        "facts": {},
        "metadata": {},
        "user_context": {},
        "session_context": { "session_id": "session-1" },
        "digest": digest(1),
        "idempotency_key": key,
        "approval_timeout": { "secs": 300, "nanos": 0 },
    })
}

pub(crate) fn action(namespace: &str, verb: &str, resource: &str) -> Action {
    serde_json::from_value(action_json(namespace, verb, resource)).unwrap()
}

pub(crate) fn delete() -> Action {
    action("database", "delete", "production_db")
}

pub(crate) fn number(id: &ActionId) -> i64 {
    id.as_str().parse().unwrap()
}

/// Asks again until it is true.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn state(center: &Center, id: i64) -> ActionState {
    center.action(id).await.unwrap().unwrap().state
}
