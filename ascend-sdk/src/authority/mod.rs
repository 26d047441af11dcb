//! Who decides.

use std::{sync::Arc, time::Duration};

use crate::{
    Action, ActionId, BoxFuture, Claim, Confirmation, Digest, Evaluation, Outcome, RefusalKind,
    Review, Standing,
};

#[cfg(feature = "ascend")]
mod ascend;
#[cfg(feature = "ascend")]
pub use ascend::{Ascend, AscendBuilder, ConfigError, Delivery, Paths, Webhook, WebhookError};

/// Who decides whether an action may run.
///
/// A [`Governor`](crate::Governor) calls, per action, in this order:
/// [`evaluate`](Self::evaluate), or
/// [`evaluate_and_claim`](Self::evaluate_and_claim) where an allowed call is run at
/// once; [`await_review`](Self::await_review) when a person must decide;
/// [`claim`](Self::claim) immediately before the body, unless it was claimed; and
/// [`report`](Self::report) in the end, exactly once for every action that was
/// allowed or left pending. Where a caller cannot be kept that long, it calls
/// [`promise`](Self::promise) instead, and leaves the action pending.
pub trait Authority: Send + Sync + 'static {
    /// Asks whether `action` may run.
    ///
    /// # Errors
    ///
    /// When no answer can be had that is worth anything. The call is refused then.
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>>;

    /// As [`evaluate`](Self::evaluate), for a caller that runs an allowed call at
    /// once: an authority that can claims the decision in the same step, as
    /// [`claim`](Self::claim) would, and answers with that claim. `None` leaves it
    /// to be claimed. Only a decision that let the call pass without a person is
    /// claimed so, and asked again for the same action, it is the same claim.
    ///
    /// The default claims nothing.
    ///
    /// # Errors
    ///
    /// As for [`evaluate`](Self::evaluate).
    fn evaluate_and_claim<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<(Evaluation, Option<Claim>), AuthorityError>> {
        let evaluation = self.evaluate(action);
        Box::pin(async { Ok((evaluation.await?, None)) })
    }

    /// Waits for a person to decide on the pending action `id`. The caller
    /// bounds the wait by dropping the future, and then reports
    /// [`Outcome::Withdrawn`].
    ///
    /// # Errors
    ///
    /// When the answer can no longer be had. Passing troubles are waited out.
    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>>;

    /// Claims the decision on action `id` for one run of the call with this
    /// `digest`. At most one claim is ever granted per action.
    ///
    /// # Errors
    ///
    /// When no answer can be had. The call is refused then.
    fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>>;

    /// Reports what became of action `id`.
    ///
    /// # Errors
    ///
    /// When the report did not arrive.
    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>>;

    /// Promises the agent of the pending action `id` that it lives on until it
    /// is decided or expires, whatever becomes of its caller. An authority that
    /// can keep that promise answers how long the action has left. From then on
    /// it takes no withdrawal of it, and answers an [`evaluate`](Self::evaluate)
    /// of the same server, tool, resource and digest with this very action,
    /// as it stands, until its decision was claimed, or its end was told once.
    ///
    /// The default promises nothing: `None`. The governor then keeps the action
    /// waiting for as long as its process lives.
    ///
    /// # Errors
    ///
    /// When no answer can be had. It counts as `None`.
    fn promise<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Option<Duration>, AuthorityError>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Looks up how action `id` stands now, without waiting for anything. It
    /// decides nothing and changes nothing: an action that reads as approved
    /// here still has to be claimed.
    ///
    /// The default is `None`: this authority cannot say.
    ///
    /// # Errors
    ///
    /// When no answer can be had.
    fn status<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Option<Standing>, AuthorityError>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Tells what the client's user answered when they were asked about the
    /// pending action `id`: asked only where
    /// [`in_client_approval`](Evaluation::in_client_approval) was given. An
    /// authority that takes it records it as what it is
    /// ([`Confirmation::reviewer`]), and [`await_review`](Self::await_review) of
    /// the action resolves. It must hold the answer against the action as it
    /// stands by then.
    ///
    /// The default takes none.
    ///
    /// # Errors
    ///
    /// When it does not count, or the authority cannot be asked. The action goes
    /// on waiting.
    fn confirm<'a>(
        &'a self,
        id: &'a ActionId,
        confirmation: &'a Confirmation,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        let _ = (id, confirmation);
        let refused = "the authority takes no approvals from clients".to_owned();
        Box::pin(std::future::ready(Err(AuthorityError::InvalidRequest(refused))))
    }

    /// Asks whether the authority is there and accepts this caller.
    ///
    /// # Errors
    ///
    /// When it is not, or does not.
    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>>;

    /// One line for the person who starts a server: who decides, and how to approve.
    fn describe(&self) -> String;
}

impl<A: Authority + ?Sized> Authority for Arc<A> {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        (**self).evaluate(action)
    }

    fn evaluate_and_claim<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<(Evaluation, Option<Claim>), AuthorityError>> {
        (**self).evaluate_and_claim(action)
    }

    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        (**self).await_review(id)
    }

    fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        (**self).claim(id, digest)
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        (**self).report(id, outcome)
    }

    fn promise<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Option<Duration>, AuthorityError>> {
        (**self).promise(id)
    }

    fn status<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Option<Standing>, AuthorityError>> {
        (**self).status(id)
    }

    fn confirm<'a>(
        &'a self,
        id: &'a ActionId,
        confirmation: &'a Confirmation,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        (**self).confirm(id, confirmation)
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        (**self).health()
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}

/// Why an authority gave no answer. Texts hold no credentials and no URLs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// It could not be reached, or did not answer in time, or has been left
    /// alone since then by a circuit breaker. The only case in which [`FailMode::Open`](crate::FailMode::Open) lets a call pass.
    #[error("the authority is unreachable: {0}")]
    Unreachable(String),
    /// It was reached and failed (HTTP 5xx).
    #[error("the authority failed: {0}")]
    Failed(String),
    /// It asks to come back later (HTTP 429).
    #[error("the authority limits requests{}", retry_hint(.0))]
    RateLimited(Option<Duration>),
    /// It does not accept the credentials (HTTP 401, or a plain 403).
    #[error("the authority does not accept the credentials: {0}")]
    Unauthorized(String),
    /// It does not accept the request (another HTTP 4xx).
    #[error("the authority does not accept the request: {0}")]
    InvalidRequest(String),
    /// Its answer cannot be understood.
    #[error("the authority's answer cannot be understood: {0}")]
    Malformed(String),
}

fn retry_hint(after: &Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!("; retry after {} s", after.as_secs()))
}

impl AuthorityError {
    /// The refusal that follows.
    #[must_use]
    pub const fn refusal_kind(&self) -> RefusalKind {
        match self {
            Self::Unreachable(_) | Self::Failed(_) | Self::RateLimited(_) => {
                RefusalKind::Unreachable
            }
            Self::Unauthorized(_) => RefusalKind::Unauthorized,
            Self::InvalidRequest(_) | Self::Malformed(_) => RefusalKind::Malformed,
        }
    }
}
