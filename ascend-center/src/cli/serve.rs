//! `ascend-center serve`

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use ascend_center::{Center, CenterConfig, ServeConfig};
use tokio::net::TcpListener;

use crate::{card::shown, say};

pub(crate) async fn serve(
    directory: PathBuf,
    listen: SocketAddr,
    policies: Option<PathBuf>,
    serving: ServeConfig,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        listen.ip().is_loopback() || serving.allows_hosts(),
        "{listen} is open to other machines, and there is no TLS here: \
         listen on 127.0.0.1, or put a proxy in front and name its host with --allow-host"
    );
    let mut config = CenterConfig::new(directory);
    if let Some(folder) = policies {
        config = config.policies(folder);
    }
    // Before anybody is told that it serves, and may stop it.
    let stop = stop_signal()?;
    let center = Center::open(config).await?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let approver = center.local_approver().await?;
    let key = center.directory().join("agent.key").display().to_string();
    let lines = [
        format!("listening on http://{address}"),
        format!(
            "agents: ASCEND_BASE_URL=http://{address}, ASCEND_API_KEY is the `token` in {}",
            shown(&key)
        ),
        format!(
            "approver {}: {} pending --watch",
            shown(approver.name()),
            shown(&center.command())
        ),
    ];
    for line in lines {
        if say(&line).is_err() {
            // Nobody reads it; that is no reason not to serve.
            break;
        }
    }

    center.serve(listener, serving, stop).await?;
    center.close().await;
    Ok(())
}

#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
