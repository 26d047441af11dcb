//! The server over Streamable HTTP.

#![allow(clippy::unwrap_used, reason = "tests")]

use ascend_sdk::{
    GovernedServer, Governor, Refusal, mcp_governance,
    server::{HttpServer, ServeError},
    tools,
};
use ascend_tests::{
    Scripted,
    fixture::{self, Script},
};
use reqwest::StatusCode;
use rmcp::{
    ServiceExt as _,
    model::{CallToolRequestParams, ClientConfig, Implementation},
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

async fn serve(script: &Script) -> HttpServer {
    fixture::server(script.clone()).serve_http(LOOPBACK).await.unwrap()
}

type Client = rmcp::service::RunningService<rmcp::RoleClient, ClientConfig>;

async fn connect(server: &HttpServer) -> Client {
    let info = ClientConfig::new(Default::default(), Implementation::new("rmcp", "3"));
    info.serve(StreamableHttpClientTransport::from_uri(server.url())).await.unwrap()
}

async fn call(client: &Client, name: &'static str, arguments: Value) -> Value {
    let Value::Object(arguments) = arguments else { panic!("an object") };
    let params = CallToolRequestParams::new(name).with_arguments(arguments);
    serde_json::to_value(client.call_tool(params).await.unwrap()).unwrap()
}

fn initialization() -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "raw", "version": "1" },
        },
    })
}

/// Asks to initialize, with headers that are not rmcp's.
async fn initialize(server: &HttpServer, path: &str, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = reqwest::Client::new()
        .post(format!("http://{}{path}", server.local_addr()))
        .header("accept", "application/json, text/event-stream")
        .json(&initialization());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn a_call_waits_for_its_approval_and_delays_no_other() {
    let script = Script::new(false);
    let server = serve(&script).await;
    let client = connect(&server).await;
    let other = connect(&server).await;
    let approving = async {
        let id = script.waiting(1).await.remove(0);
        let fast = call(&client, "echo", json!({ "text": "fast" })).await;
        assert_eq!(fast["structuredContent"]["text"], "fast");
        script.approve(&id);
    };
    let (result, ()) = tokio::join!(call(&client, "guarded", json!({ "text": "slow" })), approving);
    assert_eq!(result["structuredContent"]["text"], "slow");
    assert_eq!(result["_meta"]["governance"]["reviewed_by"], "mara@example.com");
    call(&other, "echo", json!({ "text": "other" })).await;

    let sessions: Vec<_> =
        script.actions().into_iter().map(|action| action.session_context).collect();
    assert_eq!(sessions[0].client_name.as_deref(), Some("rmcp"));
    assert_eq!(sessions[0].session_id, sessions[1].session_id);
    assert_ne!(sessions[0].session_id, sessions[2].session_id);
}

#[tokio::test]
async fn refusals_failures_and_panics_are_results() {
    let script = Script::new(false);
    let server = serve(&script).await;
    let client = connect(&server).await;
    let denied = call(&client, "echo", json!({ "text": "deny" })).await;
    assert_eq!(denied["_meta"]["governance"]["refusal"], "denied");
    let panicked = call(&client, "panics", json!({ "text": "x" })).await;
    assert!(panicked["content"][0]["text"].as_str().unwrap().contains("panicked"), "{panicked}");
    let invalid = call(&client, "echo", json!({ "text": 1 })).await;
    assert!(invalid["content"][0]["text"].as_str().unwrap().contains("`text`"), "{invalid}");
    let unknown = client.call_tool(CallToolRequestParams::new("nope")).await.unwrap_err();
    assert!(unknown.to_string().contains("Unknown tool: nope"), "{unknown}");
}

#[tokio::test]
async fn other_sites_are_refused() {
    let server = serve(&Script::new(false)).await;
    let port = server.local_addr().port();
    let own = format!("http://localhost:{port}");
    for (headers, status) in [
        (vec![], StatusCode::OK),
        (vec![("origin", own.as_str())], StatusCode::OK),
        (vec![("host", "localhost")], StatusCode::OK),
        (vec![("origin", "http://evil.example")], StatusCode::FORBIDDEN),
        (vec![("origin", "null")], StatusCode::FORBIDDEN),
        (vec![("origin", "http://localhost.evil.example")], StatusCode::FORBIDDEN),
        (vec![("host", "evil.example")], StatusCode::FORBIDDEN),
        (vec![("host", "evil.example"), ("origin", own.as_str())], StatusCode::FORBIDDEN),
    ] {
        assert_eq!(initialize(&server, "/mcp", &headers).await, status, "{headers:?}");
    }
    assert_eq!(initialize(&server, "/", &[]).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn other_machines_need_an_explicit_word() {
    let everywhere = ([0, 0, 0, 0], 0);
    let refused = fixture::server(Script::new(false)).serve_http(everywhere).await;
    let Err(ServeError::NotLoopback(address)) = refused else { panic!("{refused:?}") };
    assert!(address.ip().is_unspecified());
    let server = fixture::server(Script::new(false))
        .expose_to(["mcp.example.com"])
        .serve_http(everywhere)
        .await
        .unwrap();
    let port = server.local_addr().port();
    let ask = |host: &'static str| {
        let request = reqwest::Client::new().get(format!("http://127.0.0.1:{port}/mcp"));
        async move { request.header("host", host).send().await.unwrap().status() }
    };
    assert_eq!(ask("evil.example").await, StatusCode::FORBIDDEN);
    assert_ne!(ask("mcp.example.com").await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn shutting_down_withdraws_what_waits_and_answers_it() {
    let script = Script::new(false);
    let server = serve(&script).await;
    let client = connect(&server).await;
    let stopping = async {
        script.waiting(1).await;
        server.shutdown().await;
    };
    let (result, ()) = tokio::join!(call(&client, "guarded", json!({ "text": "x" })), stopping);
    assert_eq!(result["_meta"]["governance"]["refusal"], "cancelled");
    assert_eq!(script.reports(1).await, ["act-1 Withdrawn: the call was cancelled"]);
}

fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "modern", "version": "3" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// A call as a client of 2026-07-28 sends it, without a session.
async fn modern_call(server: &HttpServer, params: Value) -> reqwest::Response {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let request = reqwest::Client::new()
        .post(server.url())
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", params["name"].as_str().unwrap_or("echo"))
        .json(&body);
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_client_that_hangs_up_withdraws_its_call() {
    let script = Script::new(false);
    let server = serve(&script).await;
    let params = json!({ "name": "guarded", "arguments": { "text": "x" }, "_meta": modern_meta() });
    tokio::select! {
        response = modern_call(&server, params) => panic!("{response:?}"),
        _ = script.waiting(1) => {}
    }
    let reports = script.reports(1).await;
    assert!(reports[0].starts_with("act-1 Withdrawn"), "{reports:?}");
}

#[tokio::test]
async fn malformed_requests_are_answered() {
    let server = serve(&Script::new(false)).await;
    let meta = modern_meta();
    for (params, words) in [
        (json!({ "name": "echo", "arguments": "x", "_meta": meta }), "`arguments`"),
        (json!({ "_meta": meta }), "`name`"),
    ] {
        let answer = modern_call(&server, params).await.text().await.unwrap();
        assert!(answer.contains("-32602") && answer.contains(words), "{answer}");
    }
}

/// Adds a row.
#[mcp_governance(action_type = "database.insert", resource = "database://{region}")]
async fn insert(
    /// Which database.
    #[schemars(extend("x-mcp-header" = "Region"))]
    region: String,
) -> Result<String, Refusal> {
    Ok(region)
}

/// What stands before a server may decide by the headers of a call.
#[tokio::test]
async fn a_header_that_contradicts_an_argument_is_refused() {
    let authority = Scripted::allow();
    let server = GovernedServer::new("headers-001", Governor::new(authority.clone()))
        .tools(tools![insert])
        .serve_http(LOOPBACK)
        .await
        .unwrap();
    let body = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": { "name": "insert", "arguments": { "region": "eu" }, "_meta": modern_meta() },
    });
    for (region, status) in [
        (Some("us"), StatusCode::BAD_REQUEST),
        (None, StatusCode::BAD_REQUEST),
        (Some("eu"), StatusCode::OK),
    ] {
        assert!(authority.record().evaluated.is_empty(), "before {region:?}");
        let mut request = reqwest::Client::new()
            .post(server.url())
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "insert")
            .json(&body);
        if let Some(region) = region {
            request = request.header("mcp-param-region", region);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{region:?}");
    }
    assert_eq!(authority.record().evaluated.len(), 1);
}

#[tokio::test]
async fn a_method_that_the_protocol_has_no_more_is_not_found() {
    let server = serve(&Script::new(false)).await;
    for method in ["initialize", "ping"] {
        let response = reqwest::Client::new()
            .post(server.url())
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method)
            .json(&json!({
                "jsonrpc": "2.0", "id": 1, "method": method, "params": { "_meta": modern_meta() },
            }))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
    }
}

/// A field of a stream's next event that has a value there.
async fn next_field(stream: &mut reqwest::Response, name: &str) -> String {
    let mut text = String::new();
    loop {
        let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut values = whole.lines().filter_map(|line| line.strip_prefix(name));
        if let Some(value) = values.find(|value| !value.trim().is_empty()) {
            return value.trim().to_owned();
        }
    }
}

/// A client of a version with sessions, by hand.
struct InSession {
    http: reqwest::Client,
    url: String,
    id: String,
}

impl InSession {
    async fn open(server: &HttpServer) -> Self {
        let mut session =
            Self { http: reqwest::Client::new(), url: server.url(), id: String::new() };
        let opened = session.post(initialization()).await;
        session.id = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        session.post(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        session
    }

    async fn post(&self, body: Value) -> reqwest::Response {
        let mut request = self
            .http
            .post(&self.url)
            .header("accept", "application/json, text/event-stream")
            .json(&body);
        if !self.id.is_empty() {
            request = request.header("mcp-session-id", &self.id);
        }
        request.send().await.unwrap()
    }

    async fn call(&self, text: &str) -> reqwest::Response {
        let call = json!({ "name": "guarded", "arguments": { "text": text } });
        let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call });
        self.post(call).await
    }

    /// Comes back for the rest of a stream.
    async fn resume(&self, last_event_id: &str) -> reqwest::Response {
        let request = self
            .http
            .get(&self.url)
            .header("accept", "text/event-stream")
            .header("mcp-session-id", &self.id)
            .header("last-event-id", last_event_id);
        request.send().await.unwrap()
    }
}

/// Versions with sessions let a client come back for an answer, as one whose
/// network failed while a person was thinking does.
#[tokio::test]
async fn a_client_that_comes_back_gets_its_answer() {
    let script = Script::new(false);
    let server = serve(&script).await;
    let session = InSession::open(&server).await;
    let mut stream = session.call("late").await;
    let last_id = next_field(&mut stream, "id:").await;
    let id = script.waiting(1).await.remove(0);
    drop(stream);

    let mut resumed = session.resume(&last_id).await;
    assert_eq!(resumed.status(), StatusCode::OK);
    script.approve(&id);
    let answer = next_field(&mut resumed, "data:").await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["id"], 2, "{answer}");
    assert_eq!(answer["result"]["structuredContent"]["text"], "late", "{answer}");
}

#[tokio::test]
async fn a_session_that_is_deleted_takes_its_calls_along_and_no_others() {
    let script = Script::new(false);
    let server = serve(&script).await;
    let session = InSession::open(&server).await;
    let other = InSession::open(&server).await;
    let _stream = session.call("deleted").await;
    let _other_stream = other.call("kept").await;
    script.waiting(2).await;
    let deleting = session.http.delete(&session.url).header("mcp-session-id", &session.id);
    let asked = tokio::time::Instant::now();
    assert!(deleting.send().await.unwrap().status().is_success());
    let reports = script.reports(1).await;
    // rmcp itself would let them wait for 5 s more.
    assert!(asked.elapsed() < std::time::Duration::from_secs(4), "{:?}", asked.elapsed());
    let deleted = script.actions().iter().position(|it| it.parameters["text"] == "deleted");
    assert_eq!(
        reports,
        [format!("act-{} Withdrawn: the call was cancelled", deleted.unwrap() + 1)]
    );
    assert_eq!(script.waiting(1).await.len(), 1, "the other's waits on");
}

/// As of clients that die, or of a probe.
#[tokio::test]
async fn sessions_that_are_idle_for_longest_make_room_for_others() {
    let script = Script::new(false);
    let server = serve(&script).await;
    let waiting = InSession::open(&server).await;
    let mut stream = waiting.call("x").await;
    script.waiting(1).await;
    let idle = InSession::open(&server).await;
    let later = InSession::open(&server).await;
    let nobody = InSession { http: idle.http.clone(), url: server.url(), id: String::new() };
    for _ in 0..4_094 {
        assert_eq!(nobody.post(initialization()).await.status(), StatusCode::OK);
    }
    let ping = || json!({ "jsonrpc": "2.0", "id": 9, "method": "ping" });
    assert_eq!(idle.post(ping()).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(later.post(ping()).await.status(), StatusCode::OK);
    // One with a call that waits is not idle, however old.
    script.approve(&script.waiting(1).await[0]);
    let answer = next_field(&mut stream, "data: {").await;
    assert!(answer.contains("structuredContent"), "{answer}");
}

#[tokio::test]
async fn a_session_that_was_silent_for_a_day_takes_its_calls_along() {
    let script = Script::new(false);
    let days = std::time::Duration::from_secs(2 * 24 * 3600);
    let governor = Governor::builder(script.clone()).approval_timeout(days).build();
    let server = fixture::server_under(governor, script.clone())
        .hold_calls_for(None)
        .serve_http(LOOPBACK)
        .await
        .unwrap();
    let session = InSession::open(&server).await;
    let stream = session.call("x").await;
    script.waiting(1).await;
    // Its client is gone, and does not come back.
    drop(stream);
    tokio::time::pause();
    tokio::time::sleep(days / 2 - std::time::Duration::from_secs(60)).await;
    assert_eq!(script.waiting(1).await.len(), 1, "it may still come back");
    let reports = script.reports(1).await;
    assert_eq!(reports, ["act-1 Withdrawn: the call was cancelled"]);
}
