//! Calls that wait for a person, as tasks of the extension
//! `io.modelcontextprotocol/tasks`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{path::Path, time::Duration};

use ascend_center::ActionState;
use ascend_sdk::{
    Governor,
    server::{GovernedServer, HttpServer},
};
use ascend_tests::{
    Scripted,
    client::{Approver, Client, Server, call},
    fixture::{self, Script},
    host::Host,
    raw_client::{Process, RawClient},
    rejected,
};
use rmcp::{
    model::{
        CallToolRequestParams, CallToolResponse, CancelTaskParams, ClientCapabilities,
        ClientConfig, GetTaskParams, GetTaskResult, Implementation, ProtocolVersion, TaskPayload,
        TaskStatus,
    },
    service::{ClientLifecycleMode, RunningService, serve_client_with_lifecycle},
    transport::{StreamableHttpClientTransport, TokioChildProcess},
};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text: {result}"))
}

fn governance(result: &Value) -> &Value {
    &result["_meta"]["governance"]
}

fn guarded(text: &str) -> Value {
    json!({ "text": text })
}

/// What a client of 2026-07-28 that takes tasks says of itself in each request.
fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "9" },
        "io.modelcontextprotocol/clientCapabilities": { "extensions": { EXTENSION: {} } },
    })
}

/// A client of 2026-07-28 that writes its own lines.
struct Agent {
    client: RawClient,
    requests: u64,
    meta: Value,
}

impl Agent {
    fn new(client: RawClient) -> Self {
        Self { client, requests: 0, meta: meta() }
    }

    fn of(server: GovernedServer) -> Self {
        let mut agent = Self::new(RawClient::in_memory(server).0);
        // With the clock at a stop it costs nothing.
        agent.client.patience = Duration::from_secs(100 * 3600);
        agent
    }

    async fn begin(&mut self, method: &str, mut params: Value) -> u64 {
        self.requests += 1;
        for (key, value) in self.meta.as_object().unwrap() {
            params["_meta"][key] = value.clone();
        }
        let id = self.requests;
        self.client
            .send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
        id
    }

    async fn begin_call(&mut self, tool: &str, arguments: Value) -> u64 {
        self.begin("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params).await;
        self.client.answer(id).await
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.begin_call(tool, arguments).await;
        self.client.answer(id).await["result"].take()
    }

    /// Makes a call that is answered with a task, and returns the task's id.
    async fn task(&mut self, tool: &str, arguments: Value) -> String {
        id_of(&self.call(tool, arguments).await)
    }

    async fn get(&mut self, task: &str) -> Value {
        self.ask("tasks/get", json!({ "taskId": task })).await["result"].take()
    }

    async fn cancel(&mut self, task: &str) {
        let answer = self.ask("tasks/cancel", json!({ "taskId": task })).await;
        assert_eq!(answer["result"], json!({ "resultType": "complete" }), "{answer}");
    }

    /// Polls the task until it is as it should be.
    async fn until(&mut self, task: &str, is_met: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let shown = self.get(task).await;
            if is_met(&shown) {
                return shown;
            }
            assert!(Instant::now() < deadline, "{shown}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Polls the task until it has ended, and returns its end.
    async fn end(&mut self, task: &str) -> Value {
        self.until(task, |shown| shown["status"] != "working").await
    }

    async fn runs(&mut self) -> Value {
        self.call("runs", json!({})).await["structuredContent"].take()
    }
}

fn id_of(result: &Value) -> String {
    assert_eq!(result["resultType"], "task", "{result}");
    result["taskId"].as_str().unwrap().to_owned()
}

fn seconds(milliseconds: &Value) -> u64 {
    milliseconds.as_u64().unwrap() / 1000
}

/// The first action's id in the middle of what says that it waits.
fn action_in(message: &Value) -> String {
    let message = message.as_str().unwrap();
    message["waiting for approval: action ".len()..].split(' ').next().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_is_a_task_at_once_and_ends_as_a_plain_call_would() {
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()));
    let began = Instant::now();
    let task = agent.call("guarded", guarded("x")).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    let id = id_of(&task);
    assert_eq!(task["status"], "working");
    assert!(seconds(&task["ttlMs"]) > 300 + 3000, "{task}");
    assert_eq!(task["pollIntervalMs"], 2000);
    assert_eq!(task["createdAt"], task["lastUpdatedAt"]);
    let message = task["statusMessage"].as_str().unwrap();
    let (head, expiry) = message.split_once(", expires ").unwrap();
    assert_eq!(head, "waiting for approval: action act-1 (guarded), risk 20");
    // The time in which this test began, and 300 s more.
    let created: u64 = time_of_day(task["createdAt"].as_str().unwrap());
    assert_eq!(time_of_day(expiry), (created + 300) % 86_400, "{task}");
    assert!(expiry.ends_with(" UTC") && !message.contains("script"), "{message}");

    sleep(Duration::from_secs(250)).await;
    let shown = agent.get(&id).await;
    for key in ["taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttlMs"] {
        assert_eq!(shown[key], task[key], "{key}");
    }
    assert_eq!(shown["resultType"], "complete");
    script.approve(&script.waiting(1).await[0]);
    let ended = agent.end(&id).await;
    assert_eq!(ended["status"], "completed");
    assert!(ended.get("statusMessage").is_none() && ended.get("error").is_none(), "{ended}");

    // Nothing about it differs from the answer to a call that is held.
    agent.meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let call = agent.begin_call("guarded", guarded("x")).await;
    script.approve(&script.waiting(1).await[0]);
    let mut plain = agent.client.answer(call).await["result"].take();
    assert_eq!(plain["_meta"]["governance"]["action_id"], "act-2");
    plain["_meta"]["governance"]["action_id"] = "act-1".into();
    assert_eq!(ended["result"], plain);
    assert_eq!(plain["_meta"]["governance"]["reviewed_by"], "mara@example.com");
    assert_eq!(agent.runs().await, 2);
    assert_eq!(script.reports(2).await[..2], ["act-1 Completed", "act-2 Completed"]);
}

/// The seconds since midnight in `…T14:05:00.1Z` or `… 14:05:00 UTC`.
fn time_of_day(text: &str) -> u64 {
    let mut numbers = text[11..19].split(':').map(|number| number.parse::<u64>().unwrap());
    let mut next = || numbers.next().unwrap();
    next() * 3600 + next() * 60 + next()
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_nobody_is_answered_plainly() {
    let mut agent = Agent::of(fixture::server(Script::new(false)));
    let echo = agent.call("echo", guarded("x")).await;
    assert_eq!(echo["structuredContent"]["text"], "x");
    assert_eq!(echo["resultType"], "complete");
    let denied = agent.call("guarded", guarded("deny")).await;
    assert_eq!(governance(&denied)["refusal"], "denied");
    let failed = agent.call("panics", guarded("x")).await;
    assert_eq!(failed["isError"], true);
}

#[tokio::test(start_paused = true)]
async fn only_a_request_of_2026_07_28_that_declares_the_extension_gets_a_task() {
    let server = || fixture::server(Script::new(false));
    // Declared, but in the handshake of an older version.
    let (mut client, _serving) = RawClient::in_memory(server());
    client.patience = Duration::from_secs(3600);
    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": { "extensions": { EXTENSION: {} } },
        "clientInfo": { "name": "raw", "version": "9" },
    });
    let answer = client.request(0, "initialize", params).await;
    assert_eq!(answer["result"]["capabilities"], json!({ "tools": {} }), "{answer}");
    client.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    let result = client.call(1, "guarded", guarded("x")).await;
    assert_eq!(governance(&result)["status"], "pending", "{result}");
    assert!(result.get("taskId").is_none());
    for method in ["tasks/get", "tasks/cancel", "tasks/result", "tasks/list"] {
        let answer = client.request(method, method, json!({ "taskId": "x" })).await;
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
    }

    // Declared, in a request that is of an older version by its own word.
    let mut agent = Agent::of(server());
    agent.meta["io.modelcontextprotocol/protocolVersion"] = "2025-11-25".into();
    let result = agent.call("guarded", guarded("x")).await;
    assert_eq!(governance(&result)["status"], "pending", "{result}");

    // Of the version, and not declared.
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()));
    let discovered = agent.ask("server/discover", json!({})).await["result"].take();
    assert_eq!(discovered["capabilities"]["extensions"], json!({ EXTENSION: {} }));
    let task = agent.task("guarded", guarded("x")).await;
    agent.meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let began = Instant::now();
    let result = agent.call("guarded", guarded("x")).await;
    assert_eq!(result["resultType"], "input_required", "{result}");
    assert_eq!(script.actions().len(), 1, "it joined");
    assert_eq!(began.elapsed().as_secs(), 45);
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        let params = json!({ "taskId": task, "inputResponses": {} });
        assert_eq!(agent.ask(method, params).await["error"]["code"], -32021, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_completed_task_that_says_so() {
    // Nobody decides.
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()));
    let task = agent.task("guarded", guarded("x")).await;
    sleep(Duration::from_secs(299)).await;
    assert_eq!(agent.get(&task).await["status"], "working");
    let ended = agent.end(&task).await;
    assert_eq!(ended["status"], "completed");
    assert_eq!(ended["result"]["isError"], true);
    assert_eq!(governance(&ended["result"])["refusal"], "timed_out");
    assert_eq!(script.reports(1).await, ["act-1 Withdrawn: nobody decided in time"]);

    // A person says no.
    let authority = Scripted::pending();
    let governor = Governor::new(authority.clone());
    let mut agent = Agent::of(fixture::server_under(governor, Script::new(false)));
    let task = agent.task("guarded", guarded("x")).await;
    authority.review(Ok(rejected()));
    let ended = agent.end(&task).await;
    assert_eq!(ended["status"], "completed");
    assert_eq!(ended["result"]["isError"], true);
    assert_eq!(governance(&ended["result"])["reviewed_by"], "bob@example.com");
    assert!(text(&ended["result"]).contains("not on a Friday"), "{ended}");
    assert!(authority.record().claimed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_task_is_given_up_and_a_late_approval_starts_nothing() {
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()));
    let task = agent.task("guarded", guarded("x")).await;
    let action = script.waiting(1).await.remove(0);
    agent.cancel(&task).await;
    assert_eq!(script.reports(1).await, ["act-1 Abandoned: its agent gave it up"]);
    script.approve(&action);
    let ended = agent.end(&task).await;
    assert_eq!(ended["status"], "cancelled");
    assert_eq!(ended["statusMessage"], "cancelled; it was not executed, and will not be");
    assert!(ended.get("result").is_none(), "{ended}");
    // Again, and it stays as it is.
    agent.cancel(&task).await;
    assert_eq!(agent.get(&task).await["status"], "cancelled");
    // An identical call asks anew: the approval was for the other one.
    let task = agent.task("guarded", guarded("x")).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(action_in(&agent.get(&task).await["statusMessage"]), "act-2");
    assert_eq!(agent.runs().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_runs_is_offered_to_stop_and_its_outcome_is_the_result() {
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()));
    let call = agent
        .begin(
            "tools/call",
            json!({ "name": "guarded_linger", "arguments": {}, "_meta": { "progressToken": 7 } }),
        )
        .await;
    let task = id_of(&agent.client.answer(call).await["result"]);
    // What was told before the answer; from now on nothing is.
    while agent.client.kept() > 0 {
        agent.client.progress().await;
    }
    script.approve(&script.waiting(1).await[0]);
    let running = "approved by mara@example.com; running";
    let shown = agent.until(&task, |shown| shown["statusMessage"] == running).await;
    assert_eq!(shown["status"], "working");
    // Long beyond its approval, and beyond what it was to live at first.
    sleep(Duration::from_secs(24 * 3600)).await;
    let shown = agent.get(&task).await;
    assert_eq!(shown["status"], "working");
    assert!(seconds(&shown["ttlMs"]) > 24 * 3600 + 800, "{shown}");
    agent.cancel(&task).await;
    let ended = agent.end(&task).await;
    assert_eq!(ended["status"], "completed", "it ran: {ended}");
    assert_eq!(ended["result"]["structuredContent"]["text"], "stopped half-way");
    assert_eq!(governance(&ended["result"])["status"], "approved");
    assert_eq!(script.reports(1).await, ["act-1 Completed"]);
    assert_eq!(agent.client.kept(), 0, "no progress after the answer");
}

#[tokio::test(start_paused = true)]
async fn of_two_tasks_for_one_action_one_runs_and_one_cancels_alone() {
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(agent.task("guarded", guarded("x")).await);
    }
    for task in &tasks {
        assert_eq!(action_in(&agent.get(task).await["statusMessage"]), "act-1");
    }
    agent.cancel(&tasks[0]).await;
    assert_eq!(agent.end(&tasks[0]).await["status"], "cancelled");
    script.approve(&script.waiting(1).await[0]);
    let mut results = Vec::new();
    for task in &tasks[1..] {
        let ended = agent.end(task).await;
        assert_eq!(ended["status"], "completed");
        results.push(ended["result"].clone());
    }
    results.sort_by_key(|result| result["isError"].as_bool());
    assert_eq!(results[0]["structuredContent"]["text"], "x");
    assert_eq!(governance(&results[1])["refusal"], "already_executed");
    assert!(text(&results[1]).ends_with("(action act-1)"), "{results:?}");
    assert_eq!(agent.runs().await, 1);
    let reports = script.reports(1).await;
    assert!(!reports.iter().any(|report| report.contains("Abandoned")), "{reports:?}");
}

/// Each may have been evaluated, but they wait for one of the actions alone.
#[tokio::test]
async fn of_identical_tasks_in_one_instant_one_runs() {
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()));
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(agent.begin_call("guarded", guarded("x")).await);
    }
    let mut tasks = Vec::new();
    for call in calls {
        tasks.push(id_of(&agent.client.answer(call).await["result"]));
    }
    let waiting = script.waiting(1).await;
    assert_eq!(waiting.len(), 1);
    script.approve(&waiting[0]);
    let mut ran = 0;
    for task in tasks {
        let result = agent.end(&task).await["result"].take();
        match governance(&result)["refusal"].as_str() {
            None => ran += 1,
            refusal => assert_eq!(refusal, Some("already_executed"), "{result}"),
        }
    }
    assert_eq!(ran, 1);
    assert_eq!(agent.runs().await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_of_two_tasks_for_one_action_gives_it_up() {
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()));
    let first = agent.task("guarded", guarded("x")).await;
    let second = agent.task("guarded", guarded("x")).await;
    agent.cancel(&first).await;
    agent.end(&first).await;
    assert_eq!(agent.get(&second).await["status"], "working");
    agent.cancel(&second).await;
    agent.end(&second).await;
    let reports = script.reports(1).await;
    assert_eq!(reports, ["act-1 Abandoned: its agent gave it up"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_kept_for_its_time_and_then_forgotten() {
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()));
    let call = agent.call("guarded", guarded("x")).await;
    let (task, lives) = (id_of(&call), seconds(&call["ttlMs"]));
    script.approve(&script.waiting(1).await[0]);
    script.reports(1).await;
    // Nobody asks for almost as long as it was promised.
    sleep(Duration::from_secs(lives - 5)).await;
    let ended = agent.get(&task).await;
    assert_eq!(ended["status"], "completed");
    assert!(seconds(&ended["ttlMs"]) <= lives, "{ended}");

    // One that was fetched is kept for a bit, and says so.
    let task = agent.task("guarded", guarded("y")).await;
    script.approve(&script.waiting(1).await[0]);
    let ended = agent.end(&task).await;
    let left = seconds(&ended["ttlMs"]);
    assert!((295..=305).contains(&left), "{ended}");
    sleep(Duration::from_secs(290)).await;
    assert_eq!(agent.get(&task).await["result"], ended["result"]);
    sleep(Duration::from_secs(11)).await;
    for task in [&*task, "task-0", ""] {
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let params = json!({ "taskId": task, "inputResponses": {} });
            let answer = agent.ask(method, params).await;
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(message.contains("Call the tool again with the same arguments"), "{answer}");
        }
    }
    let malformed = agent.ask("tasks/get", json!({ "taskId": 7 })).await;
    assert_eq!(malformed["error"]["code"], -32602, "{malformed}");
}

#[tokio::test(start_paused = true)]
async fn no_task_asks_for_input() {
    let mut agent = Agent::of(fixture::server(Script::new(false)));
    let task = agent.task("guarded", guarded("x")).await;
    let answer = json!({ "taskId": task, "inputResponses": { "approve": { "action": "accept" } } });
    let answer = agent.ask("tasks/update", answer).await;
    assert_eq!(answer["result"], json!({ "resultType": "complete" }), "{answer}");
    assert_eq!(agent.get(&task).await["status"], "working");
}

#[tokio::test(start_paused = true)]
async fn where_results_take_too_much_room_calls_are_held_instead() {
    let script = Script::new(false);
    let server = fixture::server(script.clone()).max_unread_bytes(10_000);
    let mut agent = Agent::of(server);
    let task = agent.task("guarded_big", json!({ "bytes": 4_000 })).await;
    script.approve(&script.waiting(1).await[0]);
    // Twice: as text, and as structured content.
    script.reports(1).await;
    let second = agent.task("guarded_big", json!({ "bytes": 4_001 })).await;
    script.approve(&script.waiting(1).await[0]);
    script.reports(2).await;
    let held = agent.call("guarded", guarded("x")).await;
    assert_eq!(held["resultType"], "input_required", "{held}");
    for task in [task, second] {
        assert_eq!(agent.end(&task).await["status"], "completed");
    }
    // Fetched, and soon forgotten.
    sleep(Duration::from_secs(301)).await;
    agent.task("guarded", guarded("x")).await;
}

#[tokio::test(start_paused = true)]
async fn tasks_count_as_calls_in_flight() {
    let script = Script::new(false);
    let mut agent = Agent::of(fixture::server(script.clone()).max_concurrent_calls(2));
    let first = agent.task("guarded", guarded("x")).await;
    agent.task("guarded", guarded("y")).await;
    let refused = agent.ask("tools/call", json!({ "name": "echo", "arguments": {} })).await;
    assert_eq!(refused["error"]["code"], -32000, "{refused}");
    agent.cancel(&first).await;
    agent.end(&first).await;
    agent.task("guarded", guarded("z")).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_ends_what_only_the_process_promised() {
    let script = Script::new(false);
    let (client, serving) = RawClient::in_memory(fixture::server(script.clone()));
    let mut agent = Agent::new(client);
    agent.task("guarded", guarded("x")).await;
    let lingering = agent.task("guarded_linger", json!({})).await;
    script.approve(&"act-2".to_owned().try_into().unwrap());
    let is_running = |shown: &Value| shown["statusMessage"].as_str().unwrap().contains("running");
    agent.until(&lingering, is_running).await;
    agent.client.close_input().await;
    serving.await.unwrap().unwrap();
    let mut reports = script.reports(2).await;
    reports.sort();
    assert!(reports[0].starts_with("act-1 Withdrawn: "), "{reports:?}");
    assert_eq!(reports[1], "act-2 Completed", "it was offered to stop, and did");
}

/// A server over the center's files.
fn server_of(host: &Host) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_governed_fixture"));
    command.env_remove("RUST_LOG").env("CENTER", host.directory());
    command
}

/// Starts a server, and reads its log: it would stop when nobody does.
fn start(command: Command) -> (Child, Agent) {
    let Process { child, mut stderr, client } = Process::start(command);
    tokio::spawn(async move { while let Ok(Some(_)) = stderr.next_line().await {} });
    (child, Agent::new(client))
}

#[tokio::test]
async fn a_task_survives_kill_9_as_an_action_that_the_call_joins() {
    let host = Host::new().await;
    let (mut first, mut agent) = start(server_of(&host));
    let call = agent.call("guarded_plain", guarded("x")).await;
    let (lost, action) = (id_of(&call), action_in(&call["statusMessage"]));
    first.kill().await.unwrap();
    let record = host.record(&action).await;
    assert!(record.promised && record.state == ActionState::Pending, "{record:?}");

    // The next one ends in good order, with the task in it.
    let (mut second, mut agent) = start(server_of(&host));
    let answer = agent.ask("tasks/get", json!({ "taskId": lost })).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("Call the tool again"));
    let call = agent.call("guarded_plain", guarded("x")).await;
    assert_eq!(action_in(&call["statusMessage"]), action);
    agent.client.close_input().await;
    assert!(second.wait().await.unwrap().success());
    assert_eq!(host.record(&action).await.state, ActionState::Pending);

    host.decide(&action, true).await;
    let (_third, mut agent) = start(server_of(&host));
    let result = agent.call("guarded_plain", guarded("x")).await;
    let result = match result["taskId"].as_str() {
        Some(task) => agent.end(task).await["result"].take(),
        // The decision was there before anybody had to wait.
        None => result,
    };
    assert_eq!(text(&result), "x");
    assert_eq!(governance(&result)["action_id"], *action);
    assert_eq!(text(&agent.call("runs", json!({})).await), "1");
    host.until(&action, ActionState::Completed).await;
}

#[tokio::test]
async fn a_cancelled_task_ends_its_promised_action_in_the_center() {
    let host = Host::new().await;
    let (_process, mut agent) = start(server_of(&host));
    let call = agent.call("guarded_plain", guarded("x")).await;
    let (task, action) = (id_of(&call), action_in(&call["statusMessage"]));
    agent.cancel(&task).await;
    assert_eq!(agent.end(&task).await["status"], "cancelled");
    host.until(&action, ActionState::Withdrawn).await;
    let approver = host.center.local_approver().await.unwrap();
    host.center.approve(action.parse().unwrap(), &approver, None).await.unwrap_err();
    assert_eq!(text(&agent.call("runs", json!({})).await), "0");
}

/// The resident memory of a process, in KiB.
fn memory(process: &Child) -> u64 {
    let status = format!("/proc/{}/status", process.id().unwrap());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn two_thousand_tasks_at_once_take_little_and_each_runs_once() {
    const TASKS: usize = 2_000;
    let command = Command::new(env!("CARGO_BIN_EXE_governed_fixture"));
    let (child, mut agent) = start(command);
    // What it takes to serve at all.
    agent.call("echo", guarded("x")).await;
    let before = memory(&child);
    let mut calls = Vec::new();
    for call in 0..TASKS {
        calls.push(agent.begin_call("guarded", guarded(&call.to_string())).await);
    }
    let mut tasks = Vec::new();
    for call in calls {
        tasks.push(id_of(&agent.client.answer(call).await["result"]));
    }
    let each = (memory(&child) - before) * 1024 / TASKS as u64;
    println!("{each} bytes a waiting task");
    assert!(each < 64 * 1024, "{each} bytes a task");
    // Half of them are approved, and half given up.
    for task in &tasks[TASKS / 2..] {
        agent.cancel(task).await;
    }
    agent.call("reports", json!({ "count": TASKS / 2 })).await;
    let approved = agent.call("approve_all", json!({ "count": TASKS / 2 })).await;
    assert_eq!(approved["structuredContent"], TASKS / 2, "{approved}");
    for (call, task) in tasks.iter().enumerate() {
        let ended = agent.end(task).await;
        if call < TASKS / 2 {
            assert_eq!(ended["result"]["structuredContent"]["text"], call.to_string());
        } else {
            assert_eq!(ended["status"], "cancelled");
        }
    }
    assert_eq!(agent.runs().await, TASKS / 2);
}

type RmcpClient = RunningService<rmcp::RoleClient, ClientConfig>;

fn rmcp_client() -> (ClientConfig, ClientLifecycleMode) {
    let capabilities = ClientCapabilities::builder().enable_tasks().build();
    let info = ClientConfig::new(capabilities, Implementation::new("rmcp", "3"));
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    (info, ClientLifecycleMode::Discover { preferred_versions })
}

async fn rmcp_task(client: &RmcpClient, tool: &'static str, arguments: Value) -> String {
    let Value::Object(arguments) = arguments else { panic!("an object") };
    let params = CallToolRequestParams::new(tool).with_arguments(arguments);
    match client.call_tool_once(params).await.unwrap() {
        CallToolResponse::Task(created) => created.task.task_id,
        other => panic!("a task: {other:?}"),
    }
}

async fn rmcp_end(client: &RmcpClient, task: &str) -> GetTaskResult {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let shown = client.get_task(GetTaskParams::new(task)).await.unwrap();
        if shown.task.status().is_terminal() {
            return shown;
        }
        assert!(Instant::now() < deadline, "{shown:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn rmcp_result(client: &RmcpClient, task: &str) -> Value {
    match rmcp_end(client, task).await.task.payload {
        TaskPayload::Completed { result } => Value::Object(result),
        other => panic!("completed: {other:?}"),
    }
}

#[tokio::test]
async fn rmcps_client_over_stdio() {
    let (info, mode) = rmcp_client();
    let command = Command::new(env!("CARGO_BIN_EXE_governed_fixture"));
    let transport = TokioChildProcess::new(command).unwrap();
    let client = serve_client_with_lifecycle(info, transport, mode).await.unwrap();
    let task = rmcp_task(&client, "guarded", guarded("x")).await;
    let cancelled = rmcp_task(&client, "guarded", guarded("y")).await;
    client.cancel_task(CancelTaskParams::new(&cancelled)).await.unwrap();
    assert_eq!(rmcp_end(&client, &cancelled).await.task.status(), TaskStatus::Cancelled);
    client.call_tool(CallToolRequestParams::new("approve_next")).await.unwrap();
    let result = rmcp_result(&client, &task).await;
    assert_eq!(result["structuredContent"]["text"], "x");
    assert_eq!(governance(&result)["reviewed_by"], "mara@example.com");
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn rmcps_client_over_http_comes_back_on_another_connection() {
    let script = Script::new(false);
    let server = fixture::server(script.clone()).serve_http(([127, 0, 0, 1], 0)).await.unwrap();
    let connect = async || {
        let (info, mode) = rmcp_client();
        let transport = StreamableHttpClientTransport::from_uri(server.url());
        serve_client_with_lifecycle(info, transport, mode).await.unwrap()
    };
    let client = connect().await;
    let task = rmcp_task(&client, "guarded", guarded("x")).await;
    let cancelled = rmcp_task(&client, "guarded", guarded("y")).await;
    client.cancel().await.unwrap();

    let client = connect().await;
    client.cancel_task(CancelTaskParams::new(&cancelled)).await.unwrap();
    assert_eq!(rmcp_end(&client, &cancelled).await.task.status(), TaskStatus::Cancelled);
    let shown = client.get_task(GetTaskParams::new(&task)).await.unwrap();
    let message = shown.task.task.status_message.unwrap();
    assert!(message.starts_with("waiting for approval: action act-1 (guarded)"), "{message}");
    script.approve(&script.waiting(1).await[0]);
    let result = rmcp_result(&client, &task).await;
    assert_eq!(result["structuredContent"]["text"], "x");
    // Nothing but the id leads to a task.
    let guess = format!("{}0", &task[..task.len() - 1]);
    if guess != task {
        client.get_task(GetTaskParams::new(guess)).await.unwrap_err();
    }
    server.shutdown().await;
}

/// A request of 2026-07-28 as it is posted, in a session where there is one.
async fn post(
    server: &HttpServer,
    session: Option<&str>,
    method: &str,
    name: &str,
    mut params: Value,
) -> Value {
    params["_meta"] = meta();
    let mut request = reqwest::Client::new()
        .post(server.url())
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
        .header("mcp-name", name)
        .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    let text = request.send().await.unwrap().text().await.unwrap();
    let json =
        text.lines().find_map(|line| line.strip_prefix("data: ").filter(|it| !it.is_empty()));
    serde_json::from_str(json.unwrap_or(&text)).unwrap_or_else(|_| panic!("JSON: {text}"))
}

#[tokio::test]
async fn a_task_belongs_to_its_session_where_there_is_one() {
    let script = Script::new(false);
    let server = fixture::server(script.clone()).serve_http(([127, 0, 0, 1], 0)).await.unwrap();
    let call = json!({ "name": "guarded", "arguments": guarded("x") });
    let created = post(&server, Some("a"), "tools/call", "guarded", call).await;
    let task = id_of(&created["result"]);
    for session in [Some("b"), None] {
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let params = json!({ "taskId": task, "inputResponses": {} });
            let answer = post(&server, session, method, &task, params).await;
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
        }
    }
    let shown = post(&server, Some("a"), "tasks/get", &task, json!({ "taskId": task })).await;
    assert_eq!(shown["result"]["status"], "working", "{shown}");
}

/// Two clients without sessions make the same call, and cannot be told apart.
#[tokio::test]
async fn a_task_that_is_cancelled_takes_nothing_from_another_client() {
    let host = Host::new().await;
    let governor = || Governor::new(host.center.clone());
    let serve = async |governor| {
        let server = fixture::server_under(governor, Script::new(false))
            .hold_calls_for(Duration::from_millis(1));
        server.serve_http(([127, 0, 0, 1], 0)).await.unwrap()
    };
    // Of one server, and of two that share a center.
    let servers = [serve(governor()).await, serve(governor()).await];
    for (text, other) in [("one server", &servers[0]), ("two servers", &servers[1])] {
        let call = || json!({ "name": "guarded_plain", "arguments": guarded(text) });
        let created = post(&servers[0], None, "tools/call", "guarded_plain", call()).await;
        let (task, action) =
            (id_of(&created["result"]), action_in(&created["result"]["statusMessage"]));
        let created = post(other, None, "tools/call", "guarded_plain", call()).await;
        assert_eq!(action_in(&created["result"]["statusMessage"]), action, "{text}: it joined");
        let others = id_of(&created["result"]);
        let show = async |server: &HttpServer, task: &str| {
            let params = json!({ "taskId": task });
            post(server, None, "tasks/get", task, params).await["result"].take()
        };
        let until_ended = async |server: &HttpServer, task: &str| {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let shown = show(server, task).await;
                if shown["status"] != "working" {
                    return shown;
                }
                assert!(Instant::now() < deadline, "{text}: {shown}");
                sleep(Duration::from_millis(20)).await;
            }
        };
        let params = json!({ "taskId": task });
        post(&servers[0], None, "tasks/cancel", &task, params).await;
        assert_eq!(until_ended(&servers[0], &task).await["status"], "cancelled", "{text}");
        assert_eq!(show(other, &others).await["status"], "working", "{text}");
        host.decide(&action, true).await;
        let ended = until_ended(other, &others).await;
        assert_eq!(self::text(&ended["result"]), text, "{ended}");
        host.until(&action, ActionState::Completed).await;
    }
}

/// The last of several to whom an action was promised ends it, and no sooner one.
#[tokio::test]
async fn an_action_is_given_up_with_its_last_holder() {
    let host = Host::new().await;
    let serve = async || {
        let governor = Governor::new(host.center.clone());
        let server = fixture::server_under(governor, Script::new(false));
        server.serve_http(([127, 0, 0, 1], 0)).await.unwrap()
    };
    let servers = [serve().await, serve().await];
    let call = || json!({ "name": "guarded_plain", "arguments": guarded("x") });
    let mut tasks = Vec::new();
    for server in [&servers[0], &servers[0], &servers[1]] {
        let created = post(server, None, "tools/call", "guarded_plain", call()).await;
        let action = action_in(&created["result"]["statusMessage"]);
        tasks.push((server, id_of(&created["result"]), action));
    }
    let action = tasks[0].2.clone();
    for (server, task, of) in tasks {
        assert_eq!(of, action);
        assert_eq!(host.record(&action).await.state, ActionState::Pending);
        for _ in 0..2 {
            let params = json!({ "taskId": task });
            post(server, None, "tasks/cancel", &task, params).await;
        }
    }
    host.until(&action, ActionState::Withdrawn).await;
}

/// It declares the extension, and polls until the task has ended.
#[tokio::test]
async fn fastmcps_client() {
    let center = tempfile::tempdir().unwrap();
    let approver = Approver::of(center.path());
    let server = Server::at(Path::new(env!("CARGO_BIN_EXE_governed_fixture")))
        .env("CENTER", &center.path().display().to_string())
        // Without tasks, every call would be pending at once.
        .env("HOLD", "1");
    let mut session = Client::FastMcp.start(
        &server,
        &[call("guarded", guarded("x")), call("guarded", guarded("y")), call("runs", json!({}))],
    );
    assert_eq!(session.next().await["protocol"], "2026-07-28");
    session.next().await;
    let id = approver.pending().await[0]["id"].to_string();
    approver.run(&["approve", &id]).await;
    let result = session.result(0).await;
    assert_eq!(result["structuredContent"]["text"], "x", "{result}");
    assert_eq!(governance(&result)["action_id"], *id);
    let id = approver.pending().await[0]["id"].to_string();
    approver.run(&["reject", &id, "--comment", "not today"]).await;
    let result = session.result(1).await;
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(governance(&result)["refusal"], "rejected");
    assert_eq!(text(&session.result(2).await), "1");
    session.finished().await;
}
