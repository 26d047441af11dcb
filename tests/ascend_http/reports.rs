//! Reports of bodies that ran, those of a moment in one request.

use std::{sync::Arc, time::Duration};

use ascend_sdk::{ActionId, Authority as _, AuthorityError, Outcome, authority::Ascend};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    batch::action,
    center::{Center, Reply, allow},
    tool::quick,
};

const AT_ONCE: &str = "/api/v1/actions/outcomes";

/// A center that keeps the claims, and what it says of several reports.
async fn center(outcomes: impl Fn(&[Value]) -> Reply + Send + Sync + 'static) -> Center {
    Center::start(move |seen, _| {
        if seen.is_evaluation() {
            let mut answer = allow();
            answer["claim"] = json!(true);
            let key = seen.json()["idempotency_key"].as_str().unwrap().to_owned();
            answer["action_id"] = key.trim_start_matches("key-").parse::<u64>().unwrap().into();
            Reply::json(answer)
        } else if seen.path == AT_ONCE {
            outcomes(seen.json()["outcomes"].as_array().unwrap())
        } else {
            Reply::json(json!({}))
        }
    })
    .await
}

async fn evaluated(ascend: &Ascend, count: usize) -> Vec<ActionId> {
    let evaluating = (1..=count).map(async |number| {
        let evaluation = ascend.evaluate(&action(number)).await.unwrap();
        assert_eq!(evaluation.action_id.as_str(), number.to_string());
        evaluation.action_id
    });
    join_all(evaluating).await
}

async fn report_all(ascend: &Ascend, ids: &[ActionId]) -> Vec<Result<(), AuthorityError>> {
    let outcomes = ids.iter().enumerate().map(|(index, _)| match index {
        0 => Outcome::Failed { duration: Duration::from_millis(7), error: "no table".to_owned() },
        _ => Outcome::Completed { duration: Duration::from_millis(5) },
    });
    let outcomes: Vec<_> = outcomes.collect();
    join_all(ids.iter().zip(&outcomes).map(|(id, outcome)| ascend.report(id, outcome))).await
}

fn all_noted(outcomes: &[Value]) -> Reply {
    let noted =
        outcomes.iter().map(|told| json!({"action_id": told["action_id"], "success": true}));
    Reply::json(json!({ "outcomes": noted.collect::<Vec<_>>() }))
}

/// Of two runtimes that use one client, the first ends while it gathers.
#[tokio::test]
async fn a_report_given_up_with_its_runtime_holds_up_no_other() {
    let center = center(all_noted).await;
    let ascend = Arc::new(quick(&center.url).build().unwrap());
    let ids = evaluated(&ascend, 2).await;
    let done = Outcome::Completed { duration: Duration::from_millis(5) };
    let elsewhere = {
        let (ascend, id, done) = (ascend.clone(), ids[0].clone(), done.clone());
        move || {
            let builder = &mut tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap().block_on(async {
                let reporting = std::pin::pin!(ascend.report(&id, &done));
                assert!(futures_util::poll!(reporting).is_pending());
            });
        }
    };
    std::thread::spawn(elsewhere).join().unwrap();

    let reporting = tokio::time::timeout(Duration::from_secs(20), ascend.report(&ids[1], &done));
    assert_eq!(reporting.await.unwrap(), Ok(()));
    assert_eq!(center.count("/complete"), 1);
}

#[tokio::test]
async fn runs_that_end_together_are_reported_in_one_request() {
    let center = center(all_noted).await;
    let ascend = quick(&center.url).build().unwrap();
    let ids = evaluated(&ascend, 5).await;
    let answers = report_all(&ascend, &ids).await;
    assert_eq!(answers, vec![Ok(()); 5]);

    let told = center.seen_at(AT_ONCE);
    assert_eq!(told.len(), 1);
    let mut told = told[0].json()["outcomes"].as_array().unwrap().clone();
    told.sort_by_key(|told| told["action_id"].as_u64());
    assert_eq!(told.len(), 5);
    assert_eq!((&told[0]["status"], &told[0]["error"]), (&json!("failed"), &json!("no table")));
    assert_eq!(told[0]["duration_ms"], 7);
    for (told, id) in told[1..].iter().zip(2..) {
        assert_eq!((&told["action_id"], &told["status"]), (&json!(id), &json!("completed")));
        assert_eq!(told["duration_ms"], 5);
    }
    assert_eq!(center.count("/complete") + center.count("/fail"), 0);
}

#[tokio::test]
async fn one_that_ends_alone_is_reported_by_itself() {
    let center = center(all_noted).await;
    let ascend = quick(&center.url).build().unwrap();
    let ids = evaluated(&ascend, 1).await;
    assert_eq!(report_all(&ascend, &ids).await, [Ok(())]);
    assert_eq!((center.count("/api/agent-action/1/fail"), center.count(AT_ONCE)), (1, 0));
}

#[tokio::test]
async fn more_than_one_request_takes_are_reported_in_several() {
    let center = center(all_noted).await;
    let ascend = quick(&center.url).build().unwrap();
    let ids = evaluated(&ascend, 150).await;
    assert!(report_all(&ascend, &ids).await.iter().all(Result::is_ok));
    let sizes = center.seen_at(AT_ONCE);
    let sizes = sizes.iter().map(|seen| seen.json()["outcomes"].as_array().unwrap().len());
    let sizes: Vec<_> = sizes.collect();
    assert_eq!(sizes.iter().sum::<usize>(), 150);
    assert!(sizes.iter().all(|size| *size <= 64), "{sizes:?}");
}

#[tokio::test]
async fn each_hears_what_became_of_its_own() {
    let center = center(|_| {
        Reply::json(json!({ "outcomes": [
            { "action_id": 1, "success": true },
            { "action_id": "2", "success": false, "detail": "action 2 is denied" },
            { "action_id": 4, "success": false },
        ]}))
    })
    .await;
    let ascend = quick(&center.url).build().unwrap();
    let ids = evaluated(&ascend, 4).await;
    let refused = |text: &str| Err(AuthorityError::InvalidRequest(text.to_owned()));
    let answers = report_all(&ascend, &ids).await;
    assert_eq!((&answers[0], &answers[1]), (&Ok(()), &refused("action 2 is denied")));
    let nothing = AuthorityError::Malformed("it says nothing of action 3".to_owned());
    assert_eq!((&answers[2], &answers[3]), (&Err(nothing), &refused("it gives no reason")));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_stands_for_no_report() {
    let center = center(|_| Reply::json(json!({ "outcomes": "all of them" }))).await;
    let ascend = quick(&center.url).build().unwrap();
    let ids = evaluated(&ascend, 2).await;
    for answer in report_all(&ascend, &ids).await {
        assert!(matches!(answer, Err(AuthorityError::Malformed(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn an_older_center_is_told_one_by_one_and_not_asked_again() {
    for status in [404, 405] {
        let center = center(move |_| Reply::status(status, json!({"detail": "no"}))).await;
        let ascend = quick(&center.url).build().unwrap();
        let ids = evaluated(&ascend, 3).await;
        assert_eq!(report_all(&ascend, &ids).await, vec![Ok(()); 3]);
        assert_eq!(report_all(&ascend, &ids).await, vec![Ok(()); 3]);
        assert_eq!(center.count(AT_ONCE), 1);
        assert_eq!((center.count("/complete"), center.count("/fail")), (4, 2));
    }
}

#[tokio::test]
async fn what_a_center_does_not_take_together_it_is_told_one_by_one() {
    let center =
        center(|_| Reply::status(422, json!({"detail": "one of them does not fit"}))).await;
    let ascend = quick(&center.url).build().unwrap();
    let ids = evaluated(&ascend, 3).await;
    assert_eq!(report_all(&ascend, &ids).await, vec![Ok(()); 3]);
    assert_eq!((center.count(AT_ONCE), center.count("/complete")), (1, 2));
}

#[tokio::test]
async fn who_goes_away_takes_no_report_along() {
    let center = center(all_noted).await;
    let ascend = Arc::new(quick(&center.url).build().unwrap());
    let ids = evaluated(&ascend, 2).await;
    let outcome = Outcome::Completed { duration: Duration::ZERO };
    let mut first = ascend.report(&ids[0], &outcome);
    // Begun, and dropped before it is answered.
    assert!(futures_util::poll!(&mut first).is_pending());
    drop(first);
    assert_eq!(ascend.report(&ids[1], &outcome).await, Ok(()));
    assert_eq!(center.seen_at(AT_ONCE)[0].json()["outcomes"].as_array().unwrap().len(), 2);
}
