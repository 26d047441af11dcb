//! Evaluations that outlive their callers.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tracing::{Instrument as _, Span};

use super::Governor;
use crate::{Action, AuthorityError, BoxFuture, Claim, Decision, Evaluation, Outcome};

/// How many reports and evaluations that nobody waits for may be under way
/// before evaluations of callers that leave are dropped. Each holds its
/// arguments, and a client can ask and leave as often as it likes.
const UNATTENDED_LIMIT: usize = 16_384;

/// An evaluation under way. Dropped early, it goes on by itself, so that an
/// action which the authority opened meanwhile is not left pending.
pub(super) struct Evaluating<'a> {
    governor: &'a Governor,
    future: Option<BoxFuture<'static, Evaluated>>,
}

/// An evaluation, and its claim, where it was claimed at once.
type Evaluated = Result<(Evaluation, Option<Claim>), AuthorityError>;

impl<'a> Evaluating<'a> {
    /// `runs_at_once` tells that a decision which allows the call may be claimed.
    pub(super) fn start(
        governor: &'a Governor,
        action: Box<Action>,
        runs_at_once: bool,
        span: &Span,
    ) -> Self {
        let authority = governor.0.authority.clone();
        let future = async move {
            if runs_at_once {
                authority.evaluate_and_claim(&action).await
            } else {
                authority.evaluate(&action).await.map(|evaluation| (evaluation, None))
            }
        };
        let future = Box::pin(future.instrument(span.clone()));
        Self { governor, future: Some(future) }
    }
}

impl Future for Evaluating<'_> {
    type Output = Evaluated;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Taken out, so that one which panics is not polled again by the drop.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let result = future.as_mut().poll(context);
        if result.is_pending() {
            self.future = Some(future);
        }
        result
    }
}

impl Drop for Evaluating<'_> {
    fn drop(&mut self) {
        let (Some(future), Ok(runtime)) =
            (self.future.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        if self.governor.0.reports.len() >= UNATTENDED_LIMIT {
            tracing::warn!("an evaluation was dropped; its action stays open until it expires");
            return;
        }
        let authority = self.governor.0.authority.clone();
        self.governor.0.reports.spawn_on(
            async move {
                if let Ok((evaluation, _)) = future.await
                    && evaluation.decision != Decision::Deny
                {
                    let outcome = Outcome::Withdrawn { reason: "the caller went away".to_owned() };
                    if let Err(error) = authority.report(&evaluation.action_id, &outcome).await {
                        tracing::warn!(action_id = %evaluation.action_id, %error, "not withdrawn");
                    }
                }
            },
            &runtime,
        );
    }
}
