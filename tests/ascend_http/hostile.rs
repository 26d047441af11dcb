//! Against a server that does not behave: whatever it does, nothing runs
//! that was not plainly allowed.

use std::{sync::atomic::Ordering, time::Duration};

use ascend_sdk::{FailMode, Governor, RefusalKind, authority::AscendBuilder};
use tokio::task::JoinSet;

use crate::{
    rogue::{Rogue, Step, answer, answer_with, ok, send},
    tool::{Counting as _, Purge, Query, call_with, governor, impatient, once, quick},
};

const ALLOW: &str = r#"{"decision":"ALLOW","action_id":1}"#;
const PENDING: &str = r#"{"decision":"REQUIRE_APPROVAL","action_id":1}"#;

/// Answers to an evaluation that must never let a body run, and the refusals
/// that they lead to.
fn bad_evaluations() -> Vec<(&'static str, Vec<Step>, RefusalKind)> {
    use RefusalKind::{AlreadyExecuted, Denied, Malformed, Unreachable};
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let half = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ALLOW}",
        ALLOW.len() + 1
    );
    let chunk = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{ALLOW}\r\n",
        ALLOW.len()
    );
    let long =
        format!("{{\"decision\":\"ALLOW\",\"action_id\":1,\"x\":\"{}\"}}", "x".repeat(2 << 20));
    let json = |body: &str| vec![ok(body)];
    vec![
        // The connection.
        ("closes at once", vec![], Unreachable),
        ("hangs", vec![Step::Hang], Unreachable),
        ("garbage", vec![send("\u{0}\u{1}not http at all\r\n\r\n")], Unreachable),
        ("half a head", vec![send("HTTP/1.1 200 OK\r\nContent-Le")], Unreachable),
        (
            "slow head",
            vec![
                Step::Drip(b"HTTP/1.1 200 OK\r\n".to_vec(), Duration::from_millis(100)),
                Step::Hang,
            ],
            Unreachable,
        ),
        (
            "endless head",
            vec![
                send("HTTP/1.1 200 OK\r\n"),
                Step::Repeat(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".to_vec(), 100_000),
            ],
            Unreachable,
        ),
        ("drops in the body", vec![send(half.clone())], Unreachable),
        ("drops in a chunk", vec![send(chunk.clone())], Unreachable),
        ("body never ends", vec![send(half), Step::Hang], Unreachable),
        (
            "slow body",
            vec![
                send("HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n"),
                Step::Drip(ALLOW.as_bytes().to_vec(), Duration::from_millis(50)),
            ],
            Unreachable,
        ),
        (
            "two lengths",
            vec![send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 34\r\nContent-Length: 5\r\n\r\n{ALLOW}"
            ))],
            Unreachable,
        ),
        ("long body", json(&long), Malformed),
        // The body.
        ("nothing", json(""), Malformed),
        ("html", json("<html>ALLOW</html>"), Malformed),
        ("a word", json("\"ALLOW\""), Malformed),
        ("a list", json(r#"[{"decision":"ALLOW","action_id":1}]"#), Malformed),
        ("a list by position", json(r#"["ALLOW",1]"#), Malformed),
        ("null", json("null"), Malformed),
        (
            "null everywhere",
            json(
                r#"{"decision":null,"status":null,"action_id":null,"risk_score":null,"risk_level":null,"reason":null}"#,
            ),
            Malformed,
        ),
        ("empty", json("{}"), Malformed),
        ("two answers", json(&format!("{ALLOW}{ALLOW}")), Malformed),
        ("a key twice", json(r#"{"decision":"DENY","action_id":1,"decision":"ALLOW"}"#), Malformed),
        ("deep", json(&deep), Malformed),
        (
            "no utf-8",
            vec![Step::Send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{\"decision\":\"\xff\xfe\"}x"
                    .to_vec(),
            )],
            Malformed,
        ),
        ("bom", json(&format!("\u{feff}{ALLOW}")), Malformed),
        // The words.
        ("unknown word", json(r#"{"decision":"YES","action_id":1}"#), Malformed),
        ("word in a word", json(r#"{"decision":"DISALLOW","action_id":1}"#), Malformed),
        ("true", json(r#"{"decision":true,"action_id":1}"#), Malformed),
        ("list of words", json(r#"{"decision":["ALLOW"],"action_id":1}"#), Malformed),
        ("only a success", json(r#"{"status":"success","action_id":1}"#), Malformed),
        (
            "only not denied",
            json(r#"{"success":true,"requires_approval":false,"action_id":1}"#),
            Malformed,
        ),
        ("contradiction", json(r#"{"decision":"ALLOW","status":"DENIED","action_id":1}"#), Denied),
        (
            "contradicting flag",
            json(r#"{"decision":"ALLOW","execution_allowed":false,"action_id":1}"#),
            Denied,
        ),
        (
            "failure as 200",
            json(
                r#"{"decision":"DENY","status":"FAILED","risk_score":100,"risk_level":"CRITICAL","action_id":1}"#,
            ),
            Unreachable,
        ),
        (
            "executed",
            json(r#"{"decision":"ALLOW","status":"executed","action_id":1}"#),
            AlreadyExecuted,
        ),
        // The ids.
        ("no id", json(r#"{"decision":"ALLOW"}"#), Malformed),
        ("float id", json(r#"{"decision":"ALLOW","action_id":1.0}"#), Malformed),
        ("negative id", json(r#"{"decision":"ALLOW","action_id":-1}"#), Malformed),
        ("huge id", json(r#"{"decision":"ALLOW","action_id":99999999999999999999999}"#), Malformed),
        ("empty id", json(r#"{"decision":"ALLOW","action_id":""}"#), Malformed),
        (
            "path for an id",
            json(r#"{"decision":"REQUIRE_APPROVAL","action_id":"../../admin"}"#),
            Malformed,
        ),
        (
            "query for an id",
            json(r#"{"decision":"REQUIRE_APPROVAL","action_id":"1?x="}"#),
            Malformed,
        ),
        ("object for an id", json(r#"{"decision":"ALLOW","action_id":{"id":1}}"#), Malformed),
        // The status.
        ("allow in a 500", vec![answer("500 Oh", ALLOW)], Unreachable),
        ("allow in a 400", vec![answer("400 Oh", ALLOW)], Malformed),
        ("allow in a 401", vec![answer("401 Oh", ALLOW)], RefusalKind::Unauthorized),
        ("allow in a 304", vec![answer("304 Oh", ALLOW)], Malformed),
        (
            "allow in a redirect",
            vec![answer_with("302 Oh", "Location: /elsewhere\r\n", ALLOW)],
            Malformed,
        ),
        ("allow in a 999", vec![answer("999 Oh", ALLOW)], Unreachable),
        ("only a continue", vec![send("HTTP/1.1 100 Continue\r\n\r\n"), Step::Hang], Unreachable),
        (
            "a switch",
            vec![send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            )],
            Malformed,
        ),
    ]
}

/// Whether the server says nothing, or takes its time: what an open fail mode
/// passes over, and what needs an impatient client.
fn is_silent(name: &str) -> bool {
    matches!(
        name,
        "closes at once"
            | "hangs"
            | "garbage"
            | "half a head"
            | "slow head"
            | "endless head"
            | "two lengths"
            | "only a continue"
    )
}

fn client_for(name: &str, url: &str) -> AscendBuilder {
    let is_slow = matches!(name, "body never ends" | "slow body");
    match (is_silent(name), is_slow) {
        (true, _) => impatient(url),
        // Its head must arrive in time, on a busy machine too.
        (_, true) => quick(url).attempts(1).request_timeout(Duration::from_millis(1_500)),
        _ => quick(url),
    }
}

#[tokio::test]
async fn no_bad_evaluation_lets_a_body_run() {
    let mut calls = JoinSet::new();
    for (name, steps, kind) in bad_evaluations() {
        let rogue = Rogue::always(steps).await;
        let governor = governor(client_for(name, &rogue.url));
        calls.spawn(async move {
            let refusal = call_with(&governor, Query::on("t")).await.refused();
            assert_eq!(refusal.kind(), kind, "{name}: {refusal}");
            drop(rogue);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

#[tokio::test]
async fn an_open_fail_mode_passes_over_nothing_but_silence() {
    let mut calls = JoinSet::new();
    for (name, steps, _) in bad_evaluations() {
        let rogue = Rogue::always(steps).await;
        let ascend = client_for(name, &rogue.url).circuit_breaker(1_000, Duration::ZERO);
        let governor = Governor::builder(ascend.build().unwrap()).fail_mode(FailMode::Open).build();
        calls.spawn(async move {
            let called = call_with(&governor, Query::on("t")).await;
            assert_eq!(called.runs, usize::from(is_silent(name)), "{name}: {:?}", called.result);
            // A person's approval is never passed over.
            call_with(&governor, Purge::on("t")).await.refused();
            drop(rogue);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

#[tokio::test]
async fn no_bad_status_lets_a_body_run() {
    let json = |body: &str| vec![ok(body)];
    use RefusalKind as K;
    let cases = vec![
        ("unknown word", json(r#"{"status":"frobnicated"}"#), K::Malformed),
        ("null", json(r#"{"status":null}"#), K::Malformed),
        ("a list", json(r#"["approved"]"#), K::Malformed),
        ("true", json(r#"{"status":true,"approved":true}"#), K::Malformed),
        ("html", json("approved"), K::Malformed),
        ("other action", json(r#"{"status":"approved","action_id":2}"#), K::Malformed),
        ("other call", json(r#"{"status":"approved","digest":"00"}"#), K::DigestMismatch),
        ("contradiction", json(r#"{"status":"approved","decision":"DENY"}"#), K::Rejected),
        ("executed", json(r#"{"status":"executed"}"#), K::AlreadyExecuted),
        (
            "by itself",
            json(r#"{"status":"auto_approved","reviewed_by":"ada"}"#),
            K::ApprovalMissing,
        ),
        ("gone", vec![answer("404 Not Found", r#"{"status":"approved"}"#)], K::Malformed),
        ("who?", vec![answer("401 Unauthorized", r#"{"status":"approved"}"#)], K::Unauthorized),
        (
            "redirect",
            vec![answer_with("307 Oh", "Location: /x\r\n", r#"{"status":"approved"}"#)],
            K::Malformed,
        ),
        (
            "long",
            json(&format!(r#"{{"status":"approved","x":"{}"}}"#, "x".repeat(2 << 20))),
            K::Malformed,
        ),
        // Passing troubles are waited out, until the caller's time is up.
        ("never there", vec![], K::TimedOut),
        ("always failing", vec![answer("500 Oh", r#"{"status":"approved"}"#)], K::TimedOut),
        (
            "cut off",
            vec![send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"status\":\"approved\"}")],
            K::TimedOut,
        ),
        ("not ready", json(r#"{"status":"approved","decision_ready":false}"#), K::TimedOut),
    ];
    let mut calls = JoinSet::new();
    for (name, steps, kind) in cases {
        calls.spawn(async move {
            let rogue = Rogue::start(move |path, _| match path {
                "/mcp/governance/evaluate" => vec![ok(PENDING)],
                "/api/v1/actions/1/status" => steps.clone(),
                _ => vec![ok("{}")],
            })
            .await;
            let ascend = quick(&rogue.url).circuit_breaker(1_000, Duration::from_secs(1)).build();
            let governor =
                Governor::builder(ascend.unwrap()).approval_timeout(Duration::from_secs(2)).build();
            let refusal = call_with(&governor, Purge::on("t")).await.refused();
            assert_eq!(refusal.kind(), kind, "{name}: {refusal}");
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_its_end() {
    const MANY: usize = 1 << 30;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MANY}\r\n\r\n");
    let rogue =
        Rogue::always(vec![send(head), Step::Repeat(vec![b' '; 1 << 16], MANY >> 16)]).await;
    let refusal = once::<Query>(quick(&rogue.url)).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::Malformed);
    let sent = rogue.sent.load(Ordering::SeqCst);
    assert!(sent < 32 << 20, "{sent} bytes were taken");
    assert_eq!(rogue.connections.load(Ordering::SeqCst), 1, "and it is not asked again");
}

#[tokio::test]
async fn no_redirect_is_followed_and_no_credential_leaves() {
    for status in ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"] {
        let elsewhere = Rogue::always(vec![ok(ALLOW)]).await;
        let location = format!("Location: {}/mcp/governance/evaluate\r\n", elsewhere.url);
        let rogue = Rogue::always(vec![answer_with(status, &location, "")]).await;
        let refusal = once::<Query>(quick(&rogue.url)).await.refused();
        assert_eq!(refusal.kind(), RefusalKind::Malformed);
        assert!(refusal.reason().unwrap().contains("redirect"), "{refusal}");
        assert!(!refusal.to_string().contains(&elsewhere.url), "{refusal}");
        assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0, "{status}");
    }
}
