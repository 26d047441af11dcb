use std::{
    process::{Command, ExitStatus},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ascend_center::{ServeConfig, VerifyAudit};
use ascend_sdk::Authority as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::support::{
    delete, digest, number, open,
    served::{Served, token},
    until,
};

fn signal(served: &Served) {
    let pid = served.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

async fn exit(mut served: Served) -> ExitStatus {
    tokio::task::spawn_blocking(move || served.child.wait().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_nothing_that_was_answered_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path());
    let (url, agent) = (served.url.clone(), token(directory.path(), "agent.key"));
    let answered = Arc::new(AtomicUsize::new(0));
    let decided: Arc<Mutex<Vec<(i64, bool)>>> = Arc::default();
    let mut workers = Vec::new();
    for worker in 0..8 {
        let (url, agent) = (url.clone(), agent.clone());
        let (answered, decided) = (answered.clone(), decided.clone());
        workers.push(tokio::spawn(async move {
            let http = reqwest::Client::new();
            for round in 0.. {
                let body = json!({
                    "server_id": "srv", "namespace": "database", "verb": "read",
                    "resource": format!("{worker}-{round}"), "digest": digest(1),
                });
                let request = http.post(format!("{url}/mcp/governance/evaluate")).json(&body);
                // Who is not connected any more was not accepted.
                let Ok(answer) = request.bearer_auth(&agent).send().await else { return };
                assert_eq!(answer.status(), 200);
                let Ok(answer) = answer.json::<Value>().await else { panic!("half an answer") };
                let id = answer["action_id"].as_i64().unwrap();
                decided.lock().unwrap().push((id, false));
                answered.fetch_add(1, Ordering::Relaxed);
                let claim = http.post(format!("{url}/api/v1/actions/{id}/claim"));
                let claim = claim.bearer_auth(&agent).json(&json!({ "digest": digest(1) }));
                let Ok(answer) = claim.send().await else { return };
                assert_eq!(answer.status(), 200);
                let answer: Value = answer.json().await.unwrap();
                assert_eq!(answer["granted"], true);
                decided.lock().unwrap().push((id, true));
            }
        }));
    }
    // A question that is held, of an action that nobody decides.
    let http = reqwest::Client::new();
    let body = json!({
        "server_id": "srv", "namespace": "database", "verb": "delete", "resource": "x",
    });
    let request = http.post(format!("{url}/mcp/governance/evaluate")).json(&body);
    let pending: Value = request.bearer_auth(&agent).send().await.unwrap().json().await.unwrap();
    let id = pending["action_id"].as_i64().unwrap();
    let held = tokio::spawn({
        let request = http.get(format!("{url}/api/v1/actions/{id}/status?wait=30"));
        request.bearer_auth(&agent).send()
    });
    until("there is load", async || answered.load(Ordering::Relaxed) > 100).await;

    let stopped = Instant::now();
    signal(&served);
    let status = exit(served).await;
    assert!(status.success(), "{status}");
    assert!(stopped.elapsed() < Duration::from_secs(15), "{:?}", stopped.elapsed());
    let held = held.await.unwrap().unwrap();
    assert_eq!(held.status(), 200, "told what is known, at once");
    assert_eq!(held.json::<Value>().await.unwrap()["status"], "pending");
    for worker in workers {
        worker.await.unwrap();
    }

    let center = open(directory.path()).await;
    let decided = decided.lock().unwrap().clone();
    println!("{} answers before the end", decided.len());
    for (id, claimed) in decided {
        let record = center.action(id).await.unwrap().unwrap();
        assert!(!claimed || record.state.as_str() == "executing", "{record:?}");
    }
    let report = center.verify_audit(&VerifyAudit::new()).await.unwrap();
    assert_eq!(report.signed, report.to, "the end of the log is signed");
}

/// Reads an answer's head and body.
async fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_stopping_center_is_not_healthy_and_stops_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let center = center.clone();
        let config = ServeConfig::new().shutdown_timeout(Duration::from_millis(1500));
        async move { center.serve(listener, config, async { drop(stopped.await) }).await }
    });
    // Accepted before the end, and asked after it.
    let (mut late, mut never) =
        (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    let first = format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    never.write_all(b"GET /hea").await.unwrap();
    let mut early = TcpStream::connect(address).await.unwrap();
    early.write_all(first.as_bytes()).await.unwrap();
    assert!(read(&mut early).await.starts_with("HTTP/1.1 200"));
    late.write_all(&first.as_bytes()[..10]).await.unwrap();
    let id = number(&center.evaluate(&delete()).await.unwrap().action_id);
    stop.send(()).unwrap();
    until("no connection is taken", async || TcpStream::connect(address).await.is_err()).await;
    late.write_all(&first.as_bytes()[10..]).await.unwrap();
    let told = read(&mut late).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("retry-after: 1"), "{told}");
    // One never ends its request: the time is over for it.
    serving.await.unwrap().unwrap();
    assert_eq!(crate::support::state(&center, id).await.as_str(), "pending");
    drop(never);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path());
    let address = served.url.strip_prefix("http://").unwrap().to_owned();
    // Holds the first stop up.
    let mut slow = TcpStream::connect(&address).await.unwrap();
    slow.write_all(b"GET /hea").await.unwrap();
    let mut probe = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    probe.write_all(request.as_bytes()).await.unwrap();
    assert!(read(&mut probe).await.starts_with("HTTP/1.1 200"));
    signal(&served);
    until("it stops", async || TcpStream::connect(&address).await.is_err()).await;
    let again = Instant::now();
    signal(&served);
    let status = exit(served).await;
    assert_eq!(status.code(), Some(1));
    assert!(again.elapsed() < Duration::from_secs(10), "not after the timeout of 20 seconds");
}
