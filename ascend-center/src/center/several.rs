//! Waiting for several actions at once.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::Center;
use crate::{ActionState, Record, StoreError, store::Waiter};

impl Center {
    /// Those of these actions that there are and that `counts`, as soon as one
    /// of them is not pending, or as they stand after `limit`.
    pub(crate) async fn wait_for_any(
        &self,
        ids: &[i64],
        limit: Duration,
        counts: impl Fn(&Record) -> bool,
    ) -> Result<Vec<Record>, StoreError> {
        let store = &self.0.store;
        let deadline = Instant::now() + limit;
        let mut records = store.actions_of(ids).await?;
        records.retain(&counts);
        let ids: Vec<i64> = records.iter().map(|record| record.id).collect();
        let is_over = |records: &[Record]| {
            records.is_empty() || records.iter().any(|record| record.state != ActionState::Pending)
        };
        if limit.is_zero() || is_over(&records) {
            return self.written_down(records).await;
        }
        let waiters: Vec<_> = ids.iter().map(|id| store.waiter(*id)).collect();
        loop {
            let mut changes: FuturesUnordered<_> = waiters.iter().map(Waiter::changed).collect();
            let records = store.actions_of(&ids).await?;
            if is_over(&records) {
                return self.written_down(records).await;
            }
            let now = Timestamp::now();
            let expiry = records.iter().map(|record| record.expires_at).min().unwrap_or(now);
            let left = Duration::try_from(expiry.duration_since(now)).unwrap_or_default();
            let expiry = Instant::now() + left + Duration::from_millis(1);
            tokio::select! {
                _ = changes.next() => {}
                () = sleep_until(deadline) => return Ok(records),
                () = sleep_until(expiry) => {}
            }
        }
    }

    /// With the expiry of those that expired unseen written down.
    async fn written_down(&self, mut records: Vec<Record>) -> Result<Vec<Record>, StoreError> {
        for record in &mut records {
            if record.state == ActionState::Expired
                && let Some(expired) = self.0.store.expire(record.id).await?
            {
                *record = expired;
            }
        }
        Ok(records)
    }
}
