//! The audit log: what it tells, and that nobody changes it unseen.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{path::Path, process::Command, time::Duration};

use ascend_center::{
    AuditEntry, AuditError, AuditFormat, AuditKind, AuditQuery, AuditReport, Broken, Center,
    CenterConfig, SignedHead, Tampering, VerifyAudit, verify_audit_file,
};
use ascend_sdk::{Authority, Outcome};
use jiff::Timestamp;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
use support::{
    action, action_json, delete, digest, number, open,
    served::{Served, token},
    until,
};

async fn database(directory: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(directory.join("center.db"));
    options.busy_timeout(Duration::from_secs(10)).connect().await.unwrap()
}

/// As somebody who has the file, and no respect for triggers.
async fn intruder(directory: &Path) -> SqliteConnection {
    let mut database = database(directory).await;
    for statement in [
        "PRAGMA synchronous = OFF",
        "DROP TRIGGER audit_is_not_changed",
        "DROP TRIGGER audit_is_not_deleted",
        // It would refuse a text that is no JSON.
        "DROP INDEX audit_by_action",
    ] {
        database.execute(statement).await.unwrap();
    }
    database
}

async fn log(center: &Center) -> Vec<AuditEntry> {
    let entries = center.audit_entries(&AuditQuery::new().limit(100_000)).await.unwrap();
    entries.into_iter().map(|(entry, _)| entry).collect()
}

async fn told_of(center: &Center, action: i64) -> Vec<String> {
    let entries = center.audit_entries(&AuditQuery::new().action(action)).await.unwrap();
    let told = |entry: &AuditEntry| format!("{} {}", entry.event.actor.role, entry.event.kind);
    entries.iter().map(|(entry, _)| told(entry)).collect()
}

async fn verify(center: &Center) -> Result<AuditReport, AuditError> {
    center.verify_audit(&VerifyAudit::new()).await
}

fn broken(result: Result<AuditReport, AuditError>) -> Broken {
    match result {
        Err(AuditError::Broken(broken)) => broken,
        other => panic!("not found to be broken: {other:?}"),
    }
}

/// A few entries of most kinds.
async fn live(center: &Center) -> i64 {
    let alice = center.local_approver().await.unwrap();
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    center.approve(number(&id), &alice, Some("fine".to_owned())).await.unwrap();
    center.claim(&id, &digest(1)).await.unwrap();
    center.claim(&id, &digest(1)).await.unwrap();
    let error = "no such table: users".to_owned();
    let duration = Duration::from_millis(7);
    center.report(&id, &Outcome::Failed { duration, error }).await.unwrap();
    number(&id)
}

#[tokio::test]
async fn whatever_happens_to_an_action_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();

    let ran = live(&center).await;
    assert_eq!(
        told_of(&center, ran).await,
        [
            "agent evaluated",
            "approver approved",
            "agent claimed",
            "agent claim_refused",
            "agent failed"
        ]
    );

    let rejected = center.evaluate(&delete()).await.unwrap().action_id;
    center.reject(number(&rejected), &alice, Some("no".to_owned())).await.unwrap();
    assert_eq!(told_of(&center, number(&rejected)).await, ["agent evaluated", "approver rejected"]);

    let mut soon = delete();
    soon.approval_timeout = Duration::from_millis(1);
    let expired = center.evaluate(&soon).await.unwrap().action_id;
    center.await_review(&expired).await.unwrap();
    center.claim(&expired, &digest(1)).await.unwrap();
    assert_eq!(
        told_of(&center, number(&expired)).await,
        ["agent evaluated", "center expired", "agent claim_refused"]
    );

    // What ran out unseen is told when somebody comes for it.
    soon.idempotency_key = "unseen".to_owned();
    let unseen = center.evaluate(&soon).await.unwrap().action_id;
    tokio::time::sleep(Duration::from_millis(2)).await;
    center.claim(&unseen, &digest(1)).await.unwrap();
    assert_eq!(
        told_of(&center, number(&unseen)).await,
        ["agent evaluated", "center expired", "agent claim_refused"]
    );

    let other = center.evaluate(&action("database", "read", "x")).await.unwrap().action_id;
    center.claim(&other, &digest(2)).await.unwrap();
    let entries = center.audit_entries(&AuditQuery::new().action(number(&other))).await.unwrap();
    let refused = &entries.last().unwrap().0.event;
    assert_eq!(refused.kind, AuditKind::ClaimRefused);
    assert_eq!(refused.refusal.as_deref(), Some("digest_mismatch"));
    assert_eq!(refused.claimed_digest, Some(digest(2)));
    assert_eq!(refused.state, Some(ascend_center::ActionState::Withdrawn));

    let withdrawn = center.evaluate(&delete()).await.unwrap().action_id;
    let reason = "the caller went away".to_owned();
    center.report(&withdrawn, &Outcome::Withdrawn { reason }).await.unwrap();
    assert_eq!(told_of(&center, number(&withdrawn)).await, ["agent evaluated", "agent withdrawn"]);

    let mut call = delete();
    let promised = center.evaluate(&call).await.unwrap().action_id;
    center.promise(&promised).await.unwrap();
    call.idempotency_key = "another".to_owned();
    center.evaluate(&call).await.unwrap();
    center.reject(number(&promised), &alice, None).await.unwrap();
    call.idempotency_key = "a third".to_owned();
    center.evaluate(&call).await.unwrap();
    assert_eq!(
        told_of(&center, number(&promised)).await,
        ["agent evaluated", "agent promised", "agent joined", "approver rejected", "agent told"]
    );

    center.kill("an incident", &alice).await.unwrap();
    let killed = center.evaluate(&action("database", "read", "x")).await.unwrap().action_id;
    center.release(&alice).await.unwrap();
    let entries = log(&center).await;
    let last: Vec<_> = entries.iter().rev().take(3).map(|entry| &entry.event).collect();
    assert_eq!(last[0].kind, AuditKind::Released);
    assert_eq!(last[1].action, Some(number(&killed)));
    assert_eq!(last[1].refusal.as_deref(), Some("kill_switch"));
    assert_eq!(
        (&last[2].kind, last[2].reason.as_deref()),
        (&AuditKind::Killed, Some("an incident"))
    );
    assert_eq!(last[2].actor.name, "alice");

    let begin: Vec<_> = entries.iter().take(4).map(|entry| entry.event.kind.as_str()).collect();
    assert_eq!(begin, ["genesis", "credential_created", "credential_created", "policies_loaded"]);
    let report = verify(&center).await.unwrap();
    assert_eq!((report.from, report.to), (1, i64::try_from(entries.len()).unwrap()));
    assert_eq!(report.actions, center.actions(None, 100).await.unwrap().len());
}

#[tokio::test]
async fn the_log_holds_no_argument_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let policy = "@id(\"only-databases\") permit (principal, action, resource)\n\
                  when { context.namespace == \"database\" };";
    let file = directory.path().join("policy.cedar");
    std::fs::write(&file, policy).unwrap();
    let config = CenterConfig::new(directory.path()).policies(file);
    let center = Center::open(config).await.unwrap();
    let mut json = action_json("database", "read", "table-marker");
    json["parameters"] = json!({ "password": "argument-marker" });
    json["summary"] = "summary-marker".into();
    json["user_context"] = json!({ "user": "user-marker" });
    json["session_context"] = json!({ "session_id": "session-marker" });
    let id = center.evaluate(&serde_json::from_value(json).unwrap()).await.unwrap().action_id;
    center.claim(&id, &digest(1)).await.unwrap();
    let error = "error-marker".to_owned();
    center.report(&id, &Outcome::Failed { duration: Duration::ZERO, error }).await.unwrap();
    // Why nothing permits a call quotes it.
    let denied = center.evaluate(&action("vault", "frobnicate", "denied-marker")).await.unwrap();
    assert!(denied.reason.unwrap().contains("denied-marker"));
    let mut out = Vec::new();
    center.export_audit(&VerifyAudit::new(), AuditFormat::Jsonl, &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("-marker"), "{text}");
    for file in ["agent.key", "approver.key"] {
        assert!(!text.contains(&token(directory.path(), file)), "{file}");
    }
    let key = std::fs::read_to_string(directory.path().join("audit.key")).unwrap();
    let key: Value = serde_json::from_str(&key).unwrap();
    assert!(!text.contains(key["secret_key"].as_str().unwrap()));
    assert!(text.contains(key["public_key"].as_str().unwrap()));
}

#[tokio::test]
async fn a_changed_policy_set_is_told_before_its_first_decision() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("policies");
    let config = CenterConfig::new(directory.path().join("center")).policies(&folder);
    let center = Center::open(config).await.unwrap();
    for _ in 0..2 {
        center.evaluate(&action("database", "read", "x")).await.unwrap();
    }
    let file = folder.join("default.cedar");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "\n@id(\"more\") forbid (principal, action, resource);\n")
        .unwrap();
    center.reload_policies().unwrap();
    center.evaluate(&action("database", "read", "x")).await.unwrap();
    let told: Vec<_> = log(&center)
        .await
        .into_iter()
        .map(|entry| entry.event)
        .filter(|event| matches!(event.kind, AuditKind::PoliciesLoaded | AuditKind::Evaluated))
        .collect();
    let kinds: Vec<_> = told.iter().map(|event| event.kind.as_str()).collect();
    let expected = ["policies_loaded", "evaluated", "evaluated", "policies_loaded", "evaluated"];
    assert_eq!(kinds, expected);
    let sets: Vec<_> = told.iter().map(|event| event.policy_set.unwrap()).collect();
    assert_eq!((sets[0], sets[3]), (sets[2], sets[4]));
    assert_ne!(sets[0], sets[3]);
    assert_eq!(told[3].subject.as_deref(), Some(folder.display().to_string().as_str()));
}

#[tokio::test]
async fn pages_are_read_forwards_and_backwards() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    live(&center).await;
    let all: Vec<i64> = log(&center).await.iter().map(|entry| entry.seq).collect();
    assert_eq!(all, (1..=9).collect::<Vec<_>>());
    let seqs = async |query: AuditQuery| -> Vec<i64> {
        let page = center.audit_entries(&query).await.unwrap();
        page.iter().map(|(entry, _)| entry.seq).collect()
    };
    assert_eq!(seqs(AuditQuery::new().after(3).limit(2)).await, [4, 5]);
    assert_eq!(seqs(AuditQuery::new().before(8).newest_first().limit(2)).await, [7, 6]);
    assert_eq!(seqs(AuditQuery::new().kind(AuditKind::Approved)).await, [6]);
    assert_eq!(seqs(AuditQuery::new().actor("alice")).await, [6]);
    assert_eq!(seqs(AuditQuery::new().action(1)).await, [5, 6, 7, 8, 9]);
    let first = center.audit_entries(&AuditQuery::new().limit(1)).await.unwrap()[0].0.at;
    assert_eq!(seqs(AuditQuery::new().until(first)).await, [0_i64; 0]);
    assert_eq!(seqs(AuditQuery::new().since(first)).await, all);
}

#[tokio::test]
async fn the_log_is_signed_at_intervals_in_time_and_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let report = verify(&center).await.unwrap();
    assert_eq!((report.to, report.signed), (3, 1), "the first entry is signed at once");
    center.close().await;

    let center = open(directory.path()).await;
    assert_eq!(verify(&center).await.unwrap().signed, 3, "signed when it was closed");
    let calls = (0..300).map(|_| {
        let center = center.clone();
        tokio::spawn(
            async move { center.evaluate(&action("database", "read", "x")).await.unwrap() },
        )
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    let report = verify(&center).await.unwrap();
    assert!(report.to - report.signed <= 256, "{report:?}");

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    until("all is signed", async || {
        let report = verify(&center).await.unwrap();
        report.signed == report.to
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_left_unsigned_is_signed_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Served::start(directory.path());
    server.kill();
    let unsigned = cli(directory.path(), &["verify"]).1;
    assert!(unsigned.contains("the last 2 are chained, and not signed yet"), "{unsigned}");
    let signed = cli(directory.path(), &["verify"]).1;
    assert!(!signed.contains("not signed yet"), "{signed}");
}

#[tokio::test]
async fn a_range_is_proved_by_the_next_signature() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    live(&center).await;
    center.audit_head().await.unwrap();
    live(&center).await;
    let report = center.verify_audit(&VerifyAudit::new().from(4).to(6)).await.unwrap();
    assert_eq!((report.from, report.to, report.signed), (4, 9, 9));
    let error = center.verify_audit(&VerifyAudit::new().to(99)).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no entry 99; the log has 1 to 14");
    assert!(center.verify_audit(&VerifyAudit::new().from(0)).await.is_err());

    let mut database = intruder(directory.path()).await;
    // Somebody who computes hashes, and has no key.
    rewrite(&mut database, 7, "embedded", "somebody").await;
    assert_eq!(
        broken(center.verify_audit(&VerifyAudit::new().from(4).to(6)).await),
        Broken { seq: 9, tampering: Tampering::Rewritten },
        "what follows the range vouches for it"
    );
}

/// Changes an entry's text, and makes the chain right from there on.
async fn rewrite(database: &mut SqliteConnection, seq: i64, old: &str, new: &str) {
    use sha2::{Digest as _, Sha256};
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT seq, entry FROM audit WHERE seq >= ? ORDER BY seq")
            .bind(seq)
            .fetch_all(&mut *database)
            .await
            .unwrap();
    let mut hash: Vec<u8> = sqlx::query_scalar("SELECT hash FROM audit WHERE seq = ?")
        .bind(seq - 1)
        .fetch_one(&mut *database)
        .await
        .unwrap();
    for (number, mut entry) in rows {
        if number == seq {
            assert!(entry.contains(old), "{entry}");
            entry = entry.replace(old, new);
        }
        let mut hasher = Sha256::new_with_prefix(b"ascend-center audit entry v1\0");
        hasher.update(&hash);
        hasher.update(&entry);
        hash = hasher.finalize().to_vec();
        sqlx::query("UPDATE audit SET entry = ?, hash = ? WHERE seq = ?")
            .bind(entry)
            .bind(&hash)
            .bind(number)
            .execute(&mut *database)
            .await
            .unwrap();
    }
    sqlx::query("UPDATE audit_state SET hash = ?").bind(hash).execute(database).await.unwrap();
}

#[tokio::test]
async fn only_what_no_signature_has_seen_can_be_rewritten_and_a_kept_head_tells_a_cut() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    live(&center).await;
    let head = center.audit_head().await.unwrap();
    let kept: SignedHead = head.to_string().parse().unwrap();
    assert_eq!(kept, head);
    live(&center).await;
    center.close().await;
    let center = open(directory.path()).await;
    assert!(center.verify_audit(&VerifyAudit::new().head(kept.clone())).await.is_ok());
    let newest = center.audit_head().await.unwrap();
    assert_eq!(newest.head().seq, 14);

    // Whoever has the whole directory can go back to an earlier state of it.
    let mut database = intruder(directory.path()).await;
    for statement in [
        "DELETE FROM audit WHERE seq > 9",
        "DELETE FROM audit_heads WHERE seq > 9",
        "UPDATE audit_state SET seq = 9, signed = 9, hash = (SELECT hash FROM audit WHERE seq = 9)",
        "DELETE FROM actions WHERE id > 1",
    ] {
        database.execute(statement).await.unwrap();
    }
    assert!(verify(&center).await.is_ok(), "without a head from elsewhere, that is no change");
    assert!(center.verify_audit(&VerifyAudit::new().head(kept)).await.is_ok());
    assert_eq!(
        broken(center.verify_audit(&VerifyAudit::new().head(newest)).await),
        Broken { seq: 9, tampering: Tampering::Truncated { known: 14 } }
    );
}

#[tokio::test]
async fn a_head_of_another_log_or_by_another_key_does_not_count() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let center = open(one.path()).await;
    let foreign = open(other.path()).await;
    let key = foreign.audit_key();
    let error = center.verify_audit(&VerifyAudit::new().public_key(key)).await;
    assert_eq!(broken(error).tampering, Tampering::ForeignKey(center.audit_key()));
    let head = foreign.audit_head().await.unwrap();
    let both = VerifyAudit::new().public_key(key).public_key(center.audit_key());
    let error = center.verify_audit(&both.head(head.clone())).await;
    assert!(matches!(broken(error).tampering, Tampering::OtherLog(_) | Tampering::Rewritten));
    let error = center.verify_audit(&VerifyAudit::new().head(head)).await;
    assert_eq!(broken(error).tampering, Tampering::HeadForged);
}

#[tokio::test]
async fn a_lost_signing_key_is_replaced_in_the_open() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let old = center.audit_key();
    center.close().await;
    std::fs::remove_file(directory.path().join("audit.key")).unwrap();
    let center = open(directory.path()).await;
    let last = log(&center).await.pop().unwrap().event;
    assert_eq!(last.kind, AuditKind::SigningKeyChanged);
    assert_eq!(last.public_key, Some(center.audit_key()));
    assert_eq!(last.subject, Some(old.to_string()));
    assert_eq!(broken(verify(&center).await).tampering, Tampering::ForeignKey(old));
    let both = VerifyAudit::new().public_key(old).public_key(center.audit_key());
    assert_eq!(center.verify_audit(&both).await.unwrap().keys, [old, center.audit_key()]);
}

/// One change to what is stored.
#[derive(Debug, Clone)]
enum Change {
    /// A byte of a column, in the row with this index.
    Byte {
        column: usize,
        row: usize,
        at: usize,
        xor: u8,
    },
    Renumber {
        heads: bool,
        row: usize,
        to: i64,
    },
    Delete {
        heads: bool,
        row: usize,
    },
    Swap {
        row: usize,
        with: usize,
    },
    Append {
        copy_of: usize,
    },
    End {
        which: usize,
        add: i64,
    },
    Action {
        column: usize,
    },
}

/// Columns whose bytes are changed: table, key, column, type.
const BYTES: [(&str, &str, &str, &str); 8] = [
    ("audit", "seq", "entry", "TEXT"),
    ("audit", "seq", "hash", "BLOB"),
    ("audit_heads", "seq", "head", "TEXT"),
    ("audit_heads", "seq", "signature", "BLOB"),
    ("audit_checkpoint", "id", "checkpoint", "TEXT"),
    ("audit_checkpoint", "id", "signature", "BLOB"),
    ("audit_state", "id", "chain", "BLOB"),
    ("audit_state", "id", "hash", "BLOB"),
];

const ACTIONS: [&str; 11] = [
    "state = 'completed'",
    "expires_at = expires_at + 1",
    "reviewed_by = 'mallory'",
    "requested_by = 'mallory'",
    "decision = 'ALLOW'",
    "digest = replace(digest, '01', '02')",
    "parameters = '{}'",
    "resource = 'elsewhere'",
    "summary = 'Harmless'",
    "outcome = 'all went well'",
    "id = 77",
];

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (0..BYTES.len(), 0..20_usize, any::<usize>(), 1..=255_u8)
            .prop_map(|(column, row, at, xor)| Change::Byte { column, row, at, xor }),
        1 => (any::<bool>(), 0..20_usize, 0..40_i64)
            .prop_map(|(heads, row, to)| Change::Renumber { heads, row, to }),
        1 => (any::<bool>(), 0..20_usize).prop_map(|(heads, row)| Change::Delete { heads, row }),
        1 => (0..20_usize, 0..20_usize).prop_map(|(row, with)| Change::Swap { row, with }),
        1 => (0..20_usize).prop_map(|copy_of| Change::Append { copy_of }),
        1 => (0..5_usize, prop::sample::select(vec![-2_i64, -1, 1, 2]))
            .prop_map(|(which, add)| Change::End { which, add }),
        1 => (0..ACTIONS.len()).prop_map(|column| Change::Action { column }),
    ]
}

async fn keys(database: &mut SqliteConnection, table: &str, key: &str) -> Vec<i64> {
    let query = format!("SELECT {key} FROM {table} ORDER BY {key}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(database).await.unwrap()
}

async fn run(database: &mut SqliteConnection, statement: String) -> bool {
    let result = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(database).await;
    result.is_ok_and(|done| done.rows_affected() > 0)
}

/// Makes the change; whether there was anything to change.
async fn apply(database: &mut SqliteConnection, change: &Change) -> bool {
    let table = |heads: bool| if heads { "audit_heads" } else { "audit" };
    match *change {
        Change::Byte { column, row, at, xor } => {
            let (table, key, column, kind) = BYTES[column];
            let rows = keys(database, table, key).await;
            if rows.is_empty() {
                return false;
            }
            let row = rows[row % rows.len()];
            let query = format!("SELECT CAST({column} AS BLOB) FROM {table} WHERE {key} = {row}");
            let mut bytes: Vec<u8> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                .fetch_one(&mut *database)
                .await
                .unwrap();
            let at = at % bytes.len();
            bytes[at] ^= xor;
            let value = format!("CAST(x'{}' AS {kind})", hex::encode(bytes));
            run(database, format!("UPDATE {table} SET {column} = {value} WHERE {key} = {row}"))
                .await
        }
        Change::Renumber { heads, row, to } => {
            let table = table(heads);
            let rows = keys(database, table, "seq").await;
            let row = rows[row % rows.len()];
            // A number that is taken is refused by the table itself.
            row != to
                && run(database, format!("UPDATE {table} SET seq = {to} WHERE seq = {row}")).await
        }
        Change::Delete { heads, row } => {
            let table = table(heads);
            let rows = keys(database, table, "seq").await;
            let row = rows[row % rows.len()];
            run(database, format!("DELETE FROM {table} WHERE seq = {row}")).await
        }
        Change::Swap { row, with } => {
            let rows = keys(database, "audit", "seq").await;
            let (row, with) = (rows[row % rows.len()], rows[with % rows.len()]);
            row != with
                && run(
                    database,
                    format!(
                        "UPDATE audit SET (entry, hash) = (SELECT entry, hash FROM audit AS other \
                         WHERE other.seq = {row} + {with} - audit.seq) WHERE seq IN ({row}, {with})"
                    ),
                )
                .await
        }
        Change::Append { copy_of } => {
            let rows = keys(database, "audit", "seq").await;
            let copied = rows[copy_of % rows.len()];
            let seq = rows[rows.len() - 1] + 1;
            let from = format!("SELECT {seq}, entry, hash FROM audit WHERE seq = {copied}");
            run(database, format!("INSERT INTO audit (seq, entry, hash) {from}")).await
        }
        Change::End { which, add } => {
            let statement = match which {
                0 => format!("UPDATE audit_state SET seq = seq + {add}"),
                1 => format!("UPDATE audit_state SET signed = signed + {add}"),
                2 => format!("UPDATE audit_checkpoint SET seq = seq + {add}"),
                3 => "DELETE FROM audit_checkpoint".to_owned(),
                _ => "DELETE FROM audit_state".to_owned(),
            };
            run(database, statement).await
        }
        Change::Action { column } => {
            let set = ACTIONS[column];
            let newest = "(SELECT max(id) FROM actions)";
            run(database, format!("UPDATE actions SET {set} WHERE id = {newest}")).await
        }
    }
}

const TABLES: [&str; 5] = ["audit", "audit_heads", "audit_state", "audit_checkpoint", "actions"];

/// The columns that can be written, and for rows that are copied back.
fn columns(table: &str) -> &str {
    if table == "audit" { "seq, entry, hash" } else { "*" }
}

#[test]
fn any_single_change_is_found() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for is_pruned in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (center, mut database) = runtime.block_on(async {
            let center = open(directory.path()).await;
            live(&center).await;
            let newest = center.audit_head().await.unwrap();
            if is_pruned {
                let alice = center.local_approver().await.unwrap();
                let now = Timestamp::now();
                assert!(center.prune_audit(now, &alice).await.unwrap().entries > 0);
                assert!(newest.head().seq > 3);
            }
            live(&center).await;
            center.audit_head().await.unwrap();
            live(&center).await;
            verify(&center).await.unwrap();
            let mut database = intruder(directory.path()).await;
            for table in TABLES {
                let copy = format!("CREATE TEMP TABLE {table}_copy AS SELECT * FROM {table}");
                sqlx::query(sqlx::AssertSqlSafe(copy)).execute(&mut database).await.unwrap();
            }
            (center, database)
        });
        let config = ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() };
        let changed = std::cell::Cell::new(0);
        let database = std::cell::RefCell::new(&mut database);
        TestRunner::new(config)
            .run(&change(), |change| {
                let mut database = database.borrow_mut();
                runtime.block_on(async {
                    if !apply(&mut database, &change).await {
                        return Ok(());
                    }
                    changed.set(changed.get() + 1);
                    let found = verify(&center).await;
                    for table in TABLES {
                        let columns = columns(table);
                        for statement in [
                            format!("DELETE FROM {table}"),
                            format!(
                                "INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_copy"
                            )
                            .replace(" (*)", ""),
                        ] {
                            sqlx::query(sqlx::AssertSqlSafe(statement))
                                .execute(&mut **database)
                                .await
                                .unwrap();
                        }
                    }
                    let found_broken = matches!(found, Err(AuditError::Broken(_)));
                    prop_assert!(found_broken, "{:?} is not found: {:?}", change, found);
                    Ok(())
                })
            })
            .unwrap();
        assert!(changed.get() > 250, "{} changes", changed.get());
        runtime.block_on(verify(&center)).unwrap();
    }
}

#[tokio::test]
async fn the_first_broken_entry_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    live(&center).await;
    center.audit_head().await.unwrap();
    live(&center).await;
    let cases = [
        ("UPDATE audit SET entry = replace(entry, 'alice', 'mallo') WHERE seq = 6", 6, "changed"),
        ("DELETE FROM audit WHERE seq IN (6, 7)", 6, "missing, with all up to entry 7"),
        ("DELETE FROM audit WHERE seq > 12", 12, "the end was cut off"),
        ("DELETE FROM audit_heads WHERE seq = 9", 9, "signed head of entry 9 is missing"),
        (
            "INSERT INTO audit (seq, entry, hash) \
             SELECT 15, replace(entry, '\"seq\":14', '\"seq\":15'), hash FROM audit WHERE seq = 14",
            15,
            "changed",
        ),
        (
            "UPDATE audit SET (entry, hash) = (SELECT entry, hash FROM audit AS o \
             WHERE o.seq = 15 - audit.seq) WHERE seq IN (7, 8)",
            7,
            "written as entry 8: entries were moved",
        ),
        ("UPDATE actions SET state = 'completed' WHERE id = 1", 9, "action 1 stands otherwise"),
        ("UPDATE actions SET parameters = '{}' WHERE id = 2", 14, "what was asked differs"),
        ("DELETE FROM actions WHERE id = 2", 14, "action 2 was recorded, and is not"),
        ("UPDATE actions SET id = 3 WHERE id = 2", 14, "action 3 is in the database"),
    ];
    let mut database = intruder(directory.path()).await;
    for (statement, seq, said) in cases {
        database.execute("BEGIN").await.unwrap();
        database
            .execute("CREATE TEMP TABLE a AS SELECT seq, entry, hash FROM audit")
            .await
            .unwrap();
        database.execute("CREATE TEMP TABLE h AS SELECT * FROM audit_heads").await.unwrap();
        database.execute("CREATE TEMP TABLE c AS SELECT * FROM actions").await.unwrap();
        database.execute(statement).await.unwrap();
        database.execute("COMMIT").await.unwrap();
        let found = broken(verify(&center).await);
        assert!(found.seq == seq && found.to_string().contains(said), "{statement}: {found}");
        for restore in [
            "DELETE FROM audit",
            "INSERT INTO audit (seq, entry, hash) SELECT * FROM a",
            "DELETE FROM audit_heads",
            "INSERT INTO audit_heads SELECT * FROM h",
            "DELETE FROM actions",
            "INSERT INTO actions SELECT * FROM c",
            "DROP TABLE a",
            "DROP TABLE h",
            "DROP TABLE c",
        ] {
            database.execute(restore).await.unwrap();
        }
    }
    verify(&center).await.unwrap();
}

#[tokio::test]
async fn a_log_without_its_end_stays_readable_and_nothing_is_decided() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    center.close().await;
    intruder(directory.path()).await.execute("DELETE FROM audit_state").await.unwrap();
    let center = open(directory.path()).await;
    assert!(center.evaluate(&delete()).await.is_err());
    assert_eq!(broken(verify(&center).await), Broken { seq: 3, tampering: Tampering::State });
    assert_eq!(log(&center).await.len(), 3);
}

#[tokio::test]
async fn an_export_is_verified_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    live(&center).await;
    center.audit_head().await.unwrap();
    live(&center).await;
    let key = [center.audit_key()];
    let file = directory.path().join("log.jsonl");
    for (from, to, first, last) in [(1, 14, 1, 14), (3, 11, 3, 11), (10, 12, 10, 12)] {
        let mut out = Vec::new();
        let range = VerifyAudit::new().from(from).to(to);
        center.export_audit(&range, AuditFormat::Jsonl, &mut out).await.unwrap();
        std::fs::write(&file, &out).unwrap();
        let report = verify_audit_file(&file, &key, None).unwrap();
        assert_eq!((report.from, report.to, report.signed), (first, last, last));
        assert_eq!(report.chain, verify(&center).await.unwrap().chain);

        // Any byte that is changed is found, and any line that is not there.
        for at in (0..out.len()).step_by(7) {
            let mut changed = out.clone();
            changed[at] ^= 1;
            std::fs::write(&file, changed).unwrap();
            assert!(verify_audit_file(&file, &key, None).is_err(), "byte {at} of {from} to {to}");
        }
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for missing in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(missing);
            std::fs::write(&file, fewer.join("\n")).unwrap();
            assert!(verify_audit_file(&file, &key, None).is_err(), "line {missing}");
        }
    }

    let foreign = tempfile::tempdir().unwrap();
    let foreign = open(foreign.path()).await.audit_key();
    let mut out = Vec::new();
    center.export_audit(&VerifyAudit::new().to(9), AuditFormat::Jsonl, &mut out).await.unwrap();
    std::fs::write(&file, &out).unwrap();
    assert!(verify_audit_file(&file, &[foreign], None).is_err());
    assert_eq!(verify_audit_file(&file, &[], None).unwrap().keys, key);
    // It is a whole log, and an older one.
    let newest = center.audit_head().await.unwrap();
    let old = broken(verify_audit_file(&file, &key, Some(&newest)));
    assert_eq!(old.tampering, Tampering::Truncated { known: 14 });
}

#[tokio::test]
async fn a_broken_log_is_not_exported_as_a_sound_one() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    live(&center).await;
    let mut database = intruder(directory.path()).await;
    database.execute("UPDATE audit SET hash = x'00' WHERE seq = 7").await.unwrap();
    let mut out = Vec::new();
    let exported = center.export_audit(&VerifyAudit::new(), AuditFormat::Jsonl, &mut out).await;
    assert_eq!(broken(exported), Broken { seq: 7, tampering: Tampering::Changed });
    let file = directory.path().join("log.jsonl");
    std::fs::write(&file, &out).unwrap();
    assert_eq!(broken(verify_audit_file(&file, &[], None)).tampering, Tampering::Unsigned);
}

#[tokio::test]
async fn pruning_keeps_the_rest_provable_and_erases_arguments() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    let mut json = action_json("database", "read", "old-marker");
    json["parameters"] = json!({ "q": "old-marker ".repeat(2_000) });
    let old = center.evaluate(&serde_json::from_value(json).unwrap()).await.unwrap().action_id;
    center.claim(&old, &digest(1)).await.unwrap();
    let waiting = center.evaluate(&delete()).await.unwrap().action_id;
    live(&center).await;
    let kept_head = center.audit_head().await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let before = Timestamp::now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let new = live(&center).await;
    let whole = verify(&center).await.unwrap();

    let pruned = center.prune_audit(before, &alice).await.unwrap();
    assert_eq!(pruned.through, kept_head.head().seq);
    assert_eq!((pruned.entries, pruned.actions), (pruned.through.unsigned_abs(), 2));
    let report = verify(&center).await.unwrap();
    assert_eq!((report.from, report.pruned), (pruned.through + 1, pruned.through));
    assert_eq!((report.to, report.chain), (whole.to + 1, whole.chain));
    let last = log(&center).await.pop().unwrap();
    assert_eq!((last.event.kind, last.event.actor.name), (AuditKind::Pruned, "alice".to_owned()));

    let record = center.action(number(&old)).await.unwrap().unwrap();
    assert!(record.erased_at.is_some() && record.parameters.is_empty());
    assert_eq!((record.digest, record.resource.as_str()), (digest(1), ""));
    for kept in [number(&waiting), new] {
        let record = center.action(kept).await.unwrap().unwrap();
        assert!(record.erased_at.is_none() && !record.parameters.is_empty());
    }
    for file in ["center.db", "center.db-wal"] {
        let content = std::fs::read(directory.path().join(file)).unwrap();
        assert!(!content.windows(10).any(|part| part == b"old-marker"), "in {file}");
    }

    // Life goes on, a second time too, and an old head has nothing to say.
    center.approve(number(&waiting), &alice, None).await.unwrap();
    center.prune_audit(Timestamp::now(), &alice).await.unwrap();
    live(&center).await;
    verify(&center).await.unwrap();
    let nothing = center.prune_audit(before, &alice).await.unwrap();
    assert_eq!((nothing.entries, nothing.actions), (0, 0));
    let error = center.verify_audit(&VerifyAudit::new().head(kept_head)).await.unwrap_err();
    assert!(matches!(error, AuditError::HeadBefore(_)), "{error}");
    let error = center.verify_audit(&VerifyAudit::new().from(1)).await.unwrap_err();
    assert!(matches!(error, AuditError::NoSuchEntry { seq: 1, .. }), "{error}");

    let mut out = Vec::new();
    center.export_audit(&VerifyAudit::new(), AuditFormat::Jsonl, &mut out).await.unwrap();
    let file = directory.path().join("log.jsonl");
    std::fs::write(&file, &out).unwrap();
    let report = verify_audit_file(&file, &[center.audit_key()], None).unwrap();
    assert_eq!(report.chain, whole.chain);

    // The table itself refuses what no checkpoint stands for.
    let mut database = database(directory.path()).await;
    for change in ["UPDATE audit SET entry = '{}'", "DELETE FROM audit"] {
        let error = database.execute(change).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_broken_log_is_not_pruned() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    live(&center).await;
    let mut database = intruder(directory.path()).await;
    database.execute("DELETE FROM audit WHERE seq = 6").await.unwrap();
    assert!(matches!(
        center.prune_audit(Timestamp::now(), &alice).await,
        Err(AuditError::Broken(Broken { seq: 6, .. }))
    ));
    assert_eq!(log(&center).await.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_processes_write_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    let servers: Vec<_> = (0..2).map(|_| Served::start(directory.path())).collect();
    let agent = token(directory.path(), "agent.key");
    let http = reqwest::Client::new();
    let embedded = open(directory.path()).await;
    let mut calls = Vec::new();
    for index in 0..120 {
        let (http, url, agent) = (http.clone(), servers[index % 2].url.clone(), agent.clone());
        let embedded = embedded.clone();
        calls.push(tokio::spawn(async move {
            if index % 3 == 0 {
                embedded.evaluate(&action("database", "read", "x")).await.unwrap();
                return;
            }
            let body = json!({
                "server_id": "srv", "namespace": "database", "verb": "read", "resource": "x",
                "idempotency_key": format!("key-{index}"),
            });
            let request = http.post(format!("{url}/mcp/governance/evaluate"));
            let answer = request.bearer_auth(agent).json(&body).send().await.unwrap();
            assert!(answer.status().is_success());
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    let entries = log(&embedded).await;
    let count = |kind| entries.iter().filter(|entry| entry.event.kind == kind).count();
    assert_eq!(count(AuditKind::Evaluated), 120);
    assert_eq!(count(AuditKind::Genesis), 1);
    assert_eq!(count(AuditKind::PoliciesLoaded), 3, "once for each process");
    let report = verify(&embedded).await.unwrap();
    assert_eq!((report.to, report.actions), (i64::try_from(entries.len()).unwrap(), 120));
}

#[tokio::test]
async fn a_database_from_before_the_log_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let migrations = directory.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    for name in ["0001_actions.sql", "0002_promises.sql"] {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(name);
        std::fs::copy(here, migrations.join(name)).unwrap();
    }
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join("center.db"))
        .create_if_missing(true);
    let mut database = options.connect().await.unwrap();
    let migrator = sqlx::migrate::Migrator::new(migrations).await.unwrap();
    migrator.run_direct(None, &mut database, false).await.unwrap();
    let digest = digest(1).to_string();
    for (id, state) in [(1, "failed"), (2, "pending")] {
        sqlx::query(
            "INSERT INTO actions VALUES (?, ?, 'REQUIRE_APPROVAL', NULL, 1, ?, 'srv', 't', \
             'database', 'delete', 'x', NULL, '{}', '{}', 's', NULL, 70, 'HIGH', 'why', '[]', ?, \
             NULL, 'agent', '{}', ?, NULL, NULL, 0)",
        )
        .bind(id)
        .bind(state)
        .bind(i64::MAX / 1_000_000)
        .bind(&digest)
        .bind((id == 1).then_some("alice"))
        .execute(&mut database)
        .await
        .unwrap();
    }
    let events = [
        (1, "pending", "agent", "why"),
        (1, "approved", "alice", "go"),
        (1, "executing", "agent", ""),
        (1, "failed", "agent", "after 3 ms: told by a tool"),
        (2, "pending", "agent", "why"),
    ];
    for (index, (action, kind, by, detail)) in (1_i64..).zip(events) {
        sqlx::query("INSERT INTO events (action_id, kind, at, by, detail) VALUES (?, ?, ?, ?, ?)")
            .bind(action)
            .bind(kind)
            .bind(1_700_000_000_000 + index)
            .bind(by)
            .bind(detail)
            .execute(&mut database)
            .await
            .unwrap();
    }
    sqlx::Connection::close(database).await.unwrap();

    let center = open(directory.path()).await;
    let entries = log(&center).await;
    assert_eq!(entries[0].event.kind, AuditKind::Genesis);
    assert_eq!(
        entries[0].event.detail.as_deref(),
        Some("an upgrade: the next 5 entries were recorded before, and are chained since now")
    );
    let told: Vec<_> = entries[1..6].iter().map(|entry| entry.event.kind.as_str()).collect();
    assert_eq!(told, ["evaluated", "approved", "claimed", "failed", "evaluated"]);
    assert_eq!(entries[1].at.as_millisecond(), 1_700_000_000_001);
    assert_eq!(entries[2].event.comment.as_deref(), Some("go"));
    assert_eq!(entries[4].event.detail, None);
    let record = center.action(1).await.unwrap().unwrap();
    assert_eq!(record.outcome.as_deref(), Some("after 3 ms: told by a tool"));
    assert_eq!(verify(&center).await.unwrap().actions, 2);

    let alice = center.local_approver().await.unwrap();
    center.approve(2, &alice, None).await.unwrap();
    center.close().await;
    let center = open(directory.path()).await;
    let genesis = AuditQuery::new().kind(AuditKind::Genesis);
    assert_eq!(center.audit_entries(&genesis).await.unwrap().len(), 1);
    verify(&center).await.unwrap();
}

fn cli(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ascend-center"))
        .arg("--directory")
        .arg(directory)
        .arg("audit")
        .args(arguments)
        .env("RUST_LOG", "warn")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_cli_proves_exports_and_prunes() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let center = open(at).await;
    live(&center).await;
    let key = center.audit_key().to_string();
    assert_eq!(cli(at, &["key"]).1, format!("{key}\n"));

    let (code, head, _) = cli(at, &["head"]);
    assert_eq!(code, Some(0));
    let (head_file, log_file) = (at.join("head.json"), at.join("log.jsonl"));
    std::fs::write(&head_file, head).unwrap();
    let (head_file, log_file) = (head_file.to_str().unwrap(), log_file.to_str().unwrap());
    let (code, said, _) = cli(at, &["verify", "--head", head_file]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("entries 1 to 9 stand as they were written"), "{said}");
    assert!(said.contains("1 actions stand as they were recorded"), "{said}");
    assert!(said.contains(&format!("signed with {key}")), "{said}");

    assert_eq!(cli(at, &["export", "--output", log_file]).0, Some(0));
    let again = cli(at, &["export", "--output", log_file]);
    assert_eq!(again.0, Some(1), "an export does not overwrite");
    let pinned = ["verify", "--file", log_file, "--public-key", &key];
    let (code, said, _) = cli(&at.join("nowhere"), &pinned);
    assert_eq!(code, Some(0));
    assert!(!said.contains("any key was accepted"), "{said}");
    assert!(cli(at, &["verify", "--file", log_file]).1.contains("any key was accepted"));
    let (_, csv, _) = cli(at, &["export", "--format", "csv", "--from", "6", "--to", "6"]);
    let rows: Vec<&str> = csv.split("\r\n").collect();
    assert!(rows[0].starts_with("seq,at,kind,actor_role,actor,action,"), "{csv}");
    assert!(rows[1].contains(",approved,approver,alice,1,approved,"), "{csv}");
    assert_eq!(rows.len(), 3);

    assert_eq!(cli(at, &["verify", "--from", "50"]).0, Some(1));
    assert_eq!(cli(at, &["verify", "--public-key", "abc"]).0, Some(2));
    assert_eq!(cli(at, &["prune"]).0, Some(2));
    assert_eq!(cli(at, &["prune", "--before", "tomorrow"]).0, Some(1));
    let (_, said, _) = cli(at, &["prune", "--keep-days", "1"]);
    assert_eq!(said, "removed 0 entries; erased the arguments of 0 actions\n");
    let (_, said, _) = cli(at, &["prune", "--before", "2999-01-01"]);
    assert_eq!(said, "removed 9 entries; erased the arguments of 1 actions\n");
    let (code, said, _) = cli(at, &["verify"]);
    assert!(code == Some(0) && said.contains("a signed checkpoint stands for the 9 before"));

    let mut database = intruder(at).await;
    database.execute("UPDATE audit SET hash = x'00'").await.unwrap();
    let (code, _, said) = cli(at, &["verify"]);
    assert_eq!(code, Some(5));
    assert!(said.starts_with("error: entry 10: its content or its hash was changed"), "{said}");
    let content = std::fs::read_to_string(log_file).unwrap().replace("alice", "mallo");
    std::fs::write(log_file, content).unwrap();
    let (code, _, said) = cli(at, &["verify", "--file", log_file]);
    assert_eq!(code, Some(5));
    assert!(said.starts_with("error: entry 2: "), "{said}");
}
