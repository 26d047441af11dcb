#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

const ALLOWING: [&str; 4] = ["allow", "allowed", "approved", "auto_approved"];

fn digest() -> Digest {
    "ab".repeat(32).parse().unwrap()
}

fn quoter() -> Quoter {
    Quoter::new(vec!["owkai_sesame".into()])
}

fn evaluated(answer: Value) -> Result<Evaluated, AuthorityError> {
    let fields = Fields::from_value(answer).map_err(AuthorityError::Malformed)?;
    let correlation = ActionId::new("asc_0123456789abcdef").unwrap();
    evaluation(&fields, &digest(), &correlation, &quoter())
}

fn decided(answer: Value) -> (Decision, Option<RefusalKind>) {
    let evaluation = evaluated(answer).unwrap().evaluation;
    (evaluation.decision, evaluation.refusal)
}

fn reviewed(answer: Value, passed: bool) -> Result<Option<Review>, AuthorityError> {
    let fields = Fields::from_value(answer).map_err(AuthorityError::Malformed)?;
    review(&fields, &ActionId::new("7").unwrap(), Some(&digest()), passed, &quoter())
}

/// The table of `docs/ascend-api.md`, word by word.
const TABLE: [(&str, Decision, Option<RefusalKind>); 28] = {
    use Decision::{Allow, Deny, RequireApproval};
    use RefusalKind as K;
    [
        ("ALLOW", Allow, None),
        ("allowed", Allow, None),
        ("approved", Allow, None),
        ("AUTO_APPROVED", Allow, None),
        (" Auto-Approved\n", Allow, None),
        ("executed", Deny, Some(K::AlreadyExecuted)),
        ("DENY", Deny, None),
        ("denied", Deny, None),
        ("blocked", Deny, None),
        ("rejected", Deny, Some(K::Rejected)),
        ("REQUIRE_APPROVAL", RequireApproval, None),
        ("require-approval", RequireApproval, None),
        ("EVALUATE", RequireApproval, None),
        ("pending", RequireApproval, None),
        ("PENDING_APPROVAL", RequireApproval, None),
        ("processing", RequireApproval, None),
        ("escalated", RequireApproval, None),
        ("timeout", Deny, Some(K::TimedOut)),
        ("requires_modification", Deny, None),
        ("expired", Deny, Some(K::Expired)),
        ("cancelled", Deny, Some(K::Cancelled)),
        ("failed", Deny, Some(K::Unreachable)),
        ("error", Deny, Some(K::Unreachable)),
        ("", Deny, Some(K::Malformed)),
        ("success", Deny, Some(K::Malformed)),
        ("allow it", Deny, Some(K::Malformed)),
        ("ALLOW\u{200b}", Deny, Some(K::Malformed)),
        ("ＡＬＬＯＷ", Deny, Some(K::Malformed)),
    ]
};

#[test]
fn every_word_means_what_the_table_says() {
    for (word, decision, refusal) in TABLE {
        for field in ["decision", "status", "enforcement_decision"] {
            let answer = json!({"action_id": 7, field: word});
            assert_eq!(decided(answer), (decision, refusal), "{field}: {word:?}");
        }
    }
}

#[test]
fn of_two_words_the_stricter_counts() {
    for (first, first_means, _) in TABLE {
        for (second, second_means, _) in TABLE {
            let answer = json!({"action_id": 7, "decision": first, "status": second});
            let (decision, _) = decided(answer);
            assert_eq!(decision, first_means.max(second_means), "{first:?} and {second:?}");
        }
    }
}

#[test]
fn a_field_can_only_make_it_stricter() {
    use RefusalKind as K;
    let deny = |kind| (Decision::Deny, kind);
    for (field, value, expected) in [
        ("requires_approval", json!(true), (Decision::RequireApproval, None)),
        ("requires_approval", json!(false), (Decision::Allow, None)),
        ("requires_approval", json!("false"), deny(Some(K::Malformed))),
        ("requires_approval", json!(0), deny(Some(K::Malformed))),
        ("required_approvers", json!(["a@b"]), (Decision::RequireApproval, None)),
        ("required_approvers", json!([]), (Decision::Allow, None)),
        ("required_approvers", json!("a@b"), deny(Some(K::Malformed))),
        ("execution_allowed", json!(false), deny(None)),
        ("execution_allowed", json!(null), (Decision::Allow, None)),
        ("success", json!(false), deny(None)),
        ("refusal", json!("kill_switch"), deny(Some(K::KillSwitch))),
        ("refusal", json!("something new"), deny(None)),
        ("status", json!(1), deny(Some(K::Malformed))),
        ("status", json!(null), (Decision::Allow, None)),
        ("digest", json!("ab".repeat(32)), (Decision::Allow, None)),
        ("digest", json!("cd".repeat(32)), deny(Some(K::DigestMismatch))),
        ("digest", json!(5), deny(Some(K::DigestMismatch))),
    ] {
        let answer = json!({"action_id": 7, "decision": "ALLOW", field: value});
        assert_eq!(decided(answer.clone()), expected, "{answer}");
    }
    // What is pending is of course not allowed yet.
    let pending =
        json!({"action_id": 7, "decision": "REQUIRE_APPROVAL", "execution_allowed": false});
    assert_eq!(decided(pending), (Decision::RequireApproval, None));
}

#[test]
fn without_a_word_nothing_runs() {
    for answer in [
        json!({}),
        json!({"action_id": 7}),
        json!({"action_id": 7, "decision": null, "status": null}),
        json!({"action_id": 7, "requires_approval": false, "execution_allowed": true}),
        json!({"action_id": 7, "requires_approval": true}),
    ] {
        assert_eq!(decided(answer), (Decision::Deny, Some(RefusalKind::Malformed)));
    }
}

#[test]
fn a_failing_server_is_told_from_a_denying_one() {
    let answer = json!({
        "action_id": "6f9619ff-8b86-d011-b42d-00c04fc964ff", "decision": "DENY",
        "status": "FAILED", "risk_score": 100, "risk_level": "CRITICAL",
        "reason": "Evaluation failed: database",
    });
    let evaluation = evaluated(answer).unwrap().evaluation;
    assert_eq!(evaluation.refusal, Some(RefusalKind::Unreachable));
    assert_eq!(evaluation.reason.as_deref(), Some("Evaluation failed: database"));
    assert_eq!(evaluation.risk_score, 100);
}

#[test]
fn an_envelope_is_opened_and_its_status_is_no_verdict() {
    let inner = json!({"action_id": 7, "decision": "ALLOW"});
    let answer = json!({"status": "success", "data": inner});
    assert_eq!(decided(answer), (Decision::Allow, None));
    let answer = json!({"status": "success", "data": {"action_id": 7}});
    assert_eq!(decided(answer).0, Decision::Deny);
    let answer = json!({"status": "error", "data": inner});
    assert_eq!(decided(answer).0, Decision::Deny);
    for outside in ["decision", "requires_approval", "refusal", "execution_allowed"] {
        let mut answer = json!({"status": "success", "data": inner});
        answer[outside] = json!("DENY");
        assert!(matches!(evaluated(answer), Err(AuthorityError::Malformed(_))));
    }
    for body in [json!([inner]), json!("ALLOW"), json!(null), json!(1)] {
        assert!(matches!(evaluated(body), Err(AuthorityError::Malformed(_))));
    }
}

#[test]
fn a_key_twice_is_no_answer() {
    for body in [
        r#"{"action_id":7,"decision":"DENY","decision":"ALLOW"}"#,
        r#"{"status":"success","data":{"action_id":7,"decision":"ALLOW","action_id":8}}"#,
        r#" {"action_id":7,"decision":"ALLOW","more":[{"x":1,"x":1}]}"#,
        r#"{"action_id":7,"decision":"DENY","deci\u0073ion":"ALLOW"}"#,
        r#"{"status":"success","data":{"$serde_json::private::RawValue":"{\"action_id\":7,\"decision\":\"DENY\",\"decision\":\"ALLOW\"}"}}"#,
        r#"{"$serde_json::private::RawValue":"{\"decision\":\"ALLOW\",\"action_id\":7}"}"#,
    ] {
        assert_eq!(Fields::parse(body.as_bytes()).unwrap_err(), "it has a key twice");
    }
    assert!(Fields::parse(br#"{"a":{"x":1.5,"y":-1},"b":[{"x":1},{"x":2}]}"#).is_ok());
    let deep = "[".repeat(100_000);
    assert_eq!(Fields::parse(deep.as_bytes()).unwrap_err(), "it is no JSON");
}

#[test]
fn what_is_no_object_is_no_answer() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    for (body, wrong) in [
        (format!(r#"{{"a":{open}{close}}}"#), "it is no JSON"),
        (format!("{open}{close}"), "it is no JSON"),
        ("[1]".to_owned(), "it is no JSON object"),
        (r#""ALLOW""#.to_owned(), "it is no JSON object"),
        (r#"{"decision":"ALLOW"} {}"#.to_owned(), "it is no JSON"),
        (r#"{"decision":"ALLOW""#.to_owned(), "it is no JSON"),
        (r#"{"decision":1e999}"#.to_owned(), "it is no JSON"),
        (String::new(), "it is no JSON"),
    ] {
        assert_eq!(Fields::parse(body.as_bytes()).unwrap_err(), wrong, "{body:.40}");
    }
}

#[test]
fn an_id_must_be_usable_where_something_may_run() {
    let unusable = [
        json!(null),
        json!(1.5),
        json!(-1),
        json!(1e3),
        json!(true),
        json!(""),
        json!(".."),
        json!("7/../8"),
        json!("a b"),
        json!("7?x"),
        json!("7%2f8"),
        json!("x".repeat(129)),
        json!([7]),
        json!({"id": 7}),
        json!("owkai_sesame"),
    ];
    for id in unusable {
        for decision in ["ALLOW", "REQUIRE_APPROVAL"] {
            let answer = evaluated(json!({"action_id": id, "decision": decision}));
            assert!(matches!(answer, Err(AuthorityError::Malformed(_))), "{id} {answer:?}");
        }
        let denied = evaluated(json!({"action_id": id, "decision": "DENY"})).unwrap().evaluation;
        assert_eq!(denied.decision, Decision::Deny);
        assert_eq!(denied.action_id.as_str(), "asc_0123456789abcdef");
    }
    for (id, text) in [
        (json!(7), "7"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!("6f9619ff-8b86-d011-b42d-00c04fc964ff"), "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    ] {
        for key in ["action_id", "id"] {
            let answer = evaluated(json!({key: id, "decision": "ALLOW"})).unwrap();
            assert_eq!(answer.evaluation.action_id.as_str(), text);
        }
    }
}

#[test]
fn a_score_that_cannot_be_read_is_the_highest() {
    for (score, expected) in [
        (json!(null), 0),
        (json!(0), 0),
        (json!(75), 75),
        (json!(75.2), 76),
        (json!(100), 100),
        (json!(100.5), 100),
        (json!(101), 100),
        (json!(-1), 100),
        (json!(1e300), 100),
        (json!("75"), 100),
        (json!([]), 100),
    ] {
        let answer = json!({"action_id": 7, "decision": "ALLOW", "risk_score": score});
        assert_eq!(evaluated(answer).unwrap().evaluation.risk_score, expected, "{score}");
    }
    for (level, expected) in [
        (json!("high"), RiskLevel::High),
        (json!("LOW"), RiskLevel::Low),
        (json!(null), RiskLevel::Medium),
        (json!("huge"), RiskLevel::Critical),
        (json!(3), RiskLevel::Critical),
    ] {
        let answer = json!({
            "action_id": 7, "decision": "ALLOW", "risk_score": 40, "risk_level": level,
        });
        assert_eq!(evaluated(answer).unwrap().evaluation.risk_level, expected, "{level}");
    }
}

#[test]
fn the_expected_time_is_in_minutes() {
    for (answer, expected) in [
        (json!({"estimated_approval_time": 15}), Some(900)),
        (json!({"estimated_review_time_minutes": 2.5}), Some(150)),
        (json!({"estimated_approval_time": 0}), None),
        (json!({"estimated_approval_time": -1}), None),
        (json!({"estimated_approval_time": 1e300}), None),
        (json!({"estimated_approval_time": "15"}), None),
    ] {
        let mut answer = answer;
        answer["action_id"] = json!(7);
        answer["decision"] = json!("REQUIRE_APPROVAL");
        let time = evaluated(answer).unwrap().evaluation.estimated_approval_time;
        assert_eq!(time.map(|time| time.as_secs()), expected);
    }
}

#[test]
fn only_an_approval_with_a_name_comes_with_the_evaluation() {
    let approval = |answer| evaluated(answer).unwrap().evaluation.approval;
    let named =
        json!({"action_id": 7, "status": "approved", "reviewed_by": "ada", "comments": "ok"});
    assert_eq!(
        approval(named),
        Some(Approval { reviewed_by: Some("ada".to_owned()), comments: Some("ok".to_owned()) })
    );
    for answer in [
        json!({"action_id": 7, "status": "approved"}),
        json!({"action_id": 7, "status": "approved", "reviewed_by": " "}),
        json!({"action_id": 7, "decision": "ALLOW", "reviewed_by": "ada"}),
        json!({"action_id": 7, "decision": "ALLOW", "status": "AUTO_APPROVED", "reviewed_by": "ada"}),
        json!({"action_id": 7, "decision": "approved", "status": "auto_approved", "reviewed_by": "a"}),
        json!({"action_id": 7, "status": "approved", "requires_approval": true, "reviewed_by": "a"}),
    ] {
        assert_eq!(approval(answer.clone()), None, "{answer}");
    }
}

#[test]
fn a_review_ends_with_a_person_or_a_refusal() {
    let approved = json!({"status": "approved", "reviewed_by": "ada", "comments": "fine"});
    let ada = Approval { reviewed_by: Some("ada".to_owned()), comments: Some("fine".to_owned()) };
    assert_eq!(reviewed(approved.clone(), false), Ok(Some(Review::Approved(ada.clone()))));
    assert_eq!(reviewed(approved, true), Ok(Some(Review::Approved(ada))));

    // Row 6: the name may be missing, unless the evaluation had let it pass by itself.
    let unnamed = json!({"status": "approved"});
    assert_eq!(reviewed(unnamed.clone(), false), Ok(Some(Review::Approved(Approval::default()))));
    assert_eq!(reviewed(unnamed, true), Ok(Some(Review::AutoApproved)));
    for word in ["auto_approved", "ALLOW", "allowed"] {
        let answer = json!({"status": word, "reviewed_by": "ada"});
        assert_eq!(reviewed(answer, false), Ok(Some(Review::AutoApproved)));
    }

    for (word, kind) in [
        ("rejected", RefusalKind::Rejected),
        ("denied", RefusalKind::Rejected),
        ("expired", RefusalKind::Expired),
        ("cancelled", RefusalKind::Cancelled),
        ("timeout", RefusalKind::TimedOut),
        ("executed", RefusalKind::AlreadyExecuted),
        ("failed", RefusalKind::Unreachable),
    ] {
        let answer = json!({"status": word, "comments": "no", "reviewed_by": "ada"});
        let rejection =
            Rejection { kind, reason: Some("no".to_owned()), reviewed_by: Some("ada".to_owned()) };
        assert_eq!(reviewed(answer, false), Ok(Some(Review::Rejected(rejection))), "{word}");
    }
    for answer in [
        json!({"status": "pending"}),
        json!({"status": "processing", "decision_ready": false}),
        json!({"status": "approved", "decision_ready": false}),
        json!({"status": "approved", "execution_allowed": false}),
        json!({"status": "approved", "decision": "EVALUATE"}),
        json!({"status": "pending_approval", "action_id": 7}),
    ] {
        assert_eq!(reviewed(answer.clone(), false), Ok(None), "{answer}");
    }
    for answer in [
        json!({}),
        json!({"status": null}),
        json!({"status": "frobnicated"}),
        json!({"status": 1}),
        json!({"status": "approved", "decision": ["ALLOW"]}),
        json!({"status": "approved", "action_id": 8}),
        json!({"status": "approved", "action_id": "7/x"}),
        json!(["approved"]),
    ] {
        let review = reviewed(answer.clone(), false);
        assert!(matches!(review, Err(AuthorityError::Malformed(_))), "{answer} {review:?}");
    }
    let other = json!({"status": "approved", "digest": "cd".repeat(32)});
    let Ok(Some(Review::Rejected(rejection))) = reviewed(other, false) else { panic!("rejected") };
    assert_eq!(rejection.kind, RefusalKind::DigestMismatch);
}

#[test]
fn a_claim_is_granted_plainly_or_not_at_all() {
    let claimed = |answer: Value| {
        let fields = Fields::from_value(answer).unwrap();
        claim(&fields, &ActionId::new("7").unwrap(), &digest(), &quoter())
    };
    assert_eq!(claimed(json!({"granted": true})), Ok(Claim::Granted));
    let same = json!({"granted": true, "action_id": 7, "digest": "AB".repeat(32)});
    assert_eq!(claimed(same), Ok(Claim::Granted));
    for (word, kind) in [
        ("expired", RefusalKind::Expired),
        ("already_executed", RefusalKind::AlreadyExecuted),
        ("kill_switch", RefusalKind::KillSwitch),
        ("digest_mismatch", RefusalKind::DigestMismatch),
        ("cancelled", RefusalKind::Cancelled),
        ("rejected", RefusalKind::Rejected),
        ("whatever", RefusalKind::Denied),
    ] {
        // Also where it contradicts itself.
        for granted in [true, false] {
            let answer = json!({"granted": granted, "refusal": word, "reason": "so"});
            let refused = Rejection { kind, reason: Some("so".to_owned()), reviewed_by: None };
            assert_eq!(claimed(answer), Ok(Claim::Refused(refused)));
        }
    }
    for answer in [
        json!({}),
        json!({"granted": null}),
        json!({"granted": "true"}),
        json!({"granted": 1}),
        json!({"granted": true, "action_id": 8}),
    ] {
        assert!(matches!(claimed(answer), Err(AuthorityError::Malformed(_))));
    }
    let other = json!({"granted": true, "digest": "cd".repeat(32)});
    assert!(matches!(claimed(other), Ok(Claim::Refused(_))));
}

#[test]
fn a_kill_switch_is_down_only_when_it_says_so() {
    let raised = |answer| kill_switch(&Fields::from_value(answer).unwrap(), &quoter());
    assert_eq!(raised(json!({"blocked": false})), None);
    for answer in [
        json!({}),
        json!({"blocked": true}),
        json!({"blocked": null}),
        json!({"blocked": "false"}),
        json!({"blocked": 0}),
    ] {
        assert_eq!(raised(answer).map(|rejection| rejection.kind), Some(RefusalKind::KillSwitch));
    }
}

#[test]
fn texts_are_bounded_visible_and_without_the_key() {
    let reason = format!("owkai_sesame\u{1b}[31m {}", "x".repeat(100_000));
    let answer = json!({"action_id": 7, "decision": "DENY", "reason": reason});
    let reason = evaluated(answer).unwrap().evaluation.reason.unwrap();
    assert!(reason.starts_with("[redacted]\\u{1b}[31m x"), "{reason}");
    assert!(reason.len() < 1_000);
    let answer = json!({"action_id": 7, "decision": "owkai_sesame"});
    let reason = evaluated(answer).unwrap().evaluation.reason.unwrap();
    assert_eq!(reason, "unknown decision `[redacted]`");
}

fn word() -> impl Strategy<Value = Value> {
    let known: Vec<_> = TABLE.iter().map(|(word, ..)| *word).collect();
    prop_oneof![
        6 => prop::sample::select(ALLOWING.to_vec()).prop_map(Value::from),
        2 => prop::sample::select(known).prop_map(Value::from),
        1 => ".{0,12}".prop_map(Value::from),
        1 => odd(),
    ]
}

fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!(["ALLOW"])),
        Just(json!({"decision": "ALLOW"})),
    ]
}

fn flag_value() -> impl Strategy<Value = Value> {
    prop_oneof![4 => any::<bool>().prop_map(Value::from), 1 => odd()]
}

/// Answers that are often almost right.
fn answer() -> impl Strategy<Value = Value> {
    let id = prop_oneof![3 => any::<u64>().prop_map(Value::from), 1 => odd()];
    let digest = prop_oneof![Just(json!("ab".repeat(32))), odd()];
    let maybe = |name: &'static str, value: BoxedStrategy<Value>, probability: f64| {
        prop::option::weighted(probability, value.prop_map(move |value| (name, value)))
    };
    let fields = (
        maybe("decision", word().boxed(), 0.8),
        maybe("status", word().boxed(), 0.5),
        maybe("enforcement_decision", word().boxed(), 0.2),
        maybe("requires_approval", flag_value().boxed(), 0.3),
        maybe("execution_allowed", flag_value().boxed(), 0.3),
        maybe("success", flag_value().boxed(), 0.2),
        maybe("required_approvers", odd().boxed(), 0.1),
        maybe("refusal", odd().boxed(), 0.1),
        maybe("action_id", id.boxed(), 0.9),
        maybe("digest", digest.boxed(), 0.2),
    );
    (fields, any::<bool>(), maybe("decision", word().boxed(), 0.1)).prop_map(
        |((a, b, c, d, e, f, g, h, i, j), in_envelope, outside)| {
            let object = |fields: Vec<Option<(&str, Value)>>| {
                let entries = fields.into_iter().flatten();
                entries.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
            };
            let inner = object(vec![a, b, c, d, e, f, g, h, i, j]);
            if !in_envelope {
                return Value::Object(inner);
            }
            let mut outer = object(vec![outside]);
            outer.insert("status".to_owned(), json!("success"));
            outer.insert("data".to_owned(), inner.into());
            Value::Object(outer)
        },
    )
}

/// What must hold of an answer that let something run, said anew.
fn says_allow_and_nothing_else(answer: &Value) -> bool {
    let fields = match answer.get("data") {
        Some(data) if answer["status"] == "success" => {
            if answer.get("decision").is_some() {
                return false;
            }
            data
        }
        _ => answer,
    };
    let absent = |name: &str| fields.get(name).is_none_or(Value::is_null);
    let is = |name: &str, value: Value| absent(name) || fields[name] == value;
    let words = ["decision", "status", "enforcement_decision"];
    let allows = |name: &&str| {
        fields[*name].as_str().is_some_and(|word| {
            let word = word.trim().to_lowercase().replace('-', "_");
            ALLOWING.contains(&word.as_str())
        })
    };
    words.iter().any(|name| !absent(name))
        && words.iter().filter(|name| !absent(name)).all(allows)
        && is("requires_approval", json!(false))
        && is("execution_allowed", json!(true))
        && is("success", json!(true))
        && is("required_approvers", json!([]))
        && is("digest", json!("ab".repeat(32)))
        && absent("refusal")
        && (fields["action_id"].is_u64() || fields["action_id"].is_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Allowed if and only if an allowing word is there and no field says otherwise.
    #[test]
    fn no_answer_is_allowed_by_accident(answer in answer()) {
        let allowed = evaluated(answer.clone())
            .is_ok_and(|evaluated| evaluated.evaluation.decision == Decision::Allow);
        if allowed {
            prop_assert!(says_allow_and_nothing_else(&answer), "{answer}");
        }
        let usable = answer.get("data").unwrap_or(&answer)["action_id"].is_u64();
        if usable && says_allow_and_nothing_else(&answer) {
            prop_assert!(allowed, "{answer}");
        }
    }

    #[test]
    fn no_status_is_an_approval_by_accident(answer in answer()) {
        if let Ok(Some(Review::Approved(_) | Review::AutoApproved)) = reviewed(answer.clone(), false) {
            let fields = answer.get("data").filter(|_| answer["status"] == "success").unwrap_or(&answer);
            for name in ["decision", "status", "enforcement_decision"] {
                let word = fields.get(name).filter(|word| !word.is_null());
                let word = word.map(|word| word.as_str().unwrap_or("?").trim().to_lowercase().replace('-', "_"));
                prop_assert!(word.is_none_or(|word| ALLOWING.contains(&word.as_str())), "{answer}");
            }
        }
    }

    #[test]
    fn no_bytes_are_an_allowance(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(fields) = Fields::parse(&bytes) {
            let correlation = ActionId::new("asc_1").unwrap();
            let evaluated = evaluation(&fields, &digest(), &correlation, &quoter());
            prop_assert!(!evaluated.is_ok_and(|it| it.evaluation.decision != Decision::Deny));
        }
    }
}
