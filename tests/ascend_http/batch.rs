//! Many who wait at once: how much is asked for them, and over how many connections.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ascend_center::{CenterConfig, ServeConfig};
use ascend_sdk::{
    Action, ActionId, Approval, Authority as _, AuthorityError, Evaluation, RefusalKind, Review,
    authority::Ascend,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

use crate::{
    center::{Center, Reply, allow},
    tool::{KEY, quick, until},
};

fn id(number: usize) -> ActionId {
    ActionId::new(number.to_string()).unwrap()
}

fn approved() -> Value {
    json!({"status": "approved", "reviewed_by": "ada"})
}

fn by_ada() -> Review {
    Review::Approved(Approval { reviewed_by: Some("ada".to_owned()), comments: None })
}

type Waits = JoinSet<(usize, Result<Review, AuthorityError>)>;

fn wait_for(ascend: &Arc<Ascend>, numbers: impl IntoIterator<Item = usize>) -> Waits {
    let mut waits = JoinSet::new();
    for number in numbers {
        let ascend = ascend.clone();
        waits.spawn(async move { (number, ascend.await_review(&id(number)).await) });
    }
    waits
}

async fn all(mut waits: Waits) -> Vec<(usize, Result<Review, AuthorityError>)> {
    let mut ended = Vec::new();
    let joined = async {
        while let Some(wait) = waits.join_next().await {
            ended.push(wait.unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(60), joined).await.expect("every wait ends");
    ended
}

const MANY: usize = 1_000;

#[tokio::test]
async fn a_thousand_waiters_of_plain_ascend_share_few_connections() {
    let decided = Arc::new(AtomicBool::new(false));
    let is_decided = decided.clone();
    let center = Center::start(move |seen, _| {
        if seen.path == "/api/v1/actions/status" {
            Reply::status(404, json!({"detail": "Not Found"}))
        } else if is_decided.load(Ordering::SeqCst) {
            Reply::json(approved())
        } else {
            Reply::json(json!({"status": "pending"}))
        }
    })
    .await;
    let ascend = Arc::new(Ascend::builder(KEY.into()).base_url(&center.url).build().unwrap());
    let waits = wait_for(&ascend, 0..MANY);
    let asked_for = || {
        let seen = center.seen();
        seen.iter().map(|seen| seen.path.clone()).collect::<HashSet<_>>().len()
    };
    until("each is asked for", || asked_for() == MANY + 1).await;
    decided.store(true, Ordering::SeqCst);
    let before = center.seen().len();
    for (_, review) in all(waits).await {
        assert_eq!(review.unwrap(), by_ada());
    }
    let asked = center.seen();
    // One more each, and what was under way.
    assert!(asked.len() - before <= MANY + 12, "{}", asked.len() - before);
    let probes = asked.iter().filter(|seen| seen.path == "/api/v1/actions/status").count();
    assert_eq!(probes, 1, "a server that does not take such questions is not asked twice");
    let most = center.most.load(Ordering::SeqCst);
    assert!(most <= 12, "{most} requests at once");
    let connections = center.connections.load(Ordering::SeqCst);
    assert!(connections <= 24, "{connections} connections");
}

pub fn action(number: usize) -> Action {
    serde_json::from_value(json!({
        "server_id": "server-a",
        "tool": "tool",
        "description": "A tool.",
        "namespace": "database",
        "verb": "delete",
        "resource": "database://production",
        "parameters": {},
        "summary": null,
        "floor": { "require_human_approval": false },
        "facts": {},
        "metadata": {},
        "user_context": {},
        "session_context": { "session_id": "s" },
        "digest": format!("{number:064x}"),
        "idempotency_key": format!("key-{number}"),
        "approval_timeout": { "secs": 300, "nanos": 0 },
    }))
    .unwrap()
}

fn evaluate(ascend: &Arc<Ascend>, count: usize) -> JoinSet<Result<Evaluation, AuthorityError>> {
    let mut evaluations = JoinSet::new();
    for number in 0..count {
        let ascend = ascend.clone();
        evaluations.spawn(async move { ascend.evaluate(&action(number)).await });
    }
    evaluations
}

#[tokio::test]
async fn a_thousand_calls_at_once_take_turns_on_few_connections() {
    let center = Center::start(|seen, nth| {
        assert!(seen.is_evaluation());
        let mut answer = allow();
        answer["action_id"] = nth.into();
        Reply::json(answer).after(Duration::from_millis(100))
    })
    .await;
    let ascend = Arc::new(Ascend::builder(KEY.into()).base_url(&center.url).build().unwrap());
    let answers = evaluate(&ascend, MANY).join_all().await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(center.count("/evaluate"), MANY);
    assert!(center.most.load(Ordering::SeqCst) <= 256);
    assert!(center.connections.load(Ordering::SeqCst) <= 256);
}

#[tokio::test]
async fn calls_whose_turn_does_not_come_end_in_time() {
    let never = Arc::new(Notify::new());
    let center = Center::start(move |_, _| Reply::json(json!({})).held_by(&never)).await;
    let builder = Ascend::builder(KEY.into()).base_url(&center.url);
    let ascend = Arc::new(builder.deadline(Duration::from_secs(2)).build().unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(20), evaluate(&ascend, MANY).join_all());
    for answer in ended.await.unwrap() {
        // Either none came, or the question was not even sent.
        let error = answer.unwrap_err();
        assert!(
            matches!(error, AuthorityError::Unreachable(_) | AuthorityError::Failed(_)),
            "{error}"
        );
    }
}

/// Our own center, behind something that counts connections.
struct Own {
    _directory: tempfile::TempDir,
    center: ascend_center::Center,
    ascend: Arc<Ascend>,
    connections: Arc<AtomicUsize>,
}

impl Own {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = CenterConfig::new(directory.path()).approver("ada");
        let center = ascend_center::Center::open(config).await.unwrap();
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        let served = center.clone();
        tokio::spawn(async move {
            served
                .serve(
                    inner,
                    ServeConfig::new().agent_rate(0).tenant_rate(0),
                    std::future::pending(),
                )
                .await
                .unwrap();
        });
        let outer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", outer.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = connections.clone();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = outer.accept().await.unwrap();
                opened.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut server = tokio::net::TcpStream::connect(address).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        let key = center.agent_key().unwrap();
        let ascend = Arc::new(Ascend::builder(key).base_url(url).build().unwrap());
        Self { _directory: directory, center, ascend, connections }
    }

    /// Opens pending actions, some at once.
    async fn open(&self, count: usize) -> Vec<usize> {
        let mut opening = JoinSet::new();
        let mut ids = Vec::new();
        for number in 0..count {
            let ascend = self.ascend.clone();
            opening.spawn(async move { ascend.evaluate(&action(number)).await.unwrap().action_id });
            if opening.len() == 32 {
                ids.push(opening.join_next().await.unwrap().unwrap());
            }
        }
        while let Some(id) = opening.join_next().await {
            ids.push(id.unwrap());
        }
        ids.iter().map(|id| id.as_str().parse().unwrap()).collect()
    }

    async fn approve(&self, number: usize) {
        let approver = self.center.local_approver().await.unwrap();
        self.center.approve(i64::try_from(number).unwrap(), &approver, None).await.unwrap();
    }
}

#[tokio::test]
async fn a_thousand_waiters_of_a_center_hear_over_a_handful_of_connections() {
    let own = Own::start().await;
    let ids = own.open(MANY).await;
    let before = own.connections.load(Ordering::SeqCst);
    let waits = wait_for(&own.ascend, ids.iter().copied());
    let approver = own.center.local_approver().await.unwrap();
    let mut approving = JoinSet::new();
    for id in ids {
        let (center, approver) = (own.center.clone(), approver.clone());
        let id = i64::try_from(id).unwrap();
        approving.spawn(async move { center.approve(id, &approver, None).await.unwrap() });
        if approving.len() == 16 {
            approving.join_next().await.unwrap().unwrap();
        }
    }
    let ended = all(waits).await;
    assert!(ended.iter().all(|(_, review)| review.as_ref().unwrap() == &by_ada()));
    assert_eq!(ended.len(), MANY);
    let connections = own.connections.load(Ordering::SeqCst) - before;
    assert!(connections <= 32, "{connections} connections");
}

#[tokio::test]
async fn a_newcomer_does_not_wait_for_the_question_that_is_held() {
    let own = Own::start().await;
    let ids = own.open(4).await;
    let mut first = wait_for(&own.ascend, ids[..2].iter().copied());
    let settled = tokio::time::timeout(Duration::from_millis(300), first.join_next()).await;
    assert!(settled.is_err(), "they wait");
    // Decided before it is waited for, and while it is.
    own.approve(ids[2]).await;
    let began = Instant::now();
    let newcomers = wait_for(&own.ascend, ids[2..].iter().copied());
    own.approve(ids[3]).await;
    assert_eq!(all(newcomers).await.len(), 2);
    own.approve(ids[0]).await;
    own.approve(ids[1]).await;
    assert_eq!(all(first).await.len(), 2);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_takes_no_question_about_many_is_asked_about_each() {
    for (status, body) in [
        (404, json!({"detail": "Not Found"})),
        (405, json!({})),
        (422, json!({"detail": [{"loc": ["path", "id"], "msg": "not an integer"}]})),
        (401, json!({})),
        (403, json!({"detail": {"error": "governance violation"}})),
        (500, json!({"detail": "oh"})),
        (200, json!({"status": "approved", "reviewed_by": "mallory"})),
        (200, json!({"actions": "all"})),
        (200, json!({"actions": [approved()]})),
        (200, json!([])),
    ] {
        let answer = body.clone();
        let center = Center::start(move |seen, nth| {
            if seen.path == "/api/v1/actions/status" {
                Reply::status(status, answer.clone())
            } else if nth == 0 {
                Reply::json(json!({"status": "pending"}))
            } else {
                Reply::json(approved())
            }
        })
        .await;
        let ascend = Arc::new(quick(&center.url).build().unwrap());
        for (number, review) in all(wait_for(&ascend, 1..=3)).await {
            assert_eq!(review.unwrap(), by_ada(), "{status} {body}");
            let own = format!("/api/v1/actions/{number}/status");
            assert_eq!(center.count(&own), 2, "{status} {body}");
        }
    }
}

#[tokio::test]
async fn what_an_answer_about_many_says_badly_is_asked_for_alone() {
    let about = |id: Value, status: &str| json!({"action_id": id, "status": status});
    for (actions, pending) in [
        // Not told of, told twice, told both ways, told of another, no word for it.
        (json!([]), json!([2])),
        (json!([about(json!(1), "approved"), about(json!(1), "approved")]), json!([2])),
        (json!([about(json!(1), "approved")]), json!([1, 2])),
        (json!([about(json!(99), "approved"), {"status": "approved"}]), json!([2])),
        (json!([about(json!(1), "splendid")]), json!([2])),
        (json!([about(json!([1]), "approved"), 1, "1"]), json!([2])),
    ] {
        let decide = Arc::new(Mutex::new(json!({"status": "rejected", "comments": "no"})));
        let (answer, own) = (json!({"actions": actions, "pending": pending}), decide.clone());
        let center = Center::start(move |seen, _| match &*seen.path {
            "/api/v1/actions/status" => Reply::json(answer.clone()),
            "/api/v1/actions/1/status" => Reply::json(own.lock().unwrap().clone()),
            other => panic!("{other} is not asked"),
        })
        .await;
        let ascend = Arc::new(quick(&center.url).build().unwrap());
        let mut waits = wait_for(&ascend, 1..=2);
        let ended = tokio::time::timeout(Duration::from_secs(20), waits.join_next()).await;
        let (number, review) = ended.unwrap().unwrap().unwrap();
        let Review::Rejected(rejection) = review.unwrap() else { panic!("{actions}") };
        assert_eq!((number, rejection.kind), (1, RefusalKind::Rejected), "{actions}");
        assert_eq!(center.count("/api/v1/actions/1/status"), 1);
    }
}

#[tokio::test]
async fn credentials_that_are_not_accepted_end_every_wait() {
    let center = Center::start(|_, _| Reply::status(401, json!({"detail": "who?"}))).await;
    let ascend = Arc::new(quick(&center.url).build().unwrap());
    for (_, review) in all(wait_for(&ascend, 0..20)).await {
        assert!(matches!(review, Err(AuthorityError::Unauthorized(_))), "{review:?}");
    }
    assert_eq!(center.seen().len(), 21, "each once, and once about all");
}

#[test]
fn a_wait_outlives_the_runtime_of_the_one_who_asked() {
    let elsewhere = tokio::runtime::Runtime::new().unwrap();
    let here = tokio::runtime::Runtime::new().unwrap();
    here.block_on(async {
        let decided = Arc::new(AtomicBool::new(false));
        let is_decided = decided.clone();
        let center = Center::start(move |_, _| {
            let decided = is_decided.load(Ordering::SeqCst);
            Reply::json(if decided { approved() } else { json!({"status": "pending"}) })
        })
        .await;
        let ascend = Arc::new(quick(&center.url).build().unwrap());
        // Whoever waits first brings the task that asks.
        let first = ascend.clone();
        elsewhere.spawn(async move { first.await_review(&id(1)).await });
        until("it is asked for", || center.count("/1/status") > 0).await;
        let second = wait_for(&ascend, [2]);
        until("both are asked for", || center.count("/2/status") > 0).await;
        elsewhere.shutdown_background();
        decided.store(true, Ordering::SeqCst);
        assert_eq!(all(second).await.remove(0).1.unwrap(), by_ada());
    });
}
