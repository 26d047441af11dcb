//! Who has the database, and no respect for the log.

use ascend_center::{AuditError, VerifyAudit};
use ascend_sdk::Authority as _;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    replicas,
    support::{delete, digest, number, open, postgres},
};

#[tokio::test]
async fn the_log_refuses_changes_and_shows_those_of_who_gets_around_that() {
    let [directory] = replicas();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    center.approve(number(&id), &alice, Some("fine".to_owned())).await.unwrap();
    center.claim(&id, &digest(1)).await.unwrap();
    center.audit_head().await.unwrap();
    let verify = async || center.verify_audit(&VerifyAudit::new()).await;
    let last = verify().await.unwrap().to;

    let url = postgres::of(directory.path()).unwrap();
    let mut database = PgConnection::connect(&url).await.unwrap();
    for statement in [
        "UPDATE audit SET entry = replace(entry, 'alice', 'mallo')",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ] {
        let error = database.execute(statement).await.unwrap_err().to_string();
        assert!(error.contains("the audit log is append-only"), "{statement}: {error}");
    }
    verify().await.unwrap();

    // Who owns the tables can do without their triggers.
    database.execute("ALTER TABLE audit DISABLE TRIGGER USER").await.unwrap();
    database
        .execute("CREATE TEMP TABLE entries AS SELECT seq, entry, hash FROM audit")
        .await
        .unwrap();
    for (statement, seq) in [
        (
            "UPDATE audit SET entry = replace(entry, 'fine', 'good') WHERE entry LIKE '%fine%'",
            last - 1,
        ),
        ("DELETE FROM audit WHERE seq = 2", 2),
        // The log ends there now.
        ("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)", last - 1),
        // Of an action its last entry is named.
        ("UPDATE actions SET state = 'completed'", last),
        ("UPDATE actions SET resource = resource || 'x'", last),
    ] {
        let changed = database.execute(statement).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{statement}");
        match verify().await {
            Err(AuditError::Broken(broken)) => assert_eq!(broken.seq, seq, "{statement}: {broken}"),
            other => panic!("{statement} is not found: {other:?}"),
        }
        for restore in [
            "DELETE FROM audit",
            "INSERT INTO audit (seq, entry, hash) SELECT seq, entry, hash FROM entries",
            "UPDATE actions SET state = 'executing', resource = 'production_db'",
        ] {
            database.execute(restore).await.unwrap();
        }
        verify().await.unwrap();
    }
    center.close().await;
}
