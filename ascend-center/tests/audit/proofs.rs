//! What is signed, and what of it is proved.

use std::time::Duration;

use ascend_center::{AuditKind, Broken, SignedHead, Tampering, VerifyAudit};
use ascend_sdk::Authority;
use sqlx::{Executor, SqliteConnection};

use super::{
    broken, cli, intruder, live, log,
    support::{action, database::in_file, delete, open, served::Served, until},
    verify,
};

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
    let directory = in_file();
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
    let directory = in_file();
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
    let directory = in_file();
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

#[tokio::test]
async fn a_log_with_a_damaged_end_stays_readable_and_nothing_is_decided() {
    for damage in [
        "DELETE FROM audit_state",
        "UPDATE audit_state SET hash = x'00'",
        "UPDATE audit_heads SET head = 'no JSON'; UPDATE audit_state SET chain = x'00'",
    ] {
        let directory = in_file();
        let center = open(directory.path()).await;
        center.close().await;
        intruder(directory.path()).await.execute(damage).await.unwrap();
        let center = open(directory.path()).await;
        assert!(center.evaluate(&delete()).await.is_err());
        assert_eq!(broken(verify(&center).await), Broken { seq: 3, tampering: Tampering::State });
        assert_eq!(log(&center).await.len(), 3);
    }
}

#[tokio::test]
async fn a_damaged_head_is_named_after_a_restart() {
    let directory = in_file();
    let center = open(directory.path()).await;
    center.close().await;
    let damage = "UPDATE audit_heads SET head = 'no JSON' WHERE seq = 3";
    intruder(directory.path()).await.execute(damage).await.unwrap();
    let center = open(directory.path()).await;
    let found = broken(verify(&center).await);
    assert_eq!(found, Broken { seq: 3, tampering: Tampering::HeadUnreadable });
}
