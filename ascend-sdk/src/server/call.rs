//! Calls under way.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use rmcp::{RoleServer, model::ProgressToken};
use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::task_tracker::TaskTrackerToken,
};

use super::{
    Server,
    answer::Ended,
    catalog::Offer,
    progress::{Channel, Heartbeat},
};
use crate::{
    ActionId, BoxFuture, CallContext, SessionContext,
    context::{Patience, Waiting, Wish},
    route::Call,
};

/// How many reports of progress may wait to be sent; more are dropped.
const PROGRESS_QUEUE: usize = 32;

/// A call that was accepted. Dropped, it is cancelled.
pub(super) struct Ongoing {
    call: BoxFuture<'static, Ended>,
    /// What its client hears of it; done when the client asked for nothing.
    progress: BoxFuture<'static, ()>,
    answered: CancellationToken,
    /// What it waits for.
    pub(super) waiting: watch::Receiver<Option<Waiting>>,
    /// What becomes of it while it waits.
    pub(super) wish: watch::Sender<Wish>,
    cancellation: CancellationToken,
    _cancels: DropGuard,
    _in_flight: TaskTrackerToken,
}

/// Who calls, and what for.
pub(super) struct Asked {
    pub(super) arguments: Map<String, Value>,
    pub(super) session: SessionContext,
    /// Where the client wants to hear of progress.
    pub(super) progress: Option<(rmcp::Peer<RoleServer>, ProgressToken)>,
    /// The action that the call goes on waiting for.
    pub(super) resumes: Option<ActionId>,
    /// Whether the call must tell what it is, once it waits.
    pub(super) needs_card: bool,
}

impl Ongoing {
    pub(super) fn start(server: &Server, offer: &Offer, asked: Asked) -> Self {
        let Asked { arguments, session, progress, resumes, needs_card } = asked;
        let (wish, wishes) = watch::channel(Wish::Hold);
        let (sender, waiting) = watch::channel(None);
        let cancellation = CancellationToken::new();
        let mut context = CallContext::new(session, cancellation.clone()).with_patience(Patience {
            wish: wishes,
            waiting: sender,
            resumes,
            needs_card,
        });
        let answered = CancellationToken::new();
        let progress: BoxFuture<'static, ()> = match progress {
            Some((peer, token)) => {
                let (sender, reports) = mpsc::channel(PROGRESS_QUEUE);
                context = context.on_progress(move |report| {
                    let _ = sender.try_send(report);
                });
                let heartbeat = Heartbeat::new(waiting.clone(), server.limits.heartbeat);
                Box::pin(Channel::new(peer, token).carry(heartbeat, reports, answered.clone()))
            }
            None => Box::pin(std::future::ready(())),
        };
        let call = offer.route.call(Call {
            governor: server.governor.clone(),
            arguments,
            state: server.state.clone(),
            context,
        });
        Self {
            call: Box::pin(AssertUnwindSafe(call).catch_unwind()),
            progress,
            answered,
            waiting,
            wish,
            _cancels: cancellation.clone().drop_guard(),
            cancellation,
            _in_flight: server.calls.token(),
        }
    }

    /// Waits for the call to end. It is held until `until`, and then answered as
    /// pending if it waits for a person. It is cancelled when `gone` resolves.
    pub(super) async fn end(
        mut self,
        mut until: Option<Instant>,
        gone: impl Future<Output = ()>,
    ) -> Ended {
        tokio::pin!(gone);
        let mut forwarding = true;
        let ended = loop {
            tokio::select! {
                ended = &mut self.call => break ended,
                () = &mut self.progress, if forwarding => forwarding = false,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    until = None;
                    self.wish.send_replace(Wish::Leave);
                }
                () = &mut gone, if !self.cancellation.is_cancelled() => self.cancellation.cancel(),
            }
        };
        self.answered.cancel();
        if forwarding {
            // What was reported before the answer is sent before it, unless the
            // caller no longer listens.
            tokio::select! {
                () = self.progress => {}
                () = self.cancellation.cancelled() => {}
            }
        }
        ended
    }
}
