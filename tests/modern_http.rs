//! The official clients of 2026-07-28 over Streamable HTTP, which has no sessions
//! there: each request of a call is a stream of its own, and closing it is how a
//! client cancels.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use ascend_center::{ActionState, Record};
use ascend_sdk::{Governor, server::HttpServer};
use ascend_tests::{
    client::{
        Client, Server, Session, call, call_aside, call_tampering, cancelled_on_progress,
        with_progress,
    },
    fixture::{self, Script},
    host::Host,
};
use futures_util::future::join_all;
use serde_json::{Value, json};

const ALL: [Client; 2] = [Client::Python2, Client::TypeScript2];

/// How long a request is held. A call's ten are not used up while a test looks.
const HOLD: Duration = Duration::from_secs(2);

/// A center, and a server under it.
struct Scene {
    host: Host,
    http: HttpServer,
}

impl Scene {
    async fn new() -> Self {
        Self::holding(HOLD).await
    }

    async fn holding(hold: Duration) -> Self {
        let host = Host::new().await;
        let governor = Governor::new(host.center.clone());
        let server = fixture::server_under(governor, Script::new(false)).hold_calls_for(hold);
        let http = server.serve_http(([127, 0, 0, 1], 0)).await.unwrap();
        Self { host, http }
    }

    /// A client of it, past what it says before its first call.
    async fn client(&self, client: Client, calls: &[Value]) -> Session {
        let server = Server::listening(&self.http.url());
        let mut session = client.start_with(&server, calls, &json!({ "modern": true }));
        assert_eq!(session.next().await["protocol"], "2026-07-28");
        let listed = session.next().await;
        assert!(listed.get("tools").is_some(), "{listed}");
        session
    }

    /// All actions of the tool that waits, the latest first.
    async fn guarded(&self) -> Vec<Record> {
        let mut actions = self.host.center.actions(None, 100).await.unwrap();
        actions.retain(|action| action.tool == "guarded_plain");
        actions
    }
}

fn governance(result: &Value) -> &Value {
    &result["_meta"]["governance"]
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text: {result}"))
}

fn guarded(text: &str) -> Value {
    call("guarded_plain", json!({ "text": text }))
}

/// The action of which a request says that it waits; others' reports are passed over.
async fn told(session: &mut Session) -> String {
    loop {
        let seen = session.next().await;
        let message = seen["message"].as_str().unwrap_or_else(|| panic!("progress: {seen}"));
        if let Some((_, rest)) = message.split_once("approval of action ") {
            return rest.split(':').next().unwrap().to_owned();
        }
    }
}

/// The end of the call `index`; reports of its progress are passed over.
async fn end(session: &mut Session, index: usize) -> Value {
    loop {
        let seen = session.next().await;
        if seen.get("progress").is_none() {
            assert_eq!(seen["call"], index, "{seen}");
            return seen;
        }
    }
}

/// Plays the scene with each client, all at once.
async fn with_all<F: Future<Output = ()> + Send + 'static>(scene: impl Fn(Client) -> F) {
    let playing = ALL.map(|client| tokio::spawn(scene(client)));
    join_all(playing).await.into_iter().for_each(Result::unwrap);
}

async fn approved_after_three_requests(client: Client) {
    let scene = Scene::new().await;
    let mut session = scene.client(client, &[with_progress(guarded("x"))]).await;
    let id = told(&mut session).await;
    for _ in 0..2 {
        assert_eq!(told(&mut session).await, id, "{client:?}");
    }
    scene.host.decide(&id, true).await;
    let result = end(&mut session, 0).await["result"].take();
    assert_eq!(text(&result), "x", "{client:?}: {result}");
    assert_eq!(governance(&result)["action_id"], *id);
    session.finished().await;
    scene.host.until(&id, ActionState::Completed).await;
    assert_eq!(scene.guarded().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_over_several_requests_and_runs_once() {
    with_all(approved_after_three_requests).await;
}

async fn nobody_decides_and_a_state_is_forged(client: Client) {
    let scene = Scene::holding(Duration::from_millis(100)).await;
    let forged = call_tampering("guarded_plain", json!({ "text": "forged" }));
    let calls = [guarded("x"), forged, call("runs", json!({}))];
    let mut session = scene.client(client, &calls).await;
    let result = end(&mut session, 0).await["result"].take();
    assert_eq!(governance(&result)["status"], "pending", "{client:?}: {result}");
    assert_ne!(result["isError"], true);
    let refused = end(&mut session, 1).await;
    let error = refused["error"].as_str().unwrap_or_else(|| panic!("an error: {refused}"));
    assert!(error.contains("none that this server gave for this call"), "{client:?}: {error}");
    assert_eq!(text(&end(&mut session, 2).await["result"]), "0", "{client:?}");
    session.finished().await;
    // Both were promised, and neither ran.
    for action in scene.guarded().await {
        assert_eq!(action.state, ActionState::Pending, "{client:?}: {action:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_requests_end_as_pending_and_a_forged_state_as_an_error() {
    with_all(nobody_decides_and_a_state_is_forged).await;
}

/// Cancels during this request of the call, by closing its stream.
async fn cancelled(client: Client, request: u32) {
    let scene = Scene::new().await;
    let calls = [cancelled_on_progress(guarded("x"), request), call("runs", json!({}))];
    let mut session = scene.client(client, &calls).await;
    let id = told(&mut session).await;
    let gone = end(&mut session, 0).await;
    assert_eq!(gone["cancelled"], true, "{client:?}: {gone}");
    scene.host.until(&id, ActionState::Withdrawn).await;
    let approver = scene.host.center.local_approver().await.unwrap();
    let late = scene.host.center.approve(id.parse().unwrap(), &approver, None).await;
    late.expect_err("a late approval starts nothing");
    assert_eq!(text(&end(&mut session, 1).await["result"]), "0", "{client:?}");
    session.finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_in_its_first_request_is_withdrawn() {
    with_all(|client| cancelled(client, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_in_a_later_request_is_given_up() {
    with_all(|client| cancelled(client, 3)).await;
}

/// Five calls wait; one that does not is not delayed, and each gets its own answer.
async fn parallel(client: Client) {
    let scene = Scene::new().await;
    let aside = |text: &str| call_aside("guarded_plain", json!({ "text": text }));
    let mut calls: Vec<Value> = ["a", "b", "c", "d", "e"].map(aside).into();
    calls.push(call("echo", json!({ "text": "at once" })));
    let mut session = scene.client(client, &calls).await;
    let echoed = session.result(5).await;
    assert_eq!(echoed["structuredContent"]["text"], "at once", "{client:?}");
    for record in scene.host.pending(5).await {
        let asked = record.parameters["text"].as_str().unwrap();
        scene.host.decide(&record.id.to_string(), asked != "c").await;
        let result = session.result(usize::from(asked.as_bytes()[0] - b'a')).await;
        if asked == "c" {
            assert_eq!(governance(&result)["refusal"], "rejected", "{client:?}");
        } else {
            assert_eq!(text(&result), asked, "{client:?}");
        }
    }
    session.finished().await;
    assert_eq!(scene.guarded().await.len(), 5, "one action each");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_delay_no_other() {
    with_all(parallel).await;
}

/// Two clients make the same call; the one cancels it, in a later request.
async fn one_of_two_cancels(one: Client, other: Client) {
    let scene = Scene::new().await;
    let patient = [with_progress(guarded("x")), call("runs", json!({}))];
    let mut patient = scene.client(other, &patient).await;
    let id = told(&mut patient).await;
    let mut hasty = scene.client(one, &[cancelled_on_progress(guarded("x"), 2)]).await;
    assert_eq!(told(&mut hasty).await, id, "{one:?}: it joined");
    assert_eq!(end(&mut hasty, 0).await["cancelled"], true, "{one:?}");
    hasty.finished().await;
    // The patient one comes back after that.
    told(&mut patient).await;
    scene.host.decide(&id, true).await;
    let result = end(&mut patient, 0).await["result"].take();
    assert_eq!(text(&result), "x", "{one:?} {other:?}: {result}");
    assert_eq!(text(&end(&mut patient, 1).await["result"]), "1");
    patient.finished().await;
    assert_eq!(scene.guarded().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cancels_takes_nothing_from_one_with_the_same_call() {
    let [python, typescript] = ALL;
    tokio::join!(one_of_two_cancels(python, typescript), one_of_two_cancels(typescript, python));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clients_with_the_same_call_one_runs_and_the_other_is_told() {
    let scene = Scene::new().await;
    let mut sessions = Vec::new();
    let mut ids = Vec::new();
    for client in ALL {
        let mut session = scene.client(client, &[with_progress(guarded("x"))]).await;
        ids.push(told(&mut session).await);
        sessions.push(session);
    }
    assert_eq!(ids[0], ids[1]);
    for session in &mut sessions {
        told(session).await;
    }
    scene.host.decide(&ids[0], true).await;
    let mut results = Vec::new();
    for mut session in sessions {
        results.push(end(&mut session, 0).await["result"].take());
        session.finished().await;
    }
    results.sort_by_key(|result| result["isError"].as_bool());
    assert_eq!(text(&results[0]), "x");
    assert_eq!(governance(&results[1])["refusal"], "already_executed", "{results:?}");
    assert_eq!(governance(&results[1])["action_id"], *ids[0]);
    assert_eq!(scene.guarded().await.len(), 1);
}
