//! One question about one action or many, and what its answer says of each.

use std::{
    collections::{HashMap, hash_map},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    super::{
        Core,
        answer::{Fields, action_id},
        at,
        client::{Answer, Question, Trouble},
        config::Timing,
        problem::Problem,
        rejection,
        text::Quoter,
        verdict,
    },
    board::{Order, Report, Told},
};
use crate::{ActionId, AuthorityError, RefusalKind, Rejection, Review};

/// How long a server is asked to hold a question.
const LONG_POLL: Duration = Duration::from_secs(25);
/// What a request needs beside the time that it is held.
const MARGIN: Duration = Duration::from_secs(5);

/// In seconds; 0 where the request would run into its timeout.
pub(super) fn longest_wait(timing: &Timing) -> u64 {
    LONG_POLL.min(timing.request.saturating_sub(MARGIN)).as_secs()
}

impl Core {
    /// Sends the question; no report if it was cancelled before.
    pub(super) async fn ask_for(&self, mut order: Order) -> (u64, Option<Report>) {
        // A server that failed is asked what it answers at once.
        order.wait = order.wait.filter(|_| self.client.may_be_held());
        let cancelled = order.cancelled.clone();
        let asking = async {
            if order.is_batch { self.ask_many(&order).await } else { self.ask_one(&order).await }
        };
        tokio::select! {
            biased;
            () = cancelled.cancelled() => (order.leg, None),
            report = asking => (order.leg, Some(report)),
        }
    }

    async fn ask_one(&self, order: &Order) -> Report {
        let mut report = Report::new(order.leg);
        let Some(id) = order.ids.first() else { return report };
        let started = Instant::now();
        let question = Question::get("wait", at(&self.paths.status, id))
            .query(wait_query(order.wait))
            .in_trace(self.memory.trace(id));
        let told = match self.client.attempt(&question, started + self.client.timing.request).await
        {
            Err(trouble) => report.trouble(&trouble),
            Ok(answer) => {
                let told = self.read_one(&answer, id);
                if matches!(told, Told::Pending) {
                    report.learn(order.wait, answer.waited, started.elapsed());
                }
                told
            }
        };
        if let Told::Passing(_) = &told {
            tracing::debug!(action_id = %id, "status not had");
        }
        report.told.push((id.clone(), told));
        report
    }

    fn read_one(&self, answer: &Answer, id: &ActionId) -> Told {
        if !answer.is_success() {
            return match self.client.problem(answer) {
                Problem::Governance { reason, .. } => {
                    Told::Decided(Review::Rejected(rejection(RefusalKind::Denied, reason)))
                }
                Problem::Error(error @ AuthorityError::Unauthorized(_)) => Told::Lost(error),
                // A status that is not there yet may come a moment later.
                Problem::Error(error) => Told::Strike(error),
            };
        }
        match self.client.fields(answer).map(|fields| self.review(&fields, id)) {
            Ok(Ok(Some(review))) => Told::Decided(review),
            Ok(Ok(None)) => Told::Pending,
            Ok(Err(error)) => Told::Lost(error),
            Err(error) => Told::Strike(error),
        }
    }

    fn review(&self, fields: &Fields<'_>, id: &ActionId) -> Result<Option<Review>, AuthorityError> {
        let known = self.memory.recall(id);
        let digest = known.as_ref().map(|entry| entry.digest);
        let passed = known.as_ref().is_some_and(|entry| entry.passed);
        let quoter = &self.client.quoter;
        let review = verdict::review(fields, id, digest.as_ref(), passed, quoter)?;
        Ok(match review {
            // By a claim of ours, perhaps, whose answer was not heard: it is asked again.
            Some(Review::Rejected(Rejection { kind: RefusalKind::AlreadyExecuted, .. }))
                if known.is_some_and(|entry| entry.is_unsure()) =>
            {
                Some(verdict::approved(fields, quoter))
            }
            review => review,
        })
    }

    async fn ask_many(&self, order: &Order) -> Report {
        let mut report = Report::new(order.leg);
        let started = Instant::now();
        let ids: Vec<_> = order.ids.iter().map(ActionId::as_str).collect();
        let mut query = format!("ids={}", ids.join(","));
        if let Some(wait) = wait_query(order.wait) {
            query = format!("{query}&{wait}");
        }
        let question = Question::get("wait_for_many", &*self.paths.statuses).query(Some(query));
        let deadline = started + self.client.timing.request;
        let said = match self.client.attempt(&question, deadline).await {
            Err(trouble) if trouble.is_passing() => {
                tracing::debug!(actions = ids.len(), error = %trouble.error, "statuses not had");
                let pause = trouble.pause();
                let _ = report.trouble(&trouble);
                // Perhaps it only fails at this question.
                let failed = matches!(trouble.error, AuthorityError::Failed(_));
                report.batches = (failed && order.wait.is_none()).then_some(false);
                report.told =
                    order.ids.iter().map(|id| (id.clone(), Told::Passing(pause))).collect();
                return report;
            }
            Err(_) => None,
            Ok(answer) if !answer.is_success() => None,
            Ok(answer) => self
                .client
                .fields(&answer)
                .ok()
                .and_then(|fields| Said::read(&fields, &self.client.quoter))
                .map(|said| (said, answer.waited)),
        };
        let Some((mut said, waited)) = said else {
            // Whatever is wrong is told about each action by itself.
            tracing::debug!("the server takes no question about many actions");
            report.batches = Some(false);
            report.told = order.ids.iter().map(|id| (id.clone(), Told::Unasked)).collect();
            return report;
        };
        report.batches = Some(true);
        report.learn(order.wait, waited, started.elapsed());
        for id in &order.ids {
            let told = match said.0.remove(id) {
                Some(OfOne::Pending) => Told::Pending,
                Some(OfOne::Decided(fields)) => match self.review(&fields, id) {
                    Ok(Some(review)) => Told::Decided(review),
                    Ok(None) => Told::Pending,
                    Err(_) => Told::Unclear,
                },
                Some(OfOne::Contradictory) | None => Told::Unclear,
            };
            // It ended early, and for a reason.
            report.held |= waited && matches!(told, Told::Decided(_));
            report.told.push((id.clone(), told));
        }
        report
    }
}

fn wait_query(wait: Option<u64>) -> Option<String> {
    wait.map(|seconds| format!("wait={seconds}"))
}

impl Report {
    fn new(leg: u64) -> Self {
        Self { leg, told: Vec::new(), holds: None, held: false, batches: None, quiet: None }
    }

    fn trouble(&mut self, trouble: &Trouble) -> Told {
        if matches!(trouble.error, AuthorityError::RateLimited(_)) {
            self.quiet = Some(trouble.pause());
        }
        if trouble.is_passing() {
            Told::Passing(trouble.pause())
        } else {
            Told::Lost(trouble.error.clone())
        }
    }

    /// Learns from a sound answer whether the server holds questions.
    fn learn(&mut self, asked: Option<u64>, waited: bool, took: Duration) {
        if let Some(wait) = asked {
            self.holds = Some(waited);
            // One that says so and answers at once is polled all the same.
            self.held = waited && took.as_secs() * 2 >= wait;
        }
    }
}

/// What an answer about many says of each.
struct Said(HashMap<ActionId, OfOne>);

enum OfOne {
    Pending,
    Decided(Fields<'static>),
    Contradictory,
}

impl Said {
    /// `{"actions": [{…}, …], "pending": [7, …]}`: a status answer for each
    /// action that is decided, and the ids of those that are not. `None` for
    /// anything else.
    fn read(fields: &Fields<'_>, quoter: &Quoter) -> Option<Self> {
        let list = |name| match fields.field(name) {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        };
        let (actions, pending) = (list("actions")?, list("pending")?);
        let mut said = Self(HashMap::with_capacity(actions.len() + pending.len()));
        for action in actions {
            let Ok(fields) = Fields::from_value(action.clone()) else { continue };
            if let Some(id) = fields.action_id(quoter) {
                said.note(id, OfOne::Decided(fields));
            }
        }
        for id in pending.iter().filter_map(|id| action_id(id, quoter)) {
            said.note(id, OfOne::Pending);
        }
        Some(said)
    }

    fn note(&mut self, id: ActionId, of_one: OfOne) {
        match self.0.entry(id) {
            hash_map::Entry::Vacant(place) => {
                place.insert(of_one);
            }
            hash_map::Entry::Occupied(mut place) => {
                place.insert(OfOne::Contradictory);
            }
        }
    }
}
