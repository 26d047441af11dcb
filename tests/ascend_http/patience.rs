//! Retries, pauses, the deadline, the circuit breaker, and polling.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ascend_sdk::{
    ActionId, Authority as _, Outcome, RefusalKind, Review, authority::AuthorityError,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    batch::action,
    center::{Center, Reply, allow, pending},
    rogue::{Rogue, Step, ok, send},
    tool::{Counting as _, Purge, Query, call_with, governor, impatient, once, quick, until},
};

#[tokio::test]
async fn passing_troubles_are_tried_again_under_one_key() {
    for status in [500, 502, 503, 504, 429, 408] {
        let center = Center::start(move |seen, nth| {
            if seen.is_evaluation() && nth < 2 {
                Reply::status(status, json!({"detail": "busy"}))
            } else {
                Reply::json(allow())
            }
        })
        .await;
        once::<Query>(quick(&center.url)).await.ran();
        let asked = center.seen_at("/evaluate");
        assert_eq!(asked.len(), 3, "{status}");
        for seen in &asked[1..] {
            assert_eq!(seen.header("idempotency-key"), asked[0].header("idempotency-key"));
            assert_eq!(seen.header("x-correlation-id"), asked[0].header("x-correlation-id"));
            assert_ne!(seen.header("x-request-timestamp"), asked[0].header("x-request-timestamp"));
            assert_eq!(seen.body, asked[0].body);
        }
    }
}

#[tokio::test]
async fn silence_after_a_failure_is_no_silence() {
    let rogue = Rogue::start(|_, nth| match nth {
        0 => vec![send("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")],
        _ => vec![],
    })
    .await;
    let governor = ascend_sdk::Governor::builder(quick(&rogue.url).build().unwrap())
        .fail_mode(ascend_sdk::FailMode::Open)
        .build();
    let refusal = call_with(&governor, Query::on("t")).await.refused();
    assert!(refusal.reason().unwrap().contains("HTTP 500"), "{refusal}");
    assert_eq!(rogue.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn drops_are_tried_again() {
    let allow = allow().to_string();
    let rogue = Rogue::start(move |path, nth| match (path, nth) {
        ("/mcp/governance/evaluate", 0) => vec![],
        ("/mcp/governance/evaluate", 1) => {
            vec![send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")]
        }
        ("/mcp/governance/evaluate", _) => vec![ok(&allow)],
        _ => vec![ok("{}")],
    })
    .await;
    once::<Query>(quick(&rogue.url)).await.ran();
}

#[tokio::test]
async fn a_hung_server_gets_three_requests_and_no_more_than_the_deadline() {
    let rogue = Rogue::always(vec![Step::Hang]).await;
    let started = Instant::now();
    let ascend = impatient(&rogue.url).deadline(Duration::from_secs(20));
    let refusal = once::<Query>(ascend).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::Unreachable);
    assert_eq!(rogue.connections.load(Ordering::SeqCst), 3);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let rogue = Rogue::always(vec![Step::Hang]).await;
    let started = Instant::now();
    let ascend = quick(&rogue.url).deadline(Duration::from_millis(500));
    once::<Query>(ascend).await.refused();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_refused_connection_fails_fast() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let started = Instant::now();
    let refusal = once::<Query>(quick(&url)).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::Unreachable);
    assert!(refusal.reason().unwrap().contains("refused"), "{refusal}");
    assert!(!refusal.to_string().contains(&url), "{refusal}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn retry_after_is_obeyed_within_reason() {
    let center = Center::start(|seen, nth| {
        if seen.is_evaluation() && nth == 0 {
            Reply::status(429, json!({})).header("retry-after", "1")
        } else {
            Reply::json(allow())
        }
    })
    .await;
    once::<Query>(quick(&center.url)).await.ran();
    let asked = center.seen_at("/evaluate");
    let pause = asked[1].at - asked[0].at;
    assert!(pause >= Duration::from_millis(990), "{pause:?}");

    // A pause that would not fit into the deadline is not begun.
    let center =
        Center::start(|_, _| Reply::status(429, json!({})).header("retry-after", "3600")).await;
    let started = Instant::now();
    let ascend = quick(&center.url).deadline(Duration::from_secs(5));
    let refusal = once::<Query>(ascend).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::Unreachable);
    assert!(refusal.reason().unwrap().contains("retry after 3600 s"), "{refusal}");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(center.seen().len(), 1);
}

#[tokio::test]
async fn a_circuit_opens_on_5xx_and_closes_again() {
    let center = Center::start(|seen, nth| {
        if seen.is_evaluation() && nth < 5 {
            Reply::status(503, Value::Null)
        } else {
            Reply::json(allow())
        }
    })
    .await;
    let ascend = quick(&center.url).attempts(1).circuit_breaker(5, Duration::from_secs(2));
    let governor = governor(ascend);
    for _ in 0..5 {
        let refusal = call_with(&governor, Query::on("t")).await.refused();
        assert!(refusal.reason().unwrap().contains("503"), "{refusal}");
    }
    let refusal = call_with(&governor, Query::on("t")).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::Unreachable);
    assert!(refusal.reason().unwrap().contains("left alone"), "{refusal}");
    assert_eq!(center.count("/evaluate"), 5, "an open circuit asks nobody");
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    call_with(&governor, Query::on("t")).await.ran();
}

#[tokio::test]
async fn whoever_makes_the_server_fail_gets_nothing_past_an_open_fail_mode() {
    let center = Center::start(|_, _| Reply::status(500, Value::Null)).await;
    let ascend = quick(&center.url).attempts(1).circuit_breaker(2, Duration::from_secs(60));
    let governor = ascend_sdk::Governor::builder(ascend.build().unwrap())
        .fail_mode(ascend_sdk::FailMode::Open)
        .build();
    for _ in 0..4 {
        let refusal = call_with(&governor, Query::on("t")).await.refused();
        assert_eq!(refusal.kind(), RefusalKind::Unreachable);
    }
    assert_eq!(center.count("/evaluate"), 2, "the circuit is open");
}

/// Of a circuit that is half open one request at a time finds out how the server is.
#[tokio::test]
async fn a_question_that_is_held_does_not_keep_others_out() {
    let (is_down, held) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let (down, hold) = (is_down.clone(), held.clone());
    let center = Center::start(move |seen, _| {
        if seen.path == "/api/v1/actions/status" {
            Reply::status(404, json!({"detail": "Not Found"}))
        } else if down.load(Ordering::SeqCst) {
            Reply::status(503, json!({"detail": "busy"}))
        } else if seen.is_evaluation() {
            Reply::json(allow())
        } else if seen.query.as_deref().is_some_and(|query| query.contains("wait=")) {
            let answer = Reply::json(json!({"status": "pending"})).header("x-ascend-wait", "25");
            answer.held_by(&hold)
        } else {
            Reply::json(json!({"status": "pending"}))
        }
    })
    .await;
    let builder = quick(&center.url).attempts(1).circuit_breaker(1, Duration::from_millis(300));
    let ascend = Arc::new(builder.build().unwrap());
    let waiting = ascend.clone();
    let waiting =
        tokio::spawn(async move { waiting.await_review(&ActionId::new("7").unwrap()).await });
    let asked = || center.count("/7/status");
    until("a question is held", || asked() == 1).await;

    is_down.store(true, Ordering::SeqCst);
    assert!(ascend.evaluate(&action(1)).await.is_err(), "the circuit opens");
    is_down.store(false, Ordering::SeqCst);
    held.notify_one();
    until("the question is asked again", || asked() == 2).await;
    let answered = async {
        while ascend.evaluate(&action(2)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered).await.expect("nobody is kept out");
    waiting.abort();
}

#[tokio::test]
async fn client_errors_and_limits_do_not_open_the_circuit() {
    for status in [400, 401, 404, 422, 429] {
        let center = Center::start(move |_, _| Reply::status(status, Value::Null)).await;
        let ascend = quick(&center.url).attempts(1).circuit_breaker(1, Duration::from_secs(60));
        let governor = governor(ascend);
        for _ in 0..3 {
            call_with(&governor, Query::on("t")).await.refused();
        }
        assert_eq!(center.count("/evaluate"), 3, "{status}");
    }
}

#[tokio::test]
async fn a_wait_outlasts_passing_troubles_and_takes_the_first_decision() {
    let rogue = Rogue::start(|path, nth| match (path, nth) {
        ("/mcp/governance/evaluate", _) => vec![ok(&pending().to_string())],
        ("/api/v1/actions/123/status", 1) => vec![],
        ("/api/v1/actions/123/status", 2) => {
            vec![send("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")]
        }
        ("/api/v1/actions/123/status", 3) => vec![send("nonsense\r\n\r\n")],
        ("/api/v1/actions/123/status", 4) => {
            vec![send("HTTP/1.1 429 Oh\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n")]
        }
        ("/api/v1/actions/123/status", 5) => {
            vec![send("HTTP/1.1 404 Oh\r\nContent-Length: 0\r\n\r\n")]
        }
        ("/api/v1/actions/123/status", 6 | 7) => vec![ok(r#"{"status":"pending"}"#)],
        ("/api/v1/actions/123/status", 8) => {
            vec![ok(r#"{"status":"approved","reviewed_by":"ada"}"#)]
        }
        ("/api/v1/actions/123/status", _) => vec![ok(r#"{"status":"rejected"}"#)],
        _ => vec![ok("{}")],
    })
    .await;
    assert_eq!(once::<Purge>(quick(&rogue.url)).await.ran(), "ada");
}

#[tokio::test]
async fn repeated_refusals_end_a_wait_and_bad_credentials_at_once() {
    for (status, asked) in [(404, 3), (400, 3), (422, 3), (401, 1), (403, 1)] {
        let center = Center::scripted(pending(), [(status, json!({"detail": "no"}))]).await;
        once::<Purge>(quick(&center.url)).await.refused();
        assert_eq!(center.count("/status"), asked, "{status}");
        assert_eq!(center.count("/fail"), 1, "what cannot be read is withdrawn");
    }
    // In a row: one good answer in between starts the count anew.
    let pending_status = (200, json!({"status": "pending"}));
    let lost = (404, json!({}));
    let statuses = [
        lost.clone(),
        lost.clone(),
        pending_status,
        lost.clone(),
        lost,
        (200, json!({"status": "approved"})),
    ];
    let center = Center::scripted(pending(), statuses).await;
    once::<Purge>(quick(&center.url)).await.ran();
}

#[tokio::test]
async fn the_first_question_is_asked_at_once() {
    let center = Center::scripted(pending(), [(200, json!({"status": "approved"}))]).await;
    // A pause of the example's length would be seen.
    let ascend = quick(&center.url).polling(Duration::from_secs(60), Duration::from_secs(60));
    let started = Instant::now();
    once::<Purge>(ascend).await.ran();
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_report_survives_a_failing_server_and_is_sent_under_one_key() {
    let center = Center::start(|_, nth| {
        if nth < 4 { Reply::status(503, Value::Null) } else { Reply::json(json!({})) }
    })
    .await;
    // The circuit opens in between; a report waits until it closes.
    let ascend = quick(&center.url).circuit_breaker(3, Duration::from_millis(20)).build().unwrap();
    let outcome = Outcome::Completed { duration: Duration::from_millis(5) };
    ascend.report(&ActionId::new("7").unwrap(), &outcome).await.unwrap();
    let keys: Vec<_> =
        center.seen().iter().map(|seen| seen.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys.len(), 5);
    assert!(keys.iter().all(|key| *key == keys[0] && !key.is_empty()));

    let center = Center::start(|_, _| Reply::status(409, json!({"detail": "already"}))).await;
    let ascend = quick(&center.url).build().unwrap();
    let error = ascend.report(&ActionId::new("7").unwrap(), &outcome).await.unwrap_err();
    assert!(matches!(error, AuthorityError::InvalidRequest(_)), "{error}");
    assert_eq!(center.seen().len(), 1);
}

#[tokio::test]
async fn a_slow_report_does_not_hold_up_the_result() {
    let center = Center::start(|seen, _| {
        if seen.is_evaluation() {
            Reply::json(allow())
        } else {
            Reply::json(json!({})).after(Duration::from_secs(5))
        }
    })
    .await;
    let governor = governor(quick(&center.url));
    let started = Instant::now();
    call_with(&governor, Query::on("t")).await.ran();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    until("it is sent", || center.count("/complete") == 1).await;
}

#[tokio::test]
async fn one_slow_evaluation_does_not_hold_up_another() {
    let center = Center::start(|seen, nth| {
        let mut answer = allow();
        answer["action_id"] = json!(nth + 1);
        let delay = if seen.is_evaluation() { 500 } else { 0 };
        Reply::json(answer).after(Duration::from_millis(delay))
    })
    .await;
    let governor = governor(quick(&center.url));
    let started = Instant::now();
    let calls: tokio::task::JoinSet<_> = (0..20)
        .map(|_| {
            let governor = governor.clone();
            async move { call_with(&governor, Query::on("t")).await }
        })
        .collect();
    for called in calls.join_all().await {
        called.ran();
    }
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_wait_can_be_dropped_and_taken_up_again() {
    let center = Center::scripted(pending(), [(200, json!({"status": "pending"}))]).await;
    let ascend = quick(&center.url).build().unwrap();
    let id = ActionId::new("123").unwrap();
    for _ in 0..2 {
        let waited = tokio::time::timeout(Duration::from_millis(50), ascend.await_review(&id));
        assert!(waited.await.is_err());
    }
    let approved = Center::scripted(pending(), [(200, json!({"status": "approved"}))]).await;
    let ascend = quick(&approved.url).build().unwrap();
    assert!(matches!(ascend.await_review(&id).await, Ok(Review::Approved(_))));
}
