//! The embedded center, as an authority.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use ascend_center::{
    ActionState, AuditQuery, Center, CenterConfig, CredentialError, DecideError, NewGrant,
};
use ascend_sdk::{
    ActionId, Authority, AuthorityError, CallContext, Claim, Decision, Governor, Holder, Outcome,
    RefusalKind, Rejection, Review, RiskLevel,
};
use support::{action, action_json, config, database, delete, digest, number, open, state, until};
use tokio::task::JoinSet;

fn refused(claim: Claim) -> RefusalKind {
    match claim {
        Claim::Refused(Rejection { kind, .. }) => kind,
        Claim::Granted => panic!("granted"),
    }
}

#[tokio::test]
async fn an_allowed_action_is_claimed_once_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let answer = center.evaluate(&action("database", "read", "analytics_db")).await.unwrap();
    assert_eq!(answer.decision, Decision::Allow);
    assert_eq!((answer.risk_score, answer.risk_level), (15, RiskLevel::Low));
    assert_eq!(answer.reason.as_deref(), Some("policy `reads`"));
    let id = answer.action_id;
    assert_eq!(center.claim(&id, &digest(1)).await.unwrap(), Claim::Granted);
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::AlreadyExecuted);
    let outcome = Outcome::Completed { duration: Duration::from_millis(3) };
    center.report(&id, &outcome).await.unwrap();
    // A report that was sent twice is one.
    center.report(&id, &outcome).await.unwrap();
    assert_eq!(state(&center, number(&id)).await, ActionState::Completed);
    let late = Outcome::Withdrawn { reason: "late".to_owned() };
    assert!(matches!(center.report(&id, &late).await, Err(AuthorityError::InvalidRequest(_))));
}

#[tokio::test]
async fn what_one_process_runs_another_does_not_give_up() {
    let directory = tempfile::tempdir().unwrap();
    let (center, other) = (open(directory.path()).await, open(directory.path()).await);
    let read = action("database", "read", "analytics_db");
    let at_once = center.evaluate_and_claim(&read).await.unwrap().0.action_id;
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    // An identical call to the other process waits for it too.
    center.promise(&id, &Holder::default()).await.unwrap();
    assert_eq!(other.evaluate(&delete()).await.unwrap().action_id, id);
    let alice = center.local_approver().await.unwrap();
    center.approve(number(&id), &alice, None).await.unwrap();
    assert_eq!(center.claim(&id, &digest(1)).await.unwrap(), Claim::Granted);

    let gone = Outcome::Withdrawn { reason: "the caller went away".to_owned() };
    for id in [&id, &at_once] {
        let refused = other.report(id, &gone).await;
        assert!(matches!(refused, Err(AuthorityError::InvalidRequest(_))), "{refused:?}");
        assert_eq!(state(&center, number(id)).await, ActionState::Executing);
    }
    center.report(&id, &Outcome::Completed { duration: Duration::ZERO }).await.unwrap();
    assert_eq!(state(&center, number(&id)).await, ActionState::Completed);
    // Its own caller can go away between the claim and the run.
    center.report(&at_once, &gone).await.unwrap();
    assert_eq!(state(&center, number(&at_once)).await, ActionState::Withdrawn);
}

#[tokio::test]
async fn an_allowed_action_is_claimed_with_its_evaluation_once() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let action = action("database", "read", "analytics_db");
    let (answer, claim) = center.evaluate_and_claim(&action).await.unwrap();
    assert_eq!((answer.decision, claim), (Decision::Allow, Some(Claim::Granted)));
    let id = answer.action_id;
    assert_eq!(state(&center, number(&id)).await, ActionState::Executing);
    // Neither the same request nor a claim gets it a second time.
    let (_, again) = center.evaluate_and_claim(&action).await.unwrap();
    assert_eq!(again, None);
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::AlreadyExecuted);
    center.report(&id, &Outcome::Completed { duration: Duration::ZERO }).await.unwrap();
    assert_eq!(state(&center, number(&id)).await, ActionState::Completed);

    let life = center.audit_entries(&AuditQuery::new().action(number(&id))).await.unwrap();
    let kinds: Vec<_> = life.iter().map(|(entry, _)| entry.event.kind.as_str()).collect();
    assert_eq!(kinds, ["evaluated", "claimed", "claim_refused", "completed"]);
}

/// Over SQLite everything is written to a log first. It is copied into the file while
/// others write, long before the log is so long that a call would have to wait for it.
#[tokio::test]
async fn what_is_written_comes_into_the_file_without_an_end_of_writing() {
    let directory = support::database::in_file();
    let center = open(directory.path()).await;
    let size = || std::fs::metadata(directory.path().join("center.db")).unwrap().len();
    let (before, mut number) = (size(), 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while size() < before + 64 * 1024 {
        assert!(Instant::now() < deadline, "{number} actions");
        let mut calls = JoinSet::new();
        for _ in 0..64 {
            let center = center.clone();
            calls.spawn(async move {
                center.evaluate(&action("database", "read", "analytics_db")).await
            });
        }
        number += calls.len();
        assert!(calls.join_all().await.iter().all(Result::is_ok));
    }
    let log = std::fs::metadata(directory.path().join("center.db-wal")).unwrap().len();
    assert!(log < 60 * 1024 * 1024, "{log} bytes");
}

#[tokio::test]
async fn only_what_policy_lets_pass_is_claimed_with_its_evaluation() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let (answer, claim) = center.evaluate_and_claim(&delete()).await.unwrap();
    assert_eq!((answer.decision, claim), (Decision::RequireApproval, None));
    let alice = center.local_approver().await.unwrap();
    center.approve(number(&answer.action_id), &alice, None).await.unwrap();
    assert_eq!(state(&center, number(&answer.action_id)).await, ActionState::Approved);
    let drop = action("database", "drop", "x");
    let (answer, claim) = center.evaluate_and_claim(&drop).await.unwrap();
    assert_eq!((answer.decision, claim), (Decision::Deny, None));
    center.kill("an incident", &alice).await.unwrap();
    let read = action("database", "read", "x");
    let (answer, claim) = center.evaluate_and_claim(&read).await.unwrap();
    assert_eq!((answer.refusal, claim), (Some(RefusalKind::KillSwitch), None));
}

#[tokio::test]
async fn a_denied_action_says_why_and_never_runs() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let answer = center.evaluate(&action("database", "drop", "production_db")).await.unwrap();
    assert_eq!(answer.decision, Decision::Deny);
    assert!(answer.reason.unwrap().contains("dropping or truncating is never allowed"));
    let id = answer.action_id;
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::Denied);
    let alice = center.local_approver().await.unwrap();
    let error = center.approve(number(&id), &alice, None).await.unwrap_err();
    assert!(error.to_string().contains("policy denied it"), "{error}");
}

#[tokio::test]
async fn an_approval_reaches_the_waiting_call_with_its_approver() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let answer = center.evaluate(&delete()).await.unwrap();
    assert_eq!((answer.decision, answer.risk_score), (Decision::RequireApproval, 85));
    let id = answer.action_id;
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::ApprovalMissing);
    let waiting = tokio::spawn({
        let (center, id) = (center.clone(), id.clone());
        async move { center.await_review(&id).await }
    });
    let alice = center.local_approver().await.unwrap();
    assert_eq!(alice.name(), "alice");
    let comment = Some("go ahead".to_owned());
    center.approve(number(&id), &alice, comment).await.unwrap();
    let Review::Approved(approval) = waiting.await.unwrap().unwrap() else { panic!("approved") };
    assert_eq!(approval.reviewed_by.as_deref(), Some("alice"));
    assert_eq!(approval.comments.as_deref(), Some("go ahead"));
    let again = center.approve(number(&id), &alice, None).await.unwrap_err();
    assert!(again.to_string().contains("it was approved by alice"), "{again}");
    assert_eq!(center.claim(&id, &digest(1)).await.unwrap(), Claim::Granted);
}

#[tokio::test]
async fn a_rejection_says_who_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    let alice = center.local_approver().await.unwrap();
    center.reject(number(&id), &alice, Some("not today".to_owned())).await.unwrap();
    let Review::Rejected(rejection) = center.await_review(&id).await.unwrap() else {
        panic!("rejected")
    };
    assert_eq!(rejection.kind, RefusalKind::Rejected);
    assert_eq!(rejection.reason.as_deref(), Some("not today"));
    assert_eq!(rejection.reviewed_by.as_deref(), Some("alice"));
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::Rejected);
}

#[tokio::test]
async fn what_was_withdrawn_cannot_be_approved_into_a_run() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    let outcome = Outcome::Withdrawn { reason: "the client disconnected".to_owned() };
    center.report(&id, &outcome).await.unwrap();
    let alice = center.local_approver().await.unwrap();
    let error = center.approve(number(&id), &alice, None).await.unwrap_err();
    assert!(error.to_string().contains("its caller withdrew it"), "{error}");
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::Cancelled);

    // Also when the approval came first.
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    center.approve(number(&id), &alice, None).await.unwrap();
    center.report(&id, &outcome).await.unwrap();
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::Cancelled);
}

#[tokio::test]
async fn a_decision_is_for_these_arguments_only() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    let alice = center.local_approver().await.unwrap();
    center.approve(number(&id), &alice, None).await.unwrap();
    assert_eq!(refused(center.claim(&id, &digest(2)).await.unwrap()), RefusalKind::DigestMismatch);
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::Cancelled);
}

#[tokio::test]
async fn what_can_be_no_id_is_not_even_a_refused_claim() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    // From 2^53 on not every reader of the log tells numbers apart.
    for id in ["9007199254740992", "0", "-1", "seven"] {
        let id = ActionId::new(id).unwrap();
        let claimed = center.claim(&id, &digest(1)).await;
        assert!(matches!(claimed, Err(AuthorityError::InvalidRequest(_))), "{claimed:?}");
    }
    let id = ActionId::new("9007199254740991").unwrap();
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::Denied);
}

#[tokio::test]
async fn a_pending_action_expires_and_cannot_be_approved_then() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let mut action = delete();
    action.approval_timeout = Duration::from_millis(60);
    let id = center.evaluate(&action).await.unwrap().action_id;
    // The wait ends by itself.
    let Review::Rejected(rejection) = center.await_review(&id).await.unwrap() else {
        panic!("expired")
    };
    assert_eq!(rejection.kind, RefusalKind::TimedOut);
    assert_eq!(rejection.reason.as_deref(), Some("Approval timeout"));
    let alice = center.local_approver().await.unwrap();
    let error = center.approve(number(&id), &alice, None).await.unwrap_err();
    assert!(error.to_string().contains("it expired at"), "{error}");
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::TimedOut);
    assert_eq!(center.actions(Some(ActionState::Pending), 10).await.unwrap(), []);
    assert_eq!(center.actions(Some(ActionState::Expired), 10).await.unwrap().len(), 1);

    // What was allowed does not stay allowed for ever either.
    let mut read = support::action("database", "read", "x");
    read.approval_timeout = Duration::from_millis(1);
    let id = center.evaluate(&read).await.unwrap().action_id;
    until("it expired", async || state(&center, number(&id)).await == ActionState::Expired).await;
    assert_eq!(refused(center.claim(&id, &digest(1)).await.unwrap()), RefusalKind::Expired);
}

#[tokio::test]
async fn a_repeated_submit_is_the_same_action() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    let action = delete();
    let first = center.evaluate(&action).await.unwrap();
    let mut second = center.evaluate(&action).await.unwrap();
    assert!(second.expires_in <= first.expires_in, "the time goes on: {second:?}");
    second.expires_in = first.expires_in;
    assert_eq!(first, second);
    center.approve(number(&first.action_id), &alice, None).await.unwrap();
    let third = center.evaluate(&action).await.unwrap();
    assert_eq!((third.decision, &third.action_id), (Decision::Allow, &first.action_id));
    assert_eq!(third.approval.unwrap().reviewed_by.as_deref(), Some("alice"));
    assert_eq!(center.claim(&first.action_id, &digest(1)).await.unwrap(), Claim::Granted);
    let fourth = center.evaluate(&action).await.unwrap();
    assert_eq!(fourth.decision, Decision::Deny);
    assert_eq!(fourth.refusal, Some(RefusalKind::AlreadyExecuted));

    let mut other = action.clone();
    other.digest = digest(2);
    assert!(matches!(center.evaluate(&other).await, Err(AuthorityError::InvalidRequest(_))));
}

#[tokio::test]
async fn no_word_of_a_person_keeps_a_decision_from_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    // No text of PostgreSQL has U+0000.
    let words = || Some("go\0ahead".to_owned());
    let approved = center.evaluate(&delete()).await.unwrap().action_id;
    let record = center.approve(number(&approved), &alice, words()).await.unwrap();
    assert_eq!(record.comments.as_deref(), Some("go\u{fffd}ahead"));
    let rejected = center.evaluate(&delete()).await.unwrap().action_id;
    let record = center.reject(number(&rejected), &alice, words()).await.unwrap();
    assert_eq!(record.comments.as_deref(), Some("go\u{fffd}ahead"));
    let grant = NewGrant::of_tool("delete_records", "*").because("go\0ahead");
    let grant = center.grant(&alice, grant.calls(1)).await.unwrap();
    assert_eq!(grant.comment.as_deref(), Some("go\u{fffd}ahead"));
    center.kill("an\0incident", &alice).await.unwrap();
    let raised = center.kill_switch().await.unwrap().unwrap();
    assert_eq!(raised.reason, "an\u{fffd}incident");
}

#[tokio::test]
async fn the_kill_switch_stops_evaluations_and_claims() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    let allowed = center.evaluate(&action("database", "read", "x")).await.unwrap().action_id;
    center.kill("an incident", &alice).await.unwrap();
    center.kill("another", &alice).await.unwrap();
    assert_eq!(center.kill_switch().await.unwrap().unwrap().reason, "an incident");
    assert_eq!(refused(center.claim(&allowed, &digest(1)).await.unwrap()), RefusalKind::KillSwitch);
    let denied = center.evaluate(&action("database", "read", "x")).await.unwrap();
    assert_eq!(denied.decision, Decision::Deny);
    assert_eq!(denied.refusal, Some(RefusalKind::KillSwitch));
    assert_eq!(denied.reason.as_deref(), Some("the kill switch was raised by alice: an incident"));
    assert!(center.release(&alice).await.unwrap());
    assert!(!center.release(&alice).await.unwrap());
    assert_eq!(center.claim(&allowed, &digest(1)).await.unwrap(), Claim::Granted);
}

#[tokio::test]
async fn what_expired_is_not_withdrawn() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    // Before anybody noticed.
    database::sql(directory.path(), "UPDATE actions SET expires_at = 1".to_owned()).await;
    let late = Outcome::Withdrawn { reason: "nobody decided in time".to_owned() };
    center.report(&id, &late).await.unwrap();
    assert_eq!(state(&center, number(&id)).await, ActionState::Expired);
    let entries = center.audit_entries(&AuditQuery::new().action(number(&id))).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|(entry, _)| entry.event.kind.as_str()).collect();
    assert_eq!(kinds, ["evaluated", "expired"]);
    assert_eq!(center.action(number(&id)).await.unwrap().unwrap().outcome, None);
}

#[tokio::test]
async fn of_more_than_are_listed_those_that_expire_first_are() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let mut ids = Vec::new();
    for index in 0..3 {
        let mut action = delete();
        action.idempotency_key = format!("key-{index}");
        ids.push(number(&center.evaluate(&action).await.unwrap().action_id));
    }
    let listed = |records: Vec<ascend_center::Record>| {
        records.into_iter().map(|record| record.id).collect::<Vec<_>>()
    };
    let pending = center.actions(Some(ActionState::Pending), 2).await.unwrap();
    assert_eq!(listed(pending), ids[..2]);
    assert_eq!(listed(center.actions(None, 2).await.unwrap()), ids[1..]);
}

#[tokio::test]
async fn an_agent_can_neither_approve_nor_guess() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let key = center.agent_key().unwrap();
    assert!(matches!(center.approver(&key).await, Err(CredentialError::NotAnApprover)));
    let guess = "ascend_approver_00".to_owned().into();
    assert!(matches!(center.approver(&guess).await, Err(CredentialError::Unknown)));
    let alice = center.local_approver().await.unwrap();
    assert!(matches!(center.approve(7, &alice, None).await, Err(DecideError::Unknown(7))));
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("deep/center");
    let center = open(&directory).await;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(center.directory()), 0o700);
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let key = std::fs::read_to_string(directory.join("approver.key")).unwrap();
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    let token = key["token"].as_str().unwrap();
    assert!(!database::holds(&directory, token), "only its hash is kept");

    let open_to_all = parent.path().join("shared");
    std::fs::create_dir(&open_to_all).unwrap();
    std::fs::write(open_to_all.join("note"), "").unwrap();
    std::fs::set_permissions(&open_to_all, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Center::open(CenterConfig::new(&open_to_all)).await.unwrap_err();
    assert!(error.to_string().contains("give the center a directory of its own"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_credential_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let file = directory.path().join("approver.key");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = center.local_approver().await.unwrap_err();
    assert!(error.to_string().contains("others can read it"), "{error}");
}

#[tokio::test]
async fn the_record_tells_a_life_and_is_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let alice = center.local_approver().await.unwrap();
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    center.approve(number(&id), &alice, Some("fine".to_owned())).await.unwrap();
    center.claim(&id, &digest(1)).await.unwrap();
    let error = "no such table".to_owned();
    center.report(&id, &Outcome::Failed { duration: Duration::ZERO, error }).await.unwrap();
    let life = center.audit_entries(&AuditQuery::new().action(number(&id))).await.unwrap();
    let kinds: Vec<_> = life
        .iter()
        .map(|(entry, _)| (entry.event.kind.as_str(), entry.event.actor.name.as_str()))
        .collect();
    let expected = [
        ("evaluated", "embedded"),
        ("approved", "alice"),
        ("claimed", "embedded"),
        ("failed", "embedded"),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(life[1].0.event.comment.as_deref(), Some("fine"));
    // What a tool says can hold anything: the log has its hash.
    assert!(life[3].0.event.outcome.is_some());
    assert!(!format!("{life:?}").contains("no such table"));
    let record = center.action(number(&id)).await.unwrap().unwrap();
    assert_eq!(record.outcome.as_deref(), Some("no such table"));
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_answered() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let allowed = center.evaluate(&action("database", "read", "x")).await.unwrap().action_id;
    database::sql(directory.path(), "ALTER TABLE audit RENAME TO elsewhere").await;
    let evaluated = center.evaluate(&action("database", "read", "x")).await;
    assert!(matches!(evaluated, Err(AuthorityError::Failed(_))), "{evaluated:?}");
    let claimed = center.claim(&allowed, &digest(1)).await;
    assert!(matches!(claimed, Err(AuthorityError::Failed(_))), "{claimed:?}");
    database::sql(directory.path(), "ALTER TABLE elsewhere RENAME TO audit").await;
    // Nothing of it was left behind, and the center goes on.
    assert_eq!(center.actions(None, 10).await.unwrap().len(), 1);
    assert_eq!(center.claim(&allowed, &digest(1)).await.unwrap(), Claim::Granted);
}

#[tokio::test]
async fn a_lost_credential_is_replaced_and_the_old_one_ends() {
    // Over PostgreSQL others have it too, and it is refused unless it is adopted.
    let directory = database::in_file();
    let center = open(directory.path()).await;
    let old = std::fs::read_to_string(directory.path().join("approver.key")).unwrap();
    std::fs::remove_file(directory.path().join("approver.key")).unwrap();
    center.close().await;
    let center = open(directory.path()).await;
    center.local_approver().await.unwrap();
    std::fs::write(directory.path().join("approver.key"), old).unwrap();
    assert!(matches!(center.local_approver().await, Err(CredentialError::Unknown)));
}

#[tokio::test]
async fn pending_actions_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    center.close().await;
    assert!(matches!(center.evaluate(&delete()).await, Err(AuthorityError::Failed(_))));

    let center = open(directory.path()).await;
    let pending = center.actions(Some(ActionState::Pending), 10).await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].summary.as_deref(), Some("Work on `users`"));
    let alice = center.local_approver().await.unwrap();
    center.approve(number(&id), &alice, None).await.unwrap();
    assert!(matches!(center.await_review(&id).await.unwrap(), Review::Approved(_)));
    assert_eq!(center.claim(&id, &digest(1)).await.unwrap(), Claim::Granted);
}

#[tokio::test]
async fn a_decision_in_one_center_wakes_another_over_the_same_files() {
    let directory = tempfile::tempdir().unwrap();
    let server = open(directory.path()).await;
    let console = open(directory.path()).await;
    let alice = console.local_approver().await.unwrap();
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        let id = server.evaluate(&delete()).await.unwrap().action_id;
        let waiting = tokio::spawn({
            let (server, id) = (server.clone(), id.clone());
            async move {
                let review = server.await_review(&id).await;
                (Instant::now(), review)
            }
        });
        // Let it really wait.
        tokio::time::sleep(Duration::from_millis(20 + 7 * round)).await;
        console.approve(number(&id), &alice, None).await.unwrap();
        let decided = Instant::now();
        let (woken, review) = waiting.await.unwrap();
        assert!(matches!(review.unwrap(), Review::Approved(_)));
        slowest = slowest.max(woken.duration_since(decided));
    }
    println!("the slowest of 10 wake-ups across centers took {slowest:?}");
    assert!(slowest < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_claims_one_is_granted() {
    let directory = tempfile::tempdir().unwrap();
    let centers = [open(directory.path()).await, open(directory.path()).await];
    for _ in 0..5 {
        let id = centers[0].evaluate(&action("database", "read", "x")).await.unwrap().action_id;
        let claims: Vec<_> = (0..32)
            .map(|index| {
                let (center, id) = (centers[index % 2].clone(), id.clone());
                tokio::spawn(async move { center.claim(&id, &digest(1)).await.unwrap() })
            })
            .collect();
        let mut granted = 0;
        for claim in claims {
            granted += u32::from(claim.await.unwrap() == Claim::Granted);
        }
        assert_eq!(granted, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_can_open_the_same_files_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("center");
    let policies = directory.path().join("policies");
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let config = config(&path).policies(&policies);
            tokio::spawn(Center::open(config))
        })
        .collect();
    for center in opening {
        let center = center.await.unwrap().unwrap();
        center.local_approver().await.unwrap();
        center.evaluate(&action("database", "read", "x")).await.unwrap();
    }
    let mut names: Vec<_> = std::fs::read_dir(&policies)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["default.cedar", "default.test.toml", "schema.cedarschema"]);
}

#[tokio::test]
async fn changed_policies_are_used_and_broken_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let policies = directory.path().join("policies");
    let config = config(&directory.path().join("center")).policies(&policies);
    let center = Center::open(config).await.unwrap();
    let decide = async || center.evaluate(&action("database", "read", "x")).await.unwrap().decision;
    assert_eq!(decide().await, Decision::Allow);

    let own = policies.join("own.cedar");
    std::fs::write(&own, "@id(\"closed\") forbid (principal, action, resource);").unwrap();
    until("the changed files are noticed", async || decide().await == Decision::Deny).await;

    std::fs::write(&own, "@id(\"closed\") forbid (principal, action, resorce);").unwrap();
    let error = center.reload_policies().unwrap_err();
    assert!(error.to_string().contains("own.cedar:1:"), "{error}");
    assert_eq!(decide().await, Decision::Deny, "the earlier set stays");

    std::fs::remove_file(&own).unwrap();
    center.reload_policies().unwrap();
    assert_eq!(decide().await, Decision::Allow);
}

#[tokio::test]
async fn broken_policies_keep_a_center_from_opening() {
    let directory = tempfile::tempdir().unwrap();
    let policies = directory.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(policies.join("a.cedar"), "permit (principal, action, resource);").unwrap();
    let config = CenterConfig::new(directory.path().join("center")).policies(&policies);
    let error = Center::open(config).await.unwrap_err();
    assert!(error.to_string().contains("this `permit` has no `@id`"), "{error}");
}

#[tokio::test]
async fn the_governor_runs_over_it() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let governor = Governor::builder(center.clone()).server_id("srv").build();
    let context = CallContext::default();
    let grant = governor.authorize(action("database", "read", "x"), &context).await.unwrap();
    let id = number(grant.action_id());
    // Dropped without a run: withdrawn.
    drop(grant);
    until("the grant is withdrawn", async || state(&center, id).await == ActionState::Withdrawn)
        .await;

    let high_risk = {
        let mut json = action_json("database", "read", "x");
        json["floor"] = serde_json::json!({ "risk_level": "HIGH", "require_human_approval": true });
        serde_json::from_value(json).unwrap()
    };
    let approving = tokio::spawn({
        let center = center.clone();
        async move {
            let alice = center.local_approver().await.unwrap();
            until("it is pending", async || {
                !center.actions(Some(ActionState::Pending), 1).await.unwrap().is_empty()
            })
            .await;
            let pending = center.actions(Some(ActionState::Pending), 1).await.unwrap();
            assert_eq!(pending[0].risk_level, RiskLevel::High);
            center.approve(pending[0].id, &alice, None).await.unwrap();
        }
    });
    let grant = governor.authorize(high_risk, &context).await.unwrap();
    assert_eq!(grant.approval().unwrap().reviewed_by.as_deref(), Some("alice"));
    approving.await.unwrap();
    drop(grant);
    assert!(governor.close(Duration::from_secs(5)).await);
    assert!(center.describe().contains("ascend-center --directory"));
    center.health().await.unwrap();
}
