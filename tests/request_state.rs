//! Calls of clients of 2026-07-28 that wait over several requests, each of which
//! brings back the sealed state of the one before.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use ascend_center::{Center, CenterConfig};
use ascend_sdk::{
    ActionId, CallContext, Governor, Refusal, high_risk_action, mcp_governance,
    server::{GovernedServer, HttpServer, ServeError},
    tools,
};
use ascend_tests::{
    client::{Client, Server, call, call_tampering, program},
    fixture::{self, Script},
    modern::{self, Retry},
    raw_client::RawClient,
};
use proptest::prelude::*;
use rmcp::{
    model::{CallToolRequestParams, ClientConfig, Implementation, ProtocolVersion},
    service::{ClientLifecycleMode, serve_client_with_lifecycle},
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// So long that ten requests do not use it up.
const PATIENT: Duration = Duration::from_secs(3600);

fn server(script: &Script) -> GovernedServer {
    server_of(&Governor::builder(script.clone()).approval_timeout(PATIENT).build(), script)
}

fn server_of(governor: &Governor, script: &Script) -> GovernedServer {
    fixture::server_under(governor.clone(), script.clone())
}

fn client_of(server: GovernedServer) -> RawClient {
    let (mut client, _serving) = RawClient::in_memory(server);
    // With the clock at a stop it costs nothing.
    client.patience = 2 * PATIENT;
    client
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text: {result}"))
}

fn governance(result: &Value) -> &Value {
    &result["_meta"]["governance"]
}

/// The state of an answer that has nothing else.
fn state(result: &Value) -> String {
    assert_eq!(result["resultType"], "input_required", "{result}");
    assert!(result.get("inputRequests").is_none(), "{result}");
    result["requestState"].as_str().unwrap().to_owned()
}

async fn guarded(client: &mut RawClient, id: u32, text: &str, retry: Retry<'_>) -> Value {
    modern::call(client, id, "guarded_plain", json!({ "text": text }), retry).await
}

/// The action of the last call that was evaluated.
fn last_action(script: &Script) -> ActionId {
    ActionId::new(format!("act-{}", script.actions().len())).unwrap()
}

/// How often the body ran, as the server counts.
async fn runs(client: &mut RawClient) -> String {
    let result = modern::call(client, 999, "runs", json!({}), Retry::default()).await;
    text(&result).to_owned()
}

#[tokio::test(start_paused = true)]
async fn nine_legs_then_pending_and_one_action() {
    let script = Script::new(false);
    let mut client = client_of(server(&script));
    let mut retry = None;
    for leg in 1..=9 {
        let began = Instant::now();
        let result = guarded(&mut client, leg, "x", Retry::of(retry.as_deref())).await;
        assert_eq!(began.elapsed().as_secs(), 45, "leg {leg}");
        retry = Some(state(&result));
    }
    let result = guarded(&mut client, 10, "x", Retry::of(retry.as_deref())).await;
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["isError"], false);
    assert_eq!(governance(&result)["status"], "pending", "{result}");
    assert_eq!(governance(&result)["action_id"], "act-1");
    assert_eq!(script.actions().len(), 1);

    // A new call joins, and has its own ten requests.
    let result = guarded(&mut client, 11, "x", Retry::default()).await;
    let state = state(&result);
    script.approve(&script.waiting(1).await[0]);
    let result = guarded(&mut client, 12, "x", Retry::of(Some(&state))).await;
    assert_eq!(text(&result), "x");
    assert_eq!(governance(&result)["reviewed_by"], "mara@example.com");
    assert_eq!(script.actions().len(), 1);
    assert_eq!(runs(&mut client).await, "1");
}

#[tokio::test(start_paused = true)]
async fn an_approval_during_a_leg_or_between_two_starts_the_body_at_once() {
    let script = Script::new(false);
    let mut client = client_of(server(&script));
    let first = state(&guarded(&mut client, 1, "x", Retry::default()).await);
    let began = Instant::now();
    modern::begin(&mut client, 2, "guarded_plain", json!({ "text": "x" }), Retry::of(Some(&first)))
        .await;
    // Answered after the retry was read.
    runs(&mut client).await;
    script.approve(&script.waiting(1).await[0]);
    let result = client.answer(2).await["result"].take();
    assert_eq!((text(&result), began.elapsed()), ("x", Duration::ZERO));

    let second = state(&guarded(&mut client, 3, "y", Retry::default()).await);
    script.approve(&last_action(&script));
    let began = Instant::now();
    let result = guarded(&mut client, 4, "y", Retry::of(Some(&second))).await;
    assert_eq!((text(&result), began.elapsed()), ("y", Duration::ZERO));
    assert_eq!(runs(&mut client).await, "2");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_first_leg_is_withdrawn_and_a_later_one_given_up() {
    let script = Script::new(false);
    let mut client = client_of(server(&script));
    modern::begin(&mut client, 1, "guarded_plain", json!({ "text": "x" }), Retry::default()).await;
    script.waiting(1).await;
    client.cancel(1).await;
    assert_eq!(script.reports(1).await, ["act-1 Withdrawn: the call was cancelled"]);

    let state = state(&guarded(&mut client, 2, "x", Retry::default()).await);
    let retry = Retry::of(Some(&state));
    modern::begin(&mut client, 3, "guarded_plain", json!({ "text": "x" }), retry.clone()).await;
    script.waiting(1).await;
    client.cancel(3).await;
    assert_eq!(script.reports(2).await[1], "act-2 Abandoned: its agent gave it up");
    // Its state is worth nothing now: an approval that comes late starts nothing.
    script.approve(&last_action(&script));
    guarded(&mut client, 4, "x", retry).await;
    assert_eq!(runs(&mut client).await, "0");
}

/// The end of a connection says nothing of the call: its agent may be started anew.
#[tokio::test]
async fn a_later_leg_outlives_its_connection_as_an_action_that_the_call_joins() {
    let directory = tempfile::tempdir().unwrap();
    let center = Center::open(CenterConfig::new(directory.path())).await.unwrap();
    let server = || fixture::server_under(Governor::new(center.clone()), Script::new(false));
    let hurried = server().hold_calls_for(Duration::from_millis(100));
    let (mut client, serving) = RawClient::in_memory(hurried);
    let state = state(&guarded(&mut client, 1, "x", Retry::default()).await);
    let retry = Retry::of(Some(&state));
    modern::begin(&mut client, 2, "guarded_plain", json!({ "text": "x" }), retry).await;
    client.close_input().await;
    serving.await.unwrap().unwrap();
    let action = &center.actions(None, 10).await.unwrap()[0];
    assert_eq!(action.state, ascend_center::ActionState::Pending);
    let approver = center.local_approver().await.unwrap();
    center.approve(action.id, &approver, None).await.unwrap();
    let mut client = client_of(server());
    let result = guarded(&mut client, 1, "x", Retry::default()).await;
    assert_eq!(governance(&result)["action_id"], action.id.to_string(), "{result}");
    assert_eq!(text(&result), "x");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leg_takes_nothing_from_another_call_that_was_told_to_come_back() {
    let script = Script::new(false);
    let governor = Governor::builder(script.clone()).approval_timeout(PATIENT).build();
    let mut first = client_of(server_of(&governor, &script));
    let first_state = state(&guarded(&mut first, 1, "x", Retry::default()).await);
    // Another session joins what was promised, and gives up what it was promised.
    let mut second = client_of(server_of(&governor, &script));
    let second_state = state(&guarded(&mut second, 1, "x", Retry::default()).await);
    let retry = Retry::of(Some(&second_state));
    modern::begin(&mut second, 2, "guarded_plain", json!({ "text": "x" }), retry).await;
    runs(&mut second).await;
    second.cancel(2).await;
    runs(&mut second).await;
    script.approve(&script.waiting(1).await[0]);
    let result = guarded(&mut first, 2, "x", Retry::of(Some(&first_state))).await;
    assert_eq!(text(&result), "x", "{result}");
    assert_eq!(governance(&result)["action_id"], "act-1");
}

#[tokio::test(start_paused = true)]
async fn the_same_state_twice_runs_once() {
    let script = Script::new(false);
    let mut client = client_of(server(&script));
    let state = state(&guarded(&mut client, 1, "x", Retry::default()).await);
    for id in [2, 3] {
        let retry = Retry::of(Some(&state));
        modern::begin(&mut client, id, "guarded_plain", json!({ "text": "x" }), retry).await;
    }
    runs(&mut client).await;
    script.approve(&script.waiting(1).await[0]);
    let mut results = [client.answer(2).await, client.answer(3).await];
    results.sort_by_key(|answer| answer["result"]["isError"].as_bool());
    assert_eq!(text(&results[0]["result"]), "x");
    assert_eq!(governance(&results[1]["result"])["refusal"], "already_executed");

    // After the run: nothing runs, and nothing is asked.
    let asked = script.actions().len();
    let result = guarded(&mut client, 4, "x", Retry::of(Some(&state))).await;
    assert_eq!(result["isError"], true);
    assert!(text(&result).starts_with("This decision was already used."), "{result}");
    assert!(text(&result).ends_with("(action act-1)"), "{result}");
    assert_eq!(script.actions().len(), asked);
    assert_eq!(runs(&mut client).await, "1");
}

#[tokio::test(start_paused = true)]
async fn a_state_is_of_one_call_alone() {
    let script = Script::new(false);
    let governor = Governor::builder(script.clone()).approval_timeout(PATIENT).build();
    let mut client = client_of(server_of(&governor, &script));
    let state = state(&guarded(&mut client, 1, "x", Retry::default()).await);
    let asked = script.actions().len();

    let forged = |answer: Value| {
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("none that this server gave for this call"), "{message}");
        assert!(message.contains("Nothing was executed; call again"), "{message}");
    };
    let arguments = json!({ "text": "x" });
    let retry = || Retry::of(Some(&state));
    for (tool, arguments) in [
        ("guarded_plain", json!({ "text": "y" })),
        ("guarded", arguments.clone()),
        ("echo", arguments.clone()),
    ] {
        modern::begin(&mut client, 2, tool, arguments, retry()).await;
        forged(client.answer(2).await);
    }
    // Another session of the same server, and another server.
    let mut other = client_of(server_of(&governor, &script));
    modern::begin(&mut other, 2, "guarded_plain", arguments.clone(), retry()).await;
    forged(other.answer(2).await);
    for text in ["", "rs1", "rs1.x.y", "none", &"rs1.".repeat(10_000)] {
        let retry = Retry::of(Some(text));
        modern::begin(&mut client, 2, "guarded_plain", arguments.clone(), retry).await;
        forged(client.answer(2).await);
    }
    assert_eq!(script.actions().len(), asked, "no action was opened");
    // The call itself is unharmed.
    script.approve(&script.waiting(1).await[0]);
    assert_eq!(text(&guarded(&mut client, 3, "x", retry()).await), "x");
}

#[tokio::test]
async fn a_state_ends_with_the_time_for_the_approval() {
    let script = Script::new(false);
    let timeout = Duration::from_millis(200);
    let governor = Governor::builder(script.clone()).approval_timeout(timeout).build();
    let server = server_of(&governor, &script).hold_calls_for(Duration::from_millis(1));
    let mut client = client_of(server);
    let state = state(&guarded(&mut client, 1, "x", Retry::default()).await);
    let deadline = Instant::now() + PATIENT;
    loop {
        let result = guarded(&mut client, 2, "x", Retry::of(Some(&state))).await;
        if result["isError"] == true && text(&result).starts_with("the time for an approval was") {
            break;
        }
        assert!(Instant::now() < deadline, "{result}");
    }
    assert_eq!(runs(&mut client).await, "0");
}

#[tokio::test(start_paused = true)]
async fn before_2026_no_state_is_taken() {
    let script = Script::new(false);
    let mut client = client_of(server(&script));
    client.initialize().await;
    for brought in [json!({ "requestState": "x" }), json!({ "inputResponses": {} })] {
        let mut params = json!({ "name": "echo", "arguments": { "text": "x" } });
        params.as_object_mut().unwrap().extend(brought.as_object().unwrap().clone());
        let result = client.request(1, "tools/call", params).await["result"].take();
        assert_eq!(result["isError"], true);
        assert!(text(&result).contains("of protocol 2026-07-28"), "{result}");
    }
    assert!(script.actions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn answers_to_what_nobody_asked_approve_nothing() {
    let script = Script::new(false);
    let mut client = client_of(server(&script));
    let accept =
        json!({ "approval": { "action": "accept", "content": { "decision": "approve" } } });
    let retry = Retry { state: None, answers: Some(accept.clone()) };
    let state = state(&guarded(&mut client, 1, "x", retry).await);
    let retry = Retry { state: Some(&state), answers: Some(accept) };
    self::state(&guarded(&mut client, 2, "x", retry).await);
    assert_eq!(runs(&mut client).await, "0");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_holds_calls_for_ever_makes_no_legs() {
    let script = Script::new(false);
    let mut client = client_of(server(&script).hold_calls_for(None));
    let began = Instant::now();
    let result = guarded(&mut client, 1, "x", Retry::default()).await;
    assert_eq!(governance(&result)["refusal"], "timed_out", "{result}");
    assert_eq!(began.elapsed(), PATIENT);
    // A shorter hold makes shorter legs.
    let mut client = client_of(server(&script).hold_calls_for(Duration::from_secs(5)));
    let began = Instant::now();
    state(&guarded(&mut client, 1, "y", Retry::default()).await);
    assert_eq!(began.elapsed().as_secs(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_changed_byte_is_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0x20_u8..0x7f), 64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let script = Script::new(false);
            let server = server(&script).hold_calls_for(Duration::from_millis(1));
            let mut client = client_of(server);
            let state = state(&guarded(&mut client, 1, "x", Retry::default()).await);
            script.approve(&last_action(&script));
            for (index, byte) in changes {
                let mut changed = state.clone().into_bytes();
                let at = index.index(changed.len());
                if changed[at] == byte {
                    continue;
                }
                changed[at] = byte;
                let changed = String::from_utf8(changed).unwrap();
                let retry = Retry::of(Some(&changed));
                modern::begin(&mut client, 2, "guarded_plain", json!({ "text": "x" }), retry).await;
                let answer = client.answer(2).await;
                prop_assert_eq!(&answer["error"]["code"], -32602, "{}", answer);
            }
            prop_assert_eq!(runs(&mut client).await, "0");
            prop_assert_eq!(script.actions().len(), 2, "the call itself, and `runs`");
            let result = guarded(&mut client, 3, "x", Retry::of(Some(&state))).await;
            prop_assert_eq!(text(&result), "x");
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_short_key_is_a_mistake_that_is_told_at_the_start() {
    let server = server(&Script::new(false)).request_state_key("hunter2".into());
    let (ours, _theirs) = tokio::io::duplex(64);
    let (reader, writer) = tokio::io::split(ours);
    let error = server.serve(reader, writer).await.unwrap_err();
    let ServeError::Setup(mistakes) = &error else { panic!("{error}") };
    assert_eq!(mistakes.as_slice().len(), 1);
    assert_eq!(
        error.to_string(),
        "the server cannot start: `request_state_key` has 7 bytes; give it 32 or more, all of \
         them random"
    );
}

/// Two servers over one center, which clients reach by HTTP without a session.
struct Replicas {
    center: Center,
    servers: [HttpServer; 2],
    _directory: tempfile::TempDir,
}

impl Replicas {
    async fn new(keys: [&str; 2]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let center = Center::open(CenterConfig::new(directory.path())).await.unwrap();
        let serve = async |key: &str| {
            let governor = Governor::new(center.clone());
            let server = fixture::server_under(governor, Script::new(false))
                .hold_calls_for(Duration::from_secs(1))
                .request_state_key(key.into());
            server.serve_http(([127, 0, 0, 1], 0)).await.unwrap()
        };
        let servers = [serve(keys[0]).await, serve(keys[1]).await];
        Self { center, servers, _directory: directory }
    }

    async fn call(&self, replica: usize, credential: &str, state: Option<&str>) -> Value {
        let arguments = json!({ "text": "x" });
        let params = modern::params("guarded_plain", arguments, Retry::of(state));
        modern::post(&self.servers[replica].url(), credential, params).await
    }
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn servers_that_share_a_key_take_over_each_others_calls() {
    let replicas = Replicas::new([KEY, KEY]).await;
    let first = state(&replicas.call(0, "alice", None).await["result"]);
    let second = state(&replicas.call(1, "alice", Some(&first)).await["result"]);
    // Another's credential does not go on with it, nor none at all.
    for credential in ["bob", ""] {
        let answer = replicas.call(1, credential, Some(&second)).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let pending = replicas.center.actions(None, 10).await.unwrap();
    assert_eq!(pending.len(), 1, "one action");
    let approver = replicas.center.local_approver().await.unwrap();
    replicas.center.approve(pending[0].id, &approver, None).await.unwrap();
    let result = replicas.call(1, "alice", Some(&second)).await["result"].take();
    assert_eq!(text(&result), "x", "{result}");
    // Brought to the other again, the used state is known as such, and nobody is asked.
    for _ in 0..2 {
        let result = replicas.call(0, "alice", Some(&second)).await["result"].take();
        assert_eq!(governance(&result)["refusal"], "already_executed", "{result}");
        assert_eq!(governance(&result)["action_id"], pending[0].id.to_string());
    }
    assert_eq!(replicas.center.actions(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_state_whose_action_was_rejected_is_told_so_by_any_server_of_its_key() {
    let replicas = Replicas::new([KEY, KEY]).await;
    let first = state(&replicas.call(0, "alice", None).await["result"]);
    let action = replicas.center.actions(None, 10).await.unwrap()[0].id;
    let approver = replicas.center.local_approver().await.unwrap();
    replicas.center.reject(action, &approver, Some("not today".to_owned())).await.unwrap();
    for replica in [1, 0] {
        let result = replicas.call(replica, "alice", Some(&first)).await["result"].take();
        assert_eq!(governance(&result)["refusal"], "rejected", "{result}");
        assert!(text(&result).contains("not today"), "{result}");
    }
    let open =
        replicas.center.actions(Some(ascend_center::ActionState::Pending), 10).await.unwrap();
    assert_eq!(open, []);
}

#[tokio::test]
async fn servers_of_different_keys_do_not() {
    let replicas = Replicas::new([KEY, "another key of thirty-two bytes, or more"]).await;
    let first = state(&replicas.call(0, "alice", None).await["result"]);
    let answer = replicas.call(1, "alice", Some(&first)).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert_eq!(replicas.center.actions(None, 10).await.unwrap().len(), 1);
}

/// A fixture whose requests are held for 300 ms each, under a center of its own.
fn fixture_over(center: &Center) -> Server {
    let directory = center.directory().to_str().unwrap();
    Server::at(&program("governed_fixture")).env("CENTER", directory).env("HOLD", "300")
}

/// The action after `earlier`, once it is promised: a request of its call was
/// answered, and the next is to come.
async fn promised_after(earlier: i64, center: &Center) -> i64 {
    let changes = center.changes();
    loop {
        let changed = changes.next();
        let actions = center.actions(None, 10).await.unwrap();
        if let Some(action) = actions.iter().find(|it| it.promised && it.id > earlier) {
            return action.id;
        }
        changed.await;
    }
}

/// Ten requests without an approval, and then an approval after some of them.
async fn with_client(client: Client) {
    let directory = tempfile::tempdir().unwrap();
    let center = Center::open(CenterConfig::new(directory.path())).await.unwrap();
    let calls = [
        call("guarded_plain", json!({ "text": "never" })),
        call("guarded_plain", json!({ "text": "approved" })),
        call_tampering("guarded_plain", json!({ "text": "forged" })),
    ];
    let mut session = client.start_with(&fixture_over(&center), &calls, &json!({ "modern": true }));
    assert_eq!(session.next().await["protocol"], "2026-07-28");
    session.next().await;
    let began = Instant::now();
    let result = session.result(0).await;
    assert_eq!(governance(&result)["status"], "pending", "{result}");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(3), "ten requests of 300 ms, and not {took:?}");
    let never = center.actions(None, 10).await.unwrap()[0].id;
    let approved = promised_after(never, &center).await;
    let approver = center.local_approver().await.unwrap();
    center.approve(approved, &approver, None).await.unwrap();
    let result = session.result(1).await;
    assert_eq!(text(&result), "approved", "{result}");
    assert_eq!(governance(&result)["action_id"], approved.to_string());
    let refused = session.next().await;
    let error = refused["error"].as_str().unwrap_or_else(|| panic!("an error: {refused}"));
    assert!(error.contains("none that this server gave for this call"), "{error}");
    session.finished().await;
    assert_eq!(center.actions(None, 10).await.unwrap().len(), 3, "one action each");
}

#[tokio::test]
async fn the_typescript_client_2_waits_over_ten_requests() {
    with_client(Client::TypeScript2).await;
}

#[tokio::test]
async fn the_python_client_2_waits_over_ten_requests() {
    with_client(Client::Python2).await;
}

#[tokio::test]
async fn rmcps_client_waits_over_ten_requests() {
    let script = Script::new(false);
    let server = server(&script).hold_calls_for(Duration::from_millis(50));
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(theirs);
    tokio::spawn(server.serve(reader, writer));
    let info = ClientConfig::new(Default::default(), Implementation::new("rmcp", "3"));
    let mode =
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    let client = serve_client_with_lifecycle(info, ours, mode).await.unwrap();
    let call = || {
        let arguments = json!({ "text": "x" }).as_object().unwrap().clone();
        CallToolRequestParams::new("guarded_plain").with_arguments(arguments)
    };
    let result = serde_json::to_value(client.call_tool(call()).await.unwrap()).unwrap();
    assert_eq!(governance(&result)["status"], "pending", "{result}");
    let approved = async {
        script.approve(&script.waiting(1).await[0]);
    };
    let (result, ()) = tokio::join!(client.call_tool(call()), approved);
    let result = serde_json::to_value(result.unwrap()).unwrap();
    assert_eq!(text(&result), "x");
    assert_eq!(script.actions().len(), 1);
}

/// Says it again.
#[mcp_governance(action_type = "echo.read", resource = "echo")]
async fn inner(text: String, #[context] context: CallContext) -> Result<String, Refusal> {
    let _ = context;
    Ok(text)
}

/// Asks another governed function.
#[high_risk_action(action_type = "echo.write", resource = "echo")]
async fn outer(text: String, #[context] context: CallContext) -> Result<String, Refusal> {
    inner(text, context).await
}

#[tokio::test(start_paused = true)]
async fn what_a_body_calls_goes_on_with_nothing_of_its_own_call() {
    let script = Script::new(false);
    let governor = Governor::builder(script.clone()).approval_timeout(PATIENT).build();
    let mut client = client_of(GovernedServer::new("calls", governor).tools(tools![outer]));
    let call = json!({ "text": "x" });
    let result = modern::call(&mut client, 1, "outer", call.clone(), Retry::default()).await;
    let state = state(&result);
    script.approve(&last_action(&script));
    let result = modern::call(&mut client, 2, "outer", call, Retry::of(Some(&state))).await;
    assert_eq!((text(&result), &result["isError"]), ("x", &json!(false)), "{result}");
    assert_eq!(script.actions().len(), 2);
}
