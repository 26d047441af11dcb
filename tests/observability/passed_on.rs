//! Where nothing is exported, a client's trace is passed on as it came.

use std::sync::{Arc, Mutex};

use ascend_center::{Center, CenterConfig, ServeConfig};
use ascend_sdk::{Governor, authority::Ascend};
use ascend_tests::{
    fixture::{self, Script},
    raw_client::RawClient,
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "rojo=00f067aa0ba902b7";

/// Passes requests on, and notes what they say of their trace.
#[derive(Clone)]
struct Between {
    center: String,
    http: reqwest::Client,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Debug, Clone)]
struct Seen {
    path: String,
    parent: Option<String>,
    state: Option<String>,
    has_baggage: bool,
}

async fn pass_on(
    State(between): State<Between>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, Bytes) {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    between.seen.lock().unwrap().push(Seen {
        path: uri.path().to_owned(),
        parent: header("traceparent"),
        state: header("tracestate"),
        has_baggage: headers.contains_key("baggage"),
    });
    let mut headers = headers;
    headers.remove("host");
    let request = between.http.request(method, format!("{}{uri}", between.center));
    let answer = request.headers(headers).body(body).send().await.unwrap();
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove("transfer-encoding");
    (status, headers, answer.bytes().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_for_a_call_names_its_trace() {
    let folder = tempfile::tempdir().unwrap();
    let center = Center::open(CenterConfig::new(folder.path())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = center.clone();
    tokio::spawn(async move {
        serving.serve(listener, ServeConfig::new(), std::future::pending()).await.unwrap();
    });
    let between = Between {
        center: format!("http://{address}"),
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        seen: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(pass_on).with_state(between.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let key: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("agent.key")).unwrap()).unwrap();
    let ascend = Ascend::builder(key["token"].as_str().unwrap().into()).base_url(url).build();
    let governor = Governor::new(ascend.unwrap());
    let server = fixture::server_under(governor.clone(), Script::new(false));
    let (mut client, serving) = RawClient::in_memory(server);
    client.initialize().await;
    let params = json!({
        "name": "guarded",
        "arguments": { "text": "x" },
        "_meta": { "traceparent": PARENT, "tracestate": STATE, "baggage": "user=alice" },
    });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    client.send(call).await;

    let changes = center.changes();
    let action = loop {
        let changed = changes.next();
        let pending = center.actions(Some(ascend_center::ActionState::Pending), 1).await.unwrap();
        match pending.first() {
            Some(record) => break record.clone(),
            None => changed.await,
        }
    };
    assert_eq!(action.traceparent.unwrap().to_string(), PARENT);
    let approver = center.local_approver().await.unwrap();
    center.approve(action.id, &approver, None).await.unwrap();
    let answer = client.answer(1).await;
    assert_eq!(answer["result"]["_meta"]["governance"]["status"], "approved", "{answer}");
    let shown = between.http.get(format!("{}/api/v1/actions/{}", between.center, action.id));
    let shown = shown.bearer_auth(key["token"].as_str().unwrap()).send().await.unwrap();
    let shown: Value = shown.json().await.unwrap();
    assert_eq!(shown["trace_id"], PARENT[3..35], "{shown}");
    assert_eq!(shown["traceparent"], PARENT);
    client.close_input().await;
    serving.await.unwrap().unwrap();

    let seen = between.seen.lock().unwrap().clone();
    for part in ["evaluate", "status", "claim", "complete"] {
        assert!(seen.iter().any(|seen| seen.path.ends_with(part)), "{part}: {seen:?}");
    }
    for seen in &seen {
        assert_eq!(seen.parent.as_deref(), Some(PARENT), "{seen:?}");
        assert!(!seen.has_baggage, "what the client says to those who work for it: {seen:?}");
    }
    assert_eq!(seen[0].state.as_deref(), Some(STATE));
}
