//! What a client that asked for progress hears: first how a call waits for a
//! person, then what its body reports.

use std::time::Duration;

use rmcp::{
    RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    context::{Progress, Waiting},
    refusal::spoken,
};

/// Tells again and again that a call waits.
pub(crate) struct Heartbeat {
    waiting: watch::Receiver<Option<Waiting>>,
    every: Duration,
    /// When the wait began, and when it is told next.
    told: Option<(Instant, Instant)>,
}

impl Heartbeat {
    pub(crate) fn new(waiting: watch::Receiver<Option<Waiting>>, every: Duration) -> Self {
        Self { waiting, every, told: None }
    }

    /// The next time that there is something to tell; never, once nothing waits
    /// any more. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Progress {
        loop {
            let waiting = self.waiting.borrow_and_update().clone();
            let Some(waiting) = waiting else {
                self.told = None;
                if self.waiting.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            let now = Instant::now();
            let (began, due) = *self.told.get_or_insert((now, now));
            tokio::select! {
                biased;
                changed = self.waiting.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
                () = sleep_until(due) => {
                    let now = Instant::now();
                    self.told = Some((began, now + self.every));
                    return Progress {
                        progress: now.duration_since(began).as_secs_f64(),
                        total: None,
                        message: Some(message(&waiting, now)),
                    };
                }
            }
        }
    }
}

/// For the person who watches the client.
fn message(waiting: &Waiting, now: Instant) -> String {
    let Waiting { action_id, what, risk_score, risk_level, until, approvers, .. } = waiting;
    let left = spoken(until.duration_since(now));
    format!(
        "Waiting for approval of action {action_id}: {what}. \
         Risk {risk_score} ({risk_level}), {left} left ({approvers})"
    )
}

/// One request's way to tell progress.
pub(crate) struct Channel {
    peer: rmcp::Peer<RoleServer>,
    template: ProgressNotificationParam,
}

impl Channel {
    pub(crate) fn new(peer: rmcp::Peer<RoleServer>, token: ProgressToken) -> Self {
        Self { peer, template: ProgressNotificationParam::new(token, 0.0) }
    }

    /// Sends what there is to tell as it comes, off the call's path, until the
    /// call is answered and no report is left.
    pub(crate) async fn carry(
        self,
        mut heartbeat: Heartbeat,
        mut reports: mpsc::Receiver<Progress>,
        answered: CancellationToken,
    ) {
        // A body counts from wherever it likes; its reports come after the
        // heartbeats, and must not seem to go back.
        let mut base = 0.0;
        loop {
            let told = tokio::select! {
                biased;
                report = reports.recv() => report.map(|report| Progress {
                    progress: report.progress + base,
                    total: report.total.map(|total| total + base),
                    message: report.message,
                }),
                () = answered.cancelled() => None,
                told = heartbeat.next() => {
                    base = told.progress + 1.0;
                    Some(told)
                }
            };
            let Some(Progress { progress, total, message }) = told else { return };
            let mut params = self.template.clone();
            params.progress = progress;
            params.total = total;
            params.message = message;
            if self.peer.notify_progress(params).await.is_err() {
                return;
            }
        }
    }
}
