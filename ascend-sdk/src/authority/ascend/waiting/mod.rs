//! Waiting for people: one task asks for all who wait, over few connections.
//!
//! Where the server takes questions about many actions and holds them, one held
//! question covers all; where it does neither, each action is asked for in its
//! turn, a few at a time.

mod board;
mod leg;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use self::board::{Board, Ending};
use super::{Core, config::Timing};
use crate::{ActionId, AuthorityError, Review};

/// Who waits, and how their task hears of it.
pub(super) struct Waiting {
    board: Mutex<Board>,
    changed: Notify,
}

impl Waiting {
    pub(super) fn new(timing: &Timing) -> Self {
        let board = Board::new(timing.polling, leg::longest_wait(timing));
        Self { board: Mutex::new(board), changed: Notify::new() }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the action at once, if anybody waits for it; whether so.
    pub(super) fn wake(&self, id: &ActionId) -> bool {
        let is_awaited = self.board().wake(id, Instant::now());
        if is_awaited {
            self.changed.notify_one();
        }
        is_awaited
    }
}

/// One caller's place among those who wait. Dropped, it is free.
struct Place<'a> {
    waiting: &'a Waiting,
    id: &'a ActionId,
    number: u64,
    ending: oneshot::Receiver<Ending>,
}

impl<'a> Place<'a> {
    fn take(core: &'a Arc<Core>, id: &'a ActionId) -> Self {
        let waiting = &core.waiting;
        let mut board = waiting.board();
        let (number, ending) = board.join(id, Instant::now());
        let is_attended = std::mem::replace(&mut board.is_attended, true);
        drop(board);
        if is_attended {
            waiting.changed.notify_one();
        } else {
            tokio::spawn(attend(Attendance { core: core.clone(), is_over: false }));
        }
        Self { waiting, id, number, ending }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.waiting.board().leave(self.id, self.number) {
            self.waiting.changed.notify_one();
        }
    }
}

impl Core {
    /// Waits until the pending action `id` is decided.
    pub(super) async fn review_of(
        self: &Arc<Self>,
        id: &ActionId,
    ) -> Result<Review, AuthorityError> {
        loop {
            let mut place = Place::take(self, id);
            if let Ok(ending) = (&mut place.ending).await {
                return ending;
            }
            // The task ended with its runtime, or by a panic: another one asks.
            drop(place);
            tokio::time::sleep(self.client.timing.polling.0).await;
        }
    }
}

/// The task's hold on the board: however it ends, another one can begin.
struct Attendance {
    core: Arc<Core>,
    /// Whether it was let go already, and may be another's by now.
    is_over: bool,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if !self.is_over {
            self.core.waiting.board().abandon();
        }
    }
}

/// Asks for as long as anybody waits.
async fn attend(mut attendance: Attendance) {
    let core = attendance.core.clone();
    let waiting = &core.waiting;
    let mut legs = FuturesUnordered::new();
    loop {
        let (orders, again) = {
            let mut board = waiting.board();
            if board.is_empty() {
                // Under the same lock: who comes now begins another task.
                board.abandon();
                attendance.is_over = true;
                return;
            }
            board.orders(Instant::now())
        };
        legs.extend(orders.into_iter().map(|order| core.ask_for(order)));
        tokio::select! {
            Some((leg, report)) = legs.next() => {
                let mut board = waiting.board();
                match report {
                    Some(report) => board.settle(Instant::now(), report),
                    None => board.dropped(leg),
                }
            }
            () = waiting.changed.notified() => {}
            () = until(again) => {}
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
