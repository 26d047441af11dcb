//! What happens at a center, as it happens.

use std::{collections::VecDeque, time::Duration};

use super::{Center, Changes};
use crate::{AuditEntry, AuditQuery, StoreError};

/// The most entries that are read at once.
const PAGE: u32 = 256;
/// How long it is waited for a change before it is looked all the same.
const LONGEST: Duration = Duration::from_secs(60);

impl Center {
    /// Follows what happens, in this process or another: every entry of the
    /// audit log after number `after`, or for `None` from now on. Whoever lost
    /// the thread goes on from the last number that they saw.
    ///
    /// ```no_run
    /// # async fn example(center: ascend_center::Center) -> Result<(), ascend_center::StoreError> {
    /// let mut follow = center.follow(None).await?;
    /// loop {
    ///     let entry = follow.next().await?;
    ///     println!("{} {}", entry.seq, entry.event.kind);
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn follow(&self, after: Option<i64>) -> Result<Follow, StoreError> {
        let changes = self.changes();
        let seen = match after {
            Some(after) => after,
            None => {
                let newest = AuditQuery::new().newest_first().limit(1);
                self.audit_entries(&newest).await?.first().map_or(0, |(entry, _)| entry.seq)
            }
        };
        Ok(Follow { center: self.clone(), changes, seen, read: VecDeque::new() })
    }
}

/// What [`Center::follow`] gives.
#[derive(Debug)]
pub struct Follow {
    center: Center,
    changes: Changes,
    /// The last number that was read.
    seen: i64,
    read: VecDeque<AuditEntry>,
}

impl Follow {
    /// The next thing that happens; that an action expired is told when its time
    /// comes. Safe to drop while it waits: nothing is lost.
    ///
    /// # Errors
    ///
    /// When the database cannot be read; the next call tries again.
    pub async fn next(&mut self) -> Result<AuditEntry, StoreError> {
        loop {
            if let Some(entry) = self.read.pop_front() {
                return Ok(entry);
            }
            let changed = self.changes.next();
            let query = AuditQuery::new().after(self.seen).limit(PAGE);
            let entries = self.center.audit_entries(&query).await?;
            if let Some((last, _)) = entries.last() {
                self.seen = last.seq;
                self.read.extend(entries.into_iter().map(|(entry, _)| entry));
                continue;
            }
            // A closed center changes no more; it says so when it is read.
            let _ = tokio::time::timeout(LONGEST, changed).await;
        }
    }
}
