//! Against a server that behaves.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use ascend_sdk::{
    __private::call,
    ActionId, Authority as _, CallContext, Claim, ClientAnswer, Confirmation, Decision, Outcome,
    RefusalKind, Review, SessionContext,
    authority::{AuthorityError, Paths},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    batch::action,
    center::{Center, Reply, allow, pending},
    tool::{KEY, Purge, Query, call_with, governor, once, quick, until},
};

#[tokio::test]
async fn an_allowed_call_runs_once_and_is_reported() {
    let center = Center::scripted(allow(), [(500, Value::Null)]).await;
    assert_eq!(once::<Query>(quick(&center.url)).await.ran(), "nobody");

    let seen = center.seen();
    let paths: Vec<_> = seen.iter().map(|seen| (seen.method.as_str(), &*seen.path)).collect();
    assert_eq!(
        paths,
        [("POST", "/mcp/governance/evaluate"), ("POST", "/api/agent-action/123/complete")]
    );
    let report = seen[1].json();
    assert_eq!((&report["action_id"], &report["status"]), (&json!(123), &json!("completed")));
    assert!(report["duration_ms"].is_u64() && report["completed_at"].is_string(), "{report}");
}

#[tokio::test]
async fn an_evaluation_is_the_union_of_all_request_shapes() {
    let center = Center::scripted(allow(), [(500, Value::Null)]).await;
    once::<Purge>(quick(&center.url).agent_id("agent-7").agent_name("Seven")).await.refused();

    let seen = center.seen().remove(0);
    let request = seen.json();
    for (field, value) in [
        ("server_id", json!("mcp-server-001")),
        ("mcp_server", json!("mcp-server-001")),
        ("namespace", json!("database")),
        ("verb", json!("delete")),
        ("resource", json!("database://users")),
        ("parameters", json!({"table": "users"})),
        ("user_context", json!({})),
        ("session_context", json!({"session_id": "mcp-session-default"})),
        ("session_id", json!("mcp-session-default")),
        ("client_id", json!("agent-7")),
        ("agent_id", json!("agent-7")),
        ("agent_name", json!("Seven")),
        ("action_type", json!("database.delete")),
        ("description", json!("Works on a table")),
        ("tool_name", json!("purge")),
        ("context", json!({"require_human_approval": true})),
        ("require_approval", json!(true)),
        ("tool", json!("purge")),
        ("summary", json!("Work on `users`")),
        ("floor", json!({"risk_level": "HIGH", "require_human_approval": true})),
        ("facts", json!({})),
        ("metadata", json!({"team": "data"})),
        ("approval_timeout_seconds", json!(300)),
    ] {
        assert_eq!(request[field], value, "{field}");
    }
    assert_eq!(request["digest"].as_str().unwrap().len(), 64);
    assert_eq!(request["idempotency_key"], seen.header("idempotency-key"));
    // A score of our own would stand beside the server's.
    assert!(request.get("risk_score").is_none() && request.get("risk_level").is_none());

    assert_eq!(seen.header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(seen.header("x-api-key"), KEY);
    assert_eq!(seen.header("content-type"), "application/json");
    assert!(seen.header("user-agent").starts_with("ascend-sdk/"));
    let correlation = seen.header("x-correlation-id").strip_prefix("asc_").unwrap();
    assert!(correlation.len() == 16 && correlation.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(seen.header("x-request-timestamp").ends_with("+00:00"));
    assert_eq!(seen.header("x-signature"), "");
}

#[tokio::test]
async fn a_denied_call_says_why() {
    let denied = json!({
        "decision": "DENY", "action_id": 9, "risk_score": 91, "reason": "never on a Friday",
    });
    let center = Center::scripted(denied, [(500, Value::Null)]).await;
    let refusal = once::<Query>(quick(&center.url)).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::Denied);
    assert_eq!(refusal.reason(), Some("never on a Friday"));
    assert_eq!(refusal.risk_score(), Some(91));
    assert_eq!(refusal.action_id().unwrap().as_str(), "9");
    assert_eq!(center.seen().len(), 1, "there is nothing to report");
}

#[tokio::test]
async fn a_pending_call_waits_for_a_person_and_then_runs_once() {
    let waiting = (200, json!({"status": "pending_approval", "decision_ready": false}));
    let approved = json!({"status": "approved", "reviewed_by": "ada@x", "comments": "fine"});
    let center =
        Center::scripted(pending(), [waiting.clone(), waiting.clone(), waiting, (200, approved)])
            .await;
    assert_eq!(once::<Purge>(quick(&center.url)).await.ran(), "ada@x");
    let asked = center.seen_at("/api/v1/actions/123/status");
    assert_eq!(asked.len(), 4);
    // The wish to be held is not repeated to a server that does not grant it.
    assert_eq!(asked[0].query.as_deref(), Some("wait=25"));
    assert!(asked[1..].iter().all(|seen| seen.query.is_none()));
    assert_eq!(center.count("/api/agent-action/123/complete"), 1);
}

#[tokio::test]
async fn a_rejected_call_names_the_approver() {
    for word in ["rejected", "denied", "REJECTED"] {
        let rejected = json!({"status": word, "reviewed_by": "ada", "comments": "too much"});
        let center = Center::scripted(pending(), [(200, rejected)]).await;
        let refusal = once::<Purge>(quick(&center.url)).await.refused();
        assert_eq!(refusal.kind(), RefusalKind::Rejected);
        assert_eq!(refusal.reason(), Some("too much"));
        assert_eq!(refusal.reviewed_by(), Some("ada"));
        assert_eq!(center.seen().len(), 2, "a rejected action is not withdrawn");
    }
}

#[tokio::test]
async fn a_server_that_holds_the_question_is_not_polled() {
    let decide = Arc::new(Notify::new());
    let held = decide.clone();
    let center =
        Center::start(move |seen, nth| match (seen.is_evaluation(), seen.is_status(), nth) {
            (true, ..) => Reply::json(pending()),
            (_, true, _) => {
                assert_eq!(seen.query.as_deref(), Some("wait=25"));
                Reply::json(json!({"status": "approved", "reviewed_by": "ada"}))
                    .header("x-ascend-wait", "25")
                    .held_by(&held)
            }
            _ => Reply::json(json!({})),
        })
        .await;
    let governor = governor(quick(&center.url));
    let running =
        tokio::spawn(async move { call_with(&governor, Purge { table: "t".into() }).await });
    until("the question is asked", || center.count("/status") == 1).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(center.count("/status"), 1);
    let decided = Instant::now();
    decide.notify_one();
    assert_eq!(running.await.unwrap().ran(), "ada");
    assert!(decided.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_server_that_only_claims_to_hold_the_question_is_polled_gently() {
    let center = Center::start(|seen, _| {
        if seen.is_evaluation() {
            Reply::json(pending())
        } else {
            Reply::json(json!({"status": "pending"})).header("x-ascend-wait", "25")
        }
    })
    .await;
    let builder = quick(&center.url).polling(Duration::from_millis(100), Duration::from_secs(5));
    let ascend = builder.build().unwrap();
    let id = ascend_sdk::ActionId::new("123").unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(1), ascend.await_review(&id)).await;
    assert!(waited.is_err(), "still pending");
    // 0, 100, 250, 475, 812 ms; with jitter at most twice as dense.
    let asked = center.count("/status");
    assert!((2..=10).contains(&asked), "{asked}");
}

#[tokio::test]
async fn an_envelope_and_202_are_understood() {
    let center = Center::start(|seen, _| {
        if seen.is_evaluation() {
            Reply::status(202, json!({"status": "success", "data": pending()}))
        } else {
            Reply::json(json!({"status": "success", "data": {"status": "approved"}}))
        }
    })
    .await;
    assert_eq!(once::<Purge>(quick(&center.url)).await.ran(), "nobody");
}

#[tokio::test]
async fn other_versions_have_other_paths_and_ids() {
    let uuid = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
    let center = Center::start(move |seen, _| match &*seen.path {
        "/api/mcp-governance/evaluate" => Reply::json(json!({
            "decision": "EVALUATE", "status": "PENDING_APPROVAL", "action_id": uuid,
            "requires_approval": true, "approval_level": 2, "estimated_review_time_minutes": 5,
        })),
        "/api/v1/actions/6f9619ff-8b86-d011-b42d-00c04fc964ff/status" => {
            Reply::json(json!({"status": "approved"}))
        }
        _ => Reply::json(json!({})),
    })
    .await;
    let builder = quick(&center.url).paths(Paths::mcp_governance());
    assert_eq!(once::<Purge>(builder).await.ran(), "nobody");
    let report = center.seen_at("/complete").remove(0);
    assert_eq!(report.json()["action_id"], uuid);

    let center = Center::start(|seen, nth| match &*seen.path {
        "/api/v1/mcp/actions/submit" => Reply::json(json!({
            "action_id": 5, "status": "pending_approval", "success": true,
            "requires_approval": true, "risk_score": 80, "reason": "high",
        })),
        "/api/sdk/approval/5" if nth == 0 => Reply::json(json!({"status": "pending"})),
        "/api/sdk/approval/5" => Reply::json(json!({
            "status": "rejected", "rejected_by": "bob", "rejection_reason": "no",
        })),
        _ => Reply::json(json!({})),
    })
    .await;
    let refusal = once::<Purge>(quick(&center.url).paths(Paths::python_sdk())).await.refused();
    assert_eq!((refusal.reason(), refusal.reviewed_by()), (Some("no"), Some("bob")));
}

#[tokio::test]
async fn a_failed_body_is_reported_and_a_withdrawn_call_too() {
    let center = Center::scripted(pending(), [(200, json!({"status": "pending"}))]).await;
    let governor = governor(quick(&center.url));
    let gone = tokio::time::timeout(
        Duration::from_millis(300),
        call_with(&governor, Purge { table: "t".into() }),
    );
    assert!(gone.await.is_err(), "the caller goes away");
    assert!(governor.close(Duration::from_secs(20)).await);
    let report = center.seen_at("/api/agent-action/123/fail").remove(0).json();
    assert_eq!(report["status"], "failed");
    assert_eq!(report["error"], "withdrawn: the caller went away");
    assert!(report["failed_at"].is_string());
    assert_eq!(center.count("/withdraw"), 0, "plain ASCEND has no such route");

    let ascend = quick(&center.url).build().unwrap();
    let outcome = ascend_sdk::Outcome::Failed {
        duration: Duration::from_millis(1_500),
        error: "no such table".to_owned(),
    };
    ascend.report(&ascend_sdk::ActionId::new("x-1").unwrap(), &outcome).await.unwrap();
    let report = center.seen_at("/api/agent-action/x-1/fail").remove(0).json();
    assert_eq!(report["error"], "no such table");
    assert_eq!(report["duration_ms"], 1_500);
    assert_eq!(report["action_id"], "x-1");
}

/// A center of our own: it keeps the claims.
async fn claiming(claim: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Center {
    Center::start(move |seen, nth| {
        if seen.is_evaluation() {
            let mut answer = allow();
            answer["claim"] = json!(true);
            Reply::json(answer)
        } else if seen.path.ends_with("/claim") {
            claim(nth)
        } else {
            Reply::json(json!({}))
        }
    })
    .await
}

fn refused(claim: Result<Claim, AuthorityError>) -> RefusalKind {
    match claim.unwrap() {
        Claim::Refused(rejection) => rejection.kind,
        Claim::Granted => panic!("granted"),
    }
}

#[tokio::test]
async fn what_was_not_granted_is_not_used_up() {
    let center = claiming(|nth| match nth {
        0 => Reply::status(503, json!({"detail": "busy"})),
        1 => Reply::json(json!({"granted": false, "refusal": "kill_switch"})),
        _ => Reply::json(json!({"granted": true})),
    })
    .await;
    let ascend = quick(&center.url).attempts(1).build().unwrap();
    let action = action(7);
    let id = ascend.evaluate(&action).await.unwrap().action_id;
    let claim = async || ascend.claim(&id, &action.digest).await;
    assert!(matches!(claim().await, Err(AuthorityError::Failed(_))));
    assert_eq!(refused(claim().await), RefusalKind::KillSwitch);
    // The same call is evaluated again, and joins it.
    assert_eq!(ascend.evaluate(&action).await.unwrap().decision, Decision::Allow);
    assert_eq!(claim().await.unwrap(), Claim::Granted);
    assert_eq!(refused(claim().await), RefusalKind::AlreadyExecuted);
    assert_eq!(ascend.evaluate(&action).await.unwrap().decision, Decision::Deny);
    assert_eq!(center.count("/claim"), 3, "once granted, nobody is asked");
    let claims = center.seen_at("/claim");
    let key = claims[0].header("idempotency-key");
    assert!(key.len() == 32 && key != action.idempotency_key);
    assert!(claims.iter().all(|claim| claim.header("idempotency-key") == key), "the same claim");
}

#[tokio::test]
async fn an_approval_outlives_the_answer_to_its_claim() {
    // The server grants the claim, and its answer is lost.
    let center = Center::start(|seen, nth| {
        if seen.is_evaluation() {
            let mut answer = pending();
            answer["claim"] = json!(true);
            return Reply::json(answer);
        }
        if seen.path.ends_with("/claim") {
            return match nth {
                0 => Reply::status(502, json!({})),
                _ => Reply::json(json!({"granted": true})),
            };
        }
        Reply::json(match nth {
            0 => json!({"status": "approved", "reviewed_by": "ada"}),
            _ => json!({"status": "executed", "refusal": "already_executed", "reviewed_by": "ada"}),
        })
    })
    .await;
    let ascend = quick(&center.url).attempts(1).build().unwrap();
    let action = action(7);
    let id = ascend.evaluate(&action).await.unwrap().action_id;
    let approved = async || match ascend.await_review(&id).await.unwrap() {
        Review::Approved(approval) => approval.reviewed_by,
        other => panic!("{other:?}"),
    };
    assert_eq!(approved().await.as_deref(), Some("ada"));
    assert!(ascend.claim(&id, &action.digest).await.is_err());
    // An identical call joins the action, and finds it approved still.
    assert_eq!(approved().await.as_deref(), Some("ada"));
    assert_eq!(ascend.claim(&id, &action.digest).await.unwrap(), Claim::Granted);
    let claims = center.seen_at("/claim");
    assert_eq!(claims[0].header("idempotency-key"), claims[1].header("idempotency-key"));
    // What it ran is run, and so is what another process claimed.
    let another = quick(&center.url).build().unwrap();
    for ascend in [&ascend, &another] {
        let Review::Rejected(rejection) = ascend.await_review(&id).await.unwrap() else {
            panic!("it ran")
        };
        assert_eq!(rejection.kind, RefusalKind::AlreadyExecuted);
    }
}

#[tokio::test]
async fn of_two_who_claim_at_once_the_second_hears_how_the_first_fared() {
    for first_is_granted in [false, true] {
        let center = claiming(move |nth| {
            let delay = Duration::from_millis(100);
            if nth == 0 && !first_is_granted {
                Reply::status(503, json!({"detail": "busy"})).after(delay)
            } else {
                Reply::json(json!({"granted": true})).after(delay)
            }
        })
        .await;
        let ascend = quick(&center.url).attempts(1).build().unwrap();
        let action = action(7);
        let id = ascend.evaluate(&action).await.unwrap().action_id;
        let claim = async || ascend.claim(&id, &action.digest).await;
        let (first, second) = tokio::join!(claim(), claim());
        if first_is_granted {
            assert_eq!(first.unwrap(), Claim::Granted);
            assert_eq!(refused(second), RefusalKind::AlreadyExecuted);
        } else {
            assert!(first.is_err());
            assert_eq!(second.unwrap(), Claim::Granted);
        }
    }
}

#[tokio::test]
async fn a_center_with_claims_is_asked_for_one() {
    let center = claiming(|_| Reply::json(json!({"granted": true}))).await;
    once::<Query>(quick(&center.url)).await.ran();
    let claim = center.seen_at("/api/v1/actions/123/claim").remove(0);
    assert_eq!(claim.json()["digest"], center.seen()[0].json()["digest"]);

    for (status, body, kind) in [
        (200, json!({"granted": false, "refusal": "kill_switch"}), RefusalKind::KillSwitch),
        (409, json!({"granted": false, "refusal": "expired"}), RefusalKind::Expired),
        (409, json!({"granted": false, "refusal": "cancelled"}), RefusalKind::Cancelled),
        (409, json!({"granted": false}), RefusalKind::Denied),
        (409, json!({"granted": true}), RefusalKind::Malformed),
        (409, json!({"detail": "conflict"}), RefusalKind::Malformed),
        (200, json!({}), RefusalKind::Malformed),
        (200, json!({"granted": "true"}), RefusalKind::Malformed),
        (200, json!([true]), RefusalKind::Malformed),
        (404, json!({"granted": true}), RefusalKind::Malformed),
        (401, json!({"granted": true}), RefusalKind::Unauthorized),
        (503, json!({"granted": true}), RefusalKind::Unreachable),
    ] {
        let answer = body.clone();
        let center = claiming(move |_| Reply::status(status, answer.clone())).await;
        let refusal = once::<Query>(quick(&center.url)).await.refused();
        assert_eq!(refusal.kind(), kind, "{status} {body}");
    }
}

/// Another process asked its user, and the client came to this one with the answer.
#[tokio::test]
async fn a_user_can_confirm_an_action_that_this_process_has_not_heard_of() {
    let center = Center::scripted(allow(), [(500, Value::Null)]).await;
    let ascend = quick(&center.url).build().unwrap();
    let session = SessionContext::default();
    let confirmation = Confirmation { answer: ClientAnswer::Approved, session };
    let confirm = async |id: &str| ascend.confirm(&ActionId::new(id).unwrap(), &confirmation).await;
    confirm("7").await.unwrap();
    assert_eq!(center.count("/api/v1/actions/7/confirm"), 1);
    // Plain ASCEND is not asked.
    let known = ascend.evaluate(&action(7)).await.unwrap().action_id;
    assert!(matches!(confirm(known.as_str()).await, Err(AuthorityError::InvalidRequest(_))));
    assert_eq!(center.count("/confirm"), 1);
}

#[tokio::test]
async fn a_claim_that_comes_with_the_evaluation_is_not_asked_for() {
    let with = |more: fn(&mut Value, &Value)| {
        Center::start(move |seen, _| {
            if seen.is_evaluation() {
                let mut answer = allow();
                answer["claim"] = json!(true);
                more(&mut answer, &seen.json());
                return Reply::json(answer);
            }
            let used = json!({"granted": false, "refusal": "already_executed"});
            Reply::json(if seen.path.ends_with("/claim") { used } else { json!({}) })
        })
    };
    let center = with(|answer, asked| {
        assert_eq!(asked["claim"], true);
        answer["claimed"] = json!(true);
        answer["digest"] = asked["digest"].clone();
    })
    .await;
    once::<Query>(quick(&center.url)).await.ran();
    assert_eq!(center.count("/claim"), 0);

    // A caller that is gone by then gives it up, by the key of the claim.
    let ascend = quick(&center.url).build().unwrap();
    let action = action(7);
    let (evaluation, claim) = ascend.evaluate_and_claim(&action).await.unwrap();
    assert_eq!(claim, Some(Claim::Granted));
    let outcome = Outcome::Withdrawn { reason: "gone".into() };
    ascend.report(&evaluation.action_id, &outcome).await.unwrap();
    let withdrawn = center.seen_at("/withdraw").remove(0).json();
    assert_eq!(withdrawn, json!({"reason": "gone", "claim_key": action.idempotency_key}));

    // Whatever does not plainly say so, for this call, still has to be claimed.
    let unclear: [fn(&mut Value, &Value); 3] = [
        |answer, _| answer["claimed"] = json!(true),
        |answer, asked| {
            answer["claimed"] = json!("true");
            answer["digest"] = asked["digest"].clone();
        },
        |answer, asked| answer["digest"] = asked["digest"].clone(),
    ];
    for more in unclear {
        let center = with(more).await;
        let refusal = once::<Query>(quick(&center.url)).await.refused();
        assert_eq!(refusal.kind(), RefusalKind::AlreadyExecuted);
        assert_eq!(center.count("/claim"), 1);
    }
    let center = with(|answer, _| {
        answer["claimed"] = json!(true);
        answer["digest"] = json!("00".repeat(32));
    })
    .await;
    let refusal = once::<Query>(quick(&center.url)).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::DigestMismatch);

    // What a person must approve is never claimed before they did.
    let center = with(|answer, asked| {
        assert_eq!(asked.get("claim"), None);
        answer["claimed"] = json!(true);
        answer["digest"] = asked["digest"].clone();
    })
    .await;
    once::<Purge>(quick(&center.url)).await.refused();
}

#[tokio::test]
async fn a_claim_lost_on_its_way_is_asked_again_under_the_same_key() {
    let center = claiming(|nth| {
        if nth == 0 { Reply::status(502, json!({})) } else { Reply::json(json!({"granted": true})) }
    })
    .await;
    once::<Query>(quick(&center.url)).await.ran();
    let claims = center.seen_at("/claim");
    assert_eq!(claims.len(), 2);
    assert_eq!(claims[0].header("idempotency-key"), claims[1].header("idempotency-key"));
    assert_ne!(claims[0].header("idempotency-key"), "");
}

#[tokio::test]
async fn a_center_with_claims_is_told_of_a_withdrawal() {
    let center = Center::start(|seen, _| {
        let mut answer = pending();
        answer["claim"] = json!(true);
        Reply::json(if seen.is_evaluation() { answer } else { json!({"status": "pending"}) })
    })
    .await;
    let governor = governor(quick(&center.url));
    let cancellation = tokio_util::sync::CancellationToken::new();
    let context = CallContext::new(Default::default(), cancellation.clone());
    let runs = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let arguments = Purge { table: "t".into() };
    let running = tokio::spawn({
        let (governor, runs) = (governor.clone(), runs.clone());
        async move { governor.scope(call(arguments, runs, Some(context))).await }
    });
    until("it waits", || center.count("/status") > 0).await;
    cancellation.cancel();
    assert_eq!(running.await.unwrap().unwrap_err().kind(), RefusalKind::Cancelled);
    assert!(governor.close(Duration::from_secs(20)).await);
    let withdrawn = center.seen_at("/api/v1/actions/123/withdraw").remove(0).json();
    assert_eq!(withdrawn["reason"], "the call was cancelled");
    assert!(withdrawn["claim_key"].is_string() && withdrawn.as_object().unwrap().len() == 2);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    assert_eq!(center.count("/fail"), 0);
}

#[tokio::test]
async fn a_kill_switch_raised_while_a_person_decides_stops_the_run() {
    for (status, body, kind) in [
        (200, json!({"blocked": true, "reason": "incident 7"}), RefusalKind::KillSwitch),
        (200, json!({}), RefusalKind::KillSwitch),
        (200, json!({"blocked": null}), RefusalKind::KillSwitch),
        (500, json!({"blocked": false}), RefusalKind::Unreachable),
        (404, json!({"blocked": false}), RefusalKind::Malformed),
    ] {
        let answer = body.clone();
        let center = Center::start(move |seen, _| {
            if seen.is_evaluation() {
                Reply::json(pending())
            } else if seen.path.ends_with("/kill-switch/status") {
                Reply::status(status, answer.clone())
            } else {
                Reply::json(json!({"status": "approved"}))
            }
        })
        .await;
        let refusal = once::<Purge>(quick(&center.url).check_kill_switch()).await.refused();
        assert_eq!(refusal.kind(), kind, "{status} {body}");
        let order: Vec<_> = center.seen().into_iter().map(|seen| seen.path).collect();
        assert_eq!(order[2], "/api/sdk/kill-switch/status", "after the approval");
    }
    let center = Center::start(|seen, _| {
        Reply::json(if seen.is_evaluation() { allow() } else { json!({"blocked": false}) })
    })
    .await;
    once::<Query>(quick(&center.url).check_kill_switch()).await.ran();
}

#[tokio::test]
async fn errors_of_the_server_are_told_apart() {
    let validation = json!({"detail": [{"loc": ["body", "verb"], "msg": "Field required"}]});
    let governance = json!({"detail": {
        "error": "MCP governance violation", "detail": "server deactivated",
        "correlation_id": "corr-9",
    }});
    for (status, body, kind, says) in [
        (401, json!({"detail": "bad key"}), RefusalKind::Unauthorized, "bad key"),
        (403, json!({"detail": "not yours"}), RefusalKind::Unauthorized, "not yours"),
        (403, governance, RefusalKind::Denied, "server deactivated"),
        (422, validation, RefusalKind::Malformed, "verb: Field required"),
        (400, json!({"detail": "bad verb"}), RefusalKind::Malformed, "bad verb"),
        (404, json!({"detail": "no route"}), RefusalKind::Malformed, "no route"),
        (409, Value::Null, RefusalKind::Malformed, "HTTP 409"),
        (418, allow(), RefusalKind::Malformed, "HTTP 418"),
    ] {
        let center = Center::start(move |_, _| Reply::status(status, body.clone())).await;
        let refusal = once::<Query>(quick(&center.url)).await.refused();
        assert_eq!(refusal.kind(), kind, "{status}");
        assert!(refusal.reason().unwrap().contains(says), "{status}: {refusal}");
        assert_eq!(center.seen().len(), 1, "asking again would not help");
    }
}

#[tokio::test]
async fn a_denial_that_names_no_action_goes_by_its_correlation() {
    let center = Center::scripted(json!({"decision": "DENY"}), [(500, Value::Null)]).await;
    let refusal = once::<Query>(quick(&center.url)).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::Denied);
    assert_eq!(refusal.action_id().unwrap().as_str(), center.seen()[0].header("x-correlation-id"));
}

#[tokio::test]
async fn health_is_any_success() {
    let center = Center::start(|seen, nth| {
        assert_eq!(seen.path, "/health");
        assert_eq!(seen.header("authorization"), format!("Bearer {KEY}"));
        Reply::status([204, 200, 401, 503][nth.min(3)], Value::Null)
    })
    .await;
    let ascend = quick(&center.url).build().unwrap();
    assert_eq!(ascend.health().await, Ok(()));
    assert_eq!(ascend.health().await, Ok(()));
    assert!(matches!(ascend.health().await, Err(AuthorityError::Unauthorized(_))));
    assert!(matches!(ascend.health().await, Err(AuthorityError::Failed(_))));
    assert!(ascend.describe().contains(&center.url), "{}", ascend.describe());
}
