//! How a center is served: on loopback as it is, elsewhere with TLS or behind
//! a proxy that has it.

use std::{io, net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use axum::serve::ListenerExt as _;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Face, connections,
    limits::Limits,
    metrics,
    origin::{Door, ProxyNetwork},
    retention, router,
    tls::{TlsFiles, TlsListener},
};
use crate::{
    Center,
    webhook::{self, Courier, Targets},
};

/// How a center is served.
#[derive(Debug, Clone)]
#[must_use = "give it to `Center::serve`"]
pub struct ServeConfig {
    hosts: Vec<String>,
    agent_rate: u32,
    tenant_rate: u32,
    body_limit: u32,
    max_connections: u32,
    shutdown_timeout: Duration,
    retention: Option<Duration>,
    metrics: Option<SocketAddr>,
    name_agents: bool,
    webhook_hosts: Vec<String>,
    webhook_attempts: u32,
    proxies: Vec<ProxyNetwork>,
    tls: Option<TlsFiles>,
    #[cfg(feature = "oidc")]
    oidc: Option<crate::OidcConfig>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl ServeConfig {
    /// To requests for this machine by its loopback names alone. An agent may ask
    /// 6,000 times a minute, all together 60,000 times.
    pub const fn new() -> Self {
        Self {
            hosts: Vec::new(),
            agent_rate: 6000,
            tenant_rate: 60_000,
            body_limit: 1024 * 1024,
            max_connections: 4096,
            shutdown_timeout: Duration::from_secs(20),
            retention: None,
            metrics: None,
            name_agents: false,
            webhook_hosts: Vec::new(),
            webhook_attempts: webhook::ATTEMPTS,
            proxies: Vec::new(),
            tls: None,
            #[cfg(feature = "oidc")]
            oidc: None,
        }
    }

    /// How often each agent may ask in a minute; 0 for as often as it likes.
    /// What follows up an action that was asked for does not count.
    pub const fn agent_rate(mut self, per_minute: u32) -> Self {
        self.agent_rate = per_minute;
        self
    }

    /// How often all agents together may ask in a minute; 0 for as often as
    /// they like.
    pub const fn tenant_rate(mut self, per_minute: u32) -> Self {
        self.tenant_rate = per_minute;
        self
    }

    /// The most bytes of a request's body. Default: 1 MiB.
    pub const fn body_limit(mut self, bytes: u32) -> Self {
        self.body_limit = bytes;
        self
    }

    /// The most connections at once, to the address of the [metrics](Self::metrics_address)
    /// too; who comes then waits for one to end. A question that is held, and a page that
    /// is open, has one. Default: 4,096.
    pub const fn max_connections(mut self, most: NonZeroU32) -> Self {
        self.max_connections = most.get();
        self
    }

    /// How long requests and deliveries under way may take after the shutdown
    /// began. Default: 20 seconds.
    pub const fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Removes what is older from the audit log, as [`Center::prune_audit`] does,
    /// when serving begins and once a day. Default: all is kept.
    pub const fn retention(mut self, age: Duration) -> Self {
        self.retention = Some(age);
        self
    }

    /// Serves the metrics for Prometheus at this address too, as `/metrics`, to
    /// everybody who reaches it. At the center's own address they are for people.
    pub const fn metrics_address(mut self, address: SocketAddr) -> Self {
        self.metrics = Some(address);
        self
    }

    /// Whether the metrics count decisions for each agent. Default: no.
    pub const fn name_agents_in_metrics(mut self, name: bool) -> Self {
        self.name_agents = name;
        self
    }

    /// Lets webhooks lead to `host` whatever its address is. Others must not have
    /// a link-local, multicast or metadata address, nor this machine's unless
    /// they say so.
    pub fn allow_webhook_host(mut self, host: impl Into<String>) -> Self {
        self.webhook_hosts.push(host.into());
        self
    }

    /// How often a message to a webhook is tried, over growing pauses, before it
    /// is given up. Default: 13 times, which takes about an hour.
    pub const fn webhook_attempts(mut self, attempts: u32) -> Self {
        self.webhook_attempts = attempts;
        self
    }

    /// Also to requests whose `Host` header names `host`, without a port. Any
    /// other is refused, since a page in a browser could be behind it.
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// With TLS: a certificate chain and its private key, both PEM.
    pub fn tls(mut self, certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(TlsFiles { certificates: certificates.into(), key: key.into() });
        self
    }

    /// Behind a proxy that has TLS. Its `X-Forwarded-For`, `-Host` and `-Proto`
    /// are believed, nobody else's; whoever comes past it from another machine
    /// is refused.
    pub fn behind_proxy(mut self, proxy: ProxyNetwork) -> Self {
        self.proxies.push(proxy);
        self
    }

    /// With logins by a company's identity provider.
    #[cfg(feature = "oidc")]
    pub fn oidc(mut self, provider: crate::OidcConfig) -> Self {
        self.oidc = Some(provider);
        self
    }
}

impl Center {
    /// Serves the center over HTTP on `listener` until `shutdown` resolves, which is
    /// first polled when requests are answered: what it does before it waits is
    /// done by a center that is ready. At its end
    /// no connection is taken any more, questions that are held are answered with
    /// what is known, and all that is under way is finished, within
    /// [`ServeConfig::shutdown_timeout`]. Messages to webhooks that were not
    /// delivered by then are kept. [Close](Self::close) the center after it.
    ///
    /// ```no_run
    /// # async fn example(center: ascend_center::Center) -> std::io::Result<()> {
    /// use ascend_center::ServeConfig;
    ///
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:8787").await?;
    /// let shutdown = async { drop(tokio::signal::ctrl_c().await) };
    /// center.serve(listener, ServeConfig::new(), shutdown).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the listener fails, the certificate cannot be used, or the address
    /// is open to other machines with neither TLS nor a proxy.
    pub async fn serve(
        &self,
        listener: TcpListener,
        config: ServeConfig,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        #[cfg(feature = "oidc")]
        let oidc = provider(config.oidc)?;
        let address = listener.local_addr()?;
        let is_local = address.ip().to_canonical().is_loopback();
        let targets = Targets::new(config.webhook_hosts)
            .agents_are_here(is_local && config.proxies.is_empty());
        let courier = Courier::new(self.clone(), targets, config.webhook_attempts);
        let courier = courier.map_err(io::Error::other)?;
        let limits = Arc::new(Limits::new(config.agent_rate, config.tenant_rate));
        let ServeConfig { hosts, proxies, tls, .. } = config;
        if !is_local && tls.is_none() && proxies.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{address} is open to other machines: use TLS, name the proxy in front that \
                     has it, or listen on 127.0.0.1"
                ),
            ));
        }
        let acceptor = tls.as_ref().map(TlsFiles::acceptor).transpose()?;
        let closing = CancellationToken::new();
        let face = Face {
            center: self.clone(),
            door: Door::new(hosts, proxies, acceptor.is_some()),
            limits,
            courier: courier.clone(),
            #[cfg(feature = "page")]
            page: Arc::default(),
            #[cfg(feature = "oidc")]
            oidc,
            closing: closing.clone(),
        };
        let app = router(face, config.body_limit);
        let most = usize::try_from(config.max_connections).unwrap_or(usize::MAX);
        let answering = async {
            match acceptor {
                None => {
                    let listener = listener.tap_io(|stream| {
                        // Some platforms cannot; answers come later there.
                        let _ = stream.set_nodelay(true);
                    });
                    connections::serve(listener, app, most, &closing).await;
                }
                Some(acceptor) => {
                    let listener = TlsListener::new(listener, acceptor)?;
                    connections::serve(listener, app, most, &closing).await;
                }
            }
            Ok(())
        };
        let told = async {
            shutdown.await;
            closing.cancel();
        };
        let serving = async { tokio::join!(answering, told).0 };
        let mut beside = JoinSet::new();
        if let Some(age) = config.retention {
            beside.spawn(retention::keep(self.clone(), age));
        }
        self.metrics().name_agents(config.name_agents);
        let counts = async {
            match config.metrics {
                Some(address) => metrics::serve(self.clone(), address, most, &closing).await,
                None => std::future::pending().await,
            }
        };
        let out_of_time = async {
            closing.cancelled().await;
            tokio::time::sleep(config.shutdown_timeout).await;
        };
        let work = async { tokio::join!(serving, courier.run(&closing)).0 };
        tokio::select! {
            served = work => served,
            served = counts => served,
            () = out_of_time => {
                tracing::warn!("the time to stop is over; what is still under way is cut off");
                Ok(())
            }
        }
    }
}

#[cfg(feature = "oidc")]
fn provider(
    config: Option<crate::OidcConfig>,
) -> io::Result<Option<std::sync::Arc<crate::identity::Provider>>> {
    let provider = config.map(crate::identity::Provider::new).transpose();
    let provider =
        provider.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    Ok(provider.map(std::sync::Arc::new))
}
