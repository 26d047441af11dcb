//! How an action stands, looked up once and for information alone.

use serde_json::Value;

use super::{
    Core,
    answer::{Fields, fold},
    at,
    client::{Patience, Question},
    memory::{ClaimMode, Entry},
    problem::Problem,
    rejection,
    text::{Quoter, REASON_LIMIT},
    verdict,
};
use crate::{ActionId, AuthorityError, RefusalKind, Rejection, Review, Standing, Status};

impl Core {
    pub(super) async fn status_of(&self, id: &ActionId) -> Result<Standing, AuthorityError> {
        let question = Question::get("status", at(&self.paths.status, id));
        let answer = self.client.ask(&question, Patience::Caller).await?;
        if answer.status == 404 {
            return Ok(Status::Unknown.into());
        }
        if !answer.is_success() {
            return match self.client.problem(&answer) {
                Problem::Governance { reason, .. } => {
                    Ok(Status::Refused(rejection(RefusalKind::Denied, reason)).into())
                }
                Problem::Error(error) => Err(error),
            };
        }
        let fields = self.client.fields(&answer)?;
        read(&fields, id, self.memory.recall(id), &self.client.quoter)
    }
}

/// Reads a status answer about action `id`, as strictly as where something
/// depends on it.
fn read(
    fields: &Fields<'_>,
    id: &ActionId,
    known: Option<Entry>,
    quoter: &Quoter,
) -> Result<Standing, AuthorityError> {
    let digest = known.as_ref().map(|entry| entry.digest);
    let passed = known.as_ref().is_some_and(|entry| entry.passed);
    // Where nobody else keeps the claims, only this process knows of them.
    let claimed_here =
        known.is_some_and(|entry| entry.claim == ClaimMode::Local && entry.is_used());
    let left = verdict::time_left(fields);
    let status = match verdict::review(fields, id, digest.as_ref(), passed, quoter)? {
        None => Status::Pending { left },
        Some(Review::Approved(_) | Review::AutoApproved) if claimed_here => Status::Claimed,
        Some(Review::Approved(approval)) => Status::Approved { approval: Some(approval), left },
        Some(Review::AutoApproved) => Status::Approved { approval: None, left },
        Some(Review::Rejected(Rejection { kind: RefusalKind::AlreadyExecuted, .. })) => run(fields),
        // Said of what ran, the word speaks of the run, not of the authority.
        Some(Review::Rejected(Rejection { kind: RefusalKind::Unreachable, .. }))
            if claimed_here =>
        {
            Status::Failed
        }
        // On this route ASCEND says `denied` for a person's no; our center tells
        // the two apart.
        Some(Review::Rejected(Rejection { kind: RefusalKind::Rejected, reason, reviewed_by }))
            if says(fields, "state", "denied") =>
        {
            Status::Refused(Rejection { kind: RefusalKind::Denied, reason, reviewed_by })
        }
        Some(Review::Rejected(rejection)) => Status::Refused(rejection),
    };
    let server_id = ["server_id", "mcp_server"]
        .iter()
        .find_map(|name| fields.field(name)?.as_str())
        .map(|server_id| quoter.quote(server_id, REASON_LIMIT));
    Ok(Standing { server_id, status })
}

/// How the one run of an executed action ended.
fn run(fields: &Fields<'_>) -> Status {
    let ended = |word| ["state", "status"].iter().any(|name| says(fields, name, word));
    match (ended("completed"), ended("failed")) {
        (true, false) => Status::Completed,
        (false, true) => Status::Failed,
        _ => Status::Claimed,
    }
}

fn says(fields: &Fields<'_>, name: &str, word: &str) -> bool {
    fields.field(name).and_then(Value::as_str).is_some_and(|said| fold(said) == word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{Approval, authority::ascend::memory::Memory};

    fn stands(answer: Value, known: Option<Entry>) -> Result<Status, AuthorityError> {
        let fields = Fields::from_value(answer).map_err(AuthorityError::Malformed)?;
        let quoter = Quoter::new(Vec::new());
        read(&fields, &ActionId::new("7").unwrap(), known, &quoter).map(|standing| standing.status)
    }

    fn refused(kind: RefusalKind, reason: Option<&str>) -> Status {
        Status::Refused(rejection(kind, reason.map(str::to_owned)))
    }

    #[test]
    fn every_status_is_told_apart() {
        let left = None;
        let ada = Approval { reviewed_by: Some("ada".to_owned()), comments: None };
        for (answer, status) in [
            (json!({"status": "pending"}), Status::Pending { left }),
            (json!({"status": "approved", "decision_ready": false}), Status::Pending { left }),
            (
                json!({"status": "approved", "reviewed_by": "ada"}),
                Status::Approved { approval: Some(ada), left },
            ),
            (json!({"status": "auto_approved"}), Status::Approved { approval: None, left }),
            (json!({"status": "executed"}), Status::Claimed),
            (json!({"status": "executed", "state": "executing"}), Status::Claimed),
            (json!({"status": "executed", "state": "completed"}), Status::Completed),
            (json!({"status": "executed", "state": "failed"}), Status::Failed),
            (json!({"status": "completed"}), Status::Completed),
            (
                json!({"status": "expired"}),
                refused(RefusalKind::Expired, Some("the authority says `expired`")),
            ),
            (
                json!({"status": "denied", "comments": "no"}),
                refused(RefusalKind::Rejected, Some("no")),
            ),
            (
                json!({"status": "denied", "state": "denied", "reason": "never"}),
                refused(RefusalKind::Denied, Some("never")),
            ),
        ] {
            assert_eq!(stands(answer.clone(), None), Ok(status), "{answer}");
        }
    }

    #[test]
    fn what_says_nothing_or_speaks_of_another_action_is_no_standing() {
        for answer in [
            json!({}),
            json!({"status": "fine"}),
            json!({"status": 1}),
            json!({"status": "approved", "action_id": 8}),
        ] {
            assert!(
                matches!(stands(answer.clone(), None), Err(AuthorityError::Malformed(_))),
                "{answer}"
            );
        }
    }

    #[test]
    fn a_claim_that_only_this_process_knows_of_is_told() {
        let (id, digest) = (ActionId::new("7").unwrap(), "ab".repeat(32).parse().unwrap());
        for (mode, approved, failed) in [
            (ClaimMode::Local, Status::Claimed, Some(Status::Failed)),
            // The server knows better.
            (ClaimMode::Server, Status::Approved { approval: None, left: None }, None),
        ] {
            let memory = Memory::default();
            memory.open(&id, Entry::new(digest, mode, true, "key".into())).unwrap();
            memory.try_claim(&id, &digest).unwrap().unwrap().granted();
            let known = memory.recall(&id);
            assert_eq!(stands(json!({"status": "approved"}), known.clone()), Ok(approved));
            if let Some(failed) = failed {
                assert_eq!(stands(json!({"status": "failed"}), known), Ok(failed));
            }
        }
        assert!(matches!(
            stands(json!({"status": "failed"}), None),
            Ok(Status::Refused(Rejection { kind: RefusalKind::Unreachable, .. }))
        ));
    }

    #[test]
    fn the_time_left_is_read_and_never_negative() {
        let at = |text: &str| stands(json!({"status": "pending", "expires_at": text}), None);
        let soon = (Timestamp::now() + Duration::from_secs(100)).to_string();
        let Ok(Status::Pending { left: Some(left) }) = at(&soon) else { panic!("a time") };
        assert!((98..=100).contains(&left.as_secs()), "{left:?}");
        assert_eq!(at("2020-01-01T00:00:00Z"), Ok(Status::Pending { left: Some(Duration::ZERO) }));
        assert_eq!(at("soon"), Ok(Status::Pending { left: None }));
    }
}
