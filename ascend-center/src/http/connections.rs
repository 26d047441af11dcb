//! The connections of an address: how many there are at once, and how long one may take to
//! ask.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, serve::Listener};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

/// How long the head of a request may take, and a connection stay open between requests.
/// Longer than clients keep one that they do not use: who is first to close it loses no
/// request of the other.
const HEAD: Duration = Duration::from_secs(120);

/// Answers requests until `closing`, then finishes those under way. Who comes while there
/// are `most` connections waits for one to end. Dropped, it cuts all of them off.
pub(super) async fn serve<L>(mut listener: L, app: Router, most: usize, closing: &CancellationToken)
where
    L: Listener<Addr = SocketAddr>,
{
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let ((io, peer), place) = tokio::select! {
            Some(accepted) = accepted => accepted,
            Some(_) = connections.join_next() => continue,
            () = closing.cancelled() => break,
        };
        let app = app.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let mut app = app.clone();
            async move { app.call(request).await }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
        let connection = builder.serve_connection(TokioIo::new(io), answer);
        let closing = closing.clone();
        connections.spawn(async move {
            let _place = place;
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = closing.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection broke");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
