//! What rmcp does on stdio that hurts clients, mended: each mistake of a
//! client, in this process and in another.

#![allow(clippy::unwrap_used, reason = "tests")]

use ascend_tests::{
    fixture::{self, Script},
    raw_client::{Process, RawClient},
};
use serde_json::{Value, json};

/// Runs a test against a server in this process, and against one over pipes.
macro_rules! mistakes {
    ($(async fn $name:ident(mut $client:ident: RawClient) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn scenario(mut $client: RawClient) {
                $body
                // Whatever came before, the server is sound.
                let pong = $client.request("last", "tools/list", json!({})).await;
                assert!(pong["result"]["tools"].is_array(), "{pong}");
            }

            #[tokio::test]
            async fn in_memory() {
                let (client, _serving) = RawClient::in_memory(fixture::server(Script::new(false)));
                scenario(client).await;
            }

            #[tokio::test]
            async fn over_pipes() {
                let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_governed_fixture"));
                let process = Process::start(command);
                scenario(process.client).await;
            }
        }
    )*};
}

fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("an error: {answer}"))
}

fn message(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("an error: {answer}"))
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text: {result}"))
}

mistakes! {
    // 1. Requests that cannot be read.

    async fn invalid_json(mut client: RawClient) {
        client.initialize().await;
        client.send_line(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"#).await;
        let answer = client.answer(7).await;
        assert_eq!(code(&answer), -32700);
        assert!(message(&answer).starts_with("the message is not JSON"), "{answer}");
        client.send_line("nonsense").await;
        assert_eq!(code(&client.answer(Value::Null).await), -32700);
    }

    async fn nesting_without_end(mut client: RawClient) {
        client.initialize().await;
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        client
            .send_line(format!(
                r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"echo","arguments":{{"text":{deep}}}}},"id":"deep"}}"#
            ))
            .await;
        let answer = client.answer("deep").await;
        assert_eq!(code(&answer), -32700);
        assert!(message(&answer).contains("nested"), "{answer}");
    }

    async fn invalid_utf8(mut client: RawClient) {
        client.initialize().await;
        let mut line = br#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"text":""#.to_vec();
        line.extend([0xFF, 0xFE]);
        line.extend(br#""}}}"#);
        client.send_line(line).await;
        assert_eq!(code(&client.answer(3).await), -32700);
    }

    async fn a_cut_emoji(mut client: RawClient) {
        client.initialize().await;
        client
            .send_line(r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"text":"cut \ud83d"}}}"#)
            .await;
        let answer = client.answer(3).await;
        assert_eq!(answer["result"]["structuredContent"]["text"], "cut \u{fffd}");
    }

    async fn a_line_without_end(mut client: RawClient) {
        client.initialize().await;
        let mut line = br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"length","arguments":{"text":""#.to_vec();
        line.resize(line.len() + (17 << 20), b'x');
        line.extend(br#""}},"id":12}"#);
        client.send_line(line).await;
        let answer = client.answer(12).await;
        assert_eq!(code(&answer), -32700);
        assert!(message(&answer).contains("16777216 bytes"), "{answer}");
        // One just below is read.
        let result = client.call(13, "length", json!({ "text": "x".repeat(15 << 20) })).await;
        assert_eq!(text(&result), (15 << 20).to_string());
    }

    // 2. A malformed `tools/call`.

    async fn malformed_calls(mut client: RawClient) {
        client.initialize().await;
        for (params, words) in [
            (json!({}), "the `name` of a tool"),
            (json!({ "name": 7 }), "`name` of `tools/call` must be a string"),
            (json!({ "name": "echo", "arguments": ["x"] }), "`arguments` of `tools/call` must be an object"),
            (json!({ "name": "echo", "arguments": "{}" }), "`arguments` of `tools/call` must be an object"),
            (json!({ "name": "echo", "_meta": 1 }), "`_meta` of `tools/call` must be an object"),
            (json!([]), "`params` of `tools/call` must be an object"),
        ] {
            let answer = client.request(1, "tools/call", params).await;
            assert_eq!(code(&answer), -32602, "{answer}");
            assert!(message(&answer).contains(words), "{answer}");
        }
        client.send(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call" })).await;
        assert_eq!(code(&client.answer(2).await), -32602);
    }

    async fn malformed_lists(mut client: RawClient) {
        client.initialize().await;
        assert_eq!(code(&client.request(1, "tools/list", json!([])).await), -32602);
        assert_eq!(code(&client.request(2, "tools/list", json!({ "cursor": 5 })).await), -32602);
        assert_eq!(code(&client.request(3, "tools/list", json!({ "cursor": "page 2" })).await), -32602);
    }

    // 3. Errors without an id, and batches.

    async fn errors_without_an_id_have_a_null_one(mut client: RawClient) {
        client.initialize().await;
        for line in ["17", "{}", r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, r#"{"jsonrpc":"1.0"}"#] {
            client.send_line(line).await;
            let answer = client.receive().await.unwrap();
            assert_eq!(answer.get("id"), Some(&Value::Null), "{line}");
            assert_eq!(code(&answer), -32600, "{line}");
        }
    }

    async fn a_batch_has_one_answer(mut client: RawClient) {
        client.initialize().await;
        client
            .send(json!([
                { "jsonrpc": "2.0", "id": 1, "method": "ping" },
                { "jsonrpc": "2.0", "id": 2, "method": "ping" },
            ]))
            .await;
        client.send(json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" })).await;
        let answer = client.receive().await.unwrap();
        assert_eq!((code(&answer), &answer["id"]), (-32600, &Value::Null));
        assert_eq!(client.receive().await.unwrap()["id"], 3);
    }

    // 4. A panic.

    async fn a_panic_is_answered(mut client: RawClient) {
        client.initialize().await;
        let result = client.call(1, "panics", json!({ "text": "the password is hunter2" })).await;
        assert_eq!(result["isError"], true);
        assert!(text(&result).contains("panicked"), "{result}");
        assert!(!result.to_string().contains("hunter2"), "{result}");
        assert_eq!(result["_meta"]["governance"]["status"], "approved");
        let reports = client.call(2, "reports", json!({ "count": 1 })).await;
        assert!(text(&reports).contains("Failed: the tool panicked"), "{reports}");
    }

    // 5. Ids.

    async fn an_id_in_flight_is_not_taken_twice(mut client: RawClient) {
        client.initialize().await;
        client.begin(1, "guarded", json!({ "text": "first" })).await;
        client.call(2, "await_waiting", json!({ "count": 1 })).await;
        client.begin(1, "echo", json!({ "text": "second" })).await;
        let answer = client.answer(Value::Null).await;
        assert_eq!(code(&answer), -32600);
        assert!(message(&answer).contains("id 1 is already in flight"), "{answer}");
        client.call(3, "approve_next", json!({})).await;
        assert_eq!(client.answer(1).await["result"]["structuredContent"]["text"], "first");
        // Now it is free.
        let again = client.call(1, "echo", json!({ "text": "third" })).await;
        assert_eq!(again["structuredContent"]["text"], "third");
    }

    async fn an_unreadable_twin_does_not_end_a_call(mut client: RawClient) {
        client.initialize().await;
        client.begin(1, "guarded", json!({ "text": "first" })).await;
        client.send_line(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","#).await;
        assert_eq!(client.receive().await.unwrap()["id"], Value::Null);
        client.call(2, "approve_next", json!({})).await;
        assert_eq!(client.answer(1).await["result"]["structuredContent"]["text"], "first");
    }

    async fn a_reused_id_never_gets_the_old_result(mut client: RawClient) {
        client.initialize().await;
        // The old call's body runs on until it is cancelled, and then returns.
        client.begin_with_progress(1, "linger", json!({}), 0).await;
        client.progress().await;
        client.cancel(1).await;
        let new = client.call(1, "guarded", json!({ "text": "deny" })).await;
        assert!(text(&new).starts_with("Action blocked"), "{new}");
        let reports = client.call(2, "reports", json!({ "count": 1 })).await;
        assert!(text(&reports).contains("act-1 Completed"), "{reports}");
    }

    async fn ids_come_back_as_they_were(mut client: RawClient) {
        client.initialize().await;
        for id in [json!(0), json!(-1), json!(1.5), json!("1"), json!(""), json!(u64::MAX)] {
            let answer = client.request(id.clone(), "ping", json!({})).await;
            assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": id, "result": {} }));
        }
    }

    // 6. The first message.

    async fn stray_first_messages(mut client: RawClient) {
        for message in [
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }),
            json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
            json!({ "jsonrpc": "2.0", "method": "notifications/unheard_of" }),
            json!({ "jsonrpc": "2.0", "id": 5, "result": {} }),
            json!({ "jsonrpc": "2.0", "id": 5, "error": { "code": 1, "message": "x" } }),
        ] {
            client.send(message).await;
        }
        client.send_line("not even JSON").await;
        assert_eq!(code(&client.answer(Value::Null).await), -32700);
        let early = client.request(1, "tools/list", json!({})).await;
        assert!(message(&early).contains("send `initialize` first"), "{early}");
        let answer = client.initialize().await;
        assert_eq!(answer["result"]["serverInfo"]["name"], "fixture-001");
    }

    async fn a_bad_initialize_names_the_field(mut client: RawClient) {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
        let answer = client.request(1, "initialize", params).await;
        assert_eq!(code(&answer), -32602);
        assert!(message(&answer).contains("clientInfo"), "{answer}");
        let params = json!({
            "protocolVersion": 20251125,
            "capabilities": {},
            "clientInfo": { "name": "x", "version": "1" },
        });
        let answer = client.request(1, "initialize", params).await;
        assert!(message(&answer).contains("protocolVersion"), "{answer}");
        assert_eq!(client.initialize().await["result"]["protocolVersion"], "2025-11-25");
    }

    // 7. Cancellation.

    async fn a_cancelled_wait_is_withdrawn(mut client: RawClient) {
        client.initialize().await;
        client.begin(1, "guarded", json!({ "text": "x" })).await;
        client.call(2, "await_waiting", json!({ "count": 1 })).await;
        client.cancel(1).await;
        let reports = client.call(3, "reports", json!({ "count": 2 })).await;
        assert!(text(&reports).contains("Withdrawn: the call was cancelled"), "{reports}");
        let runs = client.call(4, "runs", json!({})).await;
        assert_eq!(text(&runs), "0");
        // The cancelled call is not answered.
        client.send(json!({ "jsonrpc": "2.0", "id": 5, "method": "ping" })).await;
        assert_eq!(client.receive().await.unwrap()["id"], 5);
    }

    async fn cancelling_what_is_not_in_flight(mut client: RawClient) {
        client.initialize().await;
        client.cancel(99).await;
        client.cancel(json!({ "an": "object" })).await;
        client.cancel(Value::Null).await;
    }

    // 9. Progress.

    async fn progress_goes_to_those_who_asked(mut client: RawClient) {
        client.initialize().await;
        // 0 is a token.
        client.begin_with_progress(1, "steps", json!({ "count": 3 }), 0).await;
        for step in 1..=3 {
            let progress = client.receive().await.unwrap();
            assert_eq!(progress["params"]["progressToken"], 0);
            assert_eq!(progress["params"]["progress"].as_f64(), Some(f64::from(step)));
            assert_eq!(progress["params"]["total"].as_f64(), Some(3.0));
        }
        assert_eq!(client.receive().await.unwrap()["id"], 1);
        client.begin(2, "steps", json!({ "count": 3 })).await;
        assert_eq!(client.receive().await.unwrap()["id"], 2);
        let token = "5b1b8c1e-4f3e-4a53-9d57-0f8b3c6a8d11";
        client.begin_with_progress(3, "steps", json!({ "count": 1 }), token).await;
        assert_eq!(client.receive().await.unwrap()["params"]["progressToken"], token);
    }

    // 10, 11. What a client did not ask for.

    async fn no_task_and_no_prompt_for_a_client_of_old(mut client: RawClient) {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } },
            "clientInfo": { "name": "raw", "version": "9" },
        });
        let answer = client.request(0, "initialize", params).await;
        assert_eq!(answer["result"]["capabilities"], json!({ "tools": {} }));
        client.begin(1, "guarded", json!({ "text": "x" })).await;
        client.call(2, "approve_next", json!({})).await;
        let result = client.answer(1).await;
        assert_eq!(result["result"]["structuredContent"]["text"], "x");
        assert_eq!(result["result"].get("resultType"), None);
        assert_eq!(code(&client.request(3, "tasks/get", json!({ "taskId": "t" })).await), -32601);
    }

    // 12. Sessions.

    async fn initialize_twice(mut client: RawClient) {
        client.initialize().await;
        let again = client.initialize().await;
        assert_eq!(code(&again), -32600);
        assert!(message(&again).contains("already begun"), "{again}");
    }

    async fn a_modern_request_in_an_old_session(mut client: RawClient) {
        client.initialize().await;
        let params = json!({ "name": "echo", "arguments": { "text": "x" }, "_meta": modern_meta() });
        let answer = client.request(1, "tools/call", params).await;
        assert_eq!(code(&answer), -32600);
        assert!(message(&answer).contains("cannot switch it to 2026-07-28"), "{answer}");
    }

    async fn a_call_that_names_the_version_of_its_session(mut client: RawClient) {
        client.initialize().await;
        let named = |name: &str, text: &str| {
            let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2025-11-25" });
            json!({ "name": name, "arguments": { "text": text }, "_meta": meta })
        };
        // Which way a call goes, through rmcp's loop or past it, its client cannot see.
        let shape = |result: &Value| {
            let mut result = result.clone();
            result["_meta"]["governance"]["action_id"].take();
            result
        };
        let plain = client.call(1, "echo", json!({ "text": "x" })).await;
        let other = client.request(2, "tools/call", named("echo", "x")).await;
        assert_eq!(shape(&other["result"]), shape(&plain));

        let call = named("guarded", "x");
        client
            .send(json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call }))
            .await;
        client.call(4, "await_waiting", json!({ "count": 1 })).await;
        client.cancel(3).await;
        let reports = client.call(5, "reports", json!({ "count": 4 })).await;
        assert!(text(&reports).contains("Withdrawn: the call was cancelled"), "{reports}");
    }

    // 14. What is not declared.

    async fn undeclared_methods_are_unknown(mut client: RawClient) {
        client.initialize().await;
        for method in [
            "prompts/list", "prompts/get", "resources/list", "resources/read", "resources/templates/list",
            "resources/subscribe", "completion/complete", "logging/setLevel", "tasks/list", "server/nonsense",
        ] {
            let params = match method {
                "prompts/get" => json!({ "name": "x" }),
                "resources/read" | "resources/subscribe" => json!({ "uri": "x://y" }),
                "completion/complete" => json!({
                    "ref": { "type": "ref/prompt", "name": "x" }, "argument": { "name": "a", "value": "b" },
                }),
                "logging/setLevel" => json!({ "level": "debug" }),
                _ => json!({}),
            };
            let answer = client.request(1, method, params).await;
            assert_eq!(code(&answer), -32601, "{method}: {answer}");
        }
    }
}

fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "modern", "version": "3" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

async fn modern_list(client: &mut RawClient, id: i32) -> Value {
    client.request(id, "tools/list", json!({ "_meta": modern_meta() })).await
}

#[tokio::test]
async fn a_modern_session_begins_with_any_request_and_takes_no_initialize() {
    let script = Script::new(false);
    let (mut client, _serving) = RawClient::in_memory(fixture::server(script.clone()));
    let discovered = client.request(0, "server/discover", json!({ "_meta": modern_meta() })).await;
    let capabilities =
        json!({ "tools": {}, "extensions": { "io.modelcontextprotocol/tasks": {} } });
    assert_eq!(discovered["result"]["capabilities"], capabilities, "{discovered}");
    let listed = modern_list(&mut client, 1).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    // Here a schema may be of any type …
    let length = tools.iter().find(|tool| tool["name"] == "length").unwrap();
    assert_eq!(length["outputSchema"]["type"], "integer");
    let call = |name: &str, arguments| json!({ "name": name, "arguments": arguments, "_meta": modern_meta() });
    let answer = client.request(2, "tools/call", call("length", json!({ "text": "four" }))).await;
    assert_eq!(answer["result"]["structuredContent"], 4);
    assert_eq!(answer["result"]["resultType"], "complete");
    // … and nothing is a value.
    let answer = client.request(3, "tools/call", call("perhaps", json!({}))).await;
    assert_eq!(answer["result"].get("structuredContent"), Some(&Value::Null), "{answer}");
    let again = client.initialize().await;
    assert_eq!(code(&again), -32600);
    let session = &script.actions()[0].session_context;
    assert_eq!(session.client_name.as_deref(), Some("modern"));
    assert_eq!(session.client_version.as_deref(), Some("3"));
}

#[tokio::test]
async fn before_2026_only_objects_are_structured() {
    let (mut client, _serving) = RawClient::in_memory(fixture::server(Script::new(false)));
    client.initialize().await;
    let listed = client.request(1, "tools/list", json!({})).await;
    for tool in listed["result"]["tools"].as_array().unwrap() {
        if let Some(schema) = tool.get("outputSchema") {
            assert_eq!(schema["type"], "object", "{tool}");
        }
    }
    let length = client.call(2, "length", json!({ "text": "four" })).await;
    assert_eq!(length.get("structuredContent"), None);
    assert_eq!(length["content"], json!([{ "type": "text", "text": "4" }]));
    let nothing = client.call(3, "perhaps", json!({})).await;
    assert_eq!(nothing["content"], json!([{ "type": "text", "text": "null" }]));
    let image = client.call(4, "image", json!({})).await;
    assert_eq!(
        image["content"][1],
        json!({ "type": "image", "data": "AQID", "mimeType": "image/png" })
    );
}
