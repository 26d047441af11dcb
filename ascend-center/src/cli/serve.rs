//! `ascend-center serve`

use std::net::SocketAddr;

use anyhow::Context as _;
use ascend_center::Center;
use tokio::net::TcpListener;

use crate::{
    card::shown,
    config::{Config, Settings},
    say,
};

pub(crate) async fn serve(config: &Config) -> anyhow::Result<()> {
    config.check()?;
    let settings = &config.settings;
    // Before anybody is told that it serves, and may stop it.
    let mut signals = Signals::new()?;
    let serving = settings.serving()?;
    let center = Center::open(config.center()?).await?;
    let listen = settings.listen;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let scheme = scheme(settings);
    let reached = reached(settings, address);
    let approver = center.local_approver().await?;
    let key = center.directory().join("agent.key").display().to_string();
    let lines = [
        format!("listening on {scheme}://{address}"),
        format!(
            "agents: ASCEND_BASE_URL={}, ASCEND_API_KEY is the `token` in {}, or from \
             `ascend-center keys create`",
            shown(&reached),
            shown(&key)
        ),
        format!("approver {}: {} watch", shown(approver.name()), shown(&center.command())),
    ];
    let stop = async move {
        // The center waits for this only once it serves.
        announce(&lines, &reached);
        signals.next().await;
        tell_systemd("STOPPING=1");
        tracing::info!("told to stop: finishing what is under way; once more ends at once");
        tokio::spawn(async move {
            signals.next().await;
            std::process::exit(1);
        });
    };
    let served = center.serve(listener, serving, stop).await;
    center.close().await;
    Ok(served?)
}

/// Tells whoever started this that it serves.
fn announce(lines: &[String], reached: &str) {
    // Beside what programs read.
    tracing::info!("approve in a browser: {}/queue", shown(reached));
    for line in lines {
        if say(line).is_err() {
            // Nobody reads it; that is no reason not to serve.
            break;
        }
    }
    tell_systemd("READY=1");
}

/// Where systemd started this process, it waits for this.
fn tell_systemd(state: &str) {
    #[cfg(unix)]
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Custom(state)]) {
        tracing::warn!(%error, "systemd could not be told");
    }
    #[cfg(not(unix))]
    let _ = state;
}

fn scheme(settings: &Settings) -> &'static str {
    if settings.tls_cert.is_some() { "https" } else { "http" }
}

/// The URL by which agents reach a center that listens at `address`.
pub(crate) fn reached(settings: &Settings, address: SocketAddr) -> String {
    let scheme = scheme(settings);
    match settings.allow_host.first() {
        Some(host) if !settings.behind_proxy.is_empty() => format!("https://{host}"),
        Some(host) if !address.ip().is_loopback() => {
            format!("{scheme}://{host}:{}", address.port())
        }
        _ => format!("{scheme}://{address}"),
    }
}

/// What tells a process to stop.
#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt, hang_up] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
