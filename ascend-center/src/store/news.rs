//! Who waits for which action, and how they hear of changes: at once from this
//! process, and from others when [`Watch`] says that they wrote.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, futures::OwnedNotified},
};

use super::{
    StoreError,
    sql::{self, Pool, Watch},
};

/// How soon after a failure it is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Stands for whatever happens: no action has this id.
pub(super) const ANYTHING: i64 = 0;

#[derive(Debug)]
pub(super) struct News {
    readers: Pool,
    runtime: Handle,
    /// Others wrote; told while anybody waits.
    heard: Arc<Notify>,
    board: Mutex<Board>,
}

#[derive(Debug, Default)]
struct Board {
    waiting: HashMap<i64, (Arc<Notify>, usize)>,
    polling: bool,
}

/// A place in the list of those who wait for one action.
#[derive(Debug)]
pub(crate) struct Waiter {
    news: Arc<News>,
    id: i64,
    notify: Arc<Notify>,
}

impl Waiter {
    /// Resolves at the next change after this call, also when it is polled later.
    pub(crate) fn changed(&self) -> OwnedNotified {
        self.notify.clone().notified_owned()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut board = self.news.board();
        if let Some((_, count)) = board.waiting.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                board.waiting.remove(&self.id);
            }
        }
    }
}

impl News {
    pub(super) fn new(readers: Pool, runtime: Handle) -> Self {
        Self { readers, runtime, heard: Arc::default(), board: Mutex::default() }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notified when another process may have written; only while anybody waits.
    pub(super) fn heard(&self) -> Arc<Notify> {
        self.heard.clone()
    }

    /// Who waits.
    #[cfg(feature = "http")]
    pub(super) fn waiting(&self) -> usize {
        self.board().waiting.values().map(|(_, count)| count).sum()
    }

    pub(super) fn waiter(news: &Arc<Self>, id: i64) -> Waiter {
        let mut board = news.board();
        let (notify, count) = board.waiting.entry(id).or_default();
        *count += 1;
        let notify = notify.clone();
        if !std::mem::replace(&mut board.polling, true) {
            news.runtime.spawn(poll(news.clone()));
        }
        drop(board);
        Waiter { news: news.clone(), id, notify }
    }

    /// Wakes those who wait for the actions; `None` stands for all.
    pub(super) fn tell(&self, touched: impl IntoIterator<Item = Option<i64>>) {
        let board = self.board();
        let mut touched = touched.into_iter().peekable();
        let anything = touched.peek().map(|_| Some(ANYTHING));
        for action in touched.chain(anything) {
            match action {
                Some(id) => {
                    if let Some((notify, _)) = board.waiting.get(&id) {
                        notify.notify_waiters();
                    }
                }
                None => board.waiting.values().for_each(|(notify, _)| notify.notify_waiters()),
            }
        }
    }

    /// Whether to go on; once nobody waits, the next waiter starts polling anew.
    fn is_awaited(&self) -> bool {
        let mut board = self.board();
        board.polling = !board.waiting.is_empty();
        board.polling
    }
}

async fn poll(news: Arc<News>) {
    while let Err(error) = follow(&news).await {
        if news.readers.is_closed() {
            return;
        }
        tracing::warn!(%error, "cannot see what other processes decide; trying again");
        tokio::time::sleep(RETRY).await;
        if !news.is_awaited() {
            return;
        }
    }
}

/// Returns once nobody waits.
async fn follow(news: &News) -> Result<(), StoreError> {
    let mut watch = Watch::start(&news.readers).await?;
    let mut last: i64 = sql::query_scalar("SELECT coalesce(max(seq), 0) FROM audit")
        .fetch_one(&news.readers)
        .await?;
    // Whoever looked before this moment could have missed something.
    news.tell([None]);
    news.heard.notify_one();
    while news.is_awaited() {
        if !watch.changed().await? {
            continue;
        }
        let events: Vec<(i64, Option<i64>)> =
            sql::query_as("SELECT seq, action FROM audit WHERE seq > $1 ORDER BY seq")
                .bind(last)
                .fetch_all(&news.readers)
                .await?;
        if let Some((newest, _)) = events.last() {
            last = *newest;
        }
        news.tell(events.into_iter().map(|(_, action)| action));
        news.heard.notify_one();
    }
    watch.close().await?;
    Ok(())
}
