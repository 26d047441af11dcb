//! A governed server as a client starts it, for tests over real pipes.
//!
//! `RAW_LOG` leaves out the filter that keeps rmcp's debug log quiet,
//! `MAX_UNREAD` and `MAX_CALLS` set the limits of the same names, `HEARTBEAT`
//! and `HOLD` are in milliseconds, `CENTER` is the directory of a center that
//! decides in the place of the script, by the policies in the folder `POLICIES`,
//! as `ASCEND_API_KEY` and `ASCEND_BASE_URL` name one that is asked over HTTP,
//! `IN_CLIENT` lets the client's user approve what is of medium risk, and
//! `AFTERWARDS` makes the process live on after its server has ended.

use std::{error::Error, time::Duration};

use ascend_center::{Center, CenterConfig};
use ascend_sdk::{Governor, RiskLevel, authority::Ascend, server::log_filter};
use ascend_tests::fixture;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
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
    let script = fixture::Script::new(true);
    let mut server = if let Some(directory) = std::env::var_os("CENTER") {
        let mut config = CenterConfig::new(directory);
        if let Some(folder) = std::env::var_os("POLICIES") {
            config = config.policies(folder);
        }
        let center = Center::open(config).await?;
        fixture::server_under(Governor::new(center), script)
    } else if let Some(ascend) = Ascend::from_env()? {
        fixture::server_under(Governor::new(ascend), script)
    } else {
        fixture::server(script)
    };
    if let Some(milliseconds) = number("HOLD") {
        server = server.hold_calls_for(Duration::from_millis(milliseconds as u64));
    }
    if std::env::var_os("IN_CLIENT").is_some() {
        server = server.in_client_approval(RiskLevel::Medium);
    }
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
