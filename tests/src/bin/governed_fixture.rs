//! A governed server as a client starts it, for tests over real pipes.
//!
//! `RAW_LOG` leaves out the filter that keeps rmcp's debug log quiet,
//! `MAX_UNREAD` and `MAX_CALLS` set the limits of the same names, `HEARTBEAT`
//! is in milliseconds, and `AFTERWARDS` makes the process live on after its
//! server has ended.

use std::time::Duration;

use ascend_sdk::server::{ServeError, log_filter};
use ascend_tests::fixture;

#[tokio::main]
async fn main() -> Result<(), ServeError> {
    let rust_log = std::env::var("RUST_LOG").ok();
    let filter = match std::env::var_os("RAW_LOG") {
        Some(_) => rust_log.unwrap_or_default(),
        None => log_filter(rust_log.as_deref()),
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(filter)
        .init();
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let mut server = fixture::server(fixture::Script::new(true));
    if let Some(bytes) = number("MAX_UNREAD") {
        server = server.max_unread_bytes(bytes);
    }
    if let Some(calls) = number("MAX_CALLS") {
        server = server.max_concurrent_calls(calls);
    }
    if let Some(milliseconds) = number("HEARTBEAT") {
        server = server.heartbeat(Duration::from_millis(milliseconds as u64));
    }
    server.serve_stdio().await?;
    eprintln!("SERVED");
    if std::env::var_os("AFTERWARDS").is_some() {
        std::future::pending::<()>().await;
    }
    Ok(())
}
