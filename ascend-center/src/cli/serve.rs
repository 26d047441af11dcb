//! `ascend-center serve`

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use ascend_center::{Center, ProxyNetwork, ServeConfig};
use tokio::net::TcpListener;

use crate::{Here, card::shown, policy::InUse, say};

#[derive(clap::Args)]
pub(crate) struct ServeArguments {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: SocketAddr,
    #[command(flatten)]
    policies: InUse,
    /// A further host name by which the center may be addressed
    #[arg(long = "allow-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// How often each agent may ask in a minute; 0 for as often as it likes
    #[arg(long, value_name = "N", default_value_t = 100, env = "ASCEND_CENTER_AGENT_RATE")]
    agent_rate: u32,
    /// How often all agents together may ask in a minute; 0 for as often as they like
    #[arg(long, value_name = "N", default_value_t = 1000, env = "ASCEND_CENTER_TENANT_RATE")]
    tenant_rate: u32,
    /// A host to which webhooks may lead, whatever its address is
    #[arg(long = "allow-webhook-host", value_name = "HOST")]
    webhook_hosts: Vec<String>,
    /// A certificate chain as PEM, to serve with TLS
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key as PEM
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Serve behind a proxy that has TLS, at this address or network; what it
    /// says in X-Forwarded-* is believed
    #[arg(long = "behind-proxy", value_name = "ADDRESS", conflicts_with = "tls_cert")]
    proxies: Vec<ProxyNetwork>,
    /// Have the keys in the directory take the place of those that the database
    /// knows; else a replica with other keys does not start
    #[cfg(feature = "postgres")]
    #[arg(long)]
    adopt_keys: bool,
    #[cfg(feature = "oidc")]
    #[command(flatten)]
    oidc: OidcArguments,
}

/// Logins by a company's identity provider.
#[cfg(feature = "oidc")]
#[derive(clap::Args)]
struct OidcArguments {
    /// The issuer of an OpenID Connect provider, for logins by it
    #[arg(long, requires_all = ["oidc_client_id", "oidc_public_url", "oidc_roles"], value_name = "URL")]
    oidc_issuer: Option<String>,
    /// The center's client id at the provider
    #[arg(long, requires = "oidc_issuer", value_name = "ID")]
    oidc_client_id: Option<String>,
    /// The center's client secret at the provider
    #[arg(
        env = "ASCEND_CENTER_OIDC_SECRET",
        long,
        requires = "oidc_issuer",
        hide_env_values = true
    )]
    oidc_client_secret: Option<String>,
    /// The address at which browsers reach the center; register
    /// `/api/v1/oidc/callback` there at the provider
    #[arg(long, requires = "oidc_issuer", value_name = "URL")]
    oidc_public_url: Option<String>,
    /// The claim of the ID token that names a person's groups
    #[arg(long, default_value = "groups", value_name = "CLAIM")]
    oidc_claim: String,
    /// The role of a group, such as `ops=approver`
    #[arg(long = "oidc-role", requires = "oidc_issuer", value_name = "GROUP=ROLE", value_parser = group_role)]
    oidc_roles: Vec<(String, ascend_center::Role)>,
}

#[cfg(feature = "oidc")]
fn group_role(text: &str) -> Result<(String, ascend_center::Role), String> {
    let (group, role) =
        text.rsplit_once('=').ok_or("expected a group and its role: ops=approver")?;
    let role = role.parse().map_err(|error: ascend_center::UnknownRole| error.to_string())?;
    Ok((group.to_owned(), role))
}

#[cfg(feature = "oidc")]
impl OidcArguments {
    fn config(self) -> Option<ascend_center::OidcConfig> {
        let (issuer, id, url) = (self.oidc_issuer?, self.oidc_client_id?, self.oidc_public_url?);
        let mut config = ascend_center::OidcConfig::new(issuer, id, url).claim(self.oidc_claim);
        if let Some(secret) = self.oidc_client_secret {
            config = config.secret(secret.into());
        }
        Some(
            self.oidc_roles
                .into_iter()
                .fold(config, |config, (group, role)| config.role(group, role)),
        )
    }
}

pub(crate) async fn serve(here: Here, arguments: ServeArguments) -> anyhow::Result<()> {
    let ServeArguments { listen, policies, hosts, tls_cert, tls_key, proxies, .. } = arguments;
    let tls = tls_cert.zip(tls_key);
    anyhow::ensure!(
        listen.ip().is_loopback() || tls.is_some() || !proxies.is_empty(),
        "{listen} is open to other machines: give --tls-cert and --tls-key, or name the proxy in \
         front that has TLS with --behind-proxy, or listen on 127.0.0.1"
    );
    anyhow::ensure!(
        listen.ip().is_loopback() || !hosts.is_empty(),
        "name the host by which other machines address the center with --allow-host"
    );
    // Before anybody is told that it serves, and may stop it.
    let stop = stop_signal()?;
    let config = policies.configure(here.config()?);
    #[cfg(feature = "postgres")]
    let config = config.adopt_keys(arguments.adopt_keys);
    let center = Center::open(config).await?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let reached = match hosts.first() {
        Some(host) if !proxies.is_empty() => format!("https://{host}"),
        Some(host) if !address.ip().is_loopback() => {
            format!("{scheme}://{host}:{}", address.port())
        }
        _ => format!("{scheme}://{address}"),
    };
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
        format!(
            "approver {}: {} pending --watch",
            shown(approver.name()),
            shown(&center.command())
        ),
    ];
    // Beside what programs read.
    eprintln!("approve in a browser: {}/queue", shown(&reached));
    for line in lines {
        if say(&line).is_err() {
            // Nobody reads it; that is no reason not to serve.
            break;
        }
    }

    let serving =
        ServeConfig::new().agent_rate(arguments.agent_rate).tenant_rate(arguments.tenant_rate);
    let serving = hosts.into_iter().fold(serving, ServeConfig::allow_host);
    let serving =
        arguments.webhook_hosts.into_iter().fold(serving, ServeConfig::allow_webhook_host);
    let mut serving = proxies.into_iter().fold(serving, ServeConfig::behind_proxy);
    if let Some((certificates, key)) = tls {
        serving = serving.tls(certificates, key);
    }
    #[cfg(feature = "oidc")]
    if let Some(provider) = arguments.oidc.config() {
        serving = serving.oidc(provider);
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
