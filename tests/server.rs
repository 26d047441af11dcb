//! What a server answers, over a stream in this process.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use ascend_sdk::{
    CallContext, Governor, Location, Refusal, State, Tools, high_risk_action, mcp_governance,
    server::{GovernedServer, Mistake, ServeError},
    tools,
};
use ascend_tests::{
    fixture::{self, Script},
    raw_client::RawClient,
};
use serde_json::{Value, json};

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text: {result}"))
}

async fn client(script: &Script) -> RawClient {
    let (mut client, _serving) = RawClient::in_memory(fixture::server(script.clone()));
    client.initialize().await;
    client
}

#[tokio::test]
async fn it_says_who_it_is_and_offers_tools_alone() {
    let (mut client, _serving) = RawClient::in_memory(fixture::server(Script::new(false)));
    let answer = client.initialize().await;
    assert_eq!(
        answer["result"],
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "fixture-001", "title": "Fixture", "version": "1.2.3" },
            "instructions": "Use it for tests.",
        })
    );
}

#[tokio::test]
async fn tools_are_listed_in_order_with_their_risk() {
    let mut client = client(&Script::new(false)).await;
    let listed = client.request(1, "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    let given: Vec<&str> =
        fixture::tools().routes().iter().map(|route| route.spec().name).collect();
    assert_eq!(names, given[..given.len() - 1], "all but the blocked one");
    assert_eq!(tools[0]["description"], "Returns the text. [Risk: LOW]");
    assert_eq!(
        tools[2]["description"],
        "Returns the text, once a person has approved. [Risk: HIGH]"
    );
    assert_eq!(
        tools[0]["annotations"],
        json!({ "readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false })
    );
    assert_eq!(tools[0]["inputSchema"]["required"], json!(["text"]));
    assert_eq!(tools[0]["outputSchema"]["properties"]["text"]["type"], "string");
}

#[tokio::test]
async fn a_call_that_ran_says_who_let_it() {
    let script = Script::new(false);
    let mut client = client(&script).await;
    client.begin(1, "guarded", json!({ "text": "hello" })).await;
    let id = script.waiting(1).await.remove(0);
    script.approve(&id);
    let result = client.answer(1).await["result"].take();
    assert_eq!(
        result,
        json!({
            "content": [{ "type": "text", "text": "{\"text\":\"hello\"}" }],
            "structuredContent": { "text": "hello" },
            "isError": false,
            "_meta": { "governance": {
                "status": "approved",
                "decision": "REQUIRE_APPROVAL",
                "action_id": "act-1",
                "risk_score": 20,
                "risk_level": "LOW",
                "reviewed_by": "mara@example.com",
            } },
        })
    );
    assert_eq!(script.reports(1).await, ["act-1 Completed"]);
    let action = &script.actions()[0];
    assert_eq!(action.server_id, "fixture-001");
    assert_eq!(action.session_context.client_name.as_deref(), Some("raw"));
    assert_eq!(action.session_context.client_version.as_deref(), Some("9"));
}

#[tokio::test]
async fn each_connection_is_a_session() {
    let script = Script::new(false);
    for _ in 0..2 {
        let mut client = client(&script).await;
        client.call(1, "echo", json!({ "text": "a" })).await;
        client.call(2, "echo", json!({ "text": "b" })).await;
    }
    let sessions: Vec<String> =
        script.actions().into_iter().map(|action| action.session_context.session_id).collect();
    assert!(sessions[0] == sessions[1] && sessions[2] == sessions[3], "{sessions:?}");
    assert_ne!(sessions[0], sessions[2]);
    assert_ne!(sessions[0], "mcp-session-default");
}

#[tokio::test]
async fn a_denied_call_says_so_in_one_sentence() {
    let mut client = client(&Script::new(false)).await;
    let result = client.call(1, "echo", json!({ "text": "deny" })).await;
    assert_eq!(result["isError"], true);
    assert_eq!(result["content"].as_array().unwrap().len(), 1);
    assert!(text(&result).starts_with("Action blocked by ASCEND governance policy"), "{result}");
    assert!(text(&result).contains("it says deny"), "{result}");
    let governance = &result["_meta"]["governance"];
    assert_eq!(governance["status"], "blocked");
    assert_eq!(governance["refusal"], "denied");
    assert_eq!(governance["action_id"], "act-1");
    assert_eq!(governance["risk_score"], 20);
}

#[tokio::test]
async fn a_failed_call_was_approved() {
    let mut client = client(&Script::new(false)).await;
    let result = client.call(1, "fail", json!({ "text": "no such table" })).await;
    assert_eq!(result["isError"], true);
    assert_eq!(text(&result), "no such table");
    assert_eq!(result["_meta"]["governance"]["status"], "approved");
}

#[tokio::test]
async fn a_panic_before_the_decision_says_that_nothing_ran() {
    let script = Script::new(false);
    let mut client = client(&script).await;
    let result = client.call(1, "panics_early", json!({})).await;
    assert_eq!(result["isError"], true);
    assert!(text(&result).ends_with("it was not executed"), "{result}");
    assert!(script.actions().is_empty());
}

#[tokio::test]
async fn bad_arguments_name_the_field_and_ask_nobody() {
    let script = Script::new(false);
    let mut client = client(&script).await;
    for (arguments, words) in
        [(json!({ "text": 5 }), "`text`"), (json!({}), "`text`"), (Value::Null, "`text`")]
    {
        let result = client.call(1, "echo", arguments).await;
        assert_eq!(result["isError"], true);
        assert!(text(&result).starts_with("invalid arguments for `echo`"), "{result}");
        assert!(text(&result).contains(words), "{result}");
    }
    assert!(script.actions().is_empty());
}

#[tokio::test]
async fn a_blocked_tool_is_refused_and_an_unknown_one_unknown() {
    let script = Script::new(false);
    let mut client = client(&script).await;
    let result = client.call(1, "forbidden", json!({})).await;
    assert_eq!(result["isError"], true);
    assert!(text(&result).starts_with("Tool blocked by server policy"), "{result}");
    assert_eq!(result["_meta"]["governance"]["refusal"], "blocked");
    assert!(script.actions().is_empty());
    let params = json!({ "name": "delete_all" });
    let error = client.request(2, "tools/call", params).await["error"].take();
    assert_eq!(error["code"], -32602);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("Unknown tool: delete_all; available tools: echo, length"),
        "{message}"
    );
    assert!(!message.contains("forbidden"), "{message}");
}

#[tokio::test]
async fn an_allow_list_leaves_the_rest_out() {
    let server = fixture::server(Script::new(false)).allow_tools(["echo", "forbidden"]);
    let (mut client, _serving) = RawClient::in_memory(server);
    client.initialize().await;
    let listed = client.request(1, "tools/list", json!({})).await;
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1);
    let result = client.call(2, "length", json!({ "text": "" })).await;
    assert_eq!(result["_meta"]["governance"]["refusal"], "blocked");
}

#[tokio::test]
async fn all_mistakes_are_told_before_anything_is_served() {
    let server = GovernedServer::new("s", Governor::new(Script::new(false)))
        .tools(ascend_sdk::tools![fixture::echo, fixture::length, fixture::echo])
        .allow_tools(["lenght", "echo"])
        .block_tools(["something_else"]);
    let error = server.serve(tokio::io::empty(), tokio::io::sink()).await.unwrap_err();
    let told = error.to_string();
    let ServeError::Setup(mistakes) = error else { panic!("{told}") };
    let Location { file, line } = Tools::new().with::<fixture::echo>().routes()[0].spec().location;
    let state = std::any::type_name::<fixture::Fixture>();
    let echo = Location { file, line };
    let missing = |tool| Mistake::MissingState { tool, type_name: state };
    assert_eq!(
        mistakes.as_slice(),
        [
            missing("echo"),
            missing("length"),
            Mistake::DuplicateTool { name: "echo", first: echo, second: echo },
            missing("echo"),
            Mistake::UnknownTool {
                list: "allow_tools",
                name: "lenght".to_owned(),
                suggestion: Some("length".to_owned()),
            },
            Mistake::UnknownTool {
                list: "block_tools",
                name: "something_else".to_owned(),
                suggestion: None,
            },
        ]
    );
    for words in [
        "two tools are named `echo`",
        &format!("{file}:{line}"),
        "`.state(…)`",
        "did you mean `length`?",
    ] {
        assert!(told.contains(words), "{told}");
    }
    assert!(!State::default().satisfies(&ascend_sdk::StateRequirement::of::<fixture::Fixture>()));
}

#[tokio::test]
async fn one_that_waits_delays_no_other() {
    let script = Script::new(false);
    let mut client = client(&script).await;
    client.begin("waiting", "guarded", json!({ "text": "x" })).await;
    script.waiting(1).await;
    for id in 0..100 {
        client.begin(id, "echo", json!({ "text": id.to_string() })).await;
    }
    for id in 0..100 {
        let answer = client.answer(id).await;
        assert_eq!(answer["result"]["structuredContent"]["text"], id.to_string());
    }
    let id = script.waiting(1).await.remove(0);
    script.approve(&id);
    assert_eq!(client.answer("waiting").await["result"]["isError"], false);
}

#[tokio::test]
async fn the_busiest_server_says_so() {
    let script = Script::new(false);
    let server = fixture::server(script.clone()).max_concurrent_calls(2);
    let (mut client, _serving) = RawClient::in_memory(server);
    client.initialize().await;
    client.begin(1, "guarded", json!({ "text": "x" })).await;
    client.begin(2, "guarded", json!({ "text": "y" })).await;
    script.waiting(2).await;
    client.begin(3, "echo", json!({ "text": "x" })).await;
    let answer = client.answer(3).await;
    assert_eq!(answer["error"]["code"], -32000);
    assert!(answer["error"]["message"].as_str().unwrap().contains("busy"), "{answer}");
    // Other requests are served, and there is room again after a cancellation.
    assert!(client.request(4, "tools/list", json!({})).await["result"].is_object());
    client.cancel(1).await;
    script.reports(1).await;
    let answer = client.call(5, "echo", json!({ "text": "x" })).await;
    assert_eq!(answer["isError"], false);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_read_no_more() {
    // Time moves only when nothing else can, so a time-out here means that the
    // server waits too.
    let quiet = Duration::from_secs(60);
    let script = Script::new(false);
    let server = fixture::server(script.clone()).max_unread_bytes(100_000);
    let (mut client, _serving) = RawClient::in_memory(server);
    client.initialize().await;
    let (reader, mut writer) = client.without_reader();
    let mut sent = 0;
    let writing = async {
        loop {
            writer.begin(sent, "big", json!({ "bytes": 10_000 })).await;
            sent += 1;
        }
    };
    assert!(tokio::time::timeout(quiet, writing).await.is_err());
    let evaluated = script.actions().len();
    // The pipe holds some 500 requests, which may be read before the first is answered.
    assert!((5..1_000).contains(&evaluated), "{evaluated}");
    assert!(sent > evaluated, "the rest is in the pipe");
    let mut client = RawClient::new(reader, tokio::io::sink());
    for id in 0..sent {
        assert_eq!(client.answer(id).await["result"]["isError"], false);
    }
}

#[tokio::test]
async fn the_end_of_input_withdraws_what_waits_and_offers_the_rest_to_stop() {
    let script = Script::new(false);
    let (mut client, serving) = RawClient::in_memory(fixture::server(script.clone()));
    client.initialize().await;
    client.begin_with_progress(1, "linger", json!({}), "p").await;
    client.progress().await;
    client.begin(2, "guarded", json!({ "text": "x" })).await;
    script.waiting(1).await;
    client.close_input().await;
    let answer = client.answer(1).await;
    assert_eq!(answer["result"]["structuredContent"]["text"], "cancelled");
    let answer = client.answer(2).await;
    assert_eq!(answer["result"]["_meta"]["governance"]["refusal"], "cancelled");
    serving.await.unwrap().unwrap();
    let mut reports = script.reports(2).await;
    reports.sort();
    assert_eq!(reports, ["act-1 Completed", "act-2 Withdrawn: the call was cancelled"]);
}

/// A client may end the server at once when it hears of a call that it does not wait for
/// any more.
#[tokio::test(start_paused = true)]
async fn that_a_call_was_cancelled_its_authority_hears_first() {
    for (takes, heard) in [(Duration::from_millis(900), 1), (Duration::from_secs(60), 0)] {
        let script = Script::whose_reports_take(takes, false);
        let (mut client, serving) = RawClient::in_memory(fixture::server(script.clone()));
        client.initialize().await;
        client.begin(1, "guarded", json!({ "text": "x" })).await;
        script.waiting(1).await;
        client.close_input().await;
        let closed = tokio::time::Instant::now();
        let answer = client.answer(1).await;
        assert_eq!(answer["result"]["_meta"]["governance"]["refusal"], "cancelled");
        assert!(closed.elapsed() < Duration::from_millis(1_500), "{:?}", closed.elapsed());
        assert_eq!(script.reports(0).await.len(), heard);
        serving.await.unwrap().unwrap();
    }
}

/// What one notification of progress tells.
fn told(progress: &Value) -> (f64, &str) {
    let params = &progress["params"];
    (params["progress"].as_f64().unwrap(), params["message"].as_str().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_says_so_every_15_s_and_never_after_its_answer() {
    let script = Script::new(false);
    let server = fixture::server(script.clone()).hold_calls_for(None);
    let (mut client, _serving) = RawClient::in_memory(server);
    client.initialize().await;
    let began = tokio::time::Instant::now();
    client.begin_with_progress(1, "guarded_steps", json!({ "count": 3 }), 0).await;
    let mut last = -1.0;
    for beat in 0..5 {
        let progress = client.progress().await;
        assert_eq!(began.elapsed().as_secs(), beat * 15);
        assert_eq!(progress["params"]["progressToken"], 0);
        let (value, message) = told(&progress);
        assert!(value > last, "{progress}");
        last = value;
        let left = ["5 min", "4 min 45 s", "4 min 30 s", "4 min 15 s", "4 min"];
        let left = left[usize::try_from(beat).unwrap()];
        assert_eq!(
            message,
            format!(
                "Waiting for approval of action act-1: guarded_steps. Risk 20 (LOW), {left} left \
                 (a script)"
            )
        );
    }
    let id = script.waiting(1).await.remove(0);
    script.approve(&id);
    // The body's own reports follow, and none seems to go back.
    for step in 0..3 {
        let progress = client.progress().await;
        let (value, message) = told(&progress);
        assert!(value > last, "{progress}");
        last = value;
        let total = progress["params"]["total"].as_f64().unwrap();
        assert!((total - value - (3.0 - f64::from(step))).abs() < 1e-9, "{progress}");
        assert_eq!(message, "");
    }
    assert_eq!(client.answer(1).await["result"]["isError"], false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    // Whatever was sent before it comes before it.
    client.call(2, "echo", json!({ "text": "x" })).await;
    assert_eq!(client.kept(), 0, "nothing came after the answer");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_cancelled_is_told_no_more() {
    let script = Script::new(false);
    let mut client = client(&script).await;
    client.begin_with_progress(1, "guarded", json!({ "text": "x" }), "token").await;
    client.progress().await;
    client.cancel(1).await;
    script.reports(1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.call(2, "echo", json!({ "text": "x" })).await;
    assert_eq!(client.kept(), 0);
}

/// Does half of the work.
#[high_risk_action(action_type = "work.write", resource = "work")]
async fn second_half(#[context] context: CallContext) -> Result<(), Refusal> {
    context.report_progress(2.0, Some(3.0), None);
    Ok(())
}

/// Works in two halves.
#[mcp_governance(action_type = "work.read", resource = "work")]
async fn halves(#[context] context: CallContext) -> Result<(), Refusal> {
    context.report_progress(1.0, Some(3.0), None);
    second_half(context.clone()).await?;
    context.report_progress(3.0, Some(3.0), None);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_wait_within_a_body_does_not_take_its_progress_back() {
    let script = Script::new(false);
    let server = GovernedServer::new("halves", Governor::new(script.clone())).tools(tools![halves]);
    let (mut client, _serving) = RawClient::in_memory(server.hold_calls_for(None));
    client.initialize().await;
    client.begin_with_progress(1, "halves", json!({}), 0).await;
    let mut last = -1.0;
    for told_of in 0..6 {
        let progress = client.progress().await;
        let (value, _) = told(&progress);
        assert!(value > last, "{progress} after {last}");
        last = value;
        if told_of == 3 {
            script.approve(&script.waiting(1).await[0]);
        }
    }
    assert_eq!(client.answer(1).await["result"]["isError"], false);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_runs_and_is_cancelled_tells_no_more() {
    let script = Script::new(false);
    let server =
        GovernedServer::new("ticks", Governor::new(script.clone())).tools(tools![ticks, nothing]);
    let (mut client, _serving) = RawClient::in_memory(server);
    client.initialize().await;
    client.begin_with_progress(1, "ticks", json!({}), 0).await;
    client.progress().await;
    client.cancel(1).await;
    client.call(2, "nothing", json!({})).await;
    let kept = client.kept();
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.call(3, "nothing", json!({})).await;
    assert_eq!(client.kept(), kept);
}

/// Tells every second how far it is, and never ends.
#[mcp_governance(action_type = "work.read", resource = "ticks")]
async fn ticks(#[context] context: CallContext) -> Result<(), Refusal> {
    for tick in 1_u32.. {
        context.report_progress(f64::from(tick), None, None);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Does nothing.
#[mcp_governance(action_type = "work.read", resource = "nothing")]
async fn nothing() -> Result<(), Refusal> {
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_did_not_ask_for_progress_gets_none() {
    let script = Script::new(false);
    let mut client = client(&script).await;
    client.begin(1, "guarded_steps", json!({ "count": 3 })).await;
    let id = script.waiting(1).await.remove(0);
    tokio::time::sleep(Duration::from_secs(40)).await;
    script.approve(&id);
    assert_eq!(client.answer(1).await["result"]["isError"], false);
    assert_eq!(client.kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_is_left_after_the_grace() {
    let script = Script::new(false);
    let (mut client, serving) = RawClient::in_memory(fixture::server(script.clone()));
    client.initialize().await;
    client.begin_with_progress(1, "stubborn", json!({}), 7).await;
    client.progress().await;
    client.close_input().await;
    let began = tokio::time::Instant::now();
    serving.await.unwrap().unwrap();
    assert_eq!(began.elapsed().as_secs(), 2);
}
