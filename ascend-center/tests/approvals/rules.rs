//! Quorum, groups, time and escalation.

use std::time::Duration;

use ascend_center::{
    ActionState, AuditKind, Center, DecideError, NewKey, PolicySet, Role, VerifyAudit,
};
use ascend_sdk::{Authority as _, CallContext, Claim, Governor, RefusalKind, Review};
use jiff::Timestamp;

use crate::{
    Town, action, config, person,
    support::{digest, until},
};

#[tokio::test]
async fn an_action_waits_for_as_many_of_its_group_as_it_takes() {
    let town = Town::new().await;
    let (id, answer) = town.ask("delete").await;
    let left = town.record(id).await.expires_at.duration_since(Timestamp::now());
    assert!(
        (3500..=3600).contains(&left.as_secs()),
        "the policy's hour, and not the caller's time"
    );

    let error = town.center.approve(id, &town.alice, None).await.unwrap_err();
    let told = error.to_string();
    let expected = format!("action {id} is for `dba` to decide; alice is in no group");
    assert_eq!(told, expected, "a stranger is told who may");
    let error = town.center.approve(id, &town.dan, None).await.unwrap_err().to_string();
    assert!(error.contains("for `dba`, and from ") && error.contains(" on `managers`"), "{error}");
    assert!(error.ends_with("dan is in `managers`"), "{error}");

    let record = town.center.approve(id, &town.bob, Some("fine".to_owned())).await.unwrap();
    assert_eq!(
        (record.state.as_str(), record.approvals()),
        ("pending", "1 of 2 approvals by `dba`".to_owned())
    );
    assert_eq!(record.progress()[0].approved_by, ["bob"]);
    let again = town.center.approve(id, &town.bob, None).await.unwrap();
    assert_eq!(again.approvals(), "1 of 2 approvals by `dba`", "a person counts once");
    let Claim::Refused(refusal) = town.center.claim(&answer.action_id, &digest(1)).await.unwrap()
    else {
        panic!("half an approval runs nothing")
    };
    assert_eq!(refusal.kind.as_str(), "approval_missing");

    let waiting = tokio::spawn({
        let (center, id) = (town.center.clone(), answer.action_id.clone());
        async move { center.await_review(&id).await.unwrap() }
    });
    let record = town.center.approve(id, &town.carol, Some("yes".to_owned())).await.unwrap();
    assert_eq!(record.state.as_str(), "approved");
    let Review::Approved(approval) = waiting.await.unwrap() else { panic!("approved") };
    assert_eq!(approval.reviewed_by.as_deref(), Some("bob, carol"));
    assert_eq!(approval.comments.as_deref(), Some("bob: fine; carol: yes"));
    assert_eq!(town.center.claim(&answer.action_id, &digest(1)).await.unwrap(), Claim::Granted);
    let told = town.told(id).await;
    let expected = [
        "embedded evaluated",
        "embedded claim_refused",
        "bob voted",
        "carol approved",
        "embedded claimed",
    ];
    let mut sorted = told.clone();
    sorted.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(sorted, expected, "{told:?}");
    town.center.verify_audit(&VerifyAudit::new()).await.unwrap();
}

#[tokio::test]
async fn one_rejection_by_anybody_who_may_decide_is_enough() {
    let town = Town::new().await;
    let id = town.pending("delete").await;
    let error = town.center.reject(id, &town.alice, None).await.unwrap_err();
    assert!(matches!(error, DecideError::NotAmong { .. }), "{error}");
    town.center.approve(id, &town.bob, None).await.unwrap();
    let record = town.center.reject(id, &town.carol, Some("no".to_owned())).await.unwrap();
    assert_eq!((record.state.as_str(), record.reviewed_by.as_deref()), ("rejected", Some("carol")));
    let error = town.center.approve(id, &town.bob, None).await.unwrap_err();
    assert!(matches!(error, DecideError::NotPending(_)), "{error}");
    town.center.verify_audit(&VerifyAudit::new()).await.unwrap();
}

#[tokio::test]
async fn votes_count_by_who_their_people_are_when_the_last_one_is_given() {
    let town = Town::new().await;
    let Town { center, alice, bob, carol, .. } = &town;
    let erin = person(center, "erin", Role::Approver, &["dba"]).await;

    // Disabled meanwhile.
    let id = town.pending("delete").await;
    center.approve(id, bob, None).await.unwrap();
    center.set_disabled(alice, "bob", true).await.unwrap();
    assert_eq!(town.record(id).await.approvals(), "0 of 2 approvals by `dba`");
    let record = center.approve(id, carol, None).await.unwrap();
    assert_eq!(
        (record.state.as_str(), record.approvals()),
        ("pending", "1 of 2 approvals by `dba`".to_owned())
    );
    let record = center.approve(id, &erin, None).await.unwrap();
    assert_eq!(record.reviewed_by.as_deref(), Some("carol, erin"), "bob's is none");

    // A viewer meanwhile.
    let id = town.pending("delete").await;
    center.approve(id, carol, None).await.unwrap();
    center.set_role(alice, "carol", Role::Viewer).await.unwrap();
    assert_eq!(center.approve(id, &erin, None).await.unwrap().state.as_str(), "pending");
    // An approver again: what is met now needs no further vote.
    center.set_role(alice, "carol", Role::Approver).await.unwrap();
    assert_eq!(town.record(id).await.reviewed_by.as_deref(), Some("carol, erin"));

    // In another group meanwhile, and back.
    let id = town.pending("delete").await;
    center.approve(id, carol, None).await.unwrap();
    assert!(center.remove_from_group(alice, "carol", "dba").await.unwrap());
    assert_eq!(center.approve(id, &erin, None).await.unwrap().state.as_str(), "pending");
    assert!(center.add_to_group(alice, "carol", "dba").await.unwrap());
    assert_eq!(town.state(id).await, "approved");

    // The owner of its agent's key meanwhile, and no more.
    let id = town.pending("delete").await;
    town.sql("UPDATE actions SET requested_by = 'billing' WHERE state = 'pending'").await;
    center.approve(id, carol, None).await.unwrap();
    let key = NewKey::of("billing").owned_by("carol");
    let key = center.create_key(alice, key).await.unwrap().id;
    assert_eq!(town.record(id).await.approvals(), "0 of 2 approvals by `dba`");
    assert_eq!(center.approve(id, &erin, None).await.unwrap().state.as_str(), "pending");
    assert!(center.revoke_key(alice, key).await.unwrap());
    assert_eq!(town.record(id).await.reviewed_by.as_deref(), Some("carol, erin"));

    // The owner of the key that it was asked with.
    let record = {
        let id = town.pending("delete").await;
        center.approve(id, carol, None).await.unwrap();
        town.sql("UPDATE actions SET owner = 'carol' WHERE state = 'pending'").await;
        center.approve(id, &erin, None).await.unwrap()
    };
    assert_eq!(
        (record.state.as_str(), record.approvals()),
        ("pending", "1 of 2 approvals by `dba`".to_owned())
    );
}

#[tokio::test]
async fn nobody_approves_what_they_asked_themselves() {
    let town = Town::new().await;
    let key = town.center.create_key(&town.alice, NewKey::of("agent").owned_by("bob")).await;
    key.unwrap();
    let id = town.pending("delete").await;
    town.sql("UPDATE actions SET requested_by = 'agent' WHERE state = 'pending'").await;
    let error = town.center.approve(id, &town.bob, None).await.unwrap_err();
    assert!(matches!(error, DecideError::OwnRequest(_)), "{error}");
    let record = town.center.approve(id, &town.carol, None).await.unwrap();
    assert_eq!(record.approvals(), "1 of 2 approvals by `dba`");
}

#[tokio::test]
async fn half_of_the_time_later_others_may_and_that_is_told_once() {
    let town = Town::new().await;
    let other = Center::open(config(town.directory.path())).await.unwrap();
    let id = town.pending("delete").await;
    let record = town.record(id).await;
    let half = record.escalates_at.unwrap().duration_since(record.created_at);
    assert_eq!(half.as_secs(), 1800);
    assert!(town.center.approve(id, &town.dan, None).await.is_err());
    town.center.approve(id, &town.bob, None).await.unwrap();

    town.sql("UPDATE actions SET escalates_at = 1 WHERE state = 'pending'").await;
    until("it is escalated", async || town.count(AuditKind::Escalated).await == 1).await;
    let record = town.center.approve(id, &town.dan, None).await.unwrap();
    assert_eq!(record.reviewed_by.as_deref(), Some("bob, dan"));
    // Another process, or one that starts later, does not tell it again.
    other.close().await;
    let third = Center::open(config(town.directory.path())).await.unwrap();
    let next = town.pending("delete").await;
    town.sql("UPDATE actions SET escalates_at = 1 WHERE state = 'pending'").await;
    until("the next one is", async || town.count(AuditKind::Escalated).await == 2).await;
    assert_eq!(town.told(id).await.iter().filter(|it| it.contains("escalated")).count(), 1);
    assert_eq!(town.told(next).await.iter().filter(|it| it.contains("escalated")).count(), 1);
    third.close().await;
}

#[tokio::test]
async fn what_is_enough_after_escalation_needs_no_further_vote() {
    let town = Town::new().await;
    let erin = person(&town.center, "erin", Role::Approver, &["dba", "managers"]).await;
    let id = town.pending("export").await;
    let record = town.center.approve(id, &erin, None).await.unwrap();
    assert_eq!(record.approvals(), "0 of 1 approval by `security`, 1 of 1 approval by `dba`");
    town.sql("UPDATE actions SET escalates_at = 1 WHERE state = 'pending'").await;
    until("it is approved", async || town.state(id).await == "approved").await;
    let record = town.record(id).await;
    assert_eq!(record.reviewed_by.as_deref(), Some("erin"));
}

#[tokio::test]
async fn what_nobody_decided_in_time_expires_and_that_is_noted() {
    let town = Town::new().await;
    let id = town.pending("delete").await;
    town.center.approve(id, &town.bob, None).await.unwrap();
    town.sql("UPDATE actions SET expires_at = 1 WHERE state = 'pending'").await;
    let error = town.center.approve(id, &town.carol, None).await.unwrap_err();
    assert!(error.to_string().contains("it expired at"), "{error}");
    let id = town.pending("delete").await;
    town.sql("UPDATE actions SET expires_at = 1 WHERE state = 'pending'").await;
    // Nobody asks for it.
    until("it is noted", async || town.count(AuditKind::Expired).await == 2).await;
    assert_eq!(town.state(id).await, "expired");
}

#[tokio::test]
async fn an_approval_can_be_taken_back_while_it_is_pending() {
    let town = Town::new().await;
    let id = town.pending("delete").await;
    let error = town.center.take_back(id, &town.bob).await.unwrap_err();
    assert!(matches!(error, DecideError::NoVote(_)), "{error}");
    town.center.approve(id, &town.bob, None).await.unwrap();
    let record = town.center.take_back(id, &town.bob).await.unwrap();
    assert_eq!(
        (record.votes.len(), record.approvals()),
        (0, "0 of 2 approvals by `dba`".to_owned())
    );
    assert_eq!(town.center.approve(id, &town.carol, None).await.unwrap().state.as_str(), "pending");
    town.center.approve(id, &town.bob, None).await.unwrap();
    let error = town.center.take_back(id, &town.bob).await.unwrap_err();
    assert!(matches!(error, DecideError::NotPending(_)), "{error}");
    let told = town.told(id).await;
    assert_eq!(told[1..], ["bob voted", "bob vote_withdrawn", "carol voted", "bob approved"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_approvals_at_once_each_counts_and_one_is_the_last() {
    let town = Town::new().await;
    for _ in 0..20 {
        let id = town.pending("delete").await;
        let votes = [&town.bob, &town.carol].map(|person| {
            let (center, person) = (town.center.clone(), person.clone());
            tokio::spawn(async move { center.approve(id, &person, None).await.unwrap() })
        });
        for vote in votes {
            vote.await.unwrap();
        }
        let record = town.record(id).await;
        let reviewers = record.reviewed_by.unwrap();
        assert!(["bob, carol", "carol, bob"].contains(&&*reviewers), "{reviewers}");
    }
    assert_eq!(town.count(AuditKind::Approved).await, 20);
    assert_eq!(town.count(AuditKind::Voted).await, 20);
    town.center.verify_audit(&VerifyAudit::new()).await.unwrap();
}

#[tokio::test]
async fn rules_stay_as_they_were_when_it_was_asked() {
    let town = Town::new().await;
    let id = town.pending("delete").await;
    let looser = crate::POLICIES.replace("@quorum(\"2\")", "@quorum(\"1\")");
    std::fs::write(town.directory.path().join("policies/own.cedar"), looser).unwrap();
    town.center.reload_policies().unwrap();
    assert_eq!(town.center.approve(id, &town.bob, None).await.unwrap().state.as_str(), "pending");
    let id = town.pending("delete").await;
    assert_eq!(town.center.approve(id, &town.bob, None).await.unwrap().state.as_str(), "approved");
    // Whoever loosens them in the database is found out.
    town.pending("delete").await;
    town.sql("UPDATE actions SET rules = '[]' WHERE state = 'pending'").await;
    let error = town.center.verify_audit(&VerifyAudit::new()).await.unwrap_err().to_string();
    assert!(error.contains("what its approval takes"), "{error}");
}

#[tokio::test]
async fn an_action_from_before_there_were_rules_takes_one_approver() {
    let town = Town::new().await;
    let id = town.pending("delete").await;
    town.sql("UPDATE actions SET rules = '[]', escalates_at = NULL").await;
    assert_eq!(town.record(id).await.approvals(), "0 of 1 approval by any approver");
    let record = town.center.approve(id, &town.alice, None).await.unwrap();
    assert_eq!(record.reviewed_by.as_deref(), Some("alice"));
}

#[tokio::test]
async fn the_owner_of_the_directory_can_be_in_a_group_without_an_account() {
    let town = Town::new().await;
    assert!(town.center.add_to_group(&town.alice, "alice", "dba").await.unwrap());
    assert!(!town.center.add_to_group(&town.alice, "alice", "dba").await.unwrap());
    let error = town.center.add_to_group(&town.alice, "nobody", "dba").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no user nobody");
    for group in ["", "DBA", "a b", "d\u{202e}ba", "x\"y"] {
        assert!(town.center.add_to_group(&town.alice, "bob", group).await.is_err(), "{group}");
    }
    let id = town.pending("delete").await;
    town.center.approve(id, &town.alice, None).await.unwrap();
    let record = town.center.approve(id, &town.bob, None).await.unwrap();
    assert_eq!(record.reviewed_by.as_deref(), Some("alice, bob"));
    assert_eq!(town.center.users().await.unwrap()[0].groups, ["dba"]);
}

#[tokio::test]
async fn groups_with_too_few_people_are_told() {
    let town = Town::new().await;
    let told = town.center.rules_without_people().await.unwrap();
    let [security] = &told[..] else { panic!("{told:?}") };
    assert!(security.contains("policy `exports` asks for 1 of `security`"), "{security}");
    assert!(security.ends_with("in which there is nobody who may approve"), "{security}");
    town.center.set_disabled(&town.alice, "carol", true).await.unwrap();
    let told = town.center.rules_without_people().await.unwrap();
    assert!(told[0].ends_with("2 of `dba`, in which there is one who may approve"), "{told:?}");
    let set = PolicySet::built_in().unwrap();
    assert!(town.center.rules_of_without_people(&set).await.unwrap().is_empty());
}

#[tokio::test]
async fn mistakes_in_rules_are_named_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.cedar");
    let asks = "@id(\"a\") @decision(\"require_approval\") ";
    for (annotations, expected) in [
        ("@approver(\"dba\")", "unknown annotation `@approver`"),
        ("@approvers(\"D B A\")", "`@approvers(\"D B A\")` is no group"),
        ("@quorum(\"0\")", "`@quorum(\"0\")` is no number from 1 to 100"),
        ("@quorum(\"two\")", "`@quorum(\"two\")` is no number from 1 to 100"),
        ("@within(\"15\")", "`@within(\"15\")` is no time from 1 second to 30 days"),
        ("@within(\"31d\")", "`@within(\"31d\")` is no time from 1 second to 30 days"),
        ("@approvers(\"a\") @escalate_to(\"b\")", "stands on a policy without `@within`"),
        ("@within(\"1h\") @escalate_to(\"b\")", "stands on a policy without `@approvers`"),
        (
            "@approvers(\"a\") @within(\"1h\") @escalate_to(\"a\")",
            "names the group of `@approvers`",
        ),
        ("@grants(\"yes\")", "unknown `@grants(\"yes\")`"),
        ("@in_client_approval(\"allow\") @quorum(\"2\")", "stands beside `@quorum`"),
    ] {
        std::fs::write(&file, format!("{asks}{annotations} forbid (principal, action, resource);"))
            .unwrap();
        let error = PolicySet::read(&file).unwrap_err().to_string();
        assert!(error.contains(expected), "{annotations}: {error}");
        assert_eq!(error.matches("p.cedar:1:").count(), 1, "one mistake, one error: {error}");
    }
    std::fs::write(&file, "@id(\"a\") @quorum(\"2\") forbid (principal, action, resource);")
        .unwrap();
    let error = PolicySet::read(&file).unwrap_err().to_string();
    assert!(error.contains("`@quorum` stands on a policy that asks for no approval"), "{error}");
    assert!(error.contains("did you mean") || error.contains("@decision"), "{error}");
}

#[tokio::test]
async fn a_changed_rule_is_a_difference() {
    let town = Town::new().await;
    town.pending("delete").await;
    let file = town.directory.path().join("changed.cedar");
    let set = |policies: String| {
        std::fs::write(&file, policies).unwrap();
        PolicySet::read(&file).unwrap()
    };
    let same = town.center.simulate(&set(crate::POLICIES.to_owned()), 10).await.unwrap();
    assert_eq!((same.replayed, same.differences.len()), (1, 0));
    let looser = crate::POLICIES.replace("@quorum(\"2\")", "@quorum(\"1\")");
    let changed = town.center.simulate(&set(looser), 10).await.unwrap();
    assert_eq!((changed.differences.len(), changed.otherwise()), (1, 1));
    assert_eq!((changed.stricter(), changed.milder()), (0, 0));
}

#[tokio::test]
async fn the_word_of_a_clients_user_is_no_vote() {
    let town = Town::new().await;
    let id = town.pending("delete").await;
    let confirmation = ascend_sdk::Confirmation {
        answer: ascend_sdk::ClientAnswer::Approved,
        session: ascend_sdk::SessionContext::default(),
    };
    let action_id = town.record(id).await.action_id();
    assert!(town.center.confirm(&action_id, &confirmation).await.is_err());
    assert_eq!(town.state(id).await, "pending");
}

/// What policy gives an hour is not given up by the caller's five minutes.
#[tokio::test]
async fn a_call_waits_as_long_as_its_rule_says() {
    let town = Town::new().await;
    let governor = Governor::builder(town.center.clone()).server_id("crm-server").build();
    let context = CallContext::default();
    let hurried = |verb: &str| {
        let mut action = action(verb, "crm://orders/7", 500);
        action.approval_timeout = Duration::from_millis(100);
        action
    };
    let timed_out = governor.authorize(hurried("refund"), &context).await.unwrap_err();
    assert_eq!(timed_out.kind(), RefusalKind::TimedOut, "no rule gives it more");
    let mut call = Box::pin(governor.authorize(hurried("delete"), &context));
    let waited = tokio::time::timeout(Duration::from_secs(3), &mut call).await;
    assert!(waited.is_err(), "{waited:?}");
    let pending = town.center.actions(Some(ActionState::Pending), 9).await.unwrap();
    for approver in [&town.bob, &town.carol] {
        town.center.approve(pending[0].id, approver, None).await.unwrap();
    }
    let granted = call.await.unwrap();
    drop(granted);
}
