//! The calls of governed methods, which a plain rmcp server serves: while one
//! waits for a person, its client is kept as a server of ours keeps it.

use std::{convert::Infallible, sync::Arc};

use rmcp::{RoleServer, service::RequestContext};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    LONGEST_HEARTBEAT, clients,
    progress::{Channel, Heartbeat},
    session,
};
use crate::{
    CallContext, SessionContext,
    context::{CallNumber, Patience, Wish},
};

/// The context of a call: its session, its cancellation, and its client's patience.
pub(crate) fn context(request: &RequestContext<RoleServer>) -> CallContext {
    let session = session::of(request, &SessionContext::default().session_id);
    let token = request.meta.get_progress_token();
    let hold = clients::hold(session.client_name.as_deref(), token.is_some());
    let (wish, wishes) = watch::channel(Wish::Hold);
    let (sender, waiting) = watch::channel(None);
    let peer = request.peer.clone();
    let leave = async move {
        match hold {
            Some(hold) => sleep(hold).await,
            None => std::future::pending().await,
        }
        wish.send_replace(Wish::Leave);
        std::future::pending::<Infallible>().await
    };
    let tell = async move {
        if let Some(token) = token {
            // The body reports by rmcp's own means, if it does.
            let (_nothing, reports) = mpsc::channel(1);
            let heartbeat = Heartbeat::new(waiting, LONGEST_HEARTBEAT);
            Channel::new(peer, token)
                .apart()
                .carry(heartbeat, reports, CancellationToken::new())
                .await;
        }
        std::future::pending::<Infallible>().await
    };
    let patience = Patience {
        wish: wishes,
        waiting: sender,
        begun: Arc::default(),
        call: CallNumber::next(),
        principal: session::principal(request, ""),
        needs_card: false,
    };
    CallContext::new(session, request.ct.clone()).with_patience(patience).attended_by(async move {
        tokio::select! {
            never = leave => never,
            never = tell => never,
        }
    })
}
