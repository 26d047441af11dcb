//! An authority that does what a test says.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    Action, ActionId, Approval, Authority, AuthorityError, BoxFuture, Claim, Decision, Digest,
    Evaluation, Outcome, RefusalKind, Rejection, Review, RiskLevel,
};

/// What becomes of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It may run, and no person is asked.
    Allow,
    /// It may not run.
    Deny {
        /// Why.
        reason: String,
    },
    /// It waits until [`Script::approve`] or [`Script::reject`].
    Hold,
    /// A person approves it after this time.
    Approve {
        /// From the evaluation.
        after: Duration,
        /// The person.
        by: String,
    },
    /// A person rejects it after this time.
    Reject {
        /// From the evaluation.
        after: Duration,
        /// Why.
        reason: String,
    },
    /// It expires, undecided, after this time.
    Expire {
        /// From the evaluation.
        after: Duration,
    },
    /// The authority gives this answer to the evaluation, which is none.
    Error(AuthorityError),
}

/// An authority that does what a test says, and remembers what it was asked.
///
/// As any sound authority it grants the claim of an action once, and only for
/// the digest that was evaluated. Clones are the same script. See the
/// [module](super) for an example.
#[derive(Clone)]
pub struct Script(Arc<Inner>);

struct Inner {
    books: Mutex<Books>,
    waiting: watch::Sender<BTreeSet<ActionId>>,
    decided: watch::Sender<BTreeMap<ActionId, Review>>,
    outcomes: watch::Sender<Vec<(ActionId, Outcome)>>,
}

#[derive(Default)]
struct Books {
    answers: VecDeque<Answer>,
    otherwise: Option<Answer>,
    at_review: Option<AuthorityError>,
    at_claim: Option<Result<Rejection, AuthorityError>>,
    asked: Vec<Action>,
    entries: HashMap<ActionId, Entry>,
}

struct Entry {
    answer: Answer,
    digest: Digest,
    claimed: bool,
}

impl Script {
    /// Answers every evaluation with `answer`.
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        let books = Books { otherwise: Some(answer), ..Books::default() };
        Self(Arc::new(Inner {
            books: Mutex::new(books),
            waiting: watch::Sender::default(),
            decided: watch::Sender::default(),
            outcomes: watch::Sender::default(),
        }))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the next evaluation with `answer`; those after it in the order in
    /// which they were given, and then as before.
    #[must_use]
    pub fn next(self, answer: Answer) -> Self {
        self.books().answers.push_back(answer);
        self
    }

    /// Answers every question for a review with this error.
    #[must_use]
    pub fn failing_at_review(self, error: AuthorityError) -> Self {
        self.books().at_review = Some(error);
        self
    }

    /// Refuses every claim as this kind of refusal.
    #[must_use]
    pub fn refusing_claims(self, kind: RefusalKind) -> Self {
        let rejection = Rejection { kind, reason: None, reviewed_by: None };
        self.books().at_claim = Some(Ok(rejection));
        self
    }

    /// Answers every claim with this error.
    #[must_use]
    pub fn failing_at_claim(self, error: AuthorityError) -> Self {
        self.books().at_claim = Some(Err(error));
        self
    }

    /// Approves the action in the name of `reviewer`, waiting or not.
    pub fn approve(&self, id: &ActionId, reviewer: &str) {
        let approval = Approval { reviewed_by: Some(reviewer.to_owned()), comments: None };
        self.decide(id, Review::Approved(approval));
    }

    /// Rejects the action in the name of `reviewer`, waiting or not.
    pub fn reject(&self, id: &ActionId, reviewer: &str, reason: &str) {
        let reason = Some(reason.to_owned());
        let reviewed_by = Some(reviewer.to_owned());
        let rejection = Rejection { kind: RefusalKind::Rejected, reason, reviewed_by };
        self.decide(id, Review::Rejected(rejection));
    }

    fn decide(&self, id: &ActionId, review: Review) {
        self.0.decided.send_modify(|decided| {
            decided.entry(id.clone()).or_insert(review);
        });
    }

    /// Waits until at least `count` actions wait for a person.
    pub async fn waiting(&self, count: usize) -> Vec<ActionId> {
        let mut waiting = self.0.waiting.subscribe();
        match waiting.wait_for(|waiting| waiting.len() >= count).await {
            Ok(waiting) => waiting.iter().cloned().collect(),
            // The sender lives as long as this does.
            Err(_) => Vec::new(),
        }
    }

    /// Waits until at least `count` outcomes were reported, and returns all.
    pub async fn outcomes(&self, count: usize) -> Vec<(ActionId, Outcome)> {
        let mut outcomes = self.0.outcomes.subscribe();
        match outcomes.wait_for(|outcomes| outcomes.len() >= count).await {
            Ok(outcomes) => outcomes.clone(),
            Err(_) => Vec::new(),
        }
    }

    /// Every action that was evaluated, in order, as it left the process:
    /// sensitive values are masked.
    #[must_use]
    pub fn asked(&self) -> Vec<Action> {
        self.books().asked.clone()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("asked", &self.books().asked.len()).finish_non_exhaustive()
    }
}

/// An action counts as waiting as long as this lives.
struct Waits<'a>(&'a Script, &'a ActionId);

impl<'a> Waits<'a> {
    fn begin(script: &'a Script, id: &'a ActionId) -> Self {
        script.0.waiting.send_modify(|waiting| {
            waiting.insert(id.clone());
        });
        Self(script, id)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.0.waiting.send_modify(|waiting| {
            waiting.remove(self.1);
        });
    }
}

impl Authority for Script {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        Box::pin(async move {
            let mut books = self.books();
            books.asked.push(action.clone());
            let number = books.asked.len();
            let next = books.answers.pop_front().or_else(|| books.otherwise.clone());
            let answer = next.unwrap_or(Answer::Allow);
            let unknown = || AuthorityError::Malformed("no id".to_owned());
            let id = ActionId::new(number.to_string()).ok_or_else(unknown)?;
            let (decision, reason) = match &answer {
                Answer::Error(error) => return Err(error.clone()),
                Answer::Allow => (Decision::Allow, None),
                Answer::Deny { reason } => (Decision::Deny, Some(reason.clone())),
                _ => (Decision::RequireApproval, None),
            };
            let entry = Entry { answer, digest: action.digest, claimed: false };
            books.entries.insert(id.clone(), entry);
            Ok(Evaluation {
                decision,
                action_id: id,
                risk_score: 50,
                risk_level: RiskLevel::Medium,
                reason,
                refusal: None,
                approval: None,
                estimated_approval_time: None,
                expires_in: None,
                in_client_approval: false,
            })
        })
    }

    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        Box::pin(async move {
            let _waits = Waits::begin(self, id);
            let (error, answer) = {
                let books = self.books();
                let answer = books.entries.get(id).map(|entry| entry.answer.clone());
                (books.at_review.clone(), answer)
            };
            if let Some(error) = error {
                return Err(error);
            }
            let (after, review) = match answer {
                Some(Answer::Approve { after, by }) => {
                    let approval = Approval { reviewed_by: Some(by), comments: None };
                    (after, Review::Approved(approval))
                }
                Some(Answer::Reject { after, reason }) => {
                    let kind = RefusalKind::Rejected;
                    let reason = Some(reason);
                    (after, Review::Rejected(Rejection { kind, reason, reviewed_by: None }))
                }
                Some(Answer::Expire { after }) => {
                    let kind = RefusalKind::Expired;
                    let reason = None;
                    (after, Review::Rejected(Rejection { kind, reason, reviewed_by: None }))
                }
                _ => {
                    let mut decided = self.0.decided.subscribe();
                    let decided = decided.wait_for(|decided| decided.contains_key(id)).await;
                    let decided = decided.ok().and_then(|decided| decided.get(id).cloned());
                    return decided.ok_or_else(|| AuthorityError::Failed("it ended".to_owned()));
                }
            };
            tokio::time::sleep(after).await;
            Ok(review)
        })
    }

    fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        Box::pin(async move {
            let mut books = self.books();
            match books.at_claim.clone() {
                Some(Ok(rejection)) => return Ok(Claim::Refused(rejection)),
                Some(Err(error)) => return Err(error),
                None => {}
            }
            let unknown = || AuthorityError::InvalidRequest(format!("there is no action {id}"));
            let entry = books.entries.get_mut(id).ok_or_else(unknown)?;
            let refused =
                |kind| Ok(Claim::Refused(Rejection { kind, reason: None, reviewed_by: None }));
            if entry.digest != *digest {
                return refused(RefusalKind::DigestMismatch);
            }
            if std::mem::replace(&mut entry.claimed, true) {
                return refused(RefusalKind::AlreadyExecuted);
            }
            Ok(Claim::Granted)
        })
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(async move {
            self.0.outcomes.send_modify(|outcomes| outcomes.push((id.clone(), outcome.clone())));
            Ok(())
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "a script".to_owned()
    }
}
