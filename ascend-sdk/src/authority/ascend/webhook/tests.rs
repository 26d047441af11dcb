#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::json;

use super::*;

const NOW: i64 = 1_790_000_000;

fn webhook() -> Webhook {
    Ascend::builder("owkai_key".into()).build().unwrap().webhook("whsec_sesame".into()).unwrap()
}

fn body() -> Vec<u8> {
    json!({
        "id": "evt_1",
        "type": "action.approved",
        "timestamp": "2026-09-21T12:53:20Z",
        "data": { "action_id": 7, "approved_by": "ada" },
    })
    .to_string()
    .into_bytes()
}

fn signed(secret: &str, prefix: &str, parts: &[&[u8]]) -> String {
    format!("{prefix}{}", signature::sign(&secret.into(), parts))
}

fn dated(at: &str, body: &[u8]) -> String {
    signed("whsec_sesame", "sha256=", &[at.as_bytes(), b".", body])
}

fn receive(
    webhook: &Webhook,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Delivery, WebhookError> {
    webhook.receive_at(headers.iter().copied(), body, NOW)
}

#[test]
fn every_version_of_the_signature_is_taken() {
    let body = body();
    let at = NOW.to_string();
    let sha256 = dated(&at, &body);
    let v1 = signed("whsec_sesame", "v1=", &[at.as_bytes(), b".", &body]);
    let rfc3339 = "2026-09-21T14:13:20Z";
    let by_date = dated(rfc3339, &body);
    for headers in [
        [("X-OWkai-Signature", &*sha256), ("X-OWkai-Timestamp", &*at)],
        [("X-ASCEND-Signature", &*sha256), ("X-ASCEND-Timestamp", &*at)],
        [("x-ascend-timestamp", &*at), ("x-ascend-signature", &*v1)],
        [("X-ASCEND-Signature", &*by_date), ("X-ASCEND-Timestamp", rfc3339)],
    ] {
        assert_eq!(receive(&webhook(), &headers, &body), Ok(Delivery::NobodyWaits), "{headers:?}");
    }
    // One that fits is enough, beside one of another make.
    let both = [
        ("X-ASCEND-Signature", "sha256=00"),
        ("X-OWkai-Signature", &*sha256),
        ("X-OWkai-Timestamp", &*at),
    ];
    assert_eq!(receive(&webhook(), &both, &body), Ok(Delivery::NobodyWaits));
}

#[test]
fn what_is_not_shown_to_come_from_ascend_is_not_taken() {
    use WebhookError as E;
    let body = body();
    let at = NOW.to_string();
    let good = dated(&at, &body);
    let other = signed("whsec_other", "sha256=", &[at.as_bytes(), b".", &body]);
    let empty = signed("", "sha256=", &[at.as_bytes(), b".", &body]);
    let alone = signed("whsec_sesame", "sha256=", &[&body]);
    let (name, time) = ("X-ASCEND-Signature", "X-ASCEND-Timestamp");
    let later = (NOW + 1).to_string();
    for (headers, error) in [
        (vec![], E::Unsigned),
        (vec![(time, &*at)], E::Unsigned),
        (vec![(name, ""), (time, &*at)], E::Unsigned),
        (vec![(name, &good["sha256=".len()..]), (time, &*at)], E::Unsigned),
        (vec![(name, "md5=00"), (time, &*at)], E::Unsigned),
        (vec![(name, "sha256=xyz"), (time, &*at)], E::Unsigned),
        (vec![(name, "sha256="), (time, &*at)], E::Forged),
        (vec![(name, &good[..good.len() - 2]), (time, &*at)], E::Forged),
        (vec![(name, &*other), (time, &*at)], E::Forged),
        (vec![(name, &*empty), (time, &*at)], E::Forged),
        (vec![(name, &*good), (time, &*later)], E::Forged),
        (vec![(name, &*good)], E::Undated),
        (vec![(name, &*good), ("X-OWkai-Timestamp", &*at)], E::Undated),
        (vec![(name, &*alone)], E::Undated),
        (vec![(name, &*alone), (time, &*at)], E::Forged),
        (vec![(name, &*good), (name, &*good), (time, &*at)], E::Ambiguous),
        (vec![(name, &*good), (time, &*at), ("x-ascend-TIMESTAMP", &*at)], E::Ambiguous),
    ] {
        assert_eq!(receive(&webhook(), &headers, &body), Err(error), "{headers:?}");
        assert_eq!(error.http_status(), 401);
    }
    let headers = [(name, &*good), (time, &*at)];
    let mut changed = body.clone();
    changed[10] ^= 1;
    assert_eq!(receive(&webhook(), &headers, &changed), Err(E::Forged));
    assert_eq!(receive(&webhook(), &headers, &vec![b' '; BODY_LIMIT + 1]), Err(E::TooLong));
    for text in ["", "[]", "7", "{"] {
        let signature = dated(&at, text.as_bytes());
        let headers = [(name, &*signature), (time, &*at)];
        assert_eq!(receive(&webhook(), &headers, text.as_bytes()), Err(E::Malformed), "{text}");
    }
}

#[test]
fn only_the_last_and_the_next_five_minutes_count() {
    let body = body();
    for (at, fresh) in [
        ((NOW - 300).to_string(), true),
        ((NOW + 300).to_string(), true),
        ((NOW - 301).to_string(), false),
        ((NOW + 301).to_string(), false),
        (i64::MIN.to_string(), false),
        (i64::MAX.to_string(), false),
        ("1e999".to_owned(), false),
        ("yesterday".to_owned(), false),
        (String::new(), false),
    ] {
        let signature = dated(&at, &body);
        let headers = [("X-ASCEND-Signature", &*signature), ("X-ASCEND-Timestamp", &*at)];
        let expected = if fresh { Ok(Delivery::NobodyWaits) } else { Err(WebhookError::Stale) };
        assert_eq!(receive(&webhook(), &headers, &body), expected, "{at}");
    }
}

#[test]
fn signatures_over_the_body_alone_are_taken_only_on_request() {
    let body = body();
    let signature = signed("whsec_sesame", "sha256=", &[&body]);
    let headers = [("X-ASCEND-Signature", &*signature)];
    assert_eq!(receive(&webhook(), &headers, &body), Err(WebhookError::Undated));
    let lenient = webhook().accept_body_only();
    assert_eq!(receive(&lenient, &headers, &body), Ok(Delivery::NobodyWaits));
    let other = signed("whsec_other", "sha256=", &[&body]);
    let headers = [("X-ASCEND-Signature", &*other)];
    assert_eq!(receive(&lenient, &headers, &body), Err(WebhookError::Forged));
    // One that does cover a time is still held to it.
    let at = (NOW - 900).to_string();
    let signature = dated(&at, &body);
    let headers = [("X-ASCEND-Signature", &*signature), ("X-ASCEND-Timestamp", &*at)];
    assert_eq!(receive(&lenient, &headers, &body), Err(WebhookError::Stale));
}

#[test]
fn a_delivery_counts_once_and_the_memory_is_bounded() {
    let webhook = webhook();
    let deliver = |at: i64, id: serde_json::Value, idempotency_key: Option<&str>| {
        let mut body = json!({ "type": "action.approved", "data": { "action_id": 7 } });
        body["id"] = id;
        body["metadata"] = json!({ "idempotency_key": idempotency_key });
        let (at, body) = (at.to_string(), body.to_string().into_bytes());
        let signature = dated(&at, &body);
        receive(
            &webhook,
            &[("X-ASCEND-Signature", &*signature), ("X-ASCEND-Timestamp", &*at)],
            &body,
        )
        .unwrap()
    };
    assert_eq!(deliver(NOW, json!("evt_1"), None), Delivery::NobodyWaits);
    // Sent again, it is signed anew.
    assert_eq!(deliver(NOW + 1, json!("evt_1"), None), Delivery::Repeated);
    assert_eq!(deliver(NOW, json!(null), Some("key")), Delivery::NobodyWaits);
    assert_eq!(deliver(NOW + 1, json!(null), Some("key")), Delivery::Repeated);
    assert_eq!(deliver(NOW, json!(null), None), Delivery::NobodyWaits);
    assert_eq!(deliver(NOW, json!(null), None), Delivery::Repeated);
    let mut seen = Seen::default();
    for number in 0..=REMEMBERED {
        assert!(seen.insert(Sha256::digest(number.to_be_bytes()).into()));
    }
    assert_eq!((seen.keys.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
}

#[test]
fn the_secret_is_not_shown_and_not_empty() {
    assert!(!format!("{:?}", webhook()).contains("sesame"));
    let ascend = Ascend::builder("owkai_key".into()).build().unwrap();
    assert_eq!(ascend.webhook("".into()).unwrap_err(), ConfigError::WebhookSecret);
}
