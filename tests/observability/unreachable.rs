//! A collector that is not there, or takes nothing, neither fails nor delays.

use std::time::{Duration, Instant};

use ascend_tests::{client::program, raw_client::Process};
use serde_json::json;
use tokio::{net::TcpListener, process::Command};

/// The time in which nobody who waits grows suspicious. A request to a collector
/// that does not answer takes 10 s.
const SOON: Duration = Duration::from_secs(8);

async fn calls_and_ends(collector: &str) {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(program("08_mcp_server"));
    command
        .arg("--data")
        .arg(data.path())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "8")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "10")
        .env("NO_PROXY", "127.0.0.1");
    let mut process = Process::start(command);
    process.client.initialize().await;
    let began = Instant::now();
    for id in 0..50 {
        let sql = json!({ "sql": "SELECT count(*) FROM events" });
        let result = process.client.call(id, "query_analytics", sql).await;
        assert_ne!(result["isError"], true, "{result}");
    }
    assert!(began.elapsed() < SOON, "the calls took {:?}", began.elapsed());
    let began = Instant::now();
    process.client.close_input().await;
    let status = process.child.wait().await.unwrap();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < SOON, "the end took {:?}", began.elapsed());
}

#[tokio::test]
async fn nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    calls_and_ends(&format!("http://{free}")).await;
}

#[tokio::test]
async fn nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    calls_and_ends(&format!("http://{address}")).await;
    silent.abort();
}

#[tokio::test]
async fn a_protocol_that_is_not_spoken_is_said_at_the_start() {
    let output = Command::new(program("08_mcp_server"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("set it to `http/protobuf`"), "{text}");
}
