//! ASCEND over HTTP.
//!
//! The wire, its versions and their contradictions are described in
//! `docs/ascend-api.md`.

mod answer;
mod breaker;
mod carrier;
mod client;
mod config;
mod evaluations;
mod gathering;
mod memory;
mod near;
mod problem;
mod reports;
mod signature;
mod standing;
mod text;
mod verdict;
mod waiting;
mod webhook;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use secrecy::SecretString;
use serde_json::json;
use tracing::Span;

use self::{
    client::{Answer, Client, Patience, Question},
    evaluations::Evaluations,
    memory::{ClaimMode, Entry, Memory},
    problem::Problem,
    reports::Reports,
    verdict::Evaluated,
    waiting::Waiting,
    wire::{Agent, EvaluateRequest},
};
pub use self::{
    config::{AscendBuilder, ConfigError, Paths},
    webhook::{Delivery, Webhook, WebhookError},
};
use crate::{
    Action, ActionId, Authority, AuthorityError, BoxFuture, Claim, Confirmation, Decision, Digest,
    Evaluation, Holder, Outcome, RefusalKind, Rejection, Review, RiskLevel, Standing, TraceContext,
    observe,
};

/// The authority that speaks ASCEND's HTTP API: ASCEND itself, or a center of
/// one's own.
///
/// ```no_run
/// # fn main() -> Result<(), ascend_sdk::authority::ConfigError> {
/// use ascend_sdk::{Governor, authority::Ascend};
/// let ascend = Ascend::builder("owkai_…".into()).base_url("https://pilot.owkai.app").build()?;
/// let governor = Governor::new(ascend);
/// # Ok(())
/// # }
/// ```
///
/// An answer that is unknown, contradictory or cannot be read is a denial.
/// Redirects are not followed. The proxies of the environment are used for
/// `https`, never for this machine.
///
/// Its connections, and the one task that asks for all who wait, live on the tokio
/// runtime of the call that began them. Use one authority from one runtime, and keep
/// that running: under a `block_on` for each call, what another call waits for stands
/// still between them. A runtime that ends takes nothing along: the next call begins anew.
pub struct Ascend {
    core: Arc<Core>,
    agent: Agent,
    checks_kill_switch: bool,
    origin: String,
}

/// What calls share with the task that asks for all of them.
struct Core {
    client: Client,
    paths: Paths,
    memory: Memory,
    waiting: Waiting,
    evaluations: Evaluations,
    reports: Reports,
}

impl Ascend {
    /// Starts the settings of a client with this API key.
    pub fn builder(api_key: SecretString) -> AscendBuilder {
        AscendBuilder::new(api_key)
    }

    /// A client from the environment; `None` when it has no API key.
    ///
    /// | what | variables, the first that is set |
    /// |---|---|
    /// | API key | `ASCEND_API_KEY`, `OWKAI_API_KEY` |
    /// | base URL | `ASCEND_BASE_URL`, `ASCEND_API_URL`, `OWKAI_API_URL`; default `https://pilot.owkai.app` |
    /// | signing secret | `ASCEND_SIGNING_SECRET` |
    /// | agent | `ASCEND_AGENT_ID`, `ASCEND_AGENT_NAME` |
    ///
    /// # Errors
    ///
    /// When a variable cannot be used, an empty key included.
    pub fn from_env() -> Result<Option<Self>, ConfigError> {
        AscendBuilder::from_env()?.map(AscendBuilder::build).transpose()
    }

    fn new(config: AscendBuilder) -> Result<Self, ConfigError> {
        let base = config.checked_url()?;
        config.check_secrets()?;
        let client = Client::new(&config, &base)?;
        Ok(Self {
            core: Arc::new(Core {
                waiting: Waiting::new(&client.timing),
                client,
                paths: config.paths,
                memory: Memory::default(),
                evaluations: Evaluations::default(),
                reports: Reports::default(),
            }),
            origin: base.origin().ascii_serialization(),
            agent: config.agent,
            checks_kill_switch: config.checks_kill_switch,
        })
    }

    async fn evaluate_action(
        &self,
        action: &Action,
        runs_at_once: bool,
    ) -> Result<(Evaluation, Option<Claim>), AuthorityError> {
        let claims = runs_at_once && !self.checks_kill_switch;
        let mut body = Vec::with_capacity(1_024);
        serde_json::to_writer(&mut body, &EvaluateRequest::new(action, &self.agent, claims))
            .map_err(|error| AuthorityError::InvalidRequest(error.to_string()))?;
        let question = Question::post(
            "evaluate",
            &*self.core.paths.evaluate,
            body,
            action.idempotency_key.clone(),
        )
        .in_trace(action.trace.clone());
        let correlation = ActionId::new(&*question.correlation)
            .ok_or_else(|| AuthorityError::Malformed("no correlation id".to_owned()))?;
        let answer = self.core.ask_to_evaluate(&question).await?;

        if !answer.is_success() {
            return match self.core.client.problem(&answer) {
                Problem::Governance { reason, correlation: named } => {
                    Ok((denial(named.unwrap_or(correlation), reason, None), None))
                }
                Problem::Error(error) => Err(error),
            };
        }
        let fields = self.core.client.fields(&answer)?;
        let Evaluated { evaluation, claim, passed, claimed } =
            verdict::evaluation(&fields, &action.digest, &correlation, &self.core.client.quoter)?;
        if claim == ClaimMode::Server {
            self.core.evaluations.found_claims();
        }
        // What nobody asked for counts for nothing.
        let claimed = claims && claimed;
        if evaluation.decision != Decision::Deny {
            let key = if claimed { (&*action.idempotency_key).into() } else { random_key().into() };
            let entry = Entry::new(action.digest, claim, passed, key)
                .in_trace(action.trace.as_ref().map(TraceContext::parent));
            if claimed && self.core.memory.use_up(&evaluation.action_id, &entry) {
                return Ok((evaluation, Some(Claim::Granted)));
            }
            if let Err(kind) = self.core.memory.open(&evaluation.action_id, entry) {
                let reason = "the authority named the action of another call".to_owned();
                return Ok((denial(evaluation.action_id, Some(reason), Some(kind)), None));
            }
        }
        let claim = claimed.then(|| {
            match self.core.memory.try_claim(&evaluation.action_id, &action.digest) {
                Ok(Some(claiming)) => {
                    claiming.granted();
                    Claim::Granted
                }
                Ok(None) => Claim::Refused(rejection(RefusalKind::AlreadyExecuted, None)),
                Err(kind) => Claim::Refused(rejection(kind, None)),
            }
        });
        Ok((evaluation, claim))
    }

    async fn claim_action(&self, id: &ActionId, digest: &Digest) -> Result<Claim, AuthorityError> {
        // First and in any case: a server that grants twice is not believed. What it
        // does not grant, for a while perhaps, is not used up.
        let claiming = match self.core.memory.claim(id, digest).await {
            Ok(claiming) => claiming,
            Err(kind) => return Ok(Claim::Refused(rejection(kind, None))),
        };
        if self.checks_kill_switch
            && let Some(raised) = self.kill_switch().await?
        {
            claiming.refused();
            return Ok(Claim::Refused(raised));
        }
        if claiming.entry.claim == ClaimMode::Local {
            claiming.granted();
            return Ok(Claim::Granted);
        }
        // One that was asked before, whose answer was not heard, is the same claim.
        let key = claiming.entry.key.to_string();
        let path = at(&self.core.paths.claim, id);
        let question = Question::post("claim", path, json!({ "digest": digest }).to_string(), key)
            .in_trace(self.core.memory.trace(id));
        let answer = self.core.client.ask(&question, Patience::Caller).await?;
        // A refusal may come as 200 or as 409.
        if !answer.is_success() && answer.status != 409 {
            return match self.core.client.problem(&answer) {
                Problem::Governance { reason, .. } => {
                    Ok(Claim::Refused(rejection(RefusalKind::Denied, reason)))
                }
                Problem::Error(error) => Err(error),
            };
        }
        match verdict::claim(
            &self.core.client.fields(&answer)?,
            id,
            digest,
            &self.core.client.quoter,
        )? {
            Claim::Granted if !answer.is_success() => Err(AuthorityError::Malformed(
                "it grants the claim and answers with an error".to_owned(),
            )),
            Claim::Granted => {
                claiming.granted();
                Ok(Claim::Granted)
            }
            refused => {
                claiming.refused();
                Ok(refused)
            }
        }
    }

    async fn kill_switch(&self) -> Result<Option<Rejection>, AuthorityError> {
        let question = Question::get("kill_switch", &*self.core.paths.kill_switch);
        let answer = self.core.client.ask(&question, Patience::Caller).await?;
        if !answer.is_success() {
            return Err(self.core.client.error(&answer));
        }
        Ok(verdict::kill_switch(&self.core.client.fields(&answer)?, &self.core.client.quoter))
    }

    async fn report_outcome(&self, id: &ActionId, outcome: &Outcome) -> Result<(), AuthorityError> {
        let known = self.core.memory.over(id);
        let has_claims = known.as_ref().is_some_and(|entry| entry.claim == ClaimMode::Server);
        let key = known.map(|entry| entry.key);
        let paths = &self.core.paths;
        let (path, body) = match outcome {
            Outcome::Completed { duration } => (&paths.complete, wire::completed(id, *duration)),
            Outcome::Failed { duration, error } => {
                (&paths.fail, wire::failed(id, Some(*duration), error))
            }
            Outcome::Withdrawn { reason } if has_claims => {
                let body = json!({ "reason": reason, "claim_key": key.as_deref() });
                (&paths.withdraw, body.to_string())
            }
            Outcome::Abandoned { reason, holder } if has_claims => {
                let body =
                    json!({ "reason": reason, "abandoned": true, "holder": holder.as_str() });
                (&paths.withdraw, body.to_string())
            }
            Outcome::Withdrawn { reason } | Outcome::Abandoned { reason, .. } => {
                (&paths.fail, wire::withdrawn_as_failure(id, reason))
            }
        };
        let has_run = matches!(outcome, Outcome::Completed { .. } | Outcome::Failed { .. });
        if has_claims && has_run {
            self.core.report_with_others(path, id, body).await
        } else {
            // Whoever reports with others waits for a while, and has no room for this.
            Box::pin(self.core.report(path, id, body)).await
        }
    }

    async fn promise_action(
        &self,
        id: &ActionId,
        holder: &Holder,
    ) -> Result<Option<Duration>, AuthorityError> {
        let has_claims =
            self.core.memory.recall(id).is_some_and(|entry| entry.claim == ClaimMode::Server);
        if !has_claims {
            return Ok(None);
        }
        let body = json!({ "holder": holder.as_str() });
        let answer = self
            .core
            .post("promise", &self.core.paths.promise, id, body.to_string(), Patience::Caller)
            .await?;
        // An older center promises nothing.
        if matches!(answer.status, 404 | 405) {
            return Ok(None);
        }
        if !answer.is_success() {
            return Err(self.core.client.error(&answer));
        }
        wire::promised(&answer.body).map_err(AuthorityError::Malformed)
    }

    async fn confirm_action(
        &self,
        id: &ActionId,
        confirmation: &Confirmation,
    ) -> Result<(), AuthorityError> {
        // Another process may have asked its user, and this one not have asked yet.
        let is_plain =
            self.core.memory.recall(id).is_some_and(|entry| entry.claim == ClaimMode::Local);
        if is_plain {
            let reason = "plain ASCEND takes no approvals from clients".to_owned();
            return Err(AuthorityError::InvalidRequest(reason));
        }
        let body = wire::confirmed(confirmation);
        let answer = self
            .core
            .post("confirm", &self.core.paths.confirm, id, body.to_string(), Patience::Caller)
            .await?;
        if answer.is_success() { Ok(()) } else { Err(self.core.client.error(&answer)) }
    }

    async fn check_health(&self) -> Result<(), AuthorityError> {
        let answer = self
            .core
            .client
            .ask(&Question::get("health", &*self.core.paths.health), Patience::Once)
            .await?;
        if answer.is_success() { Ok(()) } else { Err(self.core.client.error(&answer)) }
    }
}

impl Core {
    async fn post(
        &self,
        operation: &'static str,
        path: &str,
        id: &ActionId,
        body: String,
        patience: Patience,
    ) -> Result<Answer, AuthorityError> {
        let question = Question::post(operation, at(path, id), body, random_key())
            .in_trace(self.memory.trace(id));
        self.client.ask(&question, patience).await
    }

    /// Tells what became of one action.
    async fn report(&self, path: &str, id: &ActionId, body: String) -> Result<(), AuthorityError> {
        let answer = self.post("report", path, id, body, Patience::Background).await?;
        if answer.is_success() { Ok(()) } else { Err(self.client.error(&answer)) }
    }
}

/// Under which one request is sent, in all its attempts.
fn random_key() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn at(path: &str, id: &ActionId) -> String {
    path.replace("{id}", id.as_str())
}

fn rejection(kind: RefusalKind, reason: Option<String>) -> Rejection {
    Rejection { kind, reason, reviewed_by: None }
}

fn denial(action_id: ActionId, reason: Option<String>, refusal: Option<RefusalKind>) -> Evaluation {
    Evaluation {
        decision: Decision::Deny,
        action_id,
        risk_score: 0,
        risk_level: RiskLevel::Low,
        reason,
        refusal,
        approval: None,
        estimated_approval_time: None,
        expires_in: None,
        in_client_approval: false,
    }
}

impl Authority for Ascend {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        Box::pin(async { Ok(self.evaluate_action(action, false).await?.0) })
    }

    fn evaluate_and_claim<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<(Evaluation, Option<Claim>), AuthorityError>> {
        Box::pin(self.evaluate_action(action, true))
    }

    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        if let Some(trace) = observe::context_of(&Span::current()) {
            self.core.memory.trace_on(id, trace.parent());
        }
        Box::pin(self.core.review_of(id))
    }

    fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        Box::pin(self.claim_action(id, digest))
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(self.report_outcome(id, outcome))
    }

    fn promise<'a>(
        &'a self,
        id: &'a ActionId,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Option<Duration>, AuthorityError>> {
        Box::pin(self.promise_action(id, holder))
    }

    fn status<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Option<Standing>, AuthorityError>> {
        Box::pin(async move { self.core.status_of(id).await.map(Some) })
    }

    fn confirm<'a>(
        &'a self,
        id: &'a ActionId,
        confirmation: &'a Confirmation,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(self.confirm_action(id, confirmation))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(self.check_health())
    }

    fn describe(&self) -> String {
        format!("ASCEND at {} decides; approve or reject there", self.origin)
    }
}

impl fmt::Debug for Ascend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ascend")
            .field("origin", &self.origin)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}
