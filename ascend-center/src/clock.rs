//! Does what time does to pending actions when it is due: escalates them, and
//! notes that they expired, so that whoever is to hear of it does. Every open
//! center has one, also for what a process asked that is gone.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinHandle},
};

use crate::store::Store;

/// How often it is looked whether another process opened an action, where nobody
/// waits for news of it.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Clock {
    look: Arc<Notify>,
    task: AbortHandle,
}

impl Clock {
    pub(crate) fn start(store: &Arc<Store>) -> Self {
        let look = store.heard();
        let task: JoinHandle<()> = tokio::spawn(run(Arc::downgrade(store), look.clone()));
        Self { look, task: task.abort_handle() }
    }

    /// That there is an action that could be due sooner.
    pub(crate) fn look(&self) {
        self.look.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn run(store: Weak<Store>, look: Arc<Notify>) {
    loop {
        let Some(store) = store.upgrade() else { return };
        let next = store.keep_time().await;
        drop(store);
        let wait = match next {
            Ok(Some(next)) => {
                let left = next.saturating_sub(jiff::Timestamp::now().as_millisecond());
                Duration::from_millis(u64::try_from(left).unwrap_or_default().saturating_add(1))
            }
            Ok(None) => LOOK,
            Err(error) => {
                tracing::warn!(%error, "the center's clock stands still; trying again");
                LOOK
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait.min(LOOK)) => {}
            () = look.notified() => {}
        }
    }
}
