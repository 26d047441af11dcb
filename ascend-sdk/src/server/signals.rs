//! The signals that end a server.

use std::io;

use tokio_util::sync::{CancellationToken, DropGuard};

/// Cancels `ended` on the first signal. A second one ends the process, and so does any
/// once the guard is dropped: nobody is left who would end it.
pub(crate) fn watch(ended: CancellationToken) -> io::Result<DropGuard> {
    let mut signals = Signals::new()?;
    let over = CancellationToken::new();
    let guard = over.clone().drop_guard();
    tokio::spawn(async move {
        loop {
            let (name, number) = signals.next().await;
            if over.is_cancelled() {
                tracing::warn!(signal = name, "ending at once");
                std::process::exit(128 + number);
            }
            tracing::info!(signal = name, "ending; a second signal ends at once");
            ended.cancel();
            over.cancel();
        }
    });
    Ok(guard)
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            Some(()) = self.terminate.recv() => ("SIGTERM", 15),
            Some(()) = self.interrupt.recv() => ("SIGINT", 2),
            Some(()) = self.hangup.recv() => ("SIGHUP", 1),
            else => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> (&'static str, i32) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        ("Ctrl-C", 2)
    }
}
