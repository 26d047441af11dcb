//! The audit log: what it tells, and that nobody changes it unseen.
#![allow(clippy::unwrap_used, reason = "tests")]

mod changes;
mod entries;
mod proofs;
mod retention;
#[path = "../support/mod.rs"]
mod support;

use std::{path::Path, process::Command, time::Duration};

use ascend_center::{AuditEntry, AuditError, AuditQuery, AuditReport, Broken, Center, VerifyAudit};
use ascend_sdk::{Authority, Outcome};
use sqlx::{ConnectOptions, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
use support::{delete, digest, number};

pub(crate) async fn database(directory: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(directory.join("center.db"));
    options.busy_timeout(Duration::from_secs(10)).connect().await.unwrap()
}

/// As somebody who has the file, and no respect for triggers.
pub(crate) async fn intruder(directory: &Path) -> SqliteConnection {
    let mut database = database(directory).await;
    for statement in [
        "PRAGMA synchronous = OFF",
        "PRAGMA foreign_keys = OFF",
        "DROP TRIGGER audit_is_not_changed",
        "DROP TRIGGER audit_is_not_deleted",
        // It would refuse a text that is no JSON.
        "DROP INDEX audit_by_action",
        "DROP INDEX audit_releases",
    ] {
        database.execute(statement).await.unwrap();
    }
    database
}

pub(crate) async fn log(center: &Center) -> Vec<AuditEntry> {
    let entries = center.audit_entries(&AuditQuery::new().limit(100_000)).await.unwrap();
    entries.into_iter().map(|(entry, _)| entry).collect()
}

pub(crate) async fn told_of(center: &Center, action: i64) -> Vec<String> {
    let entries = center.audit_entries(&AuditQuery::new().action(action)).await.unwrap();
    let told = |entry: &AuditEntry| format!("{} {}", entry.event.actor.role, entry.event.kind);
    entries.iter().map(|(entry, _)| told(entry)).collect()
}

pub(crate) async fn verify(center: &Center) -> Result<AuditReport, AuditError> {
    center.verify_audit(&VerifyAudit::new()).await
}

pub(crate) fn broken(result: Result<AuditReport, AuditError>) -> Broken {
    match result {
        Err(AuditError::Broken(broken)) => broken,
        other => panic!("not found to be broken: {other:?}"),
    }
}

/// A few entries of most kinds.
pub(crate) async fn live(center: &Center) -> i64 {
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

pub(crate) fn cli(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ascend-center"))
        .arg("--directory")
        .arg(directory)
        .arg("audit")
        .args(arguments)
        .envs(support::database::variable(directory))
        .env("RUST_LOG", "warn")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
