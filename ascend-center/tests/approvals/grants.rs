//! Grants: what they let pass, and what they never do.

use std::{collections::BTreeSet, time::Duration};

use ascend_center::{
    AuditKind, Center, GrantError, GrantStanding, NewGrant, NewKey, Role, VerifyAudit,
};
use ascend_sdk::{Authority as _, Claim, Decision, Floor, RefusalKind};
use jiff::Timestamp;

use crate::{
    Town, action, person,
    support::{self, digest, number},
};

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

fn refunds() -> NewGrant {
    NewGrant::of_tool("refund", "crm://orders/*").lasting(HALF_AN_HOUR)
}

#[tokio::test]
async fn a_grant_is_the_vote_of_who_gave_it() {
    let town = Town::new().await;
    let new = refunds().calls(2).because("quarter's end");
    let grant = town.center.grant(&town.bob, new).await.unwrap();
    let (id, answer) = town.ask("refund").await;
    assert_eq!(answer.decision, Decision::Allow);
    assert_eq!(answer.reason.as_deref(), Some("approved by grant 1 of bob"));
    let approval = answer.approval.unwrap();
    assert_eq!(approval.reviewed_by.as_deref(), Some("grant 1 of bob"));
    assert_eq!(approval.comments.as_deref(), Some("quarter's end"));
    assert_eq!(town.record(id).await.decision, Decision::RequireApproval, "a policy asked");
    assert_eq!(town.center.claim(&answer.action_id, &digest(1)).await.unwrap(), Claim::Granted);

    let (_, answer) = town.ask("refund").await;
    assert_eq!(answer.decision, Decision::Allow);
    let used_up = town.center.grants(10).await.unwrap().remove(0);
    assert_eq!((used_up.used, used_up.standing(Timestamp::now())), (2, GrantStanding::UsedUp));
    town.pending("refund").await;
    let told = town.told(id).await;
    let expected = [
        "embedded evaluated",
        "grant 1 of bob grant_used",
        "grant 1 of bob approved",
        "embedded claimed",
    ];
    assert_eq!(told, expected);
    assert_eq!(town.count(AuditKind::GrantUsedUp).await, 1);
    assert_eq!(grant.calls, 2);
    town.center.verify_audit(&VerifyAudit::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_calls_at_once_exactly_as_many_pass_as_it_is_for() {
    let town = Town::new().await;
    // In a second process's place.
    let other = Center::open(crate::config(town.directory.path())).await.unwrap();
    town.center.grant(&town.bob, refunds().calls(10)).await.unwrap();
    let calls = (0..64).map(|index| {
        let center = if index % 2 == 0 { town.center.clone() } else { other.clone() };
        tokio::spawn(async move {
            center.evaluate(&action("refund", "crm://orders/7", 500)).await.unwrap()
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut allowed = BTreeSet::new();
    for call in calls {
        let answer = call.await.unwrap();
        match answer.decision {
            Decision::Allow => assert!(allowed.insert(number(&answer.action_id))),
            decision => assert_eq!(decision, Decision::RequireApproval),
        }
    }
    assert_eq!(allowed.len(), 10);
    assert_eq!(town.count(AuditKind::GrantUsed).await, 10);
    assert_eq!(town.count(AuditKind::Approved).await, 10);
    assert_eq!(town.center.grants(1).await.unwrap()[0].used, 10);
    town.center.verify_audit(&VerifyAudit::new()).await.unwrap();
    other.close().await;
}

#[tokio::test]
async fn a_grant_covers_what_it_names_and_nothing_else() {
    let town = Town::new().await;
    let new = refunds().by_agent("embedded").when("context.arguments.refund.cents <= 1000");
    town.center.grant(&town.bob, new).await.unwrap();
    let decision = async |verb: &str, resource: &str, cents: i64| {
        town.ask_for(&action(verb, resource, cents)).await.1.decision
    };
    assert_eq!(decision("refund", "crm://orders/7", 1000).await, Decision::Allow);
    assert_eq!(decision("refund", "crm://orders/7", 1001).await, Decision::RequireApproval);
    assert_eq!(decision("refund", "crm://customers/7", 1).await, Decision::RequireApproval);
    let mut other = action("refund", "crm://orders/7", 1);
    other.tool = "refund2".to_owned();
    assert_eq!(town.ask_for(&other).await.1.decision, Decision::RequireApproval);

    // Of another agent.
    let town = Town::new().await;
    town.center.grant(&town.bob, refunds().by_agent("billing")).await.unwrap();
    town.pending("refund").await;
    // Of an action, whatever the tool.
    let new = NewGrant::of_action("CRM.Refund", "*").calls(1);
    town.center.grant(&town.bob, new).await.unwrap();
    assert_eq!(town.ask("refund").await.1.decision, Decision::Allow);
}

#[tokio::test]
async fn a_grant_that_is_over_lets_nothing_pass() {
    let town = Town::new().await;
    let Town { center, alice, bob, .. } = &town;
    let grant = center.grant(bob, refunds()).await.unwrap();
    assert_eq!(grant.calls, 1000, "as many as there can be");
    assert_eq!(town.ask("refund").await.1.decision, Decision::Allow);
    assert!(center.revoke_grant(alice, grant.id).await.unwrap());
    assert!(!center.revoke_grant(alice, grant.id).await.unwrap());
    assert!(matches!(center.revoke_grant(alice, 99).await, Err(GrantError::Unknown(99))));
    town.pending("refund").await;

    center.grant(bob, refunds()).await.unwrap();
    town.sql("UPDATE grants SET expires_at = 1 WHERE revoked_at IS NULL").await;
    town.pending("refund").await;
    let standings: Vec<_> = center
        .grants(10)
        .await
        .unwrap()
        .iter()
        .map(|grant| grant.standing(Timestamp::now()).as_str())
        .collect();
    assert_eq!(standings, ["expired", "revoked"]);

    // Of somebody who may not approve any more.
    center.grant(bob, refunds()).await.unwrap();
    center.set_role(alice, "bob", Role::Viewer).await.unwrap();
    town.pending("refund").await;
    assert!(center.grant(bob, refunds()).await.is_err());
    center.set_role(alice, "bob", Role::Approver).await.unwrap();
    assert_eq!(town.ask("refund").await.1.decision, Decision::Allow);
    center.set_disabled(alice, "bob", true).await.unwrap();
    town.pending("refund").await;
}

#[tokio::test]
async fn where_several_must_approve_a_grant_is_one_of_them() {
    let town = Town::new().await;
    let Town { center, alice, bob, carol, .. } = &town;
    let deletes = || NewGrant::of_action("crm.delete", "*").calls(5);
    // Of somebody outside of the group it is nothing, and is not used.
    center.grant(alice, deletes()).await.unwrap();
    let of_bob = center.grant(bob, deletes()).await.unwrap();
    let id = town.pending("delete").await;
    assert_eq!(town.record(id).await.progress()[0].approved_by, ["grant 2 of bob"]);
    let record = center.approve(id, carol, None).await.unwrap();
    assert_eq!(record.reviewed_by.as_deref(), Some("grant 2 of bob, carol"));

    // Revoked before the other vote.
    let id = town.pending("delete").await;
    center.revoke_grant(carol, of_bob.id).await.unwrap();
    assert_eq!(town.record(id).await.approvals(), "0 of 2 approvals by `dba`");
    assert_eq!(center.approve(id, carol, None).await.unwrap().state.as_str(), "pending");
    // His own word is another thing.
    assert_eq!(center.approve(id, bob, None).await.unwrap().state.as_str(), "approved");

    // Two grants; of one person they are one vote.
    center.grant(bob, deletes()).await.unwrap();
    center.grant(bob, deletes()).await.unwrap();
    let id = town.pending("delete").await;
    assert_eq!(town.record(id).await.votes.len(), 1);
    center.grant(carol, deletes()).await.unwrap();
    let (_, answer) = town.ask("delete").await;
    assert_eq!(answer.decision, Decision::Allow);
    let approval = answer.approval.unwrap();
    assert_eq!(approval.reviewed_by.as_deref(), Some("grant 3 of bob, grant 5 of carol"));
    let used: Vec<u32> = center.grants(10).await.unwrap().iter().map(|it| it.used).collect();
    assert_eq!(used, [1, 0, 2, 2, 0], "from the newest: each vote is one use");
    center.verify_audit(&VerifyAudit::new()).await.unwrap();
}

#[tokio::test]
async fn some_things_no_grant_lets_pass() {
    let town = Town::new().await;
    let Town { center, alice, bob, .. } = &town;
    for verb in ["drop", "refund", "transfer", "wipe", "burn"] {
        let new = NewGrant::of_action(format!("crm.{verb}"), "*").calls(100);
        center.grant(bob, new).await.unwrap();
    }
    // Denied, withheld by its policy, of critical risk.
    assert_eq!(town.ask("drop").await.1.decision, Decision::Deny);
    town.pending("transfer").await;
    town.pending("burn").await;
    // Of critical risk, and its policy says so.
    assert_eq!(town.ask("wipe").await.1.decision, Decision::Allow);
    // A tool that requires a person each time.
    let high_risk = |verb: &str| {
        let mut action = action(verb, "crm://orders/7", 1);
        action.floor = Floor::HIGH_RISK;
        action
    };
    let (_, answer) = town.ask_for(&high_risk("refund")).await;
    assert_eq!(answer.decision, Decision::RequireApproval);
    let (_, answer) = town.ask_for(&high_risk("wipe")).await;
    assert_eq!(answer.decision, Decision::Allow);
    assert!(answer.approval.is_some(), "a server's own floor asks for it");
    center.grant(bob, NewGrant::of_action("crm.anything", "*").calls(1)).await.unwrap();
    let (_, answer) = town.ask_for(&high_risk("anything")).await;
    assert_eq!(answer.decision, Decision::RequireApproval, "nothing but the tool asks");
    // Under the kill switch.
    center.kill("enough", alice).await.unwrap();
    let (_, answer) = town.ask("refund").await;
    assert_eq!(answer.refusal, Some(RefusalKind::KillSwitch));
    center.release(alice).await.unwrap();
    let used: u32 = center.grants(10).await.unwrap().iter().map(|grant| grant.used).sum();
    assert_eq!(used, 2, "what did not pass was not counted");
    assert_eq!(town.ask("refund").await.1.decision, Decision::Allow);
}

#[tokio::test]
async fn nobody_grants_what_they_ask_themselves() {
    let town = Town::new().await;
    let key = NewKey::of("billing").owned_by("bob");
    town.center.create_key(&town.alice, key).await.unwrap();
    let error = town.center.grant(&town.bob, refunds().by_agent("billing")).await.unwrap_err();
    assert!(matches!(&error, GrantError::OwnRequest(agent) if agent == "billing"), "{error}");
    // For any agent it counts for the others alone.
    town.center.grant(&town.bob, refunds()).await.unwrap();
    assert_eq!(town.ask("refund").await.1.decision, Decision::Allow);
    let key = town.center.create_key(&town.alice, NewKey::of("embedded2").owned_by("bob")).await;
    key.unwrap();
    town.sql("UPDATE agent_keys SET agent = 'embedded' WHERE agent = 'embedded2'").await;
    town.pending("refund").await;
}

#[tokio::test]
async fn grants_have_an_end_and_it_is_not_far() {
    let town = Town::new().await;
    let unbounded = NewGrant::of_tool("refund", "*");
    for (new, expected) in [
        (unbounded.clone(), "a grant needs an end"),
        (unbounded.clone().calls(0), "at least one call, and at most 1000"),
        (unbounded.clone().calls(1001), "at most 1000"),
        (unbounded.clone().lasting(Duration::from_secs(86_401)), "at most 24 h"),
        (unbounded.clone().lasting(Duration::ZERO), "at least a second"),
        (NewGrant::of_tool("", "*").calls(1), "names a tool or an action, and a resource"),
        (NewGrant::of_tool("refund", "").calls(1), "names a tool or an action, and a resource"),
        (refunds().when("context.arguments.refund.sents < 1"), "did you mean `cents`?"),
        (refunds().when("true } when { true"), "the condition cannot be used"),
        (refunds().when("context.recent.tool.calls_1h < 9"), "say for how many calls"),
    ] {
        let error = town.center.grant(&town.bob, new.clone()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{new:?}: {error}");
    }
    assert!(town.center.grants(10).await.unwrap().is_empty());

    let directory = tempfile::tempdir().unwrap();
    let config = support::config(directory.path());
    let center = Center::open(config.grant_limits(Duration::from_secs(60), 3)).await.unwrap();
    let alice = center.local_approver().await.unwrap();
    let grant = center.grant(&alice, unbounded.clone().calls(3)).await.unwrap();
    assert_eq!(grant.expires_at.duration_since(grant.created_at).as_secs(), 60);
    assert!(center.grant(&alice, unbounded.clone().calls(4)).await.is_err());
    assert!(center.grant(&alice, unbounded.lasting(HALF_AN_HOUR)).await.is_err());
}

#[tokio::test]
async fn an_approval_and_its_grant_come_about_together_or_not_at_all() {
    let town = Town::new().await;
    let id = town.pending("refund").await;
    let bad = NewGrant::of_the_same().calls(5).when("context.arguments.refund.sents < 1");
    let error = town.center.approve_and_grant(id, &town.bob, None, bad).await.unwrap_err();
    assert!(error.to_string().contains("did you mean `cents`?"), "{error}");
    assert_eq!((town.state(id).await, town.record(id).await.votes.len()), ("pending", 0));

    let good = || NewGrant::of_the_same().calls(5).when("context.arguments.refund.cents <= 500");
    let (record, grant) = town.center.approve_and_grant(id, &town.bob, None, good()).await.unwrap();
    assert_eq!(record.reviewed_by.as_deref(), Some("bob"));
    assert_eq!(grant.tool.as_deref(), Some("refund"));
    assert_eq!(grant.action.as_deref(), Some("crm.refund"));
    assert_eq!(
        (grant.resource.as_str(), grant.agent.as_deref()),
        ("crm://orders/7", Some("embedded"))
    );
    assert_eq!(town.ask("refund").await.1.decision, Decision::Allow);
    let other = action("refund", "crm://orders/8", 1);
    assert_eq!(town.ask_for(&other).await.1.decision, Decision::RequireApproval);
    // For a tool that requires a person each time it would never count.
    let mut high_risk = action("refund", "crm://orders/9", 1);
    high_risk.floor = Floor::HIGH_RISK;
    let (high_risk, _) = town.ask_for(&high_risk).await;
    let new = NewGrant::of_the_same().calls(5);
    let error = town.center.approve_and_grant(high_risk, &town.bob, None, new).await.unwrap_err();
    assert!(error.to_string().starts_with("no grant counts for calls like this one"), "{error}");
    assert_eq!(town.state(high_risk).await, "pending");
    // What is decided already grants nothing.
    assert!(town.center.approve_and_grant(id, &town.carol, None, good()).await.is_err());
    assert_eq!(town.center.grants(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn hostile_words_are_no_more_than_words() {
    let town = Town::new().await;
    let erin = person(&town.center, "erin", Role::Approver, &[]).await;
    let hostile = [
        "*",
        r"\",
        r#"" }; permit (principal, action, resource); //"#,
        "'; DROP TABLE grants; --",
        "a\u{1}b",
        "a\u{202e}b",
        "{}",
        "\n",
        "'",
        "\"",
        "\\\"",
        "%",
    ];
    for (index, resource) in hostile.into_iter().enumerate() {
        let asked = action("refund", resource, 1);
        let (id, answer) = town.ask_for(&asked).await;
        assert_eq!(answer.decision, Decision::RequireApproval, "{resource:?}");
        let new = NewGrant::of_the_same().calls(1).because(resource);
        let granted =
            town.center.approve_and_grant(id, &erin, Some(resource.to_owned()), new).await;
        assert_eq!(granted.unwrap().1.id, i64::try_from(index).unwrap() + 1);
        // It is for this resource to the letter, were it a pattern.
        let other = action("refund", &format!("{resource}x"), 1);
        assert_eq!(
            town.ask_for(&other).await.1.decision,
            Decision::RequireApproval,
            "{resource:?}"
        );
        let same = action("refund", resource, 1);
        assert_eq!(town.ask_for(&same).await.1.decision, Decision::Allow, "{resource:?}");
    }
    town.center.verify_audit(&VerifyAudit::new()).await.unwrap();
}
