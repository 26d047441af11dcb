//! What the log tells, and in which order.

use std::{path::Path, time::Duration};

use ascend_center::{AuditFormat, AuditKind, AuditQuery, Center, VerifyAudit};
use ascend_sdk::{Authority, Holder, Outcome};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

use super::{
    live, log,
    support::{
        action, action_json, config,
        database::in_file,
        delete, digest, number, open,
        served::{Served, token},
    },
    told_of, verify,
};

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
            "admin approved",
            "agent claimed",
            "agent claim_refused",
            "agent failed"
        ]
    );

    let rejected = center.evaluate(&delete()).await.unwrap().action_id;
    center.reject(number(&rejected), &alice, Some("no".to_owned())).await.unwrap();
    assert_eq!(told_of(&center, number(&rejected)).await, ["agent evaluated", "admin rejected"]);

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
    center.promise(&promised, &Holder::default()).await.unwrap();
    call.idempotency_key = "another".to_owned();
    center.evaluate(&call).await.unwrap();
    center.reject(number(&promised), &alice, None).await.unwrap();
    call.idempotency_key = "a third".to_owned();
    center.evaluate(&call).await.unwrap();
    assert_eq!(
        told_of(&center, number(&promised)).await,
        ["agent evaluated", "agent promised", "agent joined", "admin rejected", "agent told"]
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
    let config = config(directory.path()).policies(file);
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
    let config = config(&directory.path().join("center")).policies(&folder);
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
    let directory = in_file();
    let migrations = directory.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    for name in ["0001_actions.sql", "0002_promises.sql"] {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite").join(name);
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
