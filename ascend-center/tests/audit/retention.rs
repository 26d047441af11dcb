//! Exports and retention, also by the CLI.

use std::{path::Path, time::Duration};

use ascend_center::{
    AuditError, AuditFormat, AuditKind, Broken, Tampering, VerifyAudit, verify_audit_file,
};
use ascend_sdk::{Action, Authority};
use jiff::Timestamp;
use serde_json::json;
use sqlx::Executor;

use super::{
    broken, cli, database, intruder, live, log,
    support::{action_json, database::in_file, delete, digest, number, open},
    verify,
};

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
    let directory = in_file();
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

fn of_old() -> Action {
    let mut json = action_json("database", "read", "old-marker");
    json["parameters"] = json!({ "q": "old-marker ".repeat(2_000) });
    serde_json::from_value(json).unwrap()
}

fn assert_no_trace_of_old(directory: &Path) {
    for file in ["center.db", "center.db-wal"] {
        let content = std::fs::read(directory.join(file)).unwrap();
        assert!(!content.windows(10).any(|part| part == b"old-marker"), "in {file}");
    }
}

#[tokio::test]
async fn pruning_keeps_the_rest_provable_and_erases_arguments() {
    let directory = in_file();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    let old = center.evaluate(&of_old()).await.unwrap().action_id;
    center.claim(&old, &digest(1)).await.unwrap();
    let waiting = center.evaluate(&delete()).await.unwrap().action_id;
    live(&center).await;
    let kept_head = center.audit_head().await.unwrap();
    let mut webhooks = database(directory.path()).await;
    for statement in [
        "INSERT INTO webhooks (id, url, events, secret, created_by, created_at, seen) \
         VALUES (1, 'http://localhost:9', '[]', 's', 'alice', 0, 0)",
        "INSERT INTO webhook_deliveries (webhook_id, event_id, kind, body, state, due_at, created_at) \
         VALUES (1, 1, 'action.denied', 'old-marker', 'dead', 0, 0), \
         (1, 2, 'action.denied', 'old-marker', 'delivered', 0, 0)",
    ] {
        webhooks.execute(statement).await.unwrap();
    }
    drop(webhooks);
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
    assert_no_trace_of_old(directory.path());

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

/// Somebody's backup, perhaps, that still reads what was there when it began.
#[tokio::test]
async fn what_another_program_keeps_in_the_file_is_not_said_to_be_gone() {
    let directory = in_file();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    let old = center.evaluate(&of_old()).await.unwrap().action_id;
    center.claim(&old, &digest(1)).await.unwrap();
    let mut reader = database(directory.path()).await;
    reader.execute("BEGIN; SELECT count(*) FROM actions").await.unwrap();
    let before = Timestamp::now() + Duration::from_secs(1);

    let error = center.prune_audit(before, &alice).await.unwrap_err();
    assert!(error.to_string().ends_with("prune again once that has ended"), "{error}");
    reader.execute("COMMIT").await.unwrap();
    let pruned = center.prune_audit(before, &alice).await.unwrap();
    assert_eq!(pruned.entries, 1, "that of the pruning before");
    assert_no_trace_of_old(directory.path());
}

#[tokio::test]
async fn a_long_log_is_pruned_in_slices() {
    let directory = in_file();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    let calls = (0..2_100).map(|index| {
        let mut action = of_old();
        action.idempotency_key = format!("key-{index}");
        action.parameters.clear();
        let center = center.clone();
        async move { center.evaluate_and_claim(&action).await.unwrap() }
    });
    futures_util::future::join_all(calls).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let pruned = center.prune_audit(Timestamp::now(), &alice).await.unwrap();
    // Loaded policies beside two of each call.
    assert_eq!((pruned.actions, pruned.through), (2_100, pruned.entries.try_into().unwrap()));
    assert!(pruned.entries > 4_200, "{pruned:?}");
    let slices = log(&center).await;
    assert!(slices.len() > 2 && slices.iter().all(|entry| entry.event.kind == AuditKind::Pruned));
    verify(&center).await.unwrap();
    assert_no_trace_of_old(directory.path());
}

#[tokio::test]
async fn a_broken_log_is_not_pruned() {
    let directory = in_file();
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

#[tokio::test]
async fn the_cli_proves_exports_and_prunes() {
    let directory = in_file();
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
    assert!(said.contains("actions that stand as they were recorded: 1\n"), "{said}");
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
    assert!(rows[1].contains(",approved,admin,alice,1,approved,"), "{csv}");
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
