//! One client's connection, from its first message to its orderly end.

use std::sync::Arc;

use rmcp::ServiceExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    Server,
    handler::Handler,
    stdio::{Sink, Source},
    transport::{Connection, LineTransport},
};

/// Serves until the client goes away or the connection is ended from outside.
///
/// rmcp's own end of service is not used: at the end of input it first waits 5 s
/// for its handlers, tells them nothing, and sends no notification meanwhile.
pub(crate) async fn serve(server: Arc<Server>, connection: Connection, source: Source, sink: Sink) {
    let ended = connection.ended().clone();
    let outbox = connection.outbox().clone();
    let waiting = connection.clone();
    let writer = tokio::spawn(outbox.clone().write_to(sink, move || waiting.is_answering()));
    let handler = Handler::over_lines(server.clone(), ended.clone());
    let transport = LineTransport::new(source, server.limits, connection.clone(), handler.clone());
    let stop = CancellationToken::new();
    let service = async {
        match handler.serve_with_ct(transport, stop.clone()).await {
            Ok(running) => match running.waiting().await {
                Ok(reason) => tracing::debug!(?reason, "the service stopped"),
                Err(error) => tracing::error!(%error, "the service stopped"),
            },
            Err(error) => tracing::info!(%error, "the session did not begin"),
        }
    };
    tokio::pin!(service);
    let serving = tokio::select! {
        () = ended.cancelled() => true,
        () = &mut service => false,
    };
    ended.cancel();
    tracing::info!("the client is gone or the server ends; waiting calls are withdrawn");

    let deadline = Instant::now() + server.limits.grace;
    server.withdraw().await;
    let settled = async {
        connection.settled().await;
        server.calls.close();
        server.calls.wait().await;
        stop.cancel();
    };
    let settled = async {
        if serving {
            // The service carries the answers until it has come to its own end.
            tokio::join!(settled, service);
        } else {
            settled.await;
        }
    };
    if timeout_at(deadline, settled).await.is_err() {
        tracing::warn!("a tool did not end within the grace");
    }
    let flushed = timeout_at(deadline, outbox.drained_to(0));
    let _ = tokio::join!(flushed, server.close_governors(deadline));
    writer.abort();
}
