//! Reports of bodies that ran, those of a moment in one request: nobody waits for
//! them, and one request for each would cost a call nearly as much as its decision.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use super::{
    Core,
    client::{Patience, Question},
    gathering::{Gathered, Gathering},
    random_key,
    text::ERROR_LIMIT,
};
use crate::{ActionId, AuthorityError};

/// How long a report waits for others.
const GATHER: Duration = Duration::from_millis(5);
/// The most in one request: with errors of the greatest length less than a megabyte.
const MOST: usize = 64;

#[derive(Default)]
pub(super) struct Reports {
    gathering: Gathering<Report>,
    /// Whether the server was found to take them one by one only.
    one_by_one: AtomicBool,
}

struct Report {
    path: String,
    id: ActionId,
    /// JSON.
    body: String,
    /// In which it is sent, where it is sent by itself.
    span: Span,
    told: oneshot::Sender<Result<(), AuthorityError>>,
}

/// What a server says of several reports.
#[derive(Deserialize)]
struct Answer {
    outcomes: Vec<Noted>,
}

/// What it says of one of them.
#[derive(Deserialize)]
struct Noted {
    action_id: Value,
    success: bool,
    detail: Option<String>,
}

impl Core {
    /// Tells how a body went, with others that end within the moment.
    pub(super) async fn report_with_others(
        self: &Arc<Self>,
        path: &str,
        id: &ActionId,
        body: String,
    ) -> Result<(), AuthorityError> {
        if self.reports.one_by_one.load(Ordering::Relaxed) {
            return Box::pin(self.report(path, id, body)).await;
        }
        let (told, answer) = oneshot::channel();
        let (path, id) = (path.to_owned(), id.clone());
        let report = Report { path, id, body, span: Span::current(), told };
        if let Some(gathered) = self.reports.gathering.add(report) {
            // Not this one's to end: others come to rely on it.
            tokio::spawn(self.clone().tell_all(gathered));
        }
        let lost = || AuthorityError::Failed("the report was given up with its runtime".to_owned());
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn tell_all(self: Arc<Self>, gathered: Gathered<Report>) {
        tokio::time::sleep(GATHER).await;
        let parts = gathered.parts(MOST).await;
        join_all(parts.into_iter().map(|part| self.tell_at_once(part))).await;
    }

    async fn tell_at_once(&self, reports: Vec<Report>) {
        let noted = match &reports[..] {
            [_] => None,
            several => self.ask_to_note(several).await.transpose(),
        };
        let Some(noted) = noted else {
            join_all(reports.into_iter().map(|report| self.tell_one(report))).await;
            return;
        };
        for report in reports {
            let answer = noted.as_ref().map_err(Clone::clone).and_then(|noted| {
                let missing = || {
                    let text = format!("it says nothing of action {}", report.id);
                    Err(AuthorityError::Malformed(text))
                };
                noted.get(&report.id).cloned().unwrap_or_else(missing)
            });
            // Whoever reported may be gone.
            let _ = report.told.send(answer);
        }
    }

    async fn tell_one(&self, Report { path, id, body, span, told }: Report) {
        let answer = self.report(&path, &id, body).instrument(span).await;
        let _ = told.send(answer);
    }

    /// What the server made of each; `None` when they are to be told one by one.
    async fn ask_to_note(
        &self,
        reports: &[Report],
    ) -> Result<Option<HashMap<ActionId, Result<(), AuthorityError>>>, AuthorityError> {
        let bodies: Vec<&str> = reports.iter().map(|report| &*report.body).collect();
        let body = format!(r#"{{"outcomes":[{}]}}"#, bodies.join(","));
        let question = Question::post("report_many", &*self.paths.outcomes, body, random_key());
        let answer = self.client.ask(&question, Patience::Background).await?;
        if matches!(answer.status, 404 | 405) {
            self.reports.one_by_one.store(true, Ordering::Relaxed);
        }
        if !answer.is_success() {
            // What is wrong with one of them is no harm to the others.
            return Ok(None);
        }
        let Answer { outcomes } = serde_json::from_slice(&answer.body)
            .map_err(|error| AuthorityError::Malformed(format!("its list of outcomes: {error}")))?;
        let noted = outcomes.into_iter().filter_map(|noted| {
            let id = match noted.action_id {
                Value::String(id) => ActionId::new(id)?,
                id => ActionId::new(id.to_string())?,
            };
            let detail = noted.detail.unwrap_or_else(|| "it gives no reason".to_owned());
            let refused =
                || AuthorityError::InvalidRequest(self.client.quoter.quote(&detail, ERROR_LIMIT));
            Some((id, if noted.success { Ok(()) } else { Err(refused()) }))
        });
        Ok(Some(noted.collect()))
    }
}
