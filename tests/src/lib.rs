//! Support for the tests: an authority that answers by script and records what
//! it was asked.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests fail by panicking")]

pub mod client;
pub mod fixture;
pub mod host;
pub mod modern;
pub mod raw_client;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use ascend_sdk::{
    Action, ActionId, Approval, Authority, AuthorityError, BoxFuture, Claim, Decision, Digest,
    Evaluation, Outcome, RefusalKind, Rejection, Review, RiskLevel,
};
use tokio::sync::{Notify, watch};

/// An authority that answers by script. Clones share the script and the record.
#[derive(Clone)]
pub struct Scripted(Arc<Inner>);

struct Inner {
    answers: Mutex<VecDeque<Result<Evaluation, AuthorityError>>>,
    default: Result<Evaluation, AuthorityError>,
    review: watch::Sender<Option<Result<Review, AuthorityError>>>,
    claim: Mutex<Result<Claim, AuthorityError>>,
    hold: Mutex<Option<Arc<Notify>>>,
    record: Mutex<Record>,
    changed: Notify,
}

/// What a [`Scripted`] authority was asked.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Every action evaluated.
    pub evaluated: Vec<Action>,
    /// Every action waited for.
    pub awaited: Vec<ActionId>,
    /// Every claim.
    pub claimed: Vec<(ActionId, Digest)>,
    /// Every outcome reported.
    pub reported: Vec<(ActionId, Outcome)>,
}

/// An evaluation with this decision, of action 1 with risk score 50.
#[must_use]
pub fn evaluation(decision: Decision) -> Evaluation {
    Evaluation {
        decision,
        action_id: ActionId::new("1").unwrap(),
        risk_score: 50,
        risk_level: RiskLevel::Medium,
        reason: Some("as scripted".to_owned()),
        refusal: None,
        approval: None,
        estimated_approval_time: None,
        expires_in: None,
        in_client_approval: false,
    }
}

/// An approval by alice.
#[must_use]
pub fn approved() -> Review {
    Review::Approved(Approval {
        reviewed_by: Some("alice@example.com".to_owned()),
        comments: Some("fine".to_owned()),
    })
}

/// A rejection by bob.
#[must_use]
pub fn rejected() -> Review {
    Review::Rejected(Rejection {
        kind: RefusalKind::Rejected,
        reason: Some("not on a Friday".to_owned()),
        reviewed_by: Some("bob@example.com".to_owned()),
    })
}

impl Scripted {
    /// Answers every evaluation with this, each action with an id of its own,
    /// counted from 1.
    #[must_use]
    pub fn always(answer: Result<Evaluation, AuthorityError>) -> Self {
        Self(Arc::new(Inner {
            answers: Mutex::default(),
            default: answer,
            review: watch::Sender::new(None),
            claim: Mutex::new(Ok(Claim::Granted)),
            hold: Mutex::default(),
            record: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Allows everything.
    #[must_use]
    pub fn allow() -> Self {
        Self::always(Ok(evaluation(Decision::Allow)))
    }

    /// Denies everything.
    #[must_use]
    pub fn deny() -> Self {
        Self::always(Ok(evaluation(Decision::Deny)))
    }

    /// Holds everything for a person.
    #[must_use]
    pub fn pending() -> Self {
        Self::always(Ok(evaluation(Decision::RequireApproval)))
    }

    /// Answers the next evaluation with this, as it stands.
    pub fn answer_next(&self, answer: Result<Evaluation, AuthorityError>) {
        self.0.answers.lock().unwrap().push_back(answer);
    }

    /// Makes evaluations wait until the notification comes.
    pub fn hold_evaluations(&self, until: Arc<Notify>) {
        *self.0.hold.lock().unwrap() = Some(until);
    }

    /// Decides on all that is pending, and all that will be.
    pub fn review(&self, review: Result<Review, AuthorityError>) {
        self.0.review.send_replace(Some(review));
    }

    /// Answers claims with this.
    pub fn answer_claims(&self, claim: Result<Claim, AuthorityError>) {
        *self.0.claim.lock().unwrap() = claim;
    }

    /// What was asked so far.
    #[must_use]
    pub fn record(&self) -> Record {
        self.0.record.lock().unwrap().clone()
    }

    /// Waits until the record satisfies `is_met`; fails after ten seconds.
    pub async fn until(&self, is_met: impl Fn(&Record) -> bool) -> Record {
        let met = async {
            loop {
                let changed = self.0.changed.notified();
                if let Some(record) = Some(&*self.0.record.lock().unwrap()).filter(|it| is_met(it))
                {
                    return record.clone();
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(10), met).await {
            Ok(record) => record,
            Err(_) => panic!("not within ten seconds; the record is {:#?}", self.record()),
        }
    }

    fn note(&self, note: impl FnOnce(&mut Record)) {
        note(&mut self.0.record.lock().unwrap());
        self.0.changed.notify_waiters();
    }
}

impl Authority for Scripted {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        Box::pin(async move {
            let mut count = 0;
            self.note(|record| {
                record.evaluated.push(action.clone());
                count = record.evaluated.len();
            });
            let hold = self.0.hold.lock().unwrap().clone();
            if let Some(hold) = hold {
                hold.notified().await;
            }
            let next = self.0.answers.lock().unwrap().pop_front();
            next.unwrap_or_else(|| {
                self.0.default.clone().map(|evaluation| Evaluation {
                    action_id: ActionId::new(count.to_string()).unwrap(),
                    ..evaluation
                })
            })
        })
    }

    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        Box::pin(async move {
            let mut review = self.0.review.subscribe();
            self.note(|record| record.awaited.push(id.clone()));
            let review = review.wait_for(Option::is_some).await.unwrap().clone();
            review.unwrap()
        })
    }

    fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        Box::pin(async move {
            self.note(|record| record.claimed.push((id.clone(), *digest)));
            self.0.claim.lock().unwrap().clone()
        })
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(async move {
            self.note(|record| record.reported.push((id.clone(), outcome.clone())));
            Ok(())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "a scripted authority".to_owned()
    }
}
