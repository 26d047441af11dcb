//! Waiting for several actions at once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
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
        let mut waiters: HashMap<i64, Waiter> = HashMap::new();
        if !limit.is_zero() {
            waiters.extend(ids.iter().map(|id| (*id, store.waiter(*id))));
        }
        let armed = |id: i64| {
            let changed = waiters.get(&id).map(Waiter::changed);
            async move {
                match changed {
                    Some(changed) => changed.await,
                    None => std::future::pending().await,
                }
                id
            }
        };
        let mut changes: FuturesUnordered<_> = waiters.keys().copied().map(armed).collect();
        // Those that are pending, with their expiry.
        let mut pending = BTreeMap::new();
        let mut asked = ids.to_vec();
        loop {
            // Who hears of changes was armed before: nothing is missed in between.
            let found = store.pending_of(&asked).await?;
            let is_any_decided = found.len() < asked.len();
            for id in &asked {
                pending.remove(id);
            }
            let own = found.into_iter().filter(|action| counts(&action.requested_by));
            pending.extend(own.map(|action| (action.id, action.expires_at)));
            let mut decided = Vec::new();
            if is_any_decided {
                decided = store.decided_of(&asked).await?;
                decided.retain(|record| counts(&record.requested_by));
            }
            if !decided.is_empty() || pending.is_empty() || Instant::now() >= deadline {
                for record in &decided {
                    pending.remove(&record.id);
                }
                return Ok(Several { decided, pending: pending.into_keys().collect() });
            }
            let expiry = pending.values().min().copied().unwrap_or_default();
            let left = expiry.saturating_sub(Timestamp::now().as_millisecond()).max(0);
            let left = Duration::from_millis(left.unsigned_abs() + 1);
            tokio::select! {
                Some(changed) = changes.next() => {
                    asked = vec![changed];
                    while let Some(Some(changed)) = changes.next().now_or_never() {
                        asked.push(changed);
                    }
                    changes.extend(asked.iter().copied().map(armed));
                    // Of what is not waited for there is no news.
                    asked.retain(|id| pending.contains_key(id));
                }
                () = sleep_until(deadline.min(Instant::now() + left)) => {
                    asked = pending.keys().copied().collect();
                }
            }
        }
    }
}
