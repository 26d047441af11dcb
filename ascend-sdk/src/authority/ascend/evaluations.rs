//! Evaluations of calls that come at once, in one request: a request for each costs
//! both sides more than the decision. One call at a time is asked about as ever.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender, error::SendError},
    oneshot,
};

use super::{
    Core,
    client::{Answer, Patience, Question},
    random_key,
};
use crate::AuthorityError;

/// The most calls in one request.
const MOST: usize = 64;
/// The most bytes of a call that is asked about with others; all of them make less than
/// a megabyte, which is what servers take.
const BODY_LIMIT: usize = 8 * 1024;

pub(super) struct Evaluations {
    /// How many are asked about at this moment, alone or with others.
    under_way: AtomicUsize,
    /// To the task that gathers at this moment; closed while none does, also where
    /// one ended early with its runtime.
    gathering: Mutex<UnboundedSender<Asked>>,
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
    /// Hears `None` where the call is to be asked about alone.
    told: oneshot::Sender<Option<Answer>>,
}

impl Default for Evaluations {
    fn default() -> Self {
        let (closed, _) = mpsc::unbounded_channel();
        Self {
            under_way: AtomicUsize::new(0),
            gathering: Mutex::new(closed),
            has_claims: AtomicBool::new(false),
            one_by_one: AtomicBool::new(false),
        }
    }
}

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

    fn gathering(&self) -> MutexGuard<'_, UnboundedSender<Asked>> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call to those of the moment. Of the first one: where they come together.
    fn add(&self, asked: Asked) -> Option<UnboundedReceiver<Asked>> {
        let mut gathering = self.gathering();
        let SendError(asked) = gathering.send(asked).err()?;
        let (sender, gathered) = mpsc::unbounded_channel();
        *gathering = sender;
        // Its receiver is right here.
        let _ = gathering.send(asked);
        Some(gathered)
    }
}

/// What a server says of several calls.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    evaluations: Vec<SaidOfOne<'a>>,
}

/// What it says of one of them.
#[derive(Deserialize)]
struct SaidOfOne<'a> {
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
        let evaluations = &self.evaluations;
        let is_alone = evaluations.under_way.fetch_add(1, Ordering::Relaxed) == 0;
        let _under_way = UnderWay(&evaluations.under_way);
        if !is_alone
            && evaluations.takes_many()
            && question.body().len() <= BODY_LIMIT
            && let Some(answer) = self.ask_with_others(question).await
        {
            return Ok(answer);
        }
        self.client.ask(question, Patience::Caller).await
    }

    /// The answer; `None` where it is to be asked for alone.
    async fn ask_with_others(self: &Arc<Self>, question: &Question) -> Option<Answer> {
        let (told, answer) = oneshot::channel();
        let asked = Asked {
            key: question.key()?.to_owned(),
            traceparent: question.traceparent(),
            body: question.body().clone(),
            told,
        };
        if let Some(gathered) = self.evaluations.add(asked) {
            // Not this one's to end: others come to rely on it.
            tokio::spawn(self.clone().ask_about_all(gathered));
        }
        answer.await.ok().flatten()
    }

    async fn ask_about_all(self: Arc<Self>, mut gathered: UnboundedReceiver<Asked>) {
        // All that is ready to run by now asks before this goes on.
        tokio::task::yield_now().await;
        // Who comes now begins another task.
        gathered.close();
        let mut all = Vec::new();
        while let Some(asked) = gathered.recv().await {
            all.push(asked);
        }
        let mut parts = Vec::new();
        while all.len() > MOST {
            parts.push(all.split_off(all.len() - MOST));
        }
        parts.push(all);
        join_all(parts.into_iter().map(|part| self.ask_at_once(part))).await;
    }

    async fn ask_at_once(&self, all: Vec<Asked>) {
        let mut said = match &all[..] {
            [_] => None,
            several => self.ask_about(several).await,
        };
        for asked in all {
            let answer = said.as_mut().and_then(|said| said.remove(&asked.key).flatten());
            // Whoever asked may be gone.
            let _ = asked.told.send(answer);
        }
    }

    /// What the server says of each, by its key; what is not there is to be asked for alone,
    /// under the same key: then that is the same request.
    async fn ask_about(&self, several: &[Asked]) -> Option<HashMap<String, Option<Answer>>> {
        let question =
            Question::post("evaluate_many", &*self.paths.evaluations, body(several)?, random_key());
        // As patient as the calls are by themselves they are then, each for itself.
        let answer = self.client.ask(&question, Patience::Once).await;
        let answer = answer
            .inspect_err(|error| tracing::debug!(calls = several.len(), %error, "not evaluated"))
            .ok()?;
        let said = match answer.status {
            200 => serde_json::from_slice(&answer.body).ok(),
            404 | 405 => None,
            // What is wrong with one of them is no harm to the others.
            _ => return None,
        };
        let Some(Said { evaluations }) = said else {
            tracing::debug!("the server evaluates no several calls at once");
            self.evaluations.one_by_one.store(true, Ordering::Relaxed);
            return None;
        };
        let mut said = HashMap::with_capacity(evaluations.len());
        for SaidOfOne { key, status, body } in evaluations {
            // A limit, or a failure, that another attempt may not meet.
            let is_final = status < 500 && !matches!(status, 408 | 429);
            let body = answer.body.slice_ref(body.get().as_bytes());
            let answer = is_final.then_some(Answer { status, body, waited: false });
            match said.entry(key.into_owned()) {
                hash_map::Entry::Vacant(place) => {
                    place.insert(answer);
                }
                // Said twice is said not at all.
                hash_map::Entry::Occupied(mut place) => {
                    place.insert(None);
                }
            }
        }
        Some(said)
    }
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
