//! The sessions of clients before 2026-07-28, over HTTP: when one ends, so do the
//! calls that it holds.
//!
//! rmcp lets handlers run on for 5 s after the end of their session.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The sessions with calls under way.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Session>>);

#[derive(Debug, Default)]
struct Session {
    calls: usize,
    ended: CancellationToken,
}

impl Sessions {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the session ends, for a call of it.
    pub(crate) async fn end_of(&self, id: &str) {
        let watching = self.watch(id);
        watching.ended.cancelled().await;
    }

    fn watch<'a>(&'a self, id: &'a str) -> Watching<'a> {
        let mut open = self.open();
        let session = open.entry(id.to_owned()).or_default();
        session.calls += 1;
        Watching { sessions: self, id, ended: session.ended.clone() }
    }

    /// The session has ended.
    pub(crate) fn end(&self, id: &str) {
        if let Some(session) = self.open().get(id) {
            session.ended.cancel();
        }
    }
}

/// One call of a session.
struct Watching<'a> {
    sessions: &'a Sessions,
    id: &'a str,
    ended: CancellationToken,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let mut open = self.sessions.open();
        if let Some(session) = open.get_mut(self.id) {
            session.calls -= 1;
            if session.calls == 0 {
                open.remove(self.id);
            }
        }
    }
}
