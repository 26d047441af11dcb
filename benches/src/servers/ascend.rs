//! Ours. `allow` as the first argument: an authority in memory that allows at
//! once, for what the SDK costs by itself. `http`: the authority of the
//! environment.

use anyhow::Context as _;
use ascend_benches::governed_tools;
use ascend_sdk::{
    Action, ActionId, Authority, AuthorityError, BoxFuture, Claim, Decision, Digest, Evaluation,
    Governor, Outcome, Review, RiskLevel, authority::Ascend, server::GovernedServer,
};

struct Allow;

impl Authority for Allow {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        let no_id = || AuthorityError::InvalidRequest("an action without a key".to_owned());
        let evaluation =
            ActionId::new(&*action.idempotency_key).ok_or_else(no_id).map(|id| Evaluation {
                decision: Decision::Allow,
                action_id: id,
                risk_score: 0,
                risk_level: RiskLevel::Low,
                reason: None,
                refusal: None,
                approval: None,
                estimated_approval_time: None,
                expires_in: None,
                in_client_approval: false,
            });
        Box::pin(std::future::ready(evaluation))
    }

    fn await_review<'a>(
        &'a self,
        _: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        Box::pin(std::future::pending())
    }

    fn claim<'a>(
        &'a self,
        _: &'a ActionId,
        _: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        Box::pin(std::future::ready(Ok(Claim::Granted)))
    }

    fn report<'a>(
        &'a self,
        _: &'a ActionId,
        _: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn describe(&self) -> String {
        "everything is allowed".to_owned()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let governor = if std::env::args().nth(1).as_deref() == Some("allow") {
        Governor::new(Allow)
    } else {
        Governor::new(Ascend::from_env()?.context("ASCEND_API_KEY is not set")?)
    };
    GovernedServer::new("bench", governor)
        .tools(governed_tools())
        .hold_calls_for(None)
        .serve_stdio()
        .await?;
    Ok(())
}
