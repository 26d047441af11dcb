//! Messages on their way to the client: queued without waiting, written by one
//! task, as many as there are in one system call.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::stdio::Sink;

/// Where messages are queued. Clones are the same queue.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Arc<Inner>);

#[derive(Default)]
struct Inner {
    queue: Mutex<Queue>,
    /// There is something to write, or there never will be.
    filled: Notify,
    /// Something was written.
    drained: Notify,
    /// The client reads no more.
    gone: CancellationToken,
}

#[derive(Default)]
struct Queue {
    /// Whole lines.
    bytes: Vec<u8>,
    /// What the writer has taken and not yet written.
    in_flight: usize,
}

impl Outbox {
    /// Queues one message as a line. Never waits.
    ///
    /// # Errors
    ///
    /// When the client is gone, or the message is not JSON.
    pub(crate) fn push(&self, message: &impl Serialize) -> io::Result<()> {
        if self.0.gone.is_cancelled() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut queue = self.queue();
        let before = queue.bytes.len();
        if let Err(error) = serde_json::to_writer(&mut queue.bytes, message) {
            queue.bytes.truncate(before);
            return Err(error.into());
        }
        queue.bytes.push(b'\n');
        drop(queue);
        self.0.filled.notify_one();
        Ok(())
    }

    /// How many bytes the client has not taken yet.
    pub(crate) fn unread(&self) -> usize {
        let queue = self.queue();
        queue.bytes.len() + queue.in_flight
    }

    /// Waits until no more than `bytes` are unread, or the client is gone.
    pub(crate) async fn drained_to(&self, bytes: usize) {
        loop {
            let drained = self.0.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.unread() <= bytes || self.0.gone.is_cancelled() {
                return;
            }
            drained.await;
        }
    }

    /// Cancelled when the client reads no more.
    pub(crate) fn gone(&self) -> &CancellationToken {
        &self.0.gone
    }

    /// Writes what is queued to `sink`, until the client is gone. `expects_more` tells
    /// whether answers to other requests are still to come.
    pub(crate) async fn write_to(self, mut sink: Sink, expects_more: impl Fn() -> bool) {
        loop {
            if expects_more() {
                // Lets those that are about to be ready join this write.
                tokio::task::yield_now().await;
            }
            let batch = {
                let mut queue = self.queue();
                // While there is nothing in it, the buffer stays where it is filled.
                (!queue.bytes.is_empty()).then(|| {
                    queue.in_flight = queue.bytes.len();
                    std::mem::take(&mut queue.bytes)
                })
            };
            let Some(batch) = batch else {
                self.0.filled.notified().await;
                continue;
            };
            let written = sink.write(batch).await;
            let spent = {
                let mut queue = self.queue();
                queue.in_flight = 0;
                written.map(|mut spent| {
                    // The buffer goes back, unless it grew large for once.
                    if queue.bytes.is_empty() && spent.capacity() <= 1 << 20 {
                        spent.clear();
                        queue.bytes = spent;
                    }
                })
            };
            self.0.drained.notify_waiters();
            if let Err(error) = spent {
                tracing::info!(%error, "the client reads no more");
                self.0.gone.cancel();
                self.0.drained.notify_waiters();
                return;
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
