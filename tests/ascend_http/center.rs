//! A server that speaks HTTP well and says what a script tells it to.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, StatusCode, Uri, response::Parts},
    response::Response,
    serve::ListenerExt as _,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

/// One request, as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn is_evaluation(&self) -> bool {
        self.path.ends_with("/evaluate")
    }

    pub fn is_status(&self) -> bool {
        self.path.ends_with("/status")
    }
}

/// What to answer.
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    hold: Option<Arc<Notify>>,
    delay: Duration,
}

impl Reply {
    pub fn json(body: Value) -> Self {
        Self::status(200, body)
    }

    pub fn status(status: u16, body: Value) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_string(),
            hold: None,
            delay: Duration::ZERO,
        }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    /// Answers once notified.
    pub fn held_by(mut self, notify: &Arc<Notify>) -> Self {
        self.hold = Some(notify.clone());
        self
    }

    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Script = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

pub struct Center {
    pub url: String,
    /// How many connections were opened, and the most requests at once.
    pub connections: Arc<AtomicUsize>,
    pub most: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

impl Center {
    /// Answers by `script`, which gets the request and how many came to its
    /// path before it.
    pub async fn start(script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let counts = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
        let log = seen.clone();
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let peak = most.clone();
        let app = Router::new().fallback(
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let (script, log, counts) = (script.clone(), log.clone(), counts.clone());
                let (open, most) = (open.clone(), peak.clone());
                async move {
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let path = uri.path().to_owned();
                    let nth = {
                        let mut counts = counts.lock().unwrap();
                        let count = counts.entry(path.clone()).or_default();
                        *count += 1;
                        *count - 1
                    };
                    let query = uri.query().map(str::to_owned);
                    let seen = Seen { method, path, query, headers, body, at: Instant::now() };
                    log.lock().unwrap().push(seen.clone());
                    let reply = script(&seen, nth);
                    tokio::time::sleep(reply.delay).await;
                    if let Some(notify) = reply.hold {
                        notify.notified().await;
                    }
                    let (mut parts, ()): (Parts, ()) = Response::new(()).into_parts();
                    open.fetch_sub(1, Ordering::SeqCst);
                    parts.status = reply.status;
                    parts.headers = reply.headers;
                    Response::from_parts(parts, Body::from(reply.body))
                }
            },
        );
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = connections.clone();
        let listener = listener.tap_io(move |_| {
            opened.fetch_add(1, Ordering::SeqCst);
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, connections, most, seen, server }
    }

    /// One that gives `evaluation` to every evaluation, the `statuses` one
    /// after another (the last one again and again), and takes every report.
    pub async fn scripted(
        evaluation: Value,
        statuses: impl IntoIterator<Item = (u16, Value)>,
    ) -> Self {
        let statuses: Vec<_> = statuses.into_iter().collect();
        Self::start(move |seen, nth| {
            if seen.is_evaluation() {
                Reply::json(evaluation.clone())
            } else if seen.is_status() {
                let (status, body) = &statuses[nth.min(statuses.len() - 1)];
                Reply::status(*status, body.clone())
            } else {
                Reply::json(json!({"success": true}))
            }
        })
        .await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn seen_at(&self, end_of_path: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.ends_with(end_of_path)).collect()
    }

    pub fn count(&self, end_of_path: &str) -> usize {
        self.seen_at(end_of_path).len()
    }
}

impl Drop for Center {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub fn allow() -> Value {
    json!({"decision": "ALLOW", "action_id": 123, "risk_score": 20, "risk_level": "LOW"})
}

pub fn pending() -> Value {
    json!({
        "decision": "REQUIRE_APPROVAL", "action_id": 123, "risk_score": 75,
        "risk_level": "HIGH", "reason": "deletes", "estimated_approval_time": 15,
    })
}
