//! Several replicas, and the end of one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ascend_center::{AuditKind, AuditQuery, Center, StoreError, VerifyAudit};
use ascend_sdk::Authority as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    copy_keys, replicas,
    support::{
        config, delete, digest, number, open,
        served::{Served, token},
    },
};

/// How many actions wait while a replica is killed.
const WAITING: usize = 200;

#[tokio::test]
async fn an_approval_at_one_replica_wakes_a_wait_at_another() {
    let [one, other] = replicas();
    let here = open(one.path()).await;
    copy_keys(one.path(), other.path());
    let there = open(other.path()).await;
    let approver = here.local_approver().await.unwrap();
    for _ in 0..5 {
        let pending = here.evaluate(&delete()).await.unwrap();
        let id = pending.action_id.clone();
        let mut waiting = tokio::spawn({
            let (there, id) = (there.clone(), id.clone());
            async move { there.await_review(&id).await.unwrap() }
        });
        assert!(timeout(Duration::from_millis(300), &mut waiting).await.is_err());
        let approved = Instant::now();
        here.approve(number(&id), &approver, None).await.unwrap();
        let review = waiting.await.unwrap();
        assert!(matches!(review, ascend_sdk::Review::Approved(_)), "{review:?}");
        // Who is not told looks after 15 s.
        assert!(approved.elapsed() < Duration::from_secs(5), "{:?}", approved.elapsed());
    }
    here.close().await;
    there.close().await;
}

#[tokio::test]
async fn a_replica_with_other_keys_is_refused_unless_they_are_adopted() {
    let [one, other] = replicas();
    open(one.path()).await.close().await;
    let refused =
        |error| matches!(error, ascend_center::OpenError::Store(StoreError::OtherKeys(_)));
    let error = Center::open(config(other.path())).await.unwrap_err();
    assert!(error.to_string().contains("audit.key"), "{error}");
    assert!(refused(error));
    // The key that signs is not all: another credential would replace the first's.
    std::fs::copy(one.path().join("audit.key"), other.path().join("audit.key")).unwrap();
    let error = Center::open(config(other.path())).await.unwrap_err();
    assert!(error.to_string().contains("another approver.key"), "{error}");
    copy_keys(one.path(), other.path());
    open(other.path()).await.close().await;

    let third = tempfile::tempdir().unwrap();
    crate::support::postgres::share(one.path(), third.path());
    let center = Center::open(config(third.path()).adopt_keys(true)).await.unwrap();
    let changed = AuditQuery::new().kind(AuditKind::SigningKeyChanged);
    assert_eq!(center.audit_entries(&changed).await.unwrap().len(), 1);
    center.close().await;
    assert!(refused(Center::open(config(one.path())).await.unwrap_err()));
}

#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    agent: String,
    approver: String,
}

impl Client {
    async fn post(&self, url: &str, token: &str, path: &str, body: Value) -> Option<Value> {
        let request = self.http.post(format!("{url}{path}")).bearer_auth(token).json(&body);
        let answer = request.send().await.ok()?;
        let is_success = answer.status().is_success();
        let answer: Value = answer.json().await.ok()?;
        assert!(is_success, "{path}: {answer}");
        Some(answer)
    }

    /// Waits at one replica, and when that is gone at the other, for a decision;
    /// then claims, also again. How often that was granted.
    async fn wait_and_claim(self, id: i64, urls: [String; 2]) -> (String, usize) {
        let mut at = 0;
        let state = loop {
            let url = format!("{}/api/v1/actions/{id}?wait=10", urls[at % 2]);
            let answer = self.http.get(url).bearer_auth(&self.agent).send().await;
            let answer: Option<Value> = match answer {
                Ok(answer) => answer.json().await.ok(),
                Err(_) => None,
            };
            match answer.as_ref().and_then(|answer| answer["state"].as_str()) {
                None => at += 1,
                Some("pending") => {}
                Some(state) => break state.to_owned(),
            }
        };
        let mut granted = 0;
        for attempt in at..at + 4 {
            let path = format!("/api/v1/actions/{id}/claim");
            let body = json!({ "digest": digest(1) });
            let answer = self.post(&urls[attempt % 2], &self.agent, &path, body).await;
            granted += usize::from(answer.is_some_and(|answer| answer["granted"] == true));
        }
        (state, granted)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_done_twice_when_a_replica_is_killed() {
    let [one, other] = replicas();
    let first = Served::start(one.path());
    copy_keys(one.path(), other.path());
    let mut servers = [first, Served::start(other.path())];
    let urls = servers.each_ref().map(|server| server.url.clone());
    let client = Client {
        http: reqwest::Client::new(),
        agent: token(one.path(), "agent.key"),
        approver: token(one.path(), "approver.key"),
    };
    let began = Instant::now();
    let mut waits = BTreeMap::new();
    for index in 0..WAITING {
        let body = json!({
            "server_id": "srv", "namespace": "database", "verb": "delete", "resource": "x",
            "digest": digest(1), "idempotency_key": format!("key-{index}"),
            "approval_timeout_seconds": 3600,
        });
        let at = [&urls[index % 2], &urls[1 - index % 2]].map(Clone::clone);
        let answer = client.post(&at[0], &client.agent, "/mcp/governance/evaluate", body).await;
        let id = answer.unwrap()["action_id"].as_i64().unwrap();
        waits.insert(id, tokio::spawn(client.clone().wait_and_claim(id, at)));
    }
    assert_eq!(waits.len(), WAITING);
    let opened = began.elapsed();

    // Decided through either; in the middle of it one is killed.
    let mut decided = BTreeMap::new();
    for (index, id) in waits.keys().enumerate() {
        if index == WAITING / 2 {
            servers[0].kill();
        }
        let url = if index < WAITING / 2 { &urls[index % 2] } else { &urls[1] };
        let (verb, state) =
            if index % 4 == 3 { ("reject", "rejected") } else { ("approve", "approved") };
        let path = format!("/api/v1/actions/{id}/{verb}");
        let answer = client.post(url, &client.approver, &path, json!({ "comment": "seen" })).await;
        assert_eq!(answer.unwrap()["state"], state);
        decided.insert(*id, state);
    }
    let done = began.elapsed();
    for (id, wait) in waits {
        let (state, granted) = wait.await.unwrap();
        // Another attempt of the same call can have claimed before it was asked.
        assert!(state == decided[&id] || state == "executing", "{id}: {state}");
        // Granted by the one that is gone, it may not have been heard.
        assert!(granted <= usize::from(decided[&id] == "approved"), "{id}: {state}");
    }
    println!("opened after {opened:?}, decided after {done:?}, heard after {:?}", began.elapsed());
    servers[1].kill();

    let center = open(one.path()).await;
    center.verify_audit(&VerifyAudit::new()).await.unwrap();
    let mut claims = BTreeMap::<i64, usize>::new();
    let query = AuditQuery::new().kind(AuditKind::Claimed).limit(u32::MAX);
    for (entry, _) in center.audit_entries(&query).await.unwrap() {
        *claims.entry(entry.event.action.unwrap()).or_default() += 1;
    }
    let approved = decided.values().filter(|state| **state == "approved").count();
    assert_eq!(claims.len(), approved);
    assert!(claims.values().all(|count| *count == 1), "{claims:?}");
    center.close().await;
}
