//! The official clients, and every protocol version, at calls that wait for a
//! person: over stdio and over Streamable HTTP.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{path::Path, time::Duration};

use ascend_center::{ActionState, Record};
use ascend_sdk::{Governor, server::HttpServer};
use ascend_tests::{
    client::{Client, Server, Session, call, call_aside, cancelled_on_progress, with_progress},
    fixture::{self, Script},
    host::Host,
    raw_client::RawClient,
};
use futures_util::future::{BoxFuture, join_all};
use serde_json::{Value, json};

const ALL: [Client; 4] =
    [Client::Python1, Client::Python2, Client::TypeScript1, Client::TypeScript2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Stdio,
    Http,
}

/// A center, and a server under it.
struct Scene {
    host: Host,
    http: Option<HttpServer>,
}

impl Scene {
    async fn new(over: Over) -> Self {
        let host = Host::new().await;
        let http = match over {
            Over::Stdio => None,
            Over::Http => {
                let governor = Governor::new(host.center.clone());
                let server = fixture::server_under(governor, Script::new(false));
                Some(server.serve_http(([127, 0, 0, 1], 0)).await.unwrap())
            }
        };
        Self { host, http }
    }

    fn server(&self) -> Server {
        match &self.http {
            Some(http) => Server::listening(&http.url()),
            None => Server::at(Path::new(env!("CARGO_BIN_EXE_governed_fixture")))
                .env("CENTER", &self.host.directory().display().to_string()),
        }
    }

    /// The one action that waits.
    async fn pending(&self) -> Record {
        self.host.pending(1).await.remove(0)
    }
}

/// Skips what a client says before its first call.
async fn opened(client: Client, server: &Server, calls: &[Value]) -> Session {
    let mut session = client.start(server, calls);
    let opened = session.next().await;
    assert!(opened.get("protocol").is_some(), "{opened}");
    let listed = session.next().await;
    assert!(listed.get("tools").is_some(), "{listed}");
    session
}

fn governance(result: &Value) -> &Value {
    &result["_meta"]["governance"]
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

fn guarded(text: &str) -> Value {
    call("guarded_plain", json!({ "text": text }))
}

/// Longer than the 60 s after which the TypeScript clients give up.
const LONG: Duration = Duration::from_secs(70);

/// The call is held for as long as the approval takes.
async fn held(client: Client, over: Over, named: Option<&str>, call: Value) {
    let scene = Scene::new(over).await;
    let server = named.into_iter().fold(scene.server(), Server::named);
    let hears = call.get("progress").is_some();
    let mut session = opened(client, &server, &[call]).await;
    let id = scene.pending().await.id.to_string();
    // The wait itself is what is tested.
    tokio::time::sleep(LONG).await;
    scene.host.decide(&id, true).await;
    let mut told = 0;
    let result = loop {
        let seen = session.next().await;
        assert!(seen.get("error").is_none(), "{client:?} {over:?}: {seen}");
        match seen.get("progress") {
            Some(_) => {
                let message = seen["message"].as_str().unwrap();
                assert!(message.contains(&format!("approval of action {id}")), "{seen}");
                told += 1;
            }
            None => break seen["result"].clone(),
        }
    };
    // At once, then every 15 s.
    assert_eq!(told, if hears { 5 } else { 0 }, "{client:?} {over:?}");
    assert_eq!(text(&result), "x", "{client:?} {over:?}");
    assert_eq!(governance(&result)["action_id"], *id);
    session.finished().await;
    scene.host.until(&id, ActionState::Completed).await;
}

/// The client would give up: it is told in time, and calls again.
async fn called_again(client: Client, over: Over) {
    let scene = Scene::new(over).await;
    let mut session = opened(client, &scene.server(), &[guarded("x"), guarded("x")]).await;
    let id = scene.pending().await.id.to_string();
    let pending = session.result(0).await;
    assert_eq!(governance(&pending)["status"], "pending", "{client:?} {over:?}: {pending}");
    assert_eq!(governance(&pending)["action_id"], *id);
    assert_ne!(pending["isError"], true);
    tokio::time::sleep(LONG - Duration::from_secs(50)).await;
    scene.host.decide(&id, true).await;
    let result = session.result(1).await;
    assert_eq!(text(&result), "x", "{client:?} {over:?}: {result}");
    assert_eq!(governance(&result)["action_id"], *id);
    session.finished().await;
    let all = scene.host.center.actions(None, 100).await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
}

/// All at once, since it takes more than a minute.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_takes_longer_than_clients_wait() {
    let mut scenes: Vec<BoxFuture<'static, ()>> = Vec::new();
    for over in [Over::Stdio, Over::Http] {
        for client in [Client::Python1, Client::Python2] {
            scenes.push(Box::pin(held(client, over, None, guarded("x"))));
            scenes.push(Box::pin(held(client, over, None, with_progress(guarded("x")))));
        }
        for client in [Client::TypeScript1, Client::TypeScript2] {
            let heard = with_progress(guarded("x"));
            scenes.push(Box::pin(held(client, over, Some("opencode"), heard)));
            scenes.push(Box::pin(called_again(client, over)));
        }
    }
    join_all(scenes.into_iter().map(tokio::spawn)).await.into_iter().for_each(Result::unwrap);
}

/// The id of the action that a report of progress says is waited for.
fn told_of(seen: &Value) -> String {
    let message = seen["message"].as_str().unwrap_or_else(|| panic!("progress: {seen}"));
    let id = message.split("action ").nth(1).and_then(|rest| rest.split(':').next());
    id.unwrap_or_else(|| panic!("it names the action: {seen}")).to_owned()
}

async fn cancelled(client: Client, over: Over) {
    let scene = Scene::new(over).await;
    let calls = [cancelled_on_progress(guarded("x"), 1), call("runs", json!({}))];
    let mut session = opened(client, &scene.server(), &calls).await;
    let id = told_of(&session.next().await);
    let gone = session.next().await;
    assert_eq!(gone["cancelled"], true, "{client:?} {over:?}: {gone}");
    scene.host.until(&id, ActionState::Withdrawn).await;
    let approver = scene.host.center.local_approver().await.unwrap();
    let late = scene.host.center.approve(id.parse().unwrap(), &approver, None).await;
    assert!(late.is_err(), "a late approval starts nothing");
    let runs = session.result(1).await;
    assert_eq!(text(&runs), "0", "{runs}");
    session.finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_is_withdrawn() {
    let mut scenes = Vec::new();
    for over in [Over::Stdio, Over::Http] {
        for client in [Client::Python2, Client::TypeScript1, Client::TypeScript2] {
            scenes.push(tokio::spawn(cancelled(client, over)));
        }
    }
    // Python 1 leaves without a word, and its input ends with it.
    scenes.push(tokio::spawn(async {
        let scene = Scene::new(Over::Stdio).await;
        let calls = [cancelled_on_progress(guarded("x"), 1)];
        let mut session = opened(Client::Python1, &scene.server(), &calls).await;
        let id = told_of(&session.next().await);
        assert_eq!(session.next().await["cancelled"], true);
        drop(session);
        scene.host.until(&id, ActionState::Withdrawn).await;
    }));
    join_all(scenes).await.into_iter().for_each(Result::unwrap);
}

/// Five calls wait; one that does not is not delayed, and each gets its own answer.
async fn parallel(client: Client, over: Over) {
    let scene = Scene::new(over).await;
    let aside = |text: &str| call_aside("guarded_plain", json!({ "text": text }));
    let mut calls: Vec<Value> = ["a", "b", "c", "d", "e"].map(aside).into();
    calls.push(call("echo", json!({ "text": "at once" })));
    let mut session = opened(client, &scene.server(), &calls).await;
    let echoed = session.result(5).await;
    assert_eq!(echoed["structuredContent"]["text"], "at once", "{client:?} {over:?}");
    let mut waiting = scene.host.pending(5).await;
    waiting.reverse();
    for record in waiting {
        let asked = record.parameters["text"].as_str().unwrap();
        let index = usize::from(asked.as_bytes()[0] - b'a');
        scene.host.decide(&record.id.to_string(), asked != "c").await;
        let result = session.result(index).await;
        if asked == "c" {
            assert_eq!(governance(&result)["refusal"], "rejected", "{client:?} {over:?}");
        } else {
            assert_eq!(text(&result), asked, "{client:?} {over:?}");
        }
    }
    session.finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_delay_no_other() {
    let mut scenes = Vec::new();
    for over in [Over::Stdio, Over::Http] {
        scenes.extend(ALL.map(|client| tokio::spawn(parallel(client, over))));
    }
    join_all(scenes).await.into_iter().for_each(Result::unwrap);
}

#[tokio::test(start_paused = true)]
async fn every_version_before_2026_is_held_told_and_answered_as_pending() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let script = Script::new(false);
        let (mut client, _serving) = RawClient::in_memory(fixture::server(script.clone()));
        client.patience = Duration::from_secs(3600);
        let params = json!({
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": { "name": "old", "version": "1" },
        });
        let answer = client.request(0, "initialize", params).await;
        assert_eq!(answer["result"]["protocolVersion"], version, "{answer}");
        client.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        client.begin_with_progress(1, "guarded_plain", json!({ "text": "x" }), 0).await;
        let mut last = -1.0;
        for _ in 0..4 {
            let told = client.progress().await;
            let progress = told["params"]["progress"].as_f64().unwrap();
            assert!(progress > last, "{version}: {told}");
            last = progress;
        }
        let pending = client.answer(1).await["result"].take();
        assert_eq!(governance(&pending)["status"], "pending", "{version}: {pending}");
        client.begin(2, "guarded_plain", json!({ "text": "x" })).await;
        let id = script.waiting(1).await.remove(0);
        script.approve(&id);
        let result = client.answer(2).await["result"].take();
        assert_eq!(text(&result), "x", "{version}: {result}");
        assert_eq!(governance(&result)["action_id"], id.as_str());
    }
}
