//! A server as a client starts it: a process, its pipes, sockets, terminal and
//! signals.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Stdio,
    time::{Duration, Instant},
};

use ascend_tests::raw_client::{PATIENCE, Process, RawClient};
use rmcp::{
    ServiceExt as _,
    model::{CallToolRequestParams, ClientConfig, Implementation},
    transport::TokioChildProcess,
};
use serde_json::{Value, json};
use tokio::process::Command;

/// The official SDKs kill a server that takes longer to end.
const GRACE: Duration = Duration::from_secs(2);

fn fixture() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_governed_fixture"));
    command.env_remove("RUST_LOG");
    command
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text: {result}"))
}

/// A process with a call that waits for a person.
async fn with_a_waiting_call() -> Process {
    let mut process = Process::start(fixture());
    process.client.initialize().await;
    process.client.begin("waiting", "guarded", json!({ "text": "x" })).await;
    process.client.call(1, "await_waiting", json!({ "count": 1 })).await;
    process
}

async fn ends_in_time(mut process: Process, began: Instant) {
    // Each is reported by a task of its own: they come in any order.
    let reports = [process.logged("REPORT").await, process.logged("REPORT").await];
    for expected in ["Completed", "Withdrawn: the call was cancelled"] {
        assert!(reports.iter().any(|report| report.contains(expected)), "{expected}: {reports:?}");
    }
    let answer = process.client.answer("waiting").await;
    assert_eq!(answer["result"]["_meta"]["governance"]["refusal"], "cancelled");
    assert_eq!(process.client.receive().await, None);
    let status = process.child.wait().await.unwrap();
    assert!(began.elapsed() < GRACE, "{:?}", began.elapsed());
    assert!(status.success(), "{status}");
    assert!(process.rest_of_log().await.contains("SERVED"));
}

#[tokio::test]
async fn the_end_of_stdin_ends_the_server() {
    let mut process = with_a_waiting_call().await;
    let began = Instant::now();
    process.client.close_input().await;
    ends_in_time(process, began).await;
}

#[tokio::test]
async fn signals_end_the_server() {
    for signal in ["TERM", "INT", "HUP"] {
        let process = with_a_waiting_call().await;
        let began = Instant::now();
        process.signal(signal).await;
        ends_in_time(process, began).await;
    }
}

#[tokio::test]
async fn a_client_that_closes_its_end_ends_the_server() {
    let process = with_a_waiting_call().await;
    let Process { mut child, stderr, client } = process;
    // stdin stays open; stdout has no reader any more.
    let (reader, mut client) = client.without_reader();
    drop(reader);
    client.begin(2, "echo", json!({ "text": "to nobody" })).await;
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    let mut rest = Process { child, stderr, client };
    assert!(rest.rest_of_log().await.contains("Withdrawn: the call was cancelled"));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut process = Process::start(fixture());
    process.client.initialize().await;
    process.client.begin_with_progress(1, "stubborn", json!({}), 0).await;
    process.client.progress().await;
    process.signal("TERM").await;
    process.logged("a second signal ends at once").await;
    process.signal("INT").await;
    let status = process.child.wait().await.unwrap();
    assert_eq!(status.code(), Some(128 + 2));
}

#[tokio::test]
async fn a_signal_after_the_client_left_is_the_first_one() {
    let mut process = Process::start(fixture());
    process.client.initialize().await;
    process.client.begin_with_progress(1, "stubborn", json!({}), 0).await;
    process.client.progress().await;
    process.client.close_input().await;
    process.logged("the client is gone").await;
    process.signal("TERM").await;
    let status = tokio::time::timeout(PATIENCE, process.child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert!(process.rest_of_log().await.contains("did not end within the grace"));
}

#[tokio::test]
async fn a_signal_after_the_server_ends_the_process() {
    let mut command = fixture();
    command.env("AFTERWARDS", "1");
    let mut process = Process::start(command);
    process.client.close_input().await;
    process.logged("SERVED").await;
    process.signal("TERM").await;
    let status = process.child.wait().await.unwrap();
    assert_eq!(status.code(), Some(128 + 15));
}

#[tokio::test]
async fn a_body_that_does_not_stop_is_left_behind() {
    let mut process = Process::start(fixture());
    process.client.initialize().await;
    process.client.begin_with_progress(1, "stubborn", json!({}), 0).await;
    process.client.progress().await;
    process.client.close_input().await;
    let status = tokio::time::timeout(PATIENCE, process.child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert!(process.rest_of_log().await.contains("did not end within the grace"));
}

#[tokio::test]
async fn a_body_that_stops_is_reported() {
    let mut process = Process::start(fixture());
    process.client.initialize().await;
    process.client.begin_with_progress(1, "linger", json!({}), 0).await;
    process.client.progress().await;
    process.signal("TERM").await;
    assert!(process.logged("REPORT").await.contains("act-1 Completed"));
    let answer = process.client.answer(1).await;
    assert_eq!(answer["result"]["structuredContent"]["text"], "cancelled");
    assert!(process.child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_call_that_waits_says_so_again_and_again() {
    let mut command = fixture();
    command.env("HEARTBEAT", "20");
    let mut process = Process::start(command);
    process.client.initialize().await;
    process.client.begin_with_progress(1, "guarded", json!({ "text": "x" }), "t").await;
    for _ in 0..5 {
        let progress = process.client.progress().await;
        let message = progress["params"]["message"].as_str().unwrap();
        assert!(message.starts_with("Waiting for approval of action act-1: guarded"), "{message}");
    }
    process.client.call(2, "approve_next", json!({})).await;
    assert_eq!(process.client.answer(1).await["result"]["isError"], false);
}

#[tokio::test]
async fn two_at_once() {
    let (mut first, mut second) = (Process::start(fixture()), Process::start(fixture()));
    for process in [&mut first, &mut second] {
        process.client.initialize().await;
    }
    drop(first);
    let result = second.client.call(1, "echo", json!({ "text": "still here" })).await;
    assert_eq!(result["structuredContent"]["text"], "still here");
}

#[tokio::test]
async fn rmcps_own_client() {
    let info = ClientConfig::new(Default::default(), Implementation::new("rmcp", "3"));
    let client = info.serve(TokioChildProcess::new(fixture()).unwrap()).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    assert_eq!(tools[0].name, "echo");
    let call = |name: &'static str, arguments: Value| {
        let Value::Object(arguments) = arguments else { panic!("an object") };
        client.call_tool(CallToolRequestParams::new(name).with_arguments(arguments))
    };
    let (guarded, approved, fast) = tokio::join!(
        call("guarded", json!({ "text": "deep" })),
        call("approve_next", json!({})),
        call("echo", json!({ "text": "fast" })),
    );
    assert_eq!(approved.unwrap().is_error, Some(false));
    assert_eq!(fast.unwrap().structured_content.unwrap()["text"], "fast");
    let guarded = guarded.unwrap();
    assert_eq!(guarded.structured_content.unwrap()["text"], "deep");
    let governance = &guarded.meta.unwrap().0["governance"];
    assert_eq!(governance["reviewed_by"], "mara@example.com");
    let denied = call("echo", json!({ "text": "deny" })).await.unwrap();
    assert_eq!(denied.is_error, Some(true));
    assert!(call("no_such_tool", json!({})).await.is_err());
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn sockets_as_node_gives_them() {
    let (ours_in, theirs_in) = UnixStream::pair().unwrap();
    let (ours_out, theirs_out) = UnixStream::pair().unwrap();
    // The same descriptions as the child's: their flags are everybody's.
    let shared = [theirs_in.try_clone().unwrap(), theirs_out.try_clone().unwrap()];
    let mut child = fixture()
        .stdin(Stdio::from(OwnedFd::from(theirs_in)))
        .stdout(Stdio::from(OwnedFd::from(theirs_out)))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let stream = |stream: UnixStream| {
        stream.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(stream).unwrap()
    };
    let mut client = RawClient::new(stream(ours_out), stream(ours_in));
    client.initialize().await;
    let result = client.call(1, "big", json!({ "bytes": 3_000_000 })).await;
    assert_eq!(result["structuredContent"]["text"].as_str().unwrap().len(), 3_000_000);
    let result = client.call(2, "length", json!({ "text": "x".repeat(3_000_000) })).await;
    assert_eq!(text(&result), "3000000");
    for fd in &shared {
        let flags = rustix::fs::fcntl_getfl(fd).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "{flags:?}");
    }
    drop(shared);
    client.close_input().await;
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn pipes_keep_their_flags() {
    let (read_in, write_in) = std::io::pipe().unwrap();
    let (read_out, write_out) = std::io::pipe().unwrap();
    let shared =
        [OwnedFd::from(read_in.try_clone().unwrap()), write_out.try_clone().unwrap().into()];
    let mut child = fixture()
        .stdin(Stdio::from(read_in))
        .stdout(Stdio::from(write_out))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let writer = tokio::net::unix::pipe::Sender::from_owned_fd(write_in.into()).unwrap();
    let reader = tokio::net::unix::pipe::Receiver::from_owned_fd(read_out.into()).unwrap();
    let mut client = RawClient::new(reader, writer);
    client.initialize().await;
    for fd in &shared {
        let flags = rustix::fs::fcntl_getfl(fd).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "{flags:?}");
    }
    drop(client);
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn files_and_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (input, output) = (directory.path().join("in"), directory.path().join("out"));
    let initialize = json!({
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "file", "version": "1" },
        },
    });
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    std::fs::write(&input, format!("{initialize}\n{list}\n")).unwrap();
    let status = fixture()
        .stdin(std::fs::File::open(&input).unwrap())
        .stdout(std::fs::File::create(&output).unwrap())
        .stderr(Stdio::null())
        .status();
    assert!(tokio::time::timeout(PATIENCE, status).await.unwrap().unwrap().success());
    let answers = std::fs::read_to_string(&output).unwrap();
    assert_eq!(answers.lines().count(), 2, "{answers}");

    let status =
        fixture().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(tokio::time::timeout(PATIENCE, status).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn a_terminal_does_not_keep_the_process_alive() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let path = ptsname(&person, Vec::new()).unwrap();
    let terminal =
        std::fs::File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    let child = fixture()
        .stdin(terminal)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.unwrap();
    let stderr = {
        use tokio::io::AsyncBufReadExt as _;
        tokio::io::BufReader::new(child.stderr.take().unwrap()).lines()
    };
    let client = RawClient::new(child.stdout.take().unwrap(), tokio::io::sink());
    let mut process = Process { child, stderr, client };
    process.logged("serving over stdio").await;
    let began = Instant::now();
    process.signal("TERM").await;
    let status = tokio::time::timeout(PATIENCE, process.child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < GRACE);
    drop(person);
}

/// Every way in which arguments could come to be logged.
async fn say_the_secret(client: &mut RawClient) {
    const SECRET: &str = "hunter2";
    client.initialize().await;
    client.call(1, "length", json!({ "text": SECRET })).await;
    client.call(2, "length", json!({ "text": { "nested": SECRET } })).await;
    client.call(3, "no_such_tool", json!({ "text": SECRET })).await;
    client.call(4, "forbidden", json!({ "text": SECRET })).await;
    // Through rmcp's loop, past which the others go.
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2025-11-25" });
    let named = json!({ "name": "length", "arguments": { "text": SECRET }, "_meta": meta });
    client.request(8, "tools/call", named).await;
    let malformed = json!({ "name": "length", "arguments": SECRET });
    client.request(5, "tools/call", malformed).await;
    client.send_line(format!(r#"{{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{{"name":"length","arguments":{{"text":"{SECRET}"}}"#)).await;
    client.answer(6).await;
    client
        .send(
            json!({ "jsonrpc": "2.0", "method": "tools/call", "params": { "arguments": SECRET } }),
        )
        .await;
}

#[tokio::test]
async fn arguments_are_not_logged_even_by_rmcps_trace() {
    let mut command = fixture();
    command.env("RUST_LOG", "trace").env("RAW_LOG", "1");
    let mut process = Process::start(command);
    say_the_secret(&mut process.client).await;
    process.client.close_input().await;
    let log = process.rest_of_log().await;
    assert!(log.contains("received request"), "rmcp logs at all");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn results_are_not_logged_under_the_filter() {
    let mut command = fixture();
    command.env("RUST_LOG", "trace,rmcp=trace");
    let mut process = Process::start(command);
    say_the_secret(&mut process.client).await;
    process.client.call(7, "echo", json!({ "text": "hunter2" })).await;
    process.client.close_input().await;
    let log = process.rest_of_log().await;
    assert!(log.contains("evaluated"), "the server logs at all");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_read_no_more() {
    let mut command = fixture();
    command.env("MAX_UNREAD", "1000000");
    let mut process = Process::start(command);
    process.client.initialize().await;
    // Ten times the limit, and more requests than its pipe holds.
    const CALLS: i32 = 3_000;
    let Process { client, child: _child, mut stderr } = process;
    // A log that nobody reads would stop the server as well.
    tokio::spawn(async move { while let Ok(Some(_)) = stderr.next_line().await {} });
    let (reader, mut client) = client.without_reader();
    let writing = tokio::spawn(async move {
        for id in 0..CALLS {
            client.begin(id, "big", json!({ "bytes": 5_000 })).await;
        }
        client
    });
    let mut client = RawClient::new(reader, tokio::io::sink());
    for id in 0..CALLS {
        assert_eq!(client.answer(id).await["result"]["isError"], false);
    }
    drop(writing.await.unwrap());
}
