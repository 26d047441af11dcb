//! Two identical calls under one governor, in every order of what can happen to
//! them: the authority's answers, promises, cancellations, the end of the server.
//!
//! A run is a list of choices among what can happen next; after each, everything
//! that can go on goes on. All lists are tried, with at most two promises,
//! cancellations or ends in each.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use serde_json::{Map, json};
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, yield_now},
};
use tokio_util::sync::CancellationToken;

use super::Governor;
use crate::{
    Action, ActionId, Approval, Authority, AuthorityError, BoxFuture, CallContext, Claim, Decision,
    Digest, Evaluation, Holder, Outcome, RefusalKind, Rejection, Review, RiskLevel, SessionContext,
    context::{CallNumber, Patience, Wish},
    digest::{self, Salt},
};

/// An action, as the authority has it.
#[derive(Debug, Default)]
struct Deed {
    approved: bool,
    claimed: bool,
    withdrawn: bool,
    holders: HashSet<Holder>,
}

impl Deed {
    fn is_open(&self) -> bool {
        !self.claimed && !self.withdrawn
    }
}

#[derive(Default)]
struct Books {
    deeds: Vec<Deed>,
    /// What was asked and not answered.
    asked: Vec<oneshot::Sender<()>>,
}

/// An authority that answers when the run says so. What it decides it decides when
/// it is asked, so that its answers can be late; an approval comes with its answer.
#[derive(Clone, Default)]
struct Desk(Arc<Mutex<Books>>);

impl Desk {
    async fn turn(&self) {
        let (sender, turn) = oneshot::channel();
        self.0.lock().unwrap().asked.push(sender);
        turn.await.unwrap();
    }

    fn with<T>(&self, id: &ActionId, then: impl FnOnce(&mut Deed) -> T) -> T {
        then(&mut self.0.lock().unwrap().deeds[id.as_str().parse::<usize>().unwrap()])
    }
}

fn rejection(kind: RefusalKind) -> Rejection {
    Rejection { kind, reason: None, reviewed_by: None }
}

impl Authority for Desk {
    fn evaluate<'a>(&'a self, _: &'a Action) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        Box::pin(async move {
            let id = {
                let deeds = &mut self.0.lock().unwrap().deeds;
                let promised = |deed: &Deed| deed.is_open() && !deed.holders.is_empty();
                deeds.iter().position(promised).unwrap_or_else(|| {
                    deeds.push(Deed::default());
                    deeds.len() - 1
                })
            };
            self.turn().await;
            Ok(Evaluation {
                decision: Decision::RequireApproval,
                action_id: ActionId::new(id.to_string()).unwrap(),
                risk_score: 50,
                risk_level: RiskLevel::Medium,
                reason: None,
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
            self.turn().await;
            Ok(self.with(id, |deed| {
                if deed.withdrawn {
                    return Review::Rejected(rejection(RefusalKind::Cancelled));
                }
                deed.approved = true;
                Review::Approved(Approval { reviewed_by: None, comments: None })
            }))
        })
    }

    fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        _: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        Box::pin(async move {
            let claim = self.with(id, |deed| {
                assert!(deed.approved, "a claim without an approval");
                if deed.is_open() {
                    deed.claimed = true;
                    return Claim::Granted;
                }
                let kind = match deed.claimed {
                    true => RefusalKind::AlreadyExecuted,
                    false => RefusalKind::Cancelled,
                };
                Claim::Refused(rejection(kind))
            });
            self.turn().await;
            Ok(claim)
        })
    }

    fn promise<'a>(
        &'a self,
        id: &'a ActionId,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Option<Duration>, AuthorityError>> {
        Box::pin(async move {
            let is_kept = self.with(id, |deed| {
                let is_open = deed.is_open();
                if is_open {
                    deed.holders.insert(holder.clone());
                }
                is_open
            });
            self.turn().await;
            Ok(is_kept.then_some(Duration::from_secs(60)))
        })
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        self.with(id, |deed| match outcome {
            Outcome::Withdrawn { .. } => deed.withdrawn |= deed.holders.is_empty(),
            Outcome::Abandoned { holder, .. } => {
                deed.holders.remove(holder);
                deed.withdrawn |= deed.holders.is_empty();
            }
            Outcome::Completed { .. } | Outcome::Failed { .. } => {}
        });
        Box::pin(std::future::ready(Ok(())))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn describe(&self) -> String {
        "a desk".to_owned()
    }
}

fn action() -> Action {
    let mut action: Action = serde_json::from_value(json!({
        "server_id": "server", "tool": "tool", "description": "A tool.",
        "namespace": "database", "verb": "delete", "resource": "database://production",
        "parameters": {}, "summary": null, "floor": { "require_human_approval": true },
        "facts": {}, "metadata": {}, "user_context": {},
        "session_context": { "session_id": "s" }, "digest": "01".repeat(32),
        "idempotency_key": "key", "approval_timeout": { "secs": 300, "nanos": 0 },
    }))
    .unwrap();
    let call =
        digest::of_call("tool", "database://production", &Map::new(), |_| false, &Salt::random());
    action.call = Some(call.1);
    action
}

/// One of the two calls.
struct Calling {
    running: JoinHandle<Result<ActionId, RefusalKind>>,
    wish: watch::Sender<Wish>,
    cancellation: CancellationToken,
    cancelled: bool,
    kept: bool,
}

impl Calling {
    fn begin(governor: &Governor) -> Self {
        let (wish, wishes) = watch::channel(Wish::Hold);
        let cancellation = CancellationToken::new();
        let context = CallContext::new(SessionContext::default(), cancellation.clone())
            .with_patience(Patience {
                wish: wishes,
                waiting: watch::Sender::new(None),
                begun: Arc::new(OnceLock::new()),
                call: CallNumber::next(),
                principal: String::new(),
                needs_card: false,
            });
        let governor = governor.clone();
        let running = tokio::spawn(async move {
            let grant = governor.authorize(action(), &context).await;
            let grant = grant.map_err(|refusal| refusal.kind())?;
            let id = grant.action_id().clone();
            grant.begin().0.finish(None);
            Ok(id)
        });
        Self { running, wish, cancellation, cancelled: false, kept: false }
    }
}

/// What can happen next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Answer(usize),
    Keep(usize),
    Cancel(usize),
    Close,
}

/// The choices of a run: which of how many.
type Path = Vec<(usize, usize)>;

const TROUBLES: usize = 2;

async fn settle() {
    for _ in 0..32 {
        yield_now().await;
    }
}

/// Goes the path, and beyond its end always the first way.
async fn run(path: &mut Path) {
    let desk = Desk::default();
    let governor = Governor::new(desk.clone());
    let mut calls = [Calling::begin(&governor), Calling::begin(&governor)];
    let (mut troubles, mut closed) = (0, false);
    let mut seen = Vec::new();
    for at in 0.. {
        settle().await;
        let mut steps = Vec::new();
        {
            let asked = &mut desk.0.lock().unwrap().asked;
            asked.retain(|turn| !turn.is_closed());
            steps.extend((0..asked.len()).map(Step::Answer));
        }
        let waiting = |call: &Calling| !call.running.is_finished();
        assert!(
            !steps.is_empty() || !calls.iter().any(waiting),
            "a call waits for nothing: {seen:?}"
        );
        if steps.is_empty() {
            break;
        }
        for (who, call) in calls.iter().enumerate().filter(|(_, call)| waiting(call)) {
            if troubles == TROUBLES {
                continue;
            }
            if !call.kept {
                steps.push(Step::Keep(who));
            }
            steps.push(Step::Cancel(who));
        }
        if troubles < TROUBLES && !closed {
            steps.push(Step::Close);
        }
        if at == path.len() {
            path.push((0, steps.len()));
        }
        assert_eq!(path[at].1, steps.len(), "a run can be repeated");
        let step = steps[path[at].0];
        seen.push(step);
        match step {
            Step::Answer(turn) => {
                let turn = desk.0.lock().unwrap().asked.remove(turn);
                turn.send(()).unwrap();
            }
            Step::Keep(who) => {
                troubles += 1;
                calls[who].kept = true;
                calls[who].wish.send_replace(Wish::Keep);
            }
            Step::Cancel(who) => {
                troubles += 1;
                calls[who].cancelled = true;
                calls[who].wish.send_replace(Wish::Abandon);
                calls[who].cancellation.cancel();
                settle().await;
                assert!(calls[who].running.is_finished(), "it waits on: {seen:?}");
            }
            Step::Close => {
                troubles += 1;
                closed = true;
                governor.close(Duration::ZERO).await;
            }
        }
    }
    let mut ran = Vec::new();
    let mut refusals = Vec::new();
    let mut is_patient = false;
    for call in &mut calls {
        let ended = (&mut call.running).await.unwrap();
        assert!(!call.cancelled || ended == Err(RefusalKind::Cancelled), "{seen:?}");
        is_patient |= !call.cancelled;
        match ended {
            Ok(id) => ran.push(id),
            Err(kind) => refusals.push(kind),
        }
    }
    let books = desk.0.lock().unwrap();
    let claimed = books.deeds.iter().filter(|deed| deed.claimed).count();
    assert!(ran.len() < 2 || ran[0] != ran[1], "ran twice: {seen:?}: {:?}", books.deeds);
    assert!(ran.len() <= claimed, "ran without a claim: {seen:?}: {:?}", books.deeds);
    for deed in &books.deeds {
        let is_kept = !deed.holders.is_empty();
        assert!(deed.claimed || deed.withdrawn || is_kept, "left open: {seen:?}: {deed:?}");
        assert!(!deed.withdrawn || !is_kept, "a promise was broken: {seen:?}: {deed:?}");
    }
    if troubles == 0 {
        // Each that ran did so under an approval of its own.
        assert!(!ran.is_empty() && ran.len() == claimed, "{seen:?}: {:?}", books.deeds);
        assert!(refusals.iter().all(|it| *it == RefusalKind::AlreadyExecuted), "{seen:?}");
    }
    if is_patient && !closed {
        // Only a claim whose answer was cancelled can be lost.
        assert!(claimed > 0, "a call was lost: {seen:?}: {:?}", books.deeds);
    }
}

#[test]
fn no_order_of_events_runs_a_call_twice_loses_one_or_leaves_one_open() {
    let mut path = Path::new();
    let mut runs = 0;
    loop {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(run(&mut path));
        runs += 1;
        while let Some((way, of)) = path.pop() {
            if way + 1 < of {
                path.push((way + 1, of));
                break;
            }
        }
        if path.is_empty() {
            break;
        }
    }
    println!("{runs} orders");
    assert!(runs > 1_000, "{runs} orders");
}
