//! The database server goes away, and comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ascend_center::{ActionState, VerifyAudit};
use serde_json::{Value, json};

use crate::support::{
    self, digest, open,
    postgres::Server,
    served::{Served, token},
};

/// How often the server is restarted while calls go on.
const RESTARTS: usize = 5;
const CLIENTS: usize = 4;

#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: String,
    agent: String,
}

impl Client {
    async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.agent);
        request.json(body).send().await.unwrap()
    }

    async fn read(&self, key: &str) -> reqwest::Response {
        let body = json!({
            "server_id": "srv", "namespace": "database", "verb": "read", "resource": "x",
            "digest": digest(1), "idempotency_key": key,
        });
        self.post("/mcp/governance/evaluate", &body).await
    }

    /// Asks and claims until it is over; what was granted.
    async fn work(
        self,
        name: usize,
        is_over: Arc<AtomicBool>,
        count: Arc<AtomicUsize>,
    ) -> (Vec<i64>, usize) {
        let (mut granted, mut outages) = (Vec::new(), 0);
        for index in 0.. {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let answer = self.read(&format!("{name}-{index}")).await;
            if answer.status() != 200 {
                assert_eq!(answer.status(), 503);
                assert!(answer.headers().contains_key("retry-after"));
                outages += 1;
                continue;
            }
            let answer: Value = answer.json().await.unwrap();
            let id = answer["action_id"].as_i64().unwrap();
            let path = format!("/api/v1/actions/{id}/claim");
            let answer = self.post(&path, &json!({ "digest": digest(1) })).await;
            if answer.status() != 200 {
                assert_eq!(answer.status(), 503);
                outages += 1;
                continue;
            }
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(answer["granted"], true, "{answer}");
            granted.push(id);
            count.fetch_add(1, Ordering::Relaxed);
        }
        (granted, outages)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_stands_when_the_database_server_crashes() {
    let directory = tempfile::tempdir().unwrap();
    let database = Arc::new(Server::start());
    database.choose(directory.path());
    let mut served = Served::start(directory.path());
    let client = Client {
        http: reqwest::Client::new(),
        url: served.url.clone(),
        agent: token(directory.path(), "agent.key"),
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let working: Vec<_> = (0..CLIENTS)
        .map(|name| tokio::spawn(client.clone().work(name, is_over.clone(), count.clone())))
        .collect();
    for _ in 0..RESTARTS {
        let before = count.load(Ordering::Relaxed);
        support::until("calls go on", || async {
            count.load(Ordering::Relaxed) > before + 2 * CLIENTS
        })
        .await;
        let database = database.clone();
        tokio::task::spawn_blocking(move || database.restart()).await.unwrap();
    }

    // While it is away, nothing is allowed, and it is said.
    database.stop();
    let health = async || client.http.get(format!("{}/health", client.url)).send().await.unwrap();
    for answer in [client.read("away").await, health().await] {
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
    }
    database.go_on();
    support::until("it answers again", || async { client.read("back").await.status() == 200 })
        .await;
    assert_eq!(health().await.status(), 200);

    is_over.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    let mut outages = 0;
    for working in working {
        let (granted, seen) =
            tokio::time::timeout(Duration::from_secs(60), working).await.unwrap().unwrap();
        all.extend(granted);
        outages += seen;
    }
    println!("{} claims granted; {outages} requests met an outage", all.len());
    assert!(all.len() > RESTARTS * CLIENTS, "too little was done to prove anything");
    served.kill();
    let center = open(directory.path()).await;
    center.verify_audit(&VerifyAudit::new()).await.unwrap();
    let granted = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), granted, "an action was granted twice");
    for id in all {
        assert_eq!(support::state(&center, id).await, ActionState::Executing);
    }
    center.close().await;
}
