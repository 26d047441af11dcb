//! Actions that authorities hold open for calls.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{Governor, authorize::TIME_TO_LOOK};
use crate::{
    CallContext, Outcome,
    context::{CallNumber, Wish},
    room::{Left, Open},
};

/// How long an action that an agent was promised can be joined once the time
/// for its approval is over: agents come back late.
const TIME_TO_JOIN: Duration = Duration::from_secs(15 * 60);
/// How long a promise may take: the client's time is almost over then.
const TIME_TO_PROMISE: Duration = Duration::from_secs(5);
/// How long a call that was cancelled waits for its authority to hear that.
const TIME_TO_TELL: Duration = Duration::from_secs(1);
/// How many actions this process keeps for agents that may come back.
const PROMISES: usize = 65_536;

/// One call's part in an action that the authority holds open. When the last
/// part is dropped, the action is withdrawn, unless it was promised.
pub(super) struct Pending<'a> {
    governor: &'a Governor,
    open: Option<Arc<Open>>,
    context: &'a CallContext,
    /// Why it is withdrawn when this is dropped.
    pub(super) reason: &'static str,
}

impl<'a> Pending<'a> {
    pub(super) fn new(governor: &'a Governor, open: Arc<Open>, context: &'a CallContext) -> Self {
        Self { governor, open: Some(open), context, reason: "the caller went away" }
    }

    /// It was decided: nothing is left to withdraw, or to join.
    pub(super) fn decided(&mut self) {
        if let Some(open) = self.open.take() {
            self.governor.0.room.clear(&open);
        }
    }

    /// Nobody can have it any more.
    pub(super) fn give_up(&mut self, reason: &'static str) {
        if let Some(open) = self.open.take()
            && self.governor.0.room.clear(&open)
        {
            self.reason = reason;
            self.withdraw(&open);
        }
    }

    /// The call was cancelled. Returns once the authority has heard that, or does not in
    /// time: whoever hears of it may end this process at once, as clients do that read
    /// an answer which they wait for no longer.
    pub(super) async fn cancelled(&mut self) {
        self.reason = "the call was cancelled";
        if let Some(told) = self.leave() {
            // In vain, the report has said why.
            let _ = timeout(TIME_TO_TELL, told).await;
        }
    }

    /// Takes the call's part out; what is reported of that.
    fn leave(&mut self) -> Option<JoinHandle<()>> {
        let open = self.open.take()?;
        let inner = &self.governor.0;
        let patience = self.context.patience();
        let gives_up =
            patience.filter(|_| self.context.wish() == Wish::Abandon).map(|patience| patience.call);
        match inner.room.leave(&open, gives_up, inner.closing.is_cancelled())? {
            Left::Withdrawn => self.withdraw(&open),
            Left::Abandoned(holder) => {
                tracing::info!(action_id = %open.id, "abandoned");
                let reason = "its agent gave it up".to_owned();
                self.governor.report(open.id.clone(), Outcome::Abandoned { reason, holder })
            }
        }
    }

    fn withdraw(&self, open: &Open) -> Option<JoinHandle<()>> {
        // Another call, of another session, runs it.
        if self.governor.used().contains(&open.id) {
            return None;
        }
        tracing::info!(action_id = %open.id, reason = self.reason, "withdrawn");
        let reason = self.reason.to_owned();
        self.governor.report(open.id.clone(), Outcome::Withdrawn { reason })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // It is reported whether or not anybody waits for that.
        self.leave();
    }
}

impl Governor {
    /// Lets the action go on waiting without `call`, and says for how long;
    /// `None` when it was decided meanwhile, or too many wait so already.
    pub(super) async fn promise(&self, open: &Arc<Open>, call: CallNumber) -> Option<Duration> {
        let inner = &*self.0;
        let (kept_by_authority, is_kept) = oneshot::channel();
        let has_room = inner.promises.len() < PROMISES;
        if !has_room {
            tracing::warn!(action_id = %open.id, "not promised: {PROMISES} others are");
        }
        let (holder, is_first) = inner.room.promise(open, call, has_room)?;
        if is_first {
            inner.promises.spawn(self.clone().keep(open.clone(), is_kept));
        }
        let promised = timeout(TIME_TO_PROMISE, inner.authority.promise(&open.id, &holder));
        let kept = promised.await.unwrap_or(Ok(None)).unwrap_or_else(|error| {
            tracing::warn!(action_id = %open.id, %error, "not promised");
            None
        });
        // Unheard where this is not the first promise.
        let _ = kept_by_authority.send(kept.is_some());
        let left = open.until.saturating_duration_since(Instant::now());
        tracing::info!(action_id = %open.id, durable = kept.is_some(), "answered as pending");
        Some(kept.unwrap_or(left))
    }

    /// Keeps a promised action for the call that joins it, and withdraws it when
    /// none comes, or this process ends, unless the authority keeps it itself.
    async fn keep(self, open: Arc<Open>, mut is_kept: oneshot::Receiver<bool>) {
        let inner = &*self.0;
        let mut end = open.until + TIME_TO_JOIN;
        loop {
            let closing = tokio::select! {
                () = open.over.cancelled() => return,
                () = inner.closing.cancelled() => true,
                () = sleep_until(end) => false,
            };
            match inner.room.clear_deserted(&open) {
                Some(true) => break,
                Some(false) if !closing => end = Instant::now() + TIME_TO_LOOK,
                // Whoever waits for it withdraws it, or has done so.
                Some(false) | None => return,
            }
        }
        if is_kept.try_recv() == Ok(true) {
            return;
        }
        let outcome = Outcome::Withdrawn { reason: "nobody came back for it".to_owned() };
        if let Err(error) = inner.authority.report(&open.id, &outcome).await {
            tracing::warn!(action_id = %open.id, %error, "not withdrawn");
        }
    }
}
