//! Calls whose approval takes longer than their client waits, and identical
//! calls that join them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use ascend_center::{ActionState, ServeConfig};
use ascend_sdk::{
    Action, ActionId, Authority, AuthorityError, BoxFuture, Claim, Digest, DigestKey, Evaluation,
    Governor, Outcome, Refusal, Review, Standing, authority::Ascend, high_risk_action,
    server::GovernedServer, tools,
};
use ascend_tests::{
    Scripted,
    fixture::{self, Script},
    host::Host,
    raw_client::{Process, RawClient},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    handler::server::router::tool::ToolRouter,
    model::{CallToolResult, ContentBlock, ServerCapabilities, ServerConfig},
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use serde_json::{Value, json};
use tokio::{process::Command, sync::Notify, time::Instant};

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text: {result}"))
}

fn governance(result: &Value) -> &Value {
    &result["_meta"]["governance"]
}

async fn client_of(server: GovernedServer) -> RawClient {
    let (mut client, _serving) = RawClient::in_memory(server);
    client.initialize().await;
    // With the clock at a stop it costs nothing.
    client.patience = Duration::from_secs(3600);
    client
}

/// The id of the action that `result` says is pending.
fn pending(result: &Value) -> String {
    assert_eq!(governance(result)["status"], "pending", "{result}");
    governance(result)["action_id"].as_str().unwrap().to_owned()
}

fn guarded(text: &str) -> Value {
    json!({ "text": text })
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_too_long_is_pending_and_its_repetition_runs_once() {
    let script = Script::new(false);
    let mut client = client_of(fixture::server(script.clone())).await;
    let began = Instant::now();
    let result = client.call(1, "guarded_plain", guarded("x")).await;
    assert_eq!(began.elapsed().as_secs(), 50);
    assert_eq!(result["isError"], false);
    assert_eq!(
        text(&result),
        "The action waits for a person's approval. It was not executed yet; call again with the \
         same arguments once it is approved. It then runs, once. What waits: guarded_plain. Ask \
         the user to have it approved within 4 min 10 s (action act-1)"
    );
    assert_eq!(
        *governance(&result),
        json!({
            "status": "pending",
            "decision": "REQUIRE_APPROVAL",
            "action_id": "act-1",
            "risk_score": 20,
            "expires_in_seconds": 250,
        })
    );
    // It still waits: the repetition joins it, and is pending too.
    let result = client.call(2, "guarded_plain", guarded("x")).await;
    assert_eq!(pending(&result), "act-1");
    assert_eq!(script.actions().len(), 1, "no second action");

    let id = script.waiting(1).await.remove(0);
    script.approve(&id);
    let result = client.call(3, "guarded_plain", guarded("x")).await;
    assert_eq!(result["isError"], false);
    assert_eq!(text(&result), "x");
    assert_eq!(governance(&result)["action_id"], "act-1");
    assert_eq!(governance(&result)["reviewed_by"], "mara@example.com");
    assert_eq!(script.reports(1).await, ["act-1 Completed"]);
    assert_eq!(client.call(4, "runs", json!({})).await["content"][0]["text"], "1");

    // The decision is used up: the same call asks anew.
    client.begin(5, "guarded_plain", guarded("x")).await;
    let id = script.waiting(1).await.remove(0);
    assert_eq!(id.as_str(), "act-3");
}

#[tokio::test(start_paused = true)]
async fn a_tool_with_an_output_schema_is_pending_as_an_error() {
    let mut client = client_of(fixture::server(Script::new(false))).await;
    let result = client.call(1, "guarded", guarded("x")).await;
    assert_eq!(result["isError"], true, "or the official clients throw the answer away");
    pending(&result);
}

#[tokio::test(start_paused = true)]
async fn other_arguments_do_not_join() {
    let script = Script::new(false);
    let mut client = client_of(fixture::server(script.clone())).await;
    assert_eq!(pending(&client.call(1, "guarded", guarded("x")).await), "act-1");
    assert_eq!(pending(&client.call(2, "guarded", guarded("y")).await), "act-2");
    script.approve(&"act-1".to_owned().try_into().unwrap());
    assert_eq!(pending(&client.call(3, "guarded", guarded("y")).await), "act-2");
    let result = client.call(4, "guarded", guarded("x")).await;
    assert_eq!(governance(&result)["status"], "approved");
}

#[tokio::test(start_paused = true)]
async fn a_promise_outlives_a_cancellation_and_ends_when_nobody_comes_back() {
    let script = Script::new(false);
    let mut client = client_of(fixture::server(script.clone())).await;
    pending(&client.call(1, "guarded", guarded("x")).await);
    client.begin(2, "guarded", guarded("x")).await;
    script.waiting(1).await;
    client.cancel(2).await;
    // Answered after the cancellation was read.
    client.call(3, "echo", guarded("x")).await;
    assert_eq!(script.reports(1).await, ["act-2 Completed"], "nothing was withdrawn");
    // After its time for an approval, and the time to come back.
    let began = Instant::now();
    let reports = script.reports(2).await;
    assert_eq!(reports[1], "act-1 Withdrawn: nobody came back for it");
    assert!(began.elapsed() > Duration::from_secs(15 * 60), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_promise_that_nobody_approves_is_told_once() {
    let script = Script::new(false);
    let mut client = client_of(fixture::server(script.clone())).await;
    pending(&client.call(1, "guarded", guarded("x")).await);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let result = client.call(2, "guarded", guarded("x")).await;
    assert_eq!(governance(&result)["refusal"], "timed_out");
    assert_eq!(governance(&result)["action_id"], "act-1");
    assert_eq!(script.reports(1).await, ["act-1 Withdrawn: nobody decided in time"]);
    assert_eq!(pending(&client.call(3, "guarded", guarded("x")).await), "act-2");
}

#[tokio::test(start_paused = true)]
async fn what_one_process_promised_ends_with_it() {
    let script = Script::new(false);
    let (mut client, serving) = RawClient::in_memory(fixture::server(script.clone()));
    client.initialize().await;
    client.patience = Duration::from_secs(3600);
    pending(&client.call(1, "guarded", guarded("x")).await);
    pending(&client.call(2, "guarded", guarded("y")).await);
    client.begin(3, "guarded", guarded("y")).await;
    script.waiting(1).await;
    client.close_input().await;
    serving.await.unwrap().unwrap();
    let mut reports = script.reports(2).await;
    reports.sort();
    for (report, action) in reports.iter().zip(["act-1 Withdrawn: ", "act-2 Withdrawn: "]) {
        assert!(report.starts_with(action), "{reports:?}");
    }
}

/// What waits is joined by others only where policy, asked again, lets them.
#[tokio::test(start_paused = true)]
async fn another_session_is_asked_about_before_it_joins() {
    let script = Script::new(false);
    let governor = Governor::new(script.clone());
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(client_of(fixture::server_under(governor.clone(), script.clone())).await);
    }
    assert_eq!(pending(&clients[0].call(1, "guarded_plain", guarded("x")).await), "act-1");
    assert_eq!(pending(&clients[1].call(1, "guarded_plain", guarded("x")).await), "act-1");
    let reports = script.reports(1).await;
    assert_eq!(reports, ["act-2 Withdrawn: an identical call waits for action act-1"]);
    script.approve(&"act-1".to_owned().try_into().unwrap());
    let result = clients[1].call(2, "guarded_plain", guarded("x")).await;
    assert_eq!((text(&result), &governance(&result)["action_id"]), ("x", &json!("act-1")));
}

/// An authority that does not say how an action stands.
struct Away(Script);

impl Authority for Away {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        self.0.evaluate(action)
    }

    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        self.0.await_review(id)
    }

    fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        self.0.claim(id, digest)
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        self.0.report(id, outcome)
    }

    fn status<'a>(
        &'a self,
        _: &'a ActionId,
    ) -> BoxFuture<'a, Result<Option<Standing>, AuthorityError>> {
        Box::pin(async { Err(AuthorityError::Failed("busy".to_owned())) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        self.0.health()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_takes_no_approval_away() {
    let script = Script::new(false);
    let governor = Governor::new(Away(script.clone()));
    let mut client = client_of(fixture::server_under(governor, script.clone())).await;
    pending(&client.call(1, "guarded_plain", guarded("x")).await);
    // The time for an approval is over, and the authority says nothing.
    tokio::time::sleep(Duration::from_secs(400)).await;
    let result = client.call(2, "guarded_plain", guarded("x")).await;
    assert_eq!(governance(&result)["refusal"], "unreachable", "{result}");
    assert!(text(&result).contains("call again"), "{result}");
    script.approve(&"act-1".to_owned().try_into().unwrap());
    let result = client.call(3, "guarded_plain", guarded("x")).await;
    assert_eq!(text(&result), "x", "{result}");
    assert_eq!(script.reports(1).await, ["act-1 Completed"]);
}

#[tokio::test(start_paused = true)]
async fn a_time_without_an_end_is_a_long_one() {
    let script = Script::new(false);
    let governor = Governor::builder(script.clone()).approval_timeout(Duration::MAX).build();
    let server = fixture::server_under(governor, script.clone());
    let server = server.hold_calls_for(Duration::MAX).shutdown_grace(Duration::MAX);
    let (mut client, serving) = RawClient::in_memory(server);
    client.initialize().await;
    client.begin(1, "guarded_plain", guarded("x")).await;
    script.approve(&script.waiting(1).await[0]);
    assert_eq!(text(&client.answer(1).await["result"]), "x");
    client.close_input().await;
    serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn however_many_are_promised_a_call_that_leaves_early_is_withdrawn() {
    const PROMISED: u64 = 16_384;
    let authority = Scripted::pending();
    let server = fixture::server_under(Governor::new(authority.clone()), Script::new(false));
    let mut client = client_of(server.hold_calls_for(Some(Duration::from_millis(1)))).await;
    for number in 0..PROMISED {
        client.begin(number, "guarded_plain", guarded(&number.to_string())).await;
    }
    for number in 0..PROMISED {
        pending(&client.answer(number).await["result"]);
    }
    let (held, count) = (Arc::new(Notify::new()), PROMISED as usize + 1);
    authority.hold_evaluations(held.clone());
    client.begin(PROMISED, "guarded_plain", guarded("one more")).await;
    authority.until(|record| record.evaluated.len() == count).await;
    client.cancel(PROMISED).await;
    let echo = client.begin(PROMISED + 1, "echo", guarded("x"));
    echo.await;
    authority.until(|record| record.evaluated.len() == count + 1).await;
    held.notify_waiters();
    let record = authority.until(|record| !record.reported.is_empty()).await;
    let withdrawn = Outcome::Withdrawn { reason: "the caller went away".to_owned() };
    assert_eq!(record.reported[0], (count.to_string().try_into().unwrap(), withdrawn));
}

#[tokio::test(start_paused = true)]
async fn how_long_a_call_is_held_can_be_set() {
    for (hold, after) in [(Some(5), 5), (None, 300)] {
        let server = fixture::server(Script::new(false));
        let mut client = client_of(server.hold_calls_for(hold.map(Duration::from_secs))).await;
        let began = Instant::now();
        let result = client.call(1, "guarded", guarded("x")).await;
        assert_eq!(began.elapsed().as_secs(), after);
        let status = if hold.is_some() { "pending" } else { "rejected" };
        assert_eq!(governance(&result)["status"], status);
    }
}

#[tokio::test]
async fn identical_calls_that_wait_at_once_share_one_action_and_one_runs() {
    let script = Script::new(false);
    let mut client = client_of(fixture::server(script.clone())).await;
    client.begin(1, "guarded", guarded("x")).await;
    script.waiting(1).await;
    for id in [2, 3, 4] {
        client.begin(id, "guarded", guarded("x")).await;
    }
    // One of those that joined goes away, and so does the first.
    client.cancel(1).await;
    client.cancel(4).await;
    client.call(5, "echo", guarded("x")).await;
    script.approve(&script.waiting(1).await[0]);
    let mut results = Vec::new();
    for id in [2, 3] {
        results.push(client.answer(id).await["result"].take());
    }
    results.sort_by_key(|result| result["isError"].as_bool());
    assert_eq!(results[0]["structuredContent"]["text"], "x");
    assert_eq!(governance(&results[1])["refusal"], "already_executed");
    assert!(text(&results[1]).ends_with("(action act-1)"), "{}", results[1]);
    assert_eq!(client.call(6, "runs", json!({})).await["structuredContent"], Value::Null);
    let reports = script.reports(2).await;
    assert!(reports.contains(&"act-1 Completed".to_owned()), "{reports:?}");
    assert!(!reports.iter().any(|report| report.contains("Withdrawn")), "{reports:?}");
}

#[tokio::test]
async fn the_last_of_identical_calls_takes_their_action_along() {
    let script = Script::new(false);
    let mut client = client_of(fixture::server(script.clone())).await;
    client.begin(1, "guarded", guarded("x")).await;
    script.waiting(1).await;
    client.begin(2, "guarded", guarded("x")).await;
    client.call(3, "echo", guarded("x")).await;
    client.cancel(1).await;
    client.call(4, "echo", guarded("x")).await;
    let reports = script.reports(2).await;
    assert!(!reports.iter().any(|report| report.contains("Withdrawn")), "{reports:?}");
    client.cancel(2).await;
    assert_eq!(script.reports(3).await[2], "act-1 Withdrawn: the call was cancelled");
}

#[tokio::test]
async fn sessions_do_not_join_each_others_calls() {
    let script = Script::new(false);
    let governor = Governor::new(script.clone());
    let mut clients = Vec::new();
    for _ in 0..2 {
        let server = fixture::server_under(governor.clone(), script.clone());
        let mut client = client_of(server).await;
        client.begin(1, "guarded", guarded("x")).await;
        clients.push(client);
    }
    assert_eq!(script.waiting(2).await.len(), 2);
}

/// Identical calls that come in one instant may each be evaluated, but they
/// wait for one of the actions alone.
#[tokio::test]
async fn of_identical_calls_in_one_instant_one_runs() {
    let script = Script::new(false);
    let mut client = client_of(fixture::server(script.clone())).await;
    for id in 0..8 {
        client.begin(id, "guarded", guarded("x")).await;
    }
    let id = script.waiting(1).await.remove(0);
    client.call("echo", "echo", guarded("x")).await;
    assert_eq!(script.waiting(1).await.len(), 1);
    script.approve(&id);
    let mut ran = 0;
    for id in 0..8 {
        let result = client.answer(id).await["result"].take();
        match governance(&result)["refusal"].as_str() {
            None => ran += 1,
            refusal => assert_eq!(refusal, Some("already_executed"), "{result}"),
        }
    }
    assert_eq!(ran, 1);
}

async fn server(host: &Host, hold: u64) -> Process {
    let mut process = Process::start(command(host.directory(), hold));
    process.client.initialize().await;
    process
}

fn command(center: &Path, hold: u64) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_governed_fixture"));
    command.env_remove("RUST_LOG").env("CENTER", center).env("HOLD", hold.to_string());
    command
}

#[tokio::test]
async fn a_promise_survives_kill_9_and_the_call_runs_exactly_once() {
    let host = Host::new().await;
    let mut first = server(&host, 1).await;
    let result = first.client.call(1, "guarded_plain", guarded("x")).await;
    let id = pending(&result);
    assert!(!text(&result).contains("ascend-center"), "an agent is not told how: {result}");
    first.child.kill().await.unwrap();
    assert_eq!(host.record(&id).await.state, ActionState::Pending);

    // Still undecided: another process joins it.
    let mut second = server(&host, 1).await;
    assert_eq!(pending(&second.client.call(1, "guarded_plain", guarded("x")).await), id);
    second.child.kill().await.unwrap();

    host.decide(&id, true).await;
    let mut third = server(&host, 60_000).await;
    for call in [1, 2, 3] {
        third.client.begin(call, "guarded_plain", guarded("x")).await;
    }
    host.until(&id, ActionState::Completed).await;
    // The one run, and others that were late: told so, or waiting anew.
    assert_eq!(third.client.call(9, "runs", json!({})).await["content"][0]["text"], "1");
    let all = host.center.actions(None, 100).await.unwrap();
    let ran: Vec<_> = all
        .iter()
        .filter(|record| record.tool == "guarded_plain" && record.state == ActionState::Completed)
        .collect();
    assert_eq!(ran.len(), 1);
    assert_eq!(ran[0].id.to_string(), id);
}

#[tokio::test]
async fn a_promise_survives_the_client_and_the_server() {
    let host = Host::new().await;
    let mut first = server(&host, 1).await;
    let id = pending(&first.client.call(1, "guarded_plain", guarded("x")).await);
    first.client.close_input().await;
    assert!(first.child.wait().await.unwrap().success());
    assert_eq!(host.record(&id).await.state, ActionState::Pending);
    // A call that joins it and is cancelled takes nothing along either.
    let mut second = server(&host, 60_000).await;
    second.client.begin(1, "guarded_plain", guarded("x")).await;
    second.client.call(2, "echo", guarded("x")).await;
    second.signal("TERM").await;
    assert!(second.child.wait().await.unwrap().success());
    assert_eq!(host.record(&id).await.state, ActionState::Pending);
    host.decide(&id, true).await;
    let mut third = server(&host, 60_000).await;
    let result = third.client.call(1, "guarded_plain", guarded("x")).await;
    assert_eq!(governance(&result)["action_id"], *id, "{result}");
    assert_eq!(text(&result), "x");
}

#[tokio::test]
async fn a_rejection_meanwhile_is_told_once_and_the_kill_switch_stops_a_joined_call() {
    let host = Host::new().await;
    let mut first = server(&host, 1).await;
    let id = pending(&first.client.call(1, "guarded_plain", guarded("x")).await);
    first.child.kill().await.unwrap();
    host.decide(&id, false).await;

    let mut second = server(&host, 1).await;
    let result = second.client.call(1, "guarded_plain", guarded("x")).await;
    assert_eq!(governance(&result)["refusal"], "rejected", "{result}");
    assert_eq!(governance(&result)["action_id"], *id);
    assert!(text(&result).contains("not today"), "{result}");
    let id = pending(&second.client.call(2, "guarded_plain", guarded("x")).await);
    second.child.kill().await.unwrap();

    host.decide(&id, true).await;
    let approver = host.center.local_approver().await.unwrap();
    host.center.kill("stop", &approver).await.unwrap();
    let mut third = server(&host, 1).await;
    let result = third.client.call(1, "guarded_plain", guarded("x")).await;
    assert_eq!(governance(&result)["refusal"], "kill_switch", "{result}");
    assert_eq!(third.client.call(2, "runs", json!({})).await["isError"], true);
    host.center.release(&approver).await.unwrap();
    let result = third.client.call(3, "guarded_plain", guarded("x")).await;
    assert_eq!(governance(&result)["action_id"], *id, "the approval still stands: {result}");
    assert_eq!(text(&result), "x");
}

#[tokio::test]
async fn a_promise_over_http_survives_the_server() {
    let host = Host::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let center = host.center.clone();
    tokio::spawn(async move {
        center.serve(listener, ServeConfig::new(), std::future::pending()).await.unwrap();
    });
    let server = |hold| {
        let ascend = Ascend::builder(host.center.agent_key().unwrap()).base_url(&url);
        let governor = Governor::new(ascend.build().unwrap());
        fixture::server_under(governor, Script::new(false))
            .hold_calls_for(Duration::from_millis(hold))
    };
    let (mut first, serving) = RawClient::in_memory(server(1));
    first.initialize().await;
    let id = pending(&first.call(1, "guarded_plain", guarded("x")).await);
    assert!(host.record(&id).await.promised);
    first.close_input().await;
    serving.await.unwrap().unwrap();
    assert_eq!(host.record(&id).await.state, ActionState::Pending);

    let mut second = client_of(server(60_000)).await;
    second.begin(1, "guarded_plain", guarded("x")).await;
    second.begin(2, "guarded_plain", guarded("y")).await;
    host.decide(&id, true).await;
    let result = second.answer(1).await["result"].take();
    assert_eq!(governance(&result)["action_id"], *id, "{result}");
    assert_eq!(text(&result), "x");
    host.until(&id, ActionState::Completed).await;
}

/// Opens the vault.
#[high_risk_action(action_type = "vault.open", resource = "vault")]
async fn open_vault(#[sensitive] pin: String) -> Result<String, Refusal> {
    Ok(format!("opened with {} digits", pin.len()))
}

#[tokio::test]
async fn a_call_with_sensitive_arguments_joins_after_a_restart_under_the_same_key() {
    let host = Host::new().await;
    let center = host.center.clone();
    let server = |key: Option<[u8; 32]>| {
        let builder = Governor::builder(center.clone());
        let governor = match key {
            Some(key) => builder.digest_key(DigestKey::new(key).unwrap()).build(),
            None => builder.build(),
        };
        GovernedServer::new("vault-server", governor).tools(tools![open_vault])
    };
    let hurried = |key| server(key).hold_calls_for(Duration::from_millis(1));
    let key = Some([7; 32]);
    let (mut first, serving) = RawClient::in_memory(hurried(key));
    first.initialize().await;
    let id = pending(&first.call(1, "open_vault", json!({ "pin": "1234" })).await);
    first.close_input().await;
    serving.await.unwrap().unwrap();

    for (key, pin) in [(key, "4321"), (None, "1234"), (Some([8; 32]), "1234")] {
        let mut other = client_of(hurried(key)).await;
        let result = other.call(1, "open_vault", json!({ "pin": pin })).await;
        assert_ne!(pending(&result), id, "another call");
    }
    host.decide(&id, true).await;
    let mut second = client_of(server(key)).await;
    let result = second.call(1, "open_vault", json!({ "pin": "1234" })).await;
    assert_eq!(governance(&result)["action_id"], *id, "{result}");
    assert_eq!(text(&result), "opened with 4 digits");
    let record = format!("{:?}", host.record(&id).await);
    assert!(!record.contains("1234"), "{record}");
}

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(false));
static GOVERNOR: LazyLock<Governor> = LazyLock::new(|| Governor::new(SCRIPT.clone()));

/// A plain rmcp server with a governed method.
#[derive(Clone)]
struct Plain {
    tool_router: ToolRouter<Self>,
}

#[tool_router]
impl Plain {
    #[high_risk_action(governor = GOVERNOR, action_type = "door.open", resource = "door")]
    #[tool(description = "Open the door")]
    async fn open_door(
        &self,
        #[context] _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        Ok(CallToolResult::success(vec![ContentBlock::text("open")]))
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Plain {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

#[tokio::test(start_paused = true)]
async fn a_governed_method_keeps_its_client_too() {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async {
        let server = Plain { tool_router: Plain::tool_router() };
        server.serve(theirs).await.unwrap().waiting().await
    });
    let (reader, writer) = tokio::io::split(ours);
    let mut client = RawClient::new(reader, writer);
    client.initialize().await;
    client.patience = Duration::from_secs(3600);

    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "open_door", "arguments": {}, "_meta": { "progressToken": 0 } },
    });
    let began = Instant::now();
    client.send(call).await;
    let mut last = f64::NEG_INFINITY;
    for beat in [0, 15, 30, 45] {
        let told = client.receive_where(|it| it["method"] == "notifications/progress").await;
        assert_eq!(began.elapsed().as_secs(), beat);
        let progress = told["params"]["progress"].as_f64().unwrap();
        assert!(progress > last && progress < 0.0, "the body's own begin at 0: {told}");
        last = progress;
        assert!(told["params"]["message"].as_str().unwrap().contains("act-1"), "{told}");
    }
    let result = client.answer(1).await["result"].take();
    assert_eq!(began.elapsed().as_secs(), 50);
    assert_eq!(pending(&result), "act-1");

    SCRIPT.approve(&"act-1".to_owned().try_into().unwrap());
    let result = client.call(2, "open_door", json!({})).await;
    assert_eq!(governance(&result)["action_id"], "act-1", "{result}");
    assert_eq!(text(&result), "open");
    drop(client);
    serving.abort();
}
