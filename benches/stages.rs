//! The stages of a governed call, each by itself, with the allocations of each:
//! `cargo bench -p ascend-benches`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up ends")]

use std::{fmt::Write as _, fs, path::PathBuf, sync::LazyLock};

use ascend_benches::query;
use ascend_center::{__stages::Evaluator, Center, CenterConfig, Durability};
use ascend_sdk::{
    __stages::{decode, read},
    Action, ActionId, Authority as _, Claim, Decision, Outcome, Tool as _, Verb,
};
use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use rmcp::model::{CallToolResult, ContentBlock, RequestId, ServerJsonRpcMessage, ServerResult};
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn line() -> Vec<u8> {
    json!({
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": { "name": "query", "arguments": arguments(1) },
    })
    .to_string()
    .into_bytes()
}

fn arguments(number: u64) -> Value {
    let sql = format!("SELECT name FROM customers WHERE id = {number}");
    json!({ "sql": sql, "database": "analytics" })
}

fn action(number: u64) -> Action {
    let mut action = Action::new(query::SPEC, Verb::from("query"), arguments(number)).unwrap();
    action.server_id = "bench".to_owned();
    action
}

/// A line from the client: JSON, and whether it is sound.
#[divan::bench]
fn a_read(bencher: Bencher) {
    bencher.with_inputs(line).bench_values(|line| read(line).unwrap());
}

/// Its arguments: to the tool's type, and to the JSON that is evaluated.
#[divan::bench]
fn b_decode(bencher: Bencher) {
    let arguments: Map<String, Value> = read(line()).unwrap();
    bencher
        .with_inputs(|| arguments.clone())
        .bench_values(|arguments| decode::<query>(arguments).unwrap());
}

/// The action: resource, masks, canonical JSON, digest and the key of the call.
#[divan::bench]
fn c_describe(bencher: Bencher) {
    bencher.with_inputs(|| arguments(1)).bench_values(|arguments| {
        Action::new(query::SPEC, Verb::from("query"), arguments).unwrap()
    });
}

/// How many policies can match the call, and how many are about something else.
const POLICIES: [(usize, usize); 5] = [(2, 0), (20, 0), (100, 0), (13, 1_000), (1_013, 0)];

fn policies(applying: usize, others: usize) -> Evaluator {
    let folder = tempfile::tempdir().unwrap();
    let schema = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../ascend-center/policies/schema.cedarschema");
    fs::copy(schema, folder.path().join("schema.cedarschema")).unwrap();
    let mut text =
        "@id(\"reads\") permit (principal, action in Action::\"read\", resource);\n".to_owned();
    let kinds = [("read", 1..applying), ("delete", 0..others)];
    for (class, numbers) in kinds {
        for number in numbers {
            writeln!(
                text,
                "@id(\"{class}-{number}\") forbid (principal, action in Action::\"{class}\", \
                 resource) when {{ resource.words.contains(\"vault-{number}\") }};"
            )
            .unwrap();
        }
    }
    fs::write(folder.path().join("bench.cedar"), text).unwrap();
    Evaluator::open(Some(folder.path().to_owned())).unwrap()
}

/// What policy says of it.
#[divan::bench(args = POLICIES)]
fn d_evaluate(bencher: Bencher, (applying, others): (usize, usize)) {
    let evaluator = policies(applying, others);
    let action = action(1);
    assert_eq!(evaluator.evaluate(&action), Some(Decision::Allow));
    bencher.bench_local(|| evaluator.evaluate(&action));
}

struct Recorder {
    runtime: Runtime,
    center: Center,
    _directory: TempDir,
}

impl Recorder {
    fn new(durability: Durability) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let config = CenterConfig::new(directory.path()).durability(durability);
        let center = runtime.block_on(Center::open(config)).unwrap();
        Self { runtime, center, _directory: directory }
    }

    /// A whole decision: evaluated, recorded, claimed; and its outcome.
    async fn decide(center: &Center, action: Action) {
        let (evaluation, claim) = center.evaluate_and_claim(&action).await.unwrap();
        assert_eq!((evaluation.decision, claim), (Decision::Allow, Some(Claim::Granted)));
        let id: ActionId = evaluation.action_id;
        let outcome = Outcome::Completed { duration: std::time::Duration::ZERO };
        center.report(&id, &outcome).await.unwrap();
    }
}

fn next() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(AtomicU64::default);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What the center does for a call: evaluate, claim, report.
#[divan::bench(args = [Durability::System, Durability::Disk], sample_size = 10)]
fn e_record(bencher: Bencher, durability: Durability) {
    let recorder = Recorder::new(durability);
    bencher.with_inputs(|| action(next())).bench_local_values(|action| {
        recorder.runtime.block_on(Recorder::decide(&recorder.center, action));
    });
}

/// The same for 64 calls at once, which share the wait for the disk.
#[divan::bench(args = [Durability::System, Durability::Disk], sample_size = 1)]
fn f_record_64_at_once(bencher: Bencher, durability: Durability) {
    let recorder = Recorder::new(durability);
    bencher
        .counter(ItemsCount::new(64_usize))
        .with_inputs(|| (0..64).map(|_| action(next())).collect::<Vec<_>>())
        .bench_local_values(|actions| {
            recorder.runtime.block_on(async {
                let mut calls = tokio::task::JoinSet::new();
                for action in actions {
                    let center = recorder.center.clone();
                    calls.spawn(async move { Recorder::decide(&center, action).await });
                }
                while let Some(done) = calls.join_next().await {
                    done.unwrap();
                }
            });
        });
}

/// The least that a record can be: the rows of calls, of the length that they have, in
/// transactions of SQLite by itself. No index, no chain, no text made, nothing read. Of
/// calls at once the decisions are one transaction, and their reports another; one call
/// after another is one each, since its report goes with the next one's decision.
#[divan::bench(args = [("OFF", 1), ("OFF", 64), ("FULL", 1), ("FULL", 64)], sample_size = 1)]
fn g_rows_alone(bencher: Bencher, (synchronous, calls): (&str, i64)) {
    let directory = tempfile::tempdir().unwrap();
    let database = Connection::open(directory.path().join("rows.db")).unwrap();
    database
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
             CREATE TABLE actions (id INTEGER PRIMARY KEY, state TEXT, call TEXT); \
             CREATE TABLE log (seq INTEGER PRIMARY KEY, entry TEXT, hash BLOB)"
        ))
        .unwrap();
    let (call, entry, hash) = ("c".repeat(1_100), "e".repeat(335), [7_u8; 32]);
    let note = || {
        let text = "INSERT INTO log (entry, hash) VALUES (?1, ?2)";
        database.prepare_cached(text).unwrap().execute((&entry, &hash)).unwrap();
    };
    let run = |text: &str| database.execute_batch(text).unwrap();
    let mut first = 1;
    bencher.counter(ItemsCount::new(calls.unsigned_abs())).bench_local(|| {
        let ids = first..first + calls;
        first = ids.end;
        run("BEGIN IMMEDIATE");
        for id in ids.clone() {
            let text = "INSERT INTO actions (id, state, call) VALUES (?1, 'executing', ?2)";
            database.prepare_cached(text).unwrap().execute((id, &call)).unwrap();
            note();
            note();
        }
        if calls > 1 {
            run("COMMIT; BEGIN IMMEDIATE");
        }
        for id in ids {
            let text = "UPDATE actions SET state = 'completed' WHERE id = ?1";
            assert_eq!(database.prepare_cached(text).unwrap().execute([id]).unwrap(), 1);
            note();
        }
        run("COMMIT");
    });
}

/// The answer, from a result to bytes.
#[divan::bench]
fn h_encode(bencher: Bencher) {
    let governance = json!({
        "status": "approved",
        "decision": "ALLOW",
        "action_id": "7",
        "risk_score": 15,
        "risk_level": "LOW",
        "reason": "reads are allowed",
    });
    let result = || {
        let mut result = CallToolResult::success(vec![ContentBlock::text("42 rows of analytics")]);
        result.meta.get_or_insert_default().insert("governance".to_owned(), governance.clone());
        ServerJsonRpcMessage::response(ServerResult::CallToolResult(result), RequestId::Number(7))
    };
    bencher.with_inputs(result).bench_values(|message| serde_json::to_vec(&message).unwrap());
}
