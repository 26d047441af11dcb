//! Evaluations of calls that come at once, in one request: a request for each costs
//! both sides more than the decision. One call at a time is asked about as ever.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    Core,
    client::{Answer, Patience, Question},
    gathering::{Gathered, Gathering},
    random_key,
};
use crate::AuthorityError;

/// The most calls in one request.
const MOST: usize = 64;
/// The most bytes of a call that is asked about with others; all of them make less than
/// a megabyte, which is what servers take.
const BODY_LIMIT: usize = 8 * 1024;
/// How long a call waits for an answer with others, before it is asked about alone: among
/// them may be one that takes long.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Evaluations {
    /// How many are asked about at this moment, alone or with others.
    under_way: AtomicUsize,
    gathering: Gathering<Asked>,
    /// Whether the server has claims, as only those can have this.
    has_claims: AtomicBool,
    /// Whether the server was found to take them one by one only.
    one_by_one: AtomicBool,
}

/// A call that is asked about with others.
struct Asked {
    key: String,
    traceparent: Option<String>,
    body: Bytes,
    told: oneshot::Sender<Said>,
}

/// What is said of a call that was asked about with others. Without an answer it is to be
/// asked about alone; what went wrong is told where the server was reached, for a silence
/// after that is no reason to pass it over.
type Said = Result<Answer, Option<AuthorityError>>;

/// One that is under way; dropped, it is not any more.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Evaluations {
    /// The server said that it has claims.
    pub(super) fn found_claims(&self) {
        self.has_claims.store(true, Ordering::Relaxed);
    }

    fn takes_many(&self) -> bool {
        self.has_claims.load(Ordering::Relaxed) && !self.one_by_one.load(Ordering::Relaxed)
    }
}

/// What a server says of several calls.
#[derive(Deserialize)]
struct AnswerToMany<'a> {
    #[serde(borrow)]
    evaluations: Vec<AnswerToOne<'a>>,
}

/// What it says of one of them.
#[derive(Deserialize)]
struct AnswerToOne<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    status: u16,
    #[serde(borrow)]
    body: &'a RawValue,
}

impl Core {
    /// Asks for a decision, with others that are asked for at the same time.
    pub(super) async fn ask_to_evaluate(
        self: &Arc<Self>,
        question: &Question,
    ) -> Result<Answer, AuthorityError> {
        let deadline = Instant::now() + self.client.timing.deadline;
        let evaluations = &self.evaluations;
        let is_alone = evaluations.under_way.fetch_add(1, Ordering::Relaxed) == 0;
        let _under_way = UnderWay(&evaluations.under_way);
        let mut reached = None;
        if !is_alone && evaluations.takes_many() && question.body().len() <= BODY_LIMIT {
            match self.ask_with_others(question, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => reached = error,
            }
        }
        self.client.ask_on(question, Patience::Caller, deadline, reached).await
    }

    async fn ask_with_others(self: &Arc<Self>, question: &Question, deadline: Instant) -> Said {
        let (told, answer) = oneshot::channel();
        let asked = Asked {
            key: question.key().ok_or(None)?.to_owned(),
            traceparent: question.traceparent(),
            body: question.body().clone(),
            told,
        };
        if let Some(gathered) = self.evaluations.gathering.add(asked) {
            // Not this one's to end: others come to rely on it.
            tokio::spawn(self.clone().ask_about_all(gathered));
        }
        // The task may be of a runtime that nobody drives any more.
        let answer = timeout_at(deadline.min(Instant::now() + PATIENCE), answer).await;
        answer.ok().and_then(Result::ok).unwrap_or(Err(None))
    }

    async fn ask_about_all(self: Arc<Self>, gathered: Gathered<Asked>) {
        // All that is ready to run by now asks before this goes on.
        tokio::task::yield_now().await;
        let parts = gathered.parts(MOST).await;
        join_all(parts.into_iter().map(|part| self.ask_at_once(part))).await;
    }

    async fn ask_at_once(&self, all: Vec<Asked>) {
        let mut said = match &all[..] {
            [_] => Err(None),
            several => self.ask_about(several).await,
        };
        for asked in all {
            let answer = match &mut said {
                Ok(said) => said.remove(&asked.key).unwrap_or_else(|| Err(Some(unsaid()))),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may be gone.
            let _ = asked.told.send(answer);
        }
    }

    /// What the server says of each, by its key. Whoever is asked about alone after that is
    /// so under the same key: then it is the same request.
    async fn ask_about(
        &self,
        several: &[Asked],
    ) -> Result<HashMap<String, Said>, Option<AuthorityError>> {
        let body = body(several).ok_or(None)?;
        let question =
            Question::post("evaluate_many", &*self.paths.evaluations, body, random_key());
        // As patient as the calls are by themselves they are then, each for itself.
        let answer = self.client.ask(&question, Patience::Once).await.map_err(|error| {
            tracing::debug!(calls = several.len(), %error, "not evaluated together");
            Some(error).filter(|error| !matches!(error, AuthorityError::Unreachable(_)))
        })?;
        let said: Option<AnswerToMany<'_>> = match answer.status {
            200 => serde_json::from_slice(&answer.body).ok(),
            404 | 405 => None,
            // What is wrong with one of them is no harm to the others.
            _ => return Err(Some(self.client.error(&answer))),
        };
        let Some(AnswerToMany { evaluations }) = said else {
            tracing::debug!("the server evaluates no several calls at once");
            self.evaluations.one_by_one.store(true, Ordering::Relaxed);
            return Err((answer.status == 200).then(unsaid));
        };
        let mut said = HashMap::with_capacity(evaluations.len());
        for AnswerToOne { key, status, body } in evaluations {
            let body = answer.body.slice_ref(body.get().as_bytes());
            let of_one = match status {
                // Another attempt may go better.
                429 => Err(Some(AuthorityError::RateLimited(None))),
                408 | 500.. => Err(Some(AuthorityError::Failed(format!("HTTP status {status}")))),
                _ => Ok(Answer { status, body, waited: false }),
            };
            match said.entry(key.into_owned()) {
                hash_map::Entry::Vacant(place) => {
                    place.insert(of_one);
                }
                // Said twice is said not at all.
                hash_map::Entry::Occupied(mut place) => {
                    drop(place.insert(Err(Some(unsaid()))));
                }
            }
        }
        Ok(said)
    }
}

fn unsaid() -> AuthorityError {
    AuthorityError::Malformed("it does not say what it decided on each of several calls".to_owned())
}

/// `{"evaluations": [{"key": "…", "traceparent": "…", "call": {…}}, …]}`, each call as it
/// is sent alone.
fn body(several: &[Asked]) -> Option<Vec<u8>> {
    let length: usize = several.iter().map(|asked| asked.body.len() + 192).sum();
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(br#"{"evaluations":["#);
    for (index, asked) in several.iter().enumerate() {
        body.extend_from_slice(if index == 0 { br#"{"key":"# } else { br#",{"key":"# });
        serde_json::to_writer(&mut body, &asked.key).ok()?;
        if let Some(traceparent) = &asked.traceparent {
            body.extend_from_slice(br#","traceparent":"#);
            serde_json::to_writer(&mut body, traceparent).ok()?;
        }
        body.extend_from_slice(br#","call":"#);
        body.extend_from_slice(&asked.body);
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    Some(body)
}
