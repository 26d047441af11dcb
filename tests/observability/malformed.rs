//! What a client says of its trace never fails a call.

use ascend_tests::{
    fixture::{self, Script},
    raw_client::RawClient,
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

fn garbage() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<String>().prop_map(Value::from),
        "[0-9a-f]{2}-[0-9a-fA-F]{30,34}-[0-9a-f]{14,18}-[0-9a-f]{0,4}.{0,4}".prop_map(Value::from),
        "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!({ "trace": [1, 2] })),
        "x{8000,9000}".prop_map(Value::from),
    ]
}

#[test]
fn no_trace_context_fails_a_call() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let server = fixture::server(Script::new(false));
    let (mut client, _serving) = RawClient::in_memory(server);
    runtime.block_on(client.initialize());
    let mut id = 0;
    let call = (garbage(), garbage(), garbage());
    let test = |(parent, state, baggage): (Value, Value, Value)| {
        id += 1;
        let params = json!({
            "name": "echo",
            "arguments": { "text": "hello" },
            "_meta": { "traceparent": parent, "tracestate": state, "baggage": baggage },
        });
        let answer = runtime.block_on(client.request(id, "tools/call", params));
        assert_eq!(answer["result"]["_meta"]["governance"]["status"], "approved", "{answer}");
    };
    let mut runner = TestRunner::default();
    (0..512).map(|_| call.new_tree(&mut runner).unwrap().current()).for_each(test);
}
