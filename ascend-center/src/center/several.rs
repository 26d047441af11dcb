//! Waiting for several actions at once.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::Center;
use crate::{Record, StoreError, store::Waiter};

/// How several actions stand.
#[derive(Debug, Default)]
pub(crate) struct Several {
    /// Those that are not pending.
    pub(crate) decided: Vec<Record>,
    pub(crate) pending: Vec<i64>,
}

impl Center {
    /// How those of these actions stand that there are, and whose requester
    /// `counts`: as soon as one of them is not pending, or after `limit`.
    pub(crate) async fn wait_for_any(
        &self,
        ids: &[i64],
        limit: Duration,
        counts: impl Fn(&str) -> bool,
    ) -> Result<Several, StoreError> {
        let store = &self.0.store;
        let deadline = Instant::now() + limit;
        let mut ids = ids.to_vec();
        // Once there is something to wait for.
        let mut waiters: Vec<Waiter> = Vec::new();
        loop {
            let mut changes: FuturesUnordered<_> = waiters.iter().map(Waiter::changed).collect();
            // In this order: what is decided in between is found twice, not lost.
            let mut pending = store.pending_of(&ids).await?;
            pending.retain(|action| counts(&action.requested_by));
            let mut decided = store.decided_of(&ids).await?;
            decided.retain(|record| counts(&record.requested_by));
            if !decided.is_empty() || pending.is_empty() || Instant::now() >= deadline {
                let known: HashSet<i64> = decided.iter().map(|record| record.id).collect();
                let pending = pending.iter().map(|action| action.id);
                let pending = pending.filter(|id| !known.contains(id)).collect();
                return Ok(Several { decided, pending });
            }
            if waiters.is_empty() {
                ids = pending.iter().map(|action| action.id).collect();
                waiters = ids.iter().map(|id| store.waiter(*id)).collect();
                continue;
            }
            let expiry = pending.iter().map(|action| action.expires_at).min().unwrap_or_default();
            let left = expiry.saturating_sub(Timestamp::now().as_millisecond()).max(0);
            let left = Duration::from_millis(left.unsigned_abs() + 1);
            tokio::select! {
                _ = changes.next() => {}
                () = sleep_until(deadline.min(Instant::now() + left)) => {}
            }
        }
    }
}
