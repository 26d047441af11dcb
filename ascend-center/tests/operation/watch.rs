use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use ascend_center::Role;
use axum::{Json, Router, http::StatusCode, response::IntoResponse as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    command,
    support::{
        open,
        served::{Served, token},
    },
};

/// Lines of a process, as they come.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(mut command: std::process::Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines() {
                if send.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_shows_all_that_happens_here_and_from_afar() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let owner = center.local_approver().await.unwrap();
    center.create_user(&owner, "vera", Role::Viewer, None).await.unwrap();
    let day = Duration::from_secs(24 * 3600);
    let vera = center.create_token(&owner, "vera", "cli", day).await.unwrap();
    let served = Served::start(directory.path());

    // From the first entry on, so that nothing depends on when they connect.
    let mut here = command(&["watch", "--after", "0", "--directory"]);
    here.arg(directory.path());
    let mut there = command(&["watch", "--after", "0", "--json", "--url", &served.url]);
    there.env("ASCEND_CENTER_TOKEN", vera.token.expose_secret());
    let (here, there) = (Watching::start(here), Watching::start(there));

    let agent = token(directory.path(), "agent.key");
    let body = json!({
        "server_id": "srv", "namespace": "database", "verb": "delete",
        "resource": "orders\u{1b}[2J", "approval_timeout_seconds": 2,
    });
    let request = reqwest::Client::new().post(format!("{}/mcp/governance/evaluate", served.url));
    let answer: Value =
        request.bearer_auth(agent).json(&body).send().await.unwrap().json().await.unwrap();
    let id = answer["action_id"].as_i64().unwrap();
    center.kill("an incident", &owner).await.unwrap();

    let expected = [
        format!("action {id} waits for a person: database.delete on orders\\u{{1b}}[2J, asked by"),
        "the kill switch is raised by alice: an incident".to_owned(),
        format!("action {id} expired"),
    ];
    for expected in expected {
        while !here.line().contains(&expected) {}
    }
    let mut kinds = ["evaluated", "killed", "expired"].into_iter();
    let mut next = kinds.next();
    let mut seen = 0;
    while let Some(kind) = next {
        let entry: Value = serde_json::from_str(&there.line()).unwrap();
        let seq = entry["seq"].as_i64().unwrap();
        assert_eq!(seq, seen + 1, "each once, in order");
        seen = seq;
        if entry["kind"] == kind {
            next = kinds.next();
        }
    }
}

/// A center behind something that answers for it while it is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_goes_on_after_an_outage() {
    let answers = Arc::new(AtomicUsize::new(0));
    let app = Router::new().fallback(move || {
        let answer = answers.fetch_add(1, Ordering::SeqCst);
        async move {
            match answer {
                1 => (StatusCode::BAD_GATEWAY, "<html>502</html>").into_response(),
                2 => {
                    let body = json!({ "detail": "the database is away" });
                    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
                }
                3 => (StatusCode::TOO_MANY_REQUESTS, Json(json!({}))).into_response(),
                seq => {
                    let entry = json!({
                        "seq": seq, "at": "2026-01-01T00:00:00.000Z", "kind": "killed",
                        "actor": { "role": "approver", "name": "alice" },
                    });
                    let event = format!("id: {seq}\ndata: {entry}\n\n");
                    ([("content-type", "text/event-stream")], event).into_response()
                }
            }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let mut watch = command(&["watch", "--after", "0", "--json", "--url", &url]);
    watch.env("ASCEND_CENTER_TOKEN", "ascend_user_x");
    let watching = Watching::start(watch);
    for seq in [0, 4] {
        let entry: Value = serde_json::from_str(&watching.line()).unwrap();
        assert_eq!(entry["seq"], seq);
    }
}
