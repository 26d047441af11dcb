//! Thousands of calls that wait at once in one server process: none is lost and
//! none runs twice when all are approved within about a second, whether their
//! clients stay or half of them go, and a fast call beside them is still fast.
//!
//! Times and memory are printed, and measured properly by the benches; here they
//! only must not be absurd.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    process::Stdio,
    time::{Duration, Instant},
};

use ascend_center::{ActionState, Approver, Center, CenterConfig, ServeConfig};
use ascend_tests::raw_client::RawClient;
use futures_util::{StreamExt as _, stream};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    task::JoinHandle,
};

/// How many calls wait. Unoptimised, each costs many times what it costs users.
const EMBEDDED: usize = if cfg!(debug_assertions) { 2_000 } else { 10_000 };
/// The same where the calls ask a center over HTTP, a batch of them at a time.
const OVER_HTTP: usize = if cfg!(debug_assertions) { 500 } else { 10_000 };
/// How many approvals are under way at once.
const APPROVERS: usize = 256;
/// The most memory that a waiting call may take, with room for unoptimised code
/// and an allocator's mood: several times what it should.
const MOST_BYTES: usize = if cfg!(debug_assertions) { 128 * 1024 } else { 64 * 1024 };
/// How many calls are timed.
const FAST_CALLS: usize = 200;

struct Server {
    process: Child,
    client: RawClient,
    center: Center,
    approver: Approver,
    /// How many calls are to wait.
    calls: usize,
    /// The center's own server, if the process asks over HTTP.
    _serving: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl Server {
    /// A process with the center inside.
    async fn embedded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let center = Center::open(CenterConfig::new(directory.path())).await.unwrap();
        let environment = [("CENTER", directory.path().display().to_string())];
        Self::start(directory, center, environment, None, EMBEDDED).await
    }

    /// A process that asks the center over loopback HTTP.
    async fn over_http() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let center = Center::open(CenterConfig::new(directory.path())).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = center.agent_key().unwrap().expose_secret().to_owned();
        let served = center.clone();
        let serving = tokio::spawn(async move {
            served
                .serve(
                    listener,
                    ServeConfig::new().agent_rate(0).tenant_rate(0),
                    std::future::pending(),
                )
                .await
                .unwrap();
        });
        let environment = [("ASCEND_BASE_URL", url), ("ASCEND_API_KEY", key)];
        Self::start(directory, center, environment, Some(serving), OVER_HTTP).await
    }

    async fn start(
        directory: tempfile::TempDir,
        center: Center,
        environment: impl IntoIterator<Item = (&'static str, String)>,
        serving: Option<JoinHandle<()>>,
        calls: usize,
    ) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_governed_fixture"))
            .env("RUST_LOG", "error")
            // Every call is held: what is proved here is the wait.
            .env("HOLD", "3600000")
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut client =
            RawClient::new(process.stdout.take().unwrap(), process.stdin.take().unwrap());
        client.patience = Duration::from_secs(60);
        client.initialize().await;
        let approver = center.local_approver().await.unwrap();
        Self { process, client, center, approver, calls, _serving: serving, _directory: directory }
    }

    /// What the process holds in memory, in bytes.
    fn memory(&self) -> usize {
        let id = self.process.id().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    /// The median and the 99th percentile of a fast call.
    async fn fast_call(&mut self) -> (Duration, Duration) {
        let mut times = Vec::with_capacity(FAST_CALLS);
        for index in 0..FAST_CALLS {
            let began = Instant::now();
            let answer =
                self.client.call(format!("fast-{index}"), "echo", json!({ "text": "x" })).await;
            times.push(began.elapsed());
            assert_eq!(answer["structuredContent"]["text"], "x", "{answer}");
        }
        times.sort_unstable();
        (times[FAST_CALLS / 2], times[FAST_CALLS * 99 / 100])
    }

    /// The ids of the actions that wait, once there are so many.
    async fn waiting(&self, count: usize) -> Vec<i64> {
        let changes = self.center.changes();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let changed = changes.next();
            let pending = self.in_state(ActionState::Pending).await;
            if pending.len() >= count {
                return pending;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::timeout(left, changed).await.unwrap_or_else(|_| {
                panic!("{} calls wait, and {count} should", pending.len());
            });
        }
    }

    async fn in_state(&self, state: ActionState) -> Vec<i64> {
        let records = self.center.actions(Some(state), u32::MAX).await.unwrap();
        records
            .into_iter()
            .filter(|record| record.tool == "guarded")
            .map(|record| record.id)
            .collect()
    }

    /// Approves them all, and says how many could be.
    async fn approve(center: &Center, approver: &Approver, ids: Vec<i64>) -> usize {
        stream::iter(ids)
            .map(|id| center.approve(id, approver, None))
            .buffer_unordered(APPROVERS)
            .filter(|approved| std::future::ready(approved.is_ok()))
            .count()
            .await
    }
}

/// Begins all calls, and prints what it costs that they wait.
async fn wait_in_thousands(server: &mut Server, label: &str) -> Vec<i64> {
    let calls = server.calls;
    // The pools, caches and threads of a server in use.
    server.fast_call().await;
    let idle = server.fast_call().await;
    let before = server.memory();
    for index in 0..calls {
        server.client.begin(index, "guarded", json!({ "text": index.to_string() })).await;
    }
    let ids = server.waiting(calls).await;
    assert_eq!(ids.len(), calls);
    let beside = server.fast_call().await;
    let each = server.memory().saturating_sub(before) / calls;
    eprintln!(
        "{label}: {calls} calls wait with {each} bytes each; a fast call takes {:?} (p99 {:?}), \
         beside an idle server's {:?} (p99 {:?})",
        beside.0, beside.1, idle.0, idle.1
    );
    assert!(each <= MOST_BYTES, "{each} bytes for each waiting call");
    ids
}

async fn all_are_approved(mut server: Server, label: &str) {
    let calls = server.calls;
    let ids = wait_in_thousands(&mut server, label).await;

    let began = Instant::now();
    let (center, approver) = (server.center.clone(), server.approver.clone());
    let approving = tokio::spawn(async move {
        let approved = Server::approve(&center, &approver, ids).await;
        (approved, began.elapsed())
    });
    let mut answered = BTreeMap::new();
    while answered.len() < calls {
        let answer = server.client.receive().await.expect("the server goes on");
        let id = answer["id"].as_u64().unwrap_or_else(|| panic!("an answer: {answer}"));
        let text = answer["result"]["structuredContent"]["text"].clone();
        assert_eq!(text, id.to_string(), "{answer}");
        assert!(answered.insert(id, ()).is_none(), "two answers to call {id}");
    }
    let (approved, approving) = approving.await.unwrap();
    eprintln!("{label}: approved in {approving:?}, all answered in {:?}", began.elapsed());
    assert_eq!(approved, calls);
    // Each answer is that of its own body, so as many runs as answers mean that
    // each ran once.
    assert_eq!(runs(&mut server).await, calls);
    settled(&mut server, ActionState::Completed, calls).await;
}

async fn half_of_the_clients_go(mut server: Server, label: &str) {
    let calls = server.calls;
    let ids = wait_in_thousands(&mut server, label).await;

    let (center, approver) = (server.center.clone(), server.approver.clone());
    let approving = tokio::spawn(async move { Server::approve(&center, &approver, ids).await });
    for index in (0..calls).step_by(2) {
        server.client.cancel(index).await;
    }
    let mut answered = BTreeMap::new();
    let mut stayed = 0;
    while stayed < calls / 2 {
        let answer = server.client.receive().await.expect("the server goes on");
        let id = answer["id"].as_u64().unwrap_or_else(|| panic!("an answer: {answer}"));
        // One that was cancelled too late may be answered, as what it is.
        if id % 2 == 1 {
            let text = &answer["result"]["structuredContent"]["text"];
            assert_eq!(*text, id.to_string(), "{answer}");
            stayed += 1;
        }
        assert!(answered.insert(id, ()).is_none(), "two answers to call {id}");
    }
    let approved = approving.await.unwrap();

    // A cancelled call ran if its approval was faster, and else it never will.
    let (completed, withdrawn) = all_ended(&mut server).await;
    eprintln!("{label}: {approved} approved, {completed} ran, {withdrawn} withdrawn");
    assert_eq!(completed + withdrawn, calls);
    assert!(completed >= calls / 2);
    assert!(withdrawn > 0, "every approval was faster than every cancellation");
    assert_eq!(runs(&mut server).await, completed);
}

async fn runs(server: &mut Server) -> usize {
    let answer = server.client.call("runs", "runs", json!({})).await;
    let runs = answer["structuredContent"].as_u64();
    let text = || answer["content"][0]["text"].as_str().and_then(|text| text.parse().ok());
    usize::try_from(runs.or_else(text).unwrap_or_else(|| panic!("a number: {answer}"))).unwrap()
}

/// Waits until so many calls are recorded in `state`.
async fn settled(server: &mut Server, state: ActionState, count: usize) {
    let changes = server.center.changes();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let changed = changes.next();
        let found = server.in_state(state).await.len();
        if found == count {
            return;
        }
        assert!(found < count && Instant::now() < deadline, "{found} of {count} are {state}");
        let _ = tokio::time::timeout(Duration::from_secs(1), changed).await;
    }
}

/// Waits until no call is open, and says how many ran and were withdrawn.
async fn all_ended(server: &mut Server) -> (usize, usize) {
    let changes = server.center.changes();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let changed = changes.next();
        let mut open = 0;
        for state in [ActionState::Pending, ActionState::Approved, ActionState::Executing] {
            open += server.in_state(state).await.len();
        }
        if open == 0 {
            let completed = server.in_state(ActionState::Completed).await.len();
            return (completed, server.in_state(ActionState::Withdrawn).await.len());
        }
        assert!(Instant::now() < deadline, "{open} calls are still open");
        let _ = tokio::time::timeout(Duration::from_secs(1), changed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_all_are_approved() {
    all_are_approved(Server::embedded().await, "embedded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_half_of_the_clients_go() {
    half_of_the_clients_go(Server::embedded().await, "embedded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_all_are_approved() {
    all_are_approved(Server::over_http().await, "over HTTP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_half_of_the_clients_go() {
    half_of_the_clients_go(Server::over_http().await, "over HTTP").await;
}
