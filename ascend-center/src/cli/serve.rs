//! `ascend-center serve`

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use ascend_center::{Center, CenterConfig, ProxyNetwork, ServeConfig};
use tokio::net::TcpListener;

use crate::{card::shown, say};

/// How to serve.
pub(crate) struct Serving {
    pub(crate) listen: SocketAddr,
    pub(crate) policies: Option<PathBuf>,
    pub(crate) hosts: Vec<String>,
    /// The files of the certificate chain and its key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) proxies: Vec<ProxyNetwork>,
}

pub(crate) async fn serve(directory: PathBuf, serving: Serving) -> anyhow::Result<()> {
    let Serving { listen, policies, hosts, tls, proxies } = serving;
    anyhow::ensure!(
        listen.ip().is_loopback() || tls.is_some() || !proxies.is_empty(),
        "{listen} is open to other machines: give --tls-cert and --tls-key, or name the proxy in \
         front that has TLS with --behind-proxy, or listen on 127.0.0.1"
    );
    anyhow::ensure!(
        listen.ip().is_loopback() || !hosts.is_empty(),
        "name the host by which other machines address the center with --allow-host"
    );
    let mut config = CenterConfig::new(directory);
    if let Some(folder) = policies {
        config = config.policies(folder);
    }
    let center = Center::open(config).await?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let approver = center.local_approver().await?;
    let key = center.directory().join("agent.key").display().to_string();
    let lines = [
        format!("listening on {scheme}://{address}"),
        format!(
            "agents: ASCEND_BASE_URL={scheme}://{address}, ASCEND_API_KEY is the `token` in {}",
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

    let serving = hosts.into_iter().fold(ServeConfig::new(), ServeConfig::allow_host);
    let mut serving = proxies.into_iter().fold(serving, ServeConfig::behind_proxy);
    if let Some((certificates, key)) = tls {
        serving = serving.tls(certificates, key);
    }
    center.serve(listener, serving, stop_signal()?).await?;
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
