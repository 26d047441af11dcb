//! One HTTP exchange: headers, signature, bounds, retries.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tracing::Instrument as _;

use super::{
    answer::Fields,
    breaker::{Breaker, Health},
    carrier::{BODY_LIMIT, BodyError, Carrier, Message, Silence},
    config::{AscendBuilder, ConfigError, Timing},
    problem::{self, Problem},
    signature,
    text::{ERROR_LIMIT, Quoter},
    wire,
};
use crate::{AuthorityError, TraceContext, observe::Asking};

/// The longest that a `Retry-After` is obeyed: ASCEND's SDK's number.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(10);
/// How often a report is sent: nobody waits for it.
const REPORT_ATTEMPTS: u32 = 6;
/// How many requests for callers are under way at once. Each is a connection, and
/// so a file of this process and of the server, which systems limit to 1,024 or fewer.
/// Questions that are held are few, and not among them.
const AT_ONCE: usize = 256;
/// Answers with this header held the question until there was news, or for as
/// many seconds as it says.
pub(super) const WAIT_HEADER: &str = "x-ascend-wait";

/// What is asked, the same in every attempt.
pub(super) struct Question {
    method: Method,
    path: String,
    query: Option<String>,
    body: Bytes,
    idempotency_key: Option<String>,
    /// What is asked, in a word.
    operation: &'static str,
    /// The trace of the call that it is asked for.
    trace: Option<TraceContext>,
    /// Names the question in the server's log and in ours.
    pub(super) correlation: String,
}

impl Question {
    fn new(operation: &'static str, method: Method, path: String) -> Self {
        let mut correlation = String::with_capacity("asc_".len() + 16);
        let _ = write!(correlation, "asc_{:016x}", rand::random::<u64>());
        Self {
            method,
            path,
            query: None,
            body: Bytes::new(),
            idempotency_key: None,
            operation,
            trace: None,
            correlation,
        }
    }

    pub(super) fn get(operation: &'static str, path: impl Into<String>) -> Self {
        Self::new(operation, Method::GET, path.into())
    }

    /// A retried `POST` opens nothing twice: `key` tells the server so.
    pub(super) fn post(
        operation: &'static str,
        path: impl Into<String>,
        body: impl Into<Bytes>,
        key: String,
    ) -> Self {
        let mut question = Self::new(operation, Method::POST, path.into());
        question.body = body.into();
        question.idempotency_key = Some(key);
        question
    }

    /// It is asked for a call of this trace.
    pub(super) fn in_trace(mut self, trace: Option<TraceContext>) -> Self {
        self.trace = trace;
        self
    }

    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// The key of its request.
    pub(super) fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// The trace that it is asked in, as its header would tell.
    pub(super) fn traceparent(&self) -> Option<String> {
        self.trace.as_ref().map(|trace| trace.parent().to_string())
    }

    pub(super) fn query(mut self, query: Option<String>) -> Self {
        self.query = query;
        self
    }
}

/// An answer that is no 429 and no 5xx.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// Whether the server held the question until there was news.
    pub(super) waited: bool,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// How long to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Once: the caller has a loop of its own.
    Once,
    /// A caller waits: a few attempts, within the deadline, none while the circuit is open.
    Caller,
    /// Nobody waits: more attempts, and an open circuit is waited out.
    Background,
}

/// What a request has of the time for the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// All that its own time and earlier attempts leave.
    Whole,
    /// What others left who came before.
    AfterALine,
}

/// Why one attempt gave nothing.
pub(super) struct Trouble {
    pub(super) error: AuthorityError,
    pub(super) retry_after: Option<Duration>,
    /// Whether another attempt may go better.
    passing: bool,
    circuit_open: bool,
}

impl Trouble {
    fn passing(error: AuthorityError) -> Self {
        Self { error, retry_after: None, passing: true, circuit_open: false }
    }

    fn lasting(error: AuthorityError) -> Self {
        Self { passing: false, ..Self::passing(error) }
    }

    /// How long the server asks to be left alone, as far as that is obeyed.
    pub(super) fn pause(&self) -> Duration {
        self.retry_after.unwrap_or_default().min(RETRY_AFTER_LIMIT)
    }

    pub(super) fn is_passing(&self) -> bool {
        self.passing
    }
}

/// How many headers a request has at most, with its `content-length`.
const HEADERS: usize = 13;

static API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
static SIGNATURE: HeaderName = HeaderName::from_static("x-signature");
static TIMESTAMP: HeaderName = HeaderName::from_static("x-request-timestamp");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

pub(super) struct Client {
    carrier: Carrier,
    /// The path below which all others are.
    root: String,
    origin: Url,
    /// Those of every request, the API key among them.
    headers: HeaderMap,
    signing_secret: Option<SecretString>,
    pub(super) timing: Timing,
    pub(super) quoter: Quoter,
    breaker: Breaker,
    turns: Semaphore,
}

impl Client {
    pub(super) fn new(config: &AscendBuilder, base: &Url) -> Result<Self, ConfigError> {
        let timing = config.timing.bounded();
        let carrier = Carrier::new(base, timing.connect)?;
        let mut headers = carrier.headers(base);
        let key = config.api_key.expose_secret();
        // Some versions read the one, some the other (row 9).
        for (name, value) in [(&AUTHORIZATION, format!("Bearer {key}")), (&API_KEY, key.to_owned())]
        {
            let mut value = HeaderValue::try_from(value).map_err(|_| ConfigError::Key)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let secrets =
            std::iter::once(&config.api_key).chain(&config.signing_secret).cloned().collect();
        let (failures, pause) = timing.breaker;
        Ok(Self {
            origin: base.clone(),
            carrier,
            root: base.path().trim_end_matches('/').to_owned(),
            headers,
            signing_secret: config.signing_secret.clone(),
            timing,
            quoter: Quoter::new(secrets),
            breaker: Breaker::new(failures, pause),
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    ///
    /// The last attempt's in which the server was reached, else the last one's.
    pub(super) async fn ask(
        &self,
        question: &Question,
        patience: Patience,
    ) -> Result<Answer, AuthorityError> {
        self.ask_on(question, patience, Instant::now() + self.timing.deadline, None).await
    }

    /// The same by `deadline`, for a question that was asked before in another way: what
    /// went wrong then, where the server was `reached`.
    pub(super) async fn ask_on(
        &self,
        question: &Question,
        patience: Patience,
        deadline: Instant,
        mut reached: Option<AuthorityError>,
    ) -> Result<Answer, AuthorityError> {
        let attempts = match patience {
            Patience::Once => 1,
            Patience::Caller => self.timing.attempts,
            Patience::Background => self.timing.attempts.max(REPORT_ATTEMPTS),
        };
        let (mut pause, most) = self.timing.backoff;
        let mut attempt = 1;
        loop {
            let trouble = match self.attempt_in_turn(question, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let wait = jittered(pause).max(trouble.pause());
            let waits_for_circuit = trouble.circuit_open && patience == Patience::Background;
            let hopeless = !trouble.passing
                || (attempt >= attempts && !waits_for_circuit)
                || (trouble.circuit_open && !waits_for_circuit)
                || Instant::now() + wait >= deadline;
            tracing::debug!(
                correlation = question.correlation, attempt, error = %trouble.error,
                "no answer{}", if hopeless { "" } else { "; trying again" }
            );
            let is_unreachable = matches!(trouble.error, AuthorityError::Unreachable(_));
            if hopeless {
                // Silence after a failure is no reason to pass it over.
                return Err(reached
                    .filter(|_| is_unreachable || trouble.circuit_open)
                    .unwrap_or(trouble.error));
            }
            if !is_unreachable {
                reached = Some(trouble.error);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(most);
            // Past an open circuit nothing was sent.
            attempt += u32::from(!trouble.circuit_open);
        }
    }

    /// Whether a question may be held: not one that finds out how the server is.
    pub(super) fn may_be_held(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Asks once, by `deadline` and within the time for one request.
    pub(super) async fn attempt(
        &self,
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, Trouble> {
        self.attempt_with(question, deadline, Rest::Whole).await
    }

    async fn attempt_with(
        &self,
        question: &Question,
        deadline: Instant,
        rest: Rest,
    ) -> Result<Answer, Trouble> {
        let pass = self.breaker.admit().map_err(|refused| {
            let text = "it kept failing and is left alone for a while".to_owned();
            // An open fail mode passes over `Unreachable`, so whoever can make
            // the server fail must not get that for it.
            let error = if refused.reached {
                AuthorityError::Failed(text)
            } else {
                AuthorityError::Unreachable(text)
            };
            Trouble {
                circuit_open: true,
                retry_after: Some(refused.left),
                ..Trouble::passing(error)
            }
        })?;
        let own_deadline = Instant::now() + self.timing.request;
        let is_cut = rest == Rest::AfterALine && deadline < own_deadline;
        let deadline = deadline.min(own_deadline);
        let method = if question.method == Method::POST { "POST" } else { "GET" };
        let asking =
            Asking::start(question.operation, method, &self.origin, question.trace.as_ref());
        // On the heap: whoever asks with others, or later, has no use for its kilobytes.
        let exchange = Box::pin(self.exchange(question, &asking, deadline));
        let result = exchange.instrument(asking.span()).await;
        asking.ended(result.as_ref().map(|answer| answer.status).map_err(|trouble| &trouble.error));
        match &result {
            // The time went by in a line: that tells nothing of the server.
            Err(Trouble { error: AuthorityError::Unreachable(_), .. })
                if is_cut && Instant::now() >= deadline =>
            {
                return Err(Trouble::lasting(too_slow()));
            }
            // A limit says nothing about health.
            Err(Trouble { error: AuthorityError::RateLimited(_), .. }) => drop(pass),
            Err(Trouble { error: AuthorityError::Unreachable(_), passing: true, .. }) => {
                pass.record(Health::Silent);
            }
            Err(trouble) if trouble.passing => pass.record(Health::Failing),
            _ => pass.record(Health::Good),
        }
        result
    }

    /// The same once it is its turn, by `deadline` too.
    async fn attempt_in_turn(
        &self,
        question: &Question,
        deadline: Instant,
    ) -> Result<Answer, Trouble> {
        if let Ok(_turn) = self.turns.try_acquire() {
            return self.attempt(question, deadline).await;
        }
        let Ok(_turn) = timeout_at(deadline, self.turns.acquire()).await else {
            return Err(Trouble::lasting(too_slow()));
        };
        self.attempt_with(question, deadline, Rest::AfterALine).await
    }

    async fn exchange(
        &self,
        question: &Question,
        asking: &Asking,
        deadline: Instant,
    ) -> Result<Answer, Trouble> {
        let message = self.message(question, asking).map_err(Trouble::lasting)?;
        let reply = self.carrier.send(message, deadline).await.map_err(|silence| {
            let text = match silence {
                Silence::Late => "no answer in time".to_owned(),
                Silence::Unsent(text) => self.quoter.quote(&text, ERROR_LIMIT),
            };
            Trouble::passing(AuthorityError::Unreachable(text))
        })?;
        let (status, body) = (reply.status, reply.body);
        let retry_after = retry_after(&reply.headers);
        let waited = reply
            .headers
            .get(WAIT_HEADER)
            .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
            .is_some_and(|seconds| seconds > 0);

        if status == 429 {
            let body = body.unwrap_or_default();
            let retry_after = retry_after.or_else(|| retry_after_in(&body));
            let error = AuthorityError::RateLimited(retry_after);
            return Err(Trouble { retry_after, ..Trouble::passing(error) });
        }
        // 408: a server or gateway that did not get the request in time.
        if status >= 500 || status == 408 {
            let body = body.unwrap_or_default();
            let value = serde_json::from_slice(&body).unwrap_or_default();
            let error = AuthorityError::Failed(problem::describe(status, &value, &self.quoter));
            return Err(Trouble { retry_after, ..Trouble::passing(error) });
        }
        // Its answer had begun: it was reached, so this is not `Unreachable`,
        // which an open fail mode would pass over.
        let failed = |text: &str| Trouble::passing(AuthorityError::Failed(text.to_owned()));
        let body = match body {
            Err(BodyError::Late) => return Err(failed("its answer did not end in time")),
            Err(BodyError::Broken) => return Err(failed("its answer broke off")),
            Err(BodyError::TooLong) => {
                return Err(Trouble::lasting(AuthorityError::Malformed(format!(
                    "it is longer than {BODY_LIMIT} bytes"
                ))));
            }
            Ok(body) => body,
        };
        Ok(Answer { status, body, waited })
    }

    pub(super) fn fields<'a>(&self, answer: &'a Answer) -> Result<Fields<'a>, AuthorityError> {
        Fields::parse(&answer.body).map_err(AuthorityError::Malformed)
    }

    pub(super) fn problem(&self, answer: &Answer) -> Problem {
        Problem::read(answer.status, &answer.body, &self.quoter)
    }

    /// What is wrong with an answer that is no success.
    pub(super) fn error(&self, answer: &Answer) -> AuthorityError {
        match self.problem(answer) {
            Problem::Error(error) => error,
            Problem::Governance { reason, .. } => AuthorityError::InvalidRequest(
                reason.unwrap_or_else(|| "denied by governance".to_owned()),
            ),
        }
    }

    fn message(&self, question: &Question, asking: &Asking) -> Result<Message, AuthorityError> {
        let invalid = |what: &str| AuthorityError::InvalidRequest(format!("{what} cannot be sent"));
        let path = match &question.query {
            Some(query) => [&*self.root, &question.path, "?", query].concat(),
            None => [&*self.root, &question.path].concat(),
        };
        let value = |name: &HeaderName, value: String| {
            HeaderValue::try_from(value).map_err(|_| invalid(name.as_str()))
        };
        // With room for all that follow.
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.insert(&CORRELATION, value(&CORRELATION, question.correlation.clone())?);
        let timestamp = wire::timestamp();
        if let Some(secret) = &self.signing_secret {
            // The bytes sent are what is signed, of every request, also of those
            // without a body: a signature over anything else, or over some
            // requests only, would leave room for a request that was changed on
            // its way.
            let parts: [&[u8]; 3] = [timestamp.as_bytes(), b".", &question.body];
            let signature = signature::sign(secret, &parts);
            let mut signature = value(&SIGNATURE, format!("v1={signature}"))?;
            signature.set_sensitive(true);
            headers.insert(&SIGNATURE, signature);
        }
        headers.insert(&TIMESTAMP, value(&TIMESTAMP, timestamp)?);
        if let Some(key) = &question.idempotency_key {
            headers.insert(&IDEMPOTENCY_KEY, value(&IDEMPOTENCY_KEY, key.clone())?);
        }
        if let Some(trace) = asking.trace() {
            headers.insert(&TRACEPARENT, value(&TRACEPARENT, trace.parent().to_string())?);
            if let Some(state) = trace.state() {
                headers.insert(&TRACESTATE, value(&TRACESTATE, state.to_owned())?);
            }
        }
        if question.method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let (method, body) = (question.method.clone(), question.body.clone());
        Ok(Message { method, path, headers, body })
    }
}

/// Not `Unreachable`, which an open fail mode passes over: whoever makes enough calls
/// could have that.
fn too_slow() -> AuthorityError {
    let text = format!("it was too slow for more than {AT_ONCE} requests at once");
    AuthorityError::Failed(text)
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

/// `{"detail":{"retry_after":…}}`, in seconds.
fn retry_after_in(body: &[u8]) -> Option<Duration> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let seconds = value.get("detail")?.get("retry_after")?.as_f64()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Between half of it and all of it, so that many clients do not come back at once.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| {
            let value = HeaderValue::from_str(text).ok()?;
            retry_after(&[(RETRY_AFTER, value)].into_iter().collect())
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
        assert_eq!(of("-1"), None);
        let body = br#"{"detail":{"error":"rate","retry_after":2.5}}"#;
        assert_eq!(retry_after_in(body), Some(Duration::from_millis(2_500)));
        assert_eq!(retry_after_in(br#"{"detail":{"retry_after":-1}}"#), None);
    }
}
