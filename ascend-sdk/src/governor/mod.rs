//! Evaluate, await approval, run once, report.

mod authorize;
mod builder;
mod evaluating;
mod grant;
#[cfg(test)]
mod interleavings;
mod pending;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::task::{JoinHandle, futures::TaskLocalFuture};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

pub use self::{builder::GovernorBuilder, grant::Grant};
use crate::{ActionId, Authority, DigestKey, Outcome, observe, recent::Recent, room::Room};

/// What happens when the authority cannot be reached at evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailMode {
    /// The call is refused.
    #[default]
    Closed,
    /// The call runs, unless its floor requires a person's approval. A denial,
    /// a kill switch, a failure, a malformed answer or a pending approval is
    /// never passed over.
    Open,
}

/// Stands between callers and bodies. Cheap to clone; clones are the same governor.
#[derive(Clone)]
pub struct Governor(Arc<Inner>);

struct Inner {
    authority: Arc<dyn Authority>,
    server_id: String,
    fail_mode: FailMode,
    approval_timeout: Duration,
    user_context: Map<String, Value>,
    digest_key: Option<DigestKey>,
    reports: TaskTracker,
    /// Those that keep what was promised.
    promises: TaskTracker,
    closing: CancellationToken,
    /// The decisions that were already used by this process: a second wall behind
    /// the authority's own claim, for those that have none.
    executed: Arc<Mutex<Recent>>,
    room: Arc<Room>,
}

tokio::task_local! {
    static SCOPED: Governor;
}

static INSTALLED: RwLock<Option<Governor>> = RwLock::new(None);

impl Governor {
    /// A governor over `authority`, all else by default.
    pub fn new(authority: impl Authority) -> Self {
        Self::builder(authority).build()
    }

    /// Starts the settings of a governor over `authority`.
    pub fn builder(authority: impl Authority) -> GovernorBuilder {
        GovernorBuilder::new(Arc::new(authority))
    }

    /// Makes this the governor of direct calls in the whole process, in the
    /// place of an earlier one.
    pub fn install(&self) {
        *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    /// The governor of a direct call made here: that of the tool whose body
    /// this is, else the installed one.
    #[must_use]
    pub fn current() -> Option<Self> {
        SCOPED
            .try_with(Self::clone)
            .ok()
            .or_else(|| INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Runs `future` with this as the governor of its direct calls.
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        self.clone().scoped(future).await
    }

    pub(crate) fn scoped<F: Future>(self, future: F) -> TaskLocalFuture<Self, F> {
        SCOPED.scope(self, future)
    }

    /// The id of the server, as authorities see it.
    #[must_use]
    pub fn server_id(&self) -> &str {
        &self.0.server_id
    }

    /// Who decides.
    #[must_use]
    pub fn authority(&self) -> &dyn Authority {
        &*self.0.authority
    }

    pub(crate) fn digest_key(&self) -> Option<&DigestKey> {
        self.0.digest_key.as_ref()
    }

    pub(crate) fn with_server_id(&self, server_id: &str) -> Self {
        let inner = &self.0;
        Self(Arc::new(Inner {
            authority: inner.authority.clone(),
            server_id: server_id.to_owned(),
            fail_mode: inner.fail_mode,
            approval_timeout: inner.approval_timeout,
            user_context: inner.user_context.clone(),
            digest_key: inner.digest_key.clone(),
            reports: inner.reports.clone(),
            promises: inner.promises.clone(),
            closing: inner.closing.clone(),
            executed: inner.executed.clone(),
            room: inner.room.clone(),
        }))
    }

    /// The decisions that were used.
    fn used(&self) -> MutexGuard<'_, Recent> {
        self.0.executed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the authority what became of an action, off the caller's path; `None` where
    /// there is nothing that could.
    fn report(&self, id: ActionId, outcome: Outcome) -> Option<JoinHandle<()>> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            tracing::warn!(action_id = %id, "outcome not reported: no async runtime");
            return None;
        };
        let authority = self.0.authority.clone();
        let span = observe::reports(&id, &outcome);
        let report = self.0.reports.spawn_on(
            async move {
                if let Err(error) = authority.report(&id, &outcome).await {
                    tracing::warn!(action_id = %id, %error, "outcome not reported");
                }
            }
            .instrument(span),
            &runtime,
        );
        Some(report)
    }

    /// Stops: calls that wait are refused as cancelled and withdrawn, new ones
    /// are refused, and reports under way get up to `within` to arrive.
    /// Returns whether they all did.
    pub async fn close(&self, within: Duration) -> bool {
        self.0.closing.cancel();
        self.0.reports.close();
        self.0.promises.close();
        let told = async { tokio::join!(self.0.promises.wait(), self.0.reports.wait()) };
        tokio::time::timeout(within, told).await.is_ok()
    }
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governor")
            .field("server_id", &self.0.server_id)
            .field("fail_mode", &self.0.fail_mode)
            .finish_non_exhaustive()
    }
}
