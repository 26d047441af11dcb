//! Credentials, signatures, and decisions that are used twice.

use std::{
    io::Write,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use ascend_sdk::{Authority as _, RefusalKind, authority::Ascend};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    center::{Center, Reply, Seen, allow, pending},
    rogue::{Rogue, ok},
    tool::{Counting as _, KEY, Purge, Query, call_with, governor, once, quick},
};

const SECRET: &str = "signing_secret_abc";

fn is_signed(seen: &Seen) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(seen.header("x-request-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&seen.body);
    let expected: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    seen.header("x-signature") == format!("v1={expected}")
}

#[tokio::test]
async fn every_request_is_signed_over_the_bytes_that_arrive() {
    let center = Center::start(|seen, nth| match (seen.is_evaluation(), nth) {
        (true, 0) => Reply::status(503, Value::Null),
        (true, _) => Reply::json(pending()),
        _ => Reply::json(json!({"status": "approved"})),
    })
    .await;
    let ascend = quick(&center.url).signing_secret(SECRET.into());
    once::<Purge>(ascend).await.ran();
    let seen = center.seen();
    assert_eq!(seen.len(), 4, "two evaluations, a status, a report");
    for seen in &seen {
        assert!(is_signed(seen), "{} {}", seen.method, seen.path);
    }
    // A retry is a new request: an old signature could be a replayed one.
    assert_ne!(seen[0].header("x-signature"), seen[1].header("x-signature"));
}

#[tokio::test]
async fn one_decision_is_one_run_even_if_the_server_gives_it_twice() {
    let center = Center::start(|seen, _| {
        let mut answer = allow();
        answer["claim"] = json!(true);
        answer["granted"] = json!(true);
        if seen.is_evaluation() {
            answer.as_object_mut().unwrap().remove("granted");
        }
        Reply::json(answer)
    })
    .await;
    let ascend = Arc::new(quick(&center.url).build().unwrap());
    // Two governors, so that only the authority itself stands in the way.
    let governors = [(); 2].map(|()| ascend_sdk::Governor::new(ascend.clone()));
    call_with(&governors[0], Query::on("t")).await.ran();
    for governor in &governors {
        let refusal = call_with(governor, Query::on("t")).await.refused();
        assert_eq!(refusal.kind(), RefusalKind::AlreadyExecuted);
    }
}

#[tokio::test]
async fn one_id_for_two_calls_lets_only_the_first_run() {
    let center = Center::scripted(
        pending(),
        [
            (200, json!({"status": "pending"})),
            (200, json!({"status": "pending"})),
            (200, json!({"status": "approved"})),
        ],
    )
    .await;
    let governor = governor(
        quick(&center.url).polling(Duration::from_millis(300), Duration::from_millis(300)),
    );
    let first = tokio::spawn({
        let governor = governor.clone();
        async move { call_with(&governor, Purge::on("first")).await }
    });
    crate::tool::until("the first waits", || center.count("/status") == 1).await;
    let refusal = call_with(&governor, Purge::on("second")).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::DigestMismatch);
    first.await.unwrap().ran();
}

#[tokio::test]
async fn no_server_can_talk_a_high_risk_call_past_a_person() {
    for evaluation in [
        allow(),
        json!({"decision": "ALLOW", "action_id": 123, "reviewed_by": "ada"}),
        json!({"decision": "approved", "status": "auto_approved", "action_id": 123, "reviewed_by": "ada"}),
    ] {
        let center = Center::scripted(evaluation, [(200, json!({"status": "approved"}))]).await;
        let refusal = once::<Purge>(quick(&center.url)).await.refused();
        assert_eq!(refusal.kind(), RefusalKind::ApprovalMissing);
        assert_eq!(center.count("/fail"), 1, "what was allowed and not run is withdrawn");
    }
    for status in ["auto_approved", "ALLOW"] {
        let center = Center::scripted(pending(), [(200, json!({"status": status}))]).await;
        let refusal = once::<Purge>(quick(&center.url)).await.refused();
        assert_eq!(refusal.kind(), RefusalKind::ApprovalMissing);
    }
    // It had let it pass by itself: an approval that names nobody is its own.
    let mut both = allow();
    both["requires_approval"] = json!(true);
    let unnamed = Center::scripted(both.clone(), [(200, json!({"status": "approved"}))]).await;
    let refusal = once::<Purge>(quick(&unnamed.url)).await.refused();
    assert_eq!(refusal.kind(), RefusalKind::ApprovalMissing);
    let named = json!({"status": "approved", "reviewed_by": "ada"});
    let named = Center::scripted(both, [(200, named)]).await;
    assert_eq!(once::<Purge>(quick(&named.url)).await.ran(), "ada");
}

/// Everything that is logged, at the finest level, by all libraries too.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_credential_is_logged_or_told_even_if_the_server_echoes_it() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let echo = format!("you sent Bearer {KEY}, signed with {SECRET}");
    let answers = [
        (401, json!({"detail": echo})),
        (422, json!({"detail": [{"loc": ["header", KEY], "msg": echo}]})),
        (500, json!({"detail": echo})),
        (403, json!({"detail": {"error": "governance", "detail": echo, "correlation_id": KEY}})),
        (200, json!({"decision": "DENY", "action_id": KEY, "reason": echo})),
        (200, json!({"decision": echo, "action_id": 1})),
        (200, json!({"decision": "ALLOW", "action_id": KEY})),
        (200, json!({"decision": "DENY", "status": "cancelled", "reason": echo})),
    ];
    let mut told = String::new();
    for (status, body) in answers {
        let center = Center::start(move |_, _| Reply::status(status, body.clone())).await;
        let ascend = quick(&center.url).signing_secret(SECRET.into());
        let refusal = once::<Query>(ascend).await.refused();
        told.push_str(&format!("{refusal} {refusal:?} {}\n", refusal.to_json()));
    }
    let rejected = json!({"status": "rejected", "reviewed_by": KEY, "comments": echo});
    let center = Center::scripted(pending(), [(200, rejected)]).await;
    let ascend = quick(&center.url).signing_secret(SECRET.into());
    told.push_str(&once::<Purge>(ascend).await.refused().to_json().to_string());

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("evaluated") && log.contains("no answer"), "the log is there");
    assert!(told.contains("[redacted]"), "{told}");
    for secret in [KEY, SECRET] {
        assert!(!log.contains(secret), "{log}");
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn a_key_goes_nowhere_unencrypted() {
    for url in ["http://pilot.owkai.app", "http://localhost.evil.example", "http://10.0.0.1"] {
        let error = Ascend::builder(KEY.into()).base_url(url).build().unwrap_err();
        assert!(error.to_string().contains("write `https://`"), "{error}");
    }
}

/// Runs the test `name` of this program anew, with these variables, which
/// cannot be set safely in a program that is running.
async fn again(name: &str, variables: &[(&str, &str)]) {
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .envs(variables.iter().copied())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn no_proxy_reads_what_is_meant_for_this_machine() {
    let proxy = Rogue::always(vec![ok("{}")]).await;
    let proxies =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, &*proxy.url));
    again("flow::an_allowed_call_runs_once_and_is_reported", &proxies).await;
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_environment_is_read() {
    const NAME: &str = "trust::the_environment_is_read";
    let Ok(expected) = std::env::var("ASCEND_TEST_EXPECTS") else {
        again(NAME, &[("ASCEND_TEST_EXPECTS", "none")]).await;
        for (url, says) in [
            ("http://localhost:1/", "ASCEND at http://localhost:1 decides"),
            ("http://ascend.example", "write `https://`"),
        ] {
            let variables =
                [("ASCEND_API_KEY", KEY), ("ASCEND_BASE_URL", url), ("ASCEND_TEST_EXPECTS", says)];
            again(NAME, &variables).await;
        }
        return;
    };
    let found = match Ascend::from_env() {
        Ok(None) => "none".to_owned(),
        Ok(Some(ascend)) => ascend.describe(),
        Err(error) => error.to_string(),
    };
    assert!(found.contains(&expected), "{found}");
}
