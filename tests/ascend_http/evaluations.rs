//! Evaluations of calls that come at once, in one request.

use std::{sync::Arc, time::Duration};

use ascend_sdk::{Authority as _, AuthorityError, Decision, Evaluation, authority::Ascend};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    batch::action,
    center::{Center, Reply, Seen, allow},
    tool::{impatient, quick},
};

const AT_ONCE: &str = "/api/v1/actions/evaluations";

/// What a center that keeps the claims says of the call with this key.
fn allowed(key: &Value) -> Value {
    let mut answer = allow();
    answer["claim"] = json!(true);
    answer["action_id"] =
        key.as_str().unwrap().trim_start_matches("key-").parse::<u64>().unwrap().into();
    answer
}

fn said(one: &Value) -> Value {
    json!({ "key": one["key"], "status": 200, "body": allowed(&one["key"]) })
}

fn all_said(calls: &[Value]) -> Reply {
    Reply::json(json!({ "evaluations": calls.iter().map(said).collect::<Vec<_>>() }))
}

/// A center that keeps the claims, and what it says of several calls.
async fn center(evaluations: impl Fn(&[Value]) -> Reply + Send + Sync + 'static) -> Center {
    Center::start(move |seen, _| {
        if seen.is_evaluation() {
            Reply::json(allowed(&seen.json()["idempotency_key"]))
        } else if seen.path == AT_ONCE {
            evaluations(seen.json()["evaluations"].as_array().unwrap())
        } else {
            Reply::json(json!({}))
        }
    })
    .await
}

/// Asks about action 0, from which the client learns that there are claims.
async fn client(center: &Center) -> Arc<Ascend> {
    let ascend = quick(&center.url).build().unwrap();
    ascend.evaluate(&action(0)).await.unwrap();
    Arc::new(ascend)
}

async fn at_once(
    ascend: &Ascend,
    numbers: std::ops::RangeInclusive<usize>,
) -> Vec<Result<Evaluation, AuthorityError>> {
    let actions: Vec<_> = numbers.map(action).collect();
    join_all(actions.iter().map(|action| ascend.evaluate(action))).await
}

fn ids(answers: &[Result<Evaluation, AuthorityError>]) -> Vec<&str> {
    answers.iter().map(|answer| answer.as_ref().unwrap().action_id.as_str()).collect()
}

fn sizes(center: &Center) -> Vec<usize> {
    let seen = center.seen_at(AT_ONCE);
    seen.iter().map(|seen| seen.json()["evaluations"].as_array().unwrap().len()).collect()
}

fn alone(center: &Center) -> usize {
    center.count("/evaluate")
}

#[tokio::test]
async fn calls_that_come_at_once_are_asked_about_in_one_request() {
    let center = center(all_said).await;
    let ascend = client(&center).await;
    assert_eq!(
        ids(&at_once(&ascend, 1..=10).await),
        "1 2 3 4 5 6 7 8 9 10".split(' ').collect::<Vec<_>>()
    );
    // For the first one nobody waits.
    assert_eq!((alone(&center), sizes(&center)), (2, vec![9]));

    let calls = center.seen_at(AT_ONCE)[0].json()["evaluations"].clone();
    let by_itself = center.seen_at("/mcp/governance/evaluate")[1].json();
    for (one, number) in calls.as_array().unwrap().iter().zip(2..) {
        assert_eq!(one["key"], format!("key-{number}"));
        assert_eq!(one.get("traceparent"), None);
        let mut expected = by_itself.clone();
        expected["idempotency_key"] = one["key"].clone();
        expected["digest"] = format!("{number:064x}").into();
        assert_eq!(one["call"], expected);
    }
}

#[tokio::test]
async fn calls_that_come_one_after_another_are_asked_about_alone() {
    let center = center(all_said).await;
    let ascend = client(&center).await;
    for number in 1..=5 {
        at_once(&ascend, number..=number).await[0].as_ref().unwrap();
    }
    assert_eq!((alone(&center), sizes(&center)), (6, vec![]));
}

#[tokio::test]
async fn more_than_one_request_takes_are_asked_about_in_several() {
    let center = center(all_said).await;
    let ascend = client(&center).await;
    assert_eq!(at_once(&ascend, 1..=150).await.iter().filter(|answer| answer.is_ok()).count(), 150);
    let sizes = sizes(&center);
    assert_eq!(sizes.iter().sum::<usize>() + alone(&center), 151);
    assert!(sizes.len() >= 3 && sizes.iter().all(|size| *size <= 64), "{sizes:?}");
}

#[tokio::test]
async fn plain_ascend_is_asked_about_each() {
    let center = Center::start(|seen, _| {
        let mut answer = allow();
        answer["action_id"] = seen.json()["digest"].clone();
        Reply::json(answer)
    })
    .await;
    let ascend = client(&center).await;
    assert!(at_once(&ascend, 1..=10).await.iter().all(Result::is_ok));
    assert_eq!((alone(&center), center.count(AT_ONCE)), (11, 0));
}

#[tokio::test]
async fn a_server_that_takes_no_several_is_asked_about_each_for_good() {
    let answers: [fn() -> Reply; 3] = [
        || Reply::status(404, json!({ "detail": "Not Found" })),
        || Reply::status(405, json!({ "detail": "Method Not Allowed" })),
        || Reply::json(json!({ "evaluations": "all of them" })),
    ];
    for answer in answers {
        let center = center(move |_| answer()).await;
        let ascend = client(&center).await;
        for numbers in [1..=10, 11..=20] {
            assert!(at_once(&ascend, numbers).await.iter().all(Result::is_ok));
        }
        assert_eq!((alone(&center), center.count(AT_ONCE)), (21, 1));
    }
}

/// Under the same key: where the request had arrived, it is the same evaluation.
#[tokio::test]
async fn what_several_are_not_told_each_asks_for_itself() {
    for status in [403, 413, 422, 429, 500, 503] {
        let center = center(move |_| Reply::status(status, json!({ "detail": "no" }))).await;
        let ascend = client(&center).await;
        let answers = at_once(&ascend, 1..=4).await;
        assert_eq!(ids(&answers), ["1", "2", "3", "4"], "{status}");
        assert_eq!((alone(&center), sizes(&center)), (5, vec![3]), "{status}");
    }
}

#[tokio::test]
async fn each_hears_what_is_said_of_its_own() {
    let center = center(|calls| {
        let key = |number: usize| json!(format!("key-{number}"));
        let mut swapped = allowed(&key(7));
        swapped["digest"] = format!("{:064x}", 9).into();
        let problem = json!({ "detail": [{ "loc": ["body", "resource"], "msg": "too long" }] });
        assert_eq!(calls.len(), 7);
        Reply::json(json!({ "evaluations": [
            { "key": key(3), "status": 422, "body": problem },
            { "key": key(2), "status": 200, "body": allowed(&key(2)) },
            { "key": key(4), "status": 429, "body": { "detail": "wait" } },
            { "key": key(5), "status": 200, "body": allowed(&key(50)) },
            { "key": key(5), "status": 200, "body": allowed(&key(5)) },
            { "key": key(6), "status": 200, "body": { "decision": "PERHAPS", "action_id": 6 } },
            { "key": key(7), "status": 200, "body": swapped },
            { "key": "of nobody", "status": 200, "body": allowed(&key(8)) },
        ]}))
    })
    .await;
    let ascend = client(&center).await;
    let answers = at_once(&ascend, 1..=8).await;
    assert_eq!(ids(&answers[..2]), ["1", "2"]);
    let unfit = answers[2].as_ref().unwrap_err();
    assert!(
        matches!(unfit, AuthorityError::InvalidRequest(text) if text.contains("too long")),
        "{unfit}"
    );
    // What another attempt may bring, what was said twice, and what was not.
    assert_eq!(ids(&[answers[3].clone(), answers[4].clone(), answers[7].clone()]), ["4", "5", "8"]);
    let asked = center.seen_at("/mcp/governance/evaluate");
    let key = |seen: &Seen| seen.json()["idempotency_key"].as_str().unwrap().to_owned();
    let mut asked: Vec<_> = asked.iter().map(key).collect();
    asked.sort();
    assert_eq!(asked, ["key-0", "key-1", "key-4", "key-5", "key-8"]);
    // An unknown decision, and one for other arguments, allow nothing.
    for answer in &answers[5..7] {
        assert!(
            !matches!(answer, Ok(evaluation) if evaluation.decision != Decision::Deny),
            "{answer:?}"
        );
    }
}

/// What failed and then falls silent is not passed over by an open fail mode, which takes
/// `Unreachable` for a server that was never there.
#[tokio::test]
async fn silence_after_a_failure_with_others_is_a_failure() {
    let center = Center::start(|seen, before| match seen.path.as_str() {
        AT_ONCE if before == 0 => Reply::status(503, json!({ "detail": "no" })),
        AT_ONCE => {
            let key = |index: usize| seen.json()["evaluations"][index]["key"].clone();
            let failed = |index| json!({ "key": key(index), "status": 500, "body": {} });
            Reply::json(json!({ "evaluations": [failed(0), failed(1)] }))
        }
        _ if before == 0 => Reply::json(allowed(&seen.json()["idempotency_key"])),
        _ => Reply::json(json!({})).after(Duration::from_secs(60)),
    })
    .await;
    let ascend = impatient(&center.url).build().unwrap();
    ascend.evaluate(&action(0)).await.unwrap();
    for _ in 0..2 {
        let answers = at_once(&ascend, 1..=4).await;
        for answer in &answers[1..] {
            assert!(
                matches!(answer, Err(AuthorityError::Failed(_) | AuthorityError::Malformed(_))),
                "{answer:?}"
            );
        }
    }
}

/// One that takes long, or a runtime that is alive and not driven, holds up the others for
/// some seconds at most.
#[tokio::test]
async fn who_hears_nothing_with_others_asks_alone() {
    let never = Arc::new(tokio::sync::Notify::new());
    let held = never.clone();
    let center = center(move |_| Reply::json(json!({})).held_by(&held)).await;
    let ascend = Ascend::builder(crate::tool::KEY.into()).base_url(&center.url).build().unwrap();
    ascend.evaluate(&action(0)).await.unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(ids(&at_once(&ascend, 1..=4).await), ["1", "2", "3", "4"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!((alone(&center), sizes(&center)), (5, vec![3]));
}

/// Of two runtimes that use one client, the first ends while it gathers.
#[tokio::test]
async fn a_question_given_up_with_its_runtime_holds_up_no_other() {
    let center = center(all_said).await;
    let ascend = client(&center).await;
    let elsewhere = {
        let ascend = ascend.clone();
        move || {
            let builder = &mut tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap().block_on(async {
                let actions = [action(1), action(2)];
                let [first, second] = actions.each_ref().map(|action| ascend.evaluate(action));
                let (first, second) = (std::pin::pin!(first), std::pin::pin!(second));
                assert!(futures_util::poll!(first).is_pending());
                assert!(futures_util::poll!(second).is_pending());
            });
        }
    };
    std::thread::spawn(elsewhere).join().unwrap();
    let asking = tokio::time::timeout(Duration::from_secs(20), at_once(&ascend, 3..=6));
    assert_eq!(ids(&asking.await.unwrap()), ["3", "4", "5", "6"]);
}
