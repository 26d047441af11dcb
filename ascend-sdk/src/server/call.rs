//! Calls under way.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use futures_util::{
    FutureExt as _,
    future::{Fuse, FusedFuture as _},
};
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
use tracing::Instrument as _;

use super::{
    Server,
    answer::Ended,
    catalog::Offer,
    progress::{Channel, Heartbeat},
};
use crate::{
    ActionId, BoxFuture, CallContext, SessionContext, TraceContext,
    context::{CallNumber, Patience, Waiting, Wish},
    route::Call,
};

/// How many reports of progress may wait to be sent; more are dropped.
const PROGRESS_QUEUE: usize = 32;

/// A call that was accepted. Dropped, it is cancelled.
pub(super) struct Ongoing {
    call: BoxFuture<'static, Ended>,
    /// What its client hears of it.
    progress: Fuse<BoxFuture<'static, ()>>,
    /// Ends that, if there is any, with what was reported until then.
    answered: Option<CancellationToken>,
    /// What it waits for.
    pub(super) waiting: watch::Receiver<Option<Waiting>>,
    /// Filled when its body begins: who approved, where that is known.
    pub(super) begun: Arc<OnceLock<Option<String>>>,
    /// What becomes of it while it waits.
    pub(super) wish: watch::Sender<Wish>,
    pub(super) cancellation: CancellationToken,
    _cancels: DropGuard,
    _in_flight: TaskTrackerToken,
}

/// Who calls, and what for.
pub(super) struct Asked {
    pub(super) arguments: Map<String, Value>,
    pub(super) session: SessionContext,
    pub(super) trace: Option<TraceContext>,
    /// Where the client wants to hear of progress.
    pub(super) progress: Option<(rmcp::Peer<RoleServer>, ProgressToken)>,
    /// The call, which may take several requests.
    pub(super) call: CallNumber,
    /// The action that it goes on waiting for.
    pub(super) resumes: Option<ActionId>,
    /// Who calls.
    pub(super) principal: String,
    /// Whether the call must tell what it is, once it waits.
    pub(super) needs_card: bool,
}

impl Ongoing {
    pub(super) fn start(server: &Server, offer: &Offer, asked: Asked) -> Self {
        let Asked { arguments, session, trace, progress, call, resumes, principal, needs_card } =
            asked;
        let (wish, wishes) = watch::channel(Wish::Hold);
        let (sender, waiting) = watch::channel(None);
        let begun = Arc::default();
        let cancellation = CancellationToken::new();
        let mut context = CallContext::new(session, cancellation.clone()).with_patience(Patience {
            wish: wishes,
            waiting: sender,
            begun: Arc::clone(&begun),
            call,
            principal,
            needs_card,
        });
        context = context.resuming(resumes).in_trace(trace);
        let (progress, answered) = match progress {
            Some((peer, token)) => {
                let answered = CancellationToken::new();
                let (sender, reports) = mpsc::channel(PROGRESS_QUEUE);
                context = context.on_progress(move |report| {
                    let _ = sender.try_send(report);
                });
                let heartbeat = Heartbeat::new(waiting.clone(), server.limits.heartbeat);
                let carrying =
                    Channel::new(peer, token).carry(heartbeat, reports, answered.clone());
                let carrying: BoxFuture<'static, ()> = Box::pin(carrying);
                (carrying.fuse(), Some(answered))
            }
            None => (Fuse::terminated(), None),
        };
        let call = offer.route.call(Call {
            governor: server.governor.clone(),
            arguments,
            state: server.state.clone(),
            context,
        });
        Self {
            call: Box::pin(AssertUnwindSafe(call).catch_unwind().in_current_span()),
            progress,
            answered,
            waiting,
            begun,
            wish,
            _cancels: cancellation.clone().drop_guard(),
            cancellation,
            _in_flight: server.calls.token(),
        }
    }

    /// Waits for the call to end. It is held until `until`, and then answered as
    /// pending if it waits for a person. It is cancelled when `gone` resolves.
    pub(super) async fn end(
        &mut self,
        mut until: Option<Instant>,
        mut gone: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Ended {
        let ended = loop {
            tokio::select! {
                ended = &mut self.call => break ended,
                () = &mut self.progress => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)),
                    if until.is_some() && !self.cancellation.is_cancelled() =>
                {
                    until = None;
                    self.wish.send_replace(Wish::Leave);
                }
                () = &mut gone, if !self.cancellation.is_cancelled() => self.leave(),
            }
        };
        self.told().await;
        ended
    }

    /// Waits for the call to end, or else until it waits for a person and its
    /// action is promised: then it is to go on without its request, of which it
    /// tells no more. It is cancelled when `gone` resolves.
    pub(super) async fn end_unless_promised(
        mut self,
        gone: impl Future<Output = ()>,
    ) -> Result<Ended, (Self, Waiting)> {
        self.wish.send_replace(Wish::Keep);
        let mut waiting = self.waiting.clone();
        let promised = async {
            let is_promised = |waiting: &Option<Waiting>| {
                waiting.as_ref().is_some_and(|waiting| waiting.promised)
            };
            let found = waiting.wait_for(is_promised).await.ok().and_then(|found| found.clone());
            match found {
                Some(waiting) => waiting,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(promised, gone);
        let mut found = None;
        let ended = loop {
            tokio::select! {
                ended = &mut self.call => break ended,
                () = &mut self.progress => {}
                () = &mut gone, if !self.cancellation.is_cancelled() => self.leave(),
                waiting = &mut promised, if found.is_none() => {
                    found = Some(waiting);
                    self.end_progress();
                }
            }
            if self.progress.is_terminated()
                && !self.cancellation.is_cancelled()
                && let Some(waiting) = found.take()
            {
                return Err((self, waiting));
            }
        };
        self.told().await;
        Ok(ended)
    }

    /// Its client does not want it any more, and hears no more of it.
    fn leave(&mut self) {
        self.cancellation.cancel();
        self.progress = Fuse::terminated();
    }

    fn end_progress(&self) {
        if let Some(answered) = &self.answered {
            answered.cancel();
        }
    }

    /// What was reported before the answer is sent before it, unless the caller
    /// no longer listens.
    async fn told(&mut self) {
        self.end_progress();
        if !self.progress.is_terminated() {
            tokio::select! {
                () = &mut self.progress => {}
                () = self.cancellation.cancelled() => {}
            }
        }
    }
}
