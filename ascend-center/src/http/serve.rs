//! How a center is served: on loopback as it is, elsewhere with TLS or behind
//! a proxy that has it.

use std::{io, net::SocketAddr, path::PathBuf};

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Face,
    origin::{Door, ProxyNetwork},
    router,
    tls::{TlsFiles, TlsListener},
};
use crate::Center;

/// How a center is served.
#[derive(Debug, Clone, Default)]
#[must_use = "give it to `Center::serve`"]
pub struct ServeConfig {
    hosts: Vec<String>,
    proxies: Vec<ProxyNetwork>,
    tls: Option<TlsFiles>,
    #[cfg(feature = "oidc")]
    oidc: Option<crate::OidcConfig>,
}

impl ServeConfig {
    /// To requests for this machine by its loopback names alone.
    pub fn new() -> Self {
        Self::default()
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
    /// Serves the center over HTTP on `listener` until `shutdown` resolves;
    /// requests under way are answered first.
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
        let ServeConfig { hosts, proxies, tls, .. } = config;
        let address = listener.local_addr()?;
        if !address.ip().to_canonical().is_loopback() && tls.is_none() && proxies.is_empty() {
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
            #[cfg(feature = "oidc")]
            oidc,
            closing: closing.clone(),
        };
        let shutdown = async move {
            shutdown.await;
            closing.cancel();
        };
        let app = router(face).into_make_service_with_connect_info::<SocketAddr>();
        match acceptor {
            None => axum::serve(listener, app).with_graceful_shutdown(shutdown).await,
            Some(acceptor) => {
                // Tells the peer's address, which a listener of one's own does not.
                let listener = TlsListener::new(listener, acceptor)?.tap_io(|_| {});
                axum::serve(listener, app).with_graceful_shutdown(shutdown).await
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
