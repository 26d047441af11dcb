//! What comes within a moment and goes in one request: the first one begins a task that
//! takes all who come until it closes.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, error::SendError};

/// Where those of a moment come together.
pub(super) struct Gathering<T> {
    /// To the task that gathers at this moment; closed while none does, also where
    /// one ended early with its runtime.
    current: Mutex<UnboundedSender<T>>,
}

impl<T> Default for Gathering<T> {
    fn default() -> Self {
        let (closed, _) = mpsc::unbounded_channel();
        Self { current: Mutex::new(closed) }
    }
}

impl<T> Gathering<T> {
    /// Adds one to those of the moment. Of the first one: where they come together.
    pub(super) fn add(&self, one: T) -> Option<Gathered<T>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let SendError(one) = current.send(one).err()?;
        let (sender, gathered) = mpsc::unbounded_channel();
        *current = sender;
        // Its receiver is right here.
        let _ = current.send(one);
        Some(Gathered(gathered))
    }
}

/// Those of one moment.
pub(super) struct Gathered<T>(UnboundedReceiver<T>);

impl<T> Gathered<T> {
    /// All that came, in parts of `most`. Who comes now begins another task.
    pub(super) async fn parts(mut self, most: usize) -> Vec<Vec<T>> {
        self.0.close();
        let mut all = Vec::new();
        while let Some(one) = self.0.recv().await {
            all.push(one);
        }
        let mut parts = Vec::new();
        while all.len() > most {
            parts.push(all.split_off(all.len() - most));
        }
        parts.push(all);
        parts
    }
}
