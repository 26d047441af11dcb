//! The sessions that clients of older versions hold over HTTP: as many as fit.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rmcp::transport::streamable_http_server::session::{
    SessionManager as _, local::LocalSessionManager,
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How many there are at once. Each has tasks and channels; a client that dies does
/// not say so, and its session would stay for a day.
const SESSIONS: usize = 4_096;

/// Answers to requests, until they have ended.
pub(super) type Answers = TaskTracker;

/// Which sessions there are, and when they were last used. The ones that were idle for
/// longest end when others need their place.
#[derive(Debug)]
pub(super) struct Sessions {
    manager: Arc<LocalSessionManager>,
    known: Arc<Mutex<HashMap<String, Use>>>,
}

#[derive(Debug)]
struct Use {
    /// How many requests are not answered yet, streams among them.
    open: usize,
    last: Instant,
}

fn lock(known: &Mutex<HashMap<String, Use>>) -> MutexGuard<'_, HashMap<String, Use>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub(super) fn new(manager: Arc<LocalSessionManager>) -> Self {
        Self { manager, known: Arc::default() }
    }

    /// A request of the session, until the value is dropped.
    pub(super) fn use_one(&self, id: &str) -> Option<InUse> {
        lock(&self.known).get_mut(id)?.open += 1;
        Some(InUse { known: self.known.clone(), id: id.to_owned() })
    }

    pub(super) fn forget(&self, id: &str) {
        lock(&self.known).remove(id);
    }

    /// A session begins; which ones end for it.
    pub(super) async fn begin(&self, id: String) -> Vec<String> {
        let ended = {
            let mut known = lock(&self.known);
            known.insert(id, Use { open: 0, last: Instant::now() });
            let excess = known.len().saturating_sub(SESSIONS);
            let mut idle: Vec<(Instant, String)> = Vec::new();
            if excess > 0 {
                let unused = known.iter().filter(|(_, used)| used.open == 0);
                idle.extend(unused.map(|(id, used)| (used.last, id.clone())));
                idle.sort_unstable();
                idle.truncate(excess);
            }
            for (_, id) in &idle {
                known.remove(id);
            }
            idle
        };
        let mut ids = Vec::with_capacity(ended.len());
        for (_, id) in ended {
            tracing::info!("a session that was idle for long ends: {SESSIONS} others are there");
            if let Err(error) = self.manager.close_session(&id.as_str().into()).await {
                tracing::debug!(%error, "a session was not closed");
            }
            ids.push(id);
        }
        ids
    }
}

/// A request of a session.
#[derive(Debug)]
pub(super) struct InUse {
    known: Arc<Mutex<HashMap<String, Use>>>,
    id: String,
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(used) = lock(&self.known).get_mut(&self.id) {
            used.open -= 1;
            used.last = Instant::now();
        }
    }
}
