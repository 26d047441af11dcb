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
    /// What was told last.
    last: Option<f64>,
    /// What the body's own reports count from: they come after those of waits.
    base: f64,
    /// Whether the body tells its progress by itself, counting from 0.
    apart: bool,
}

impl Channel {
    pub(crate) fn new(peer: rmcp::Peer<RoleServer>, token: ProgressToken) -> Self {
        let template = ProgressNotificationParam::new(token, 0.0);
        Self { peer, template, last: None, base: 0.0, apart: false }
    }

    /// The body tells its progress past this.
    pub(crate) fn apart(self) -> Self {
        Self { apart: true, ..self }
    }

    /// A wait's progress in the row of all that is told, which never goes back: "the
    /// progress value MUST increase with each notification" (MCP, Progress).
    fn of_wait(&mut self, progress: f64) -> f64 {
        if self.apart {
            // Below 0, where others begin.
            return -1.0 / (1.0 + progress);
        }
        // A body's own call can wait as well, when it has told something already.
        let progress = match self.last {
            Some(last) if progress <= last => last + 1.0,
            _ => progress,
        };
        self.base = progress + 1.0;
        progress
    }

    /// Sends what there is to tell as it comes, off the call's path, until the
    /// call is answered and no report is left.
    pub(crate) async fn carry(
        mut self,
        mut heartbeat: Heartbeat,
        mut reports: mpsc::Receiver<Progress>,
        answered: CancellationToken,
    ) {
        loop {
            let told = tokio::select! {
                biased;
                report = reports.recv() => report.map(|report| Progress {
                    progress: report.progress + self.base,
                    total: report.total.map(|total| total + self.base),
                    message: report.message,
                }),
                () = answered.cancelled() => None,
                told = heartbeat.next() => {
                    Some(Progress { progress: self.of_wait(told.progress), ..told })
                }
            };
            let Some(Progress { progress, total, message }) = told else { return };
            self.last = Some(self.last.map_or(progress, |last| last.max(progress)));
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
