//! Every setting of a center, once: its name is the flag, with `_` for `-` the
//! key in the file, and in capitals after `ASCEND_CENTER_` the variable.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use ascend_center::{CenterConfig, Durability, ProxyNetwork, ServeConfig};
use clap::{Args, ValueEnum};

use crate::{logging::LogFormat, policy::InUse, table::lifetime};

/// The settings that are secrets: shown to nobody, and not to stand in the file.
pub(super) const SECRETS: [&str; 1] = ["oidc_client_secret"];

/// How the center is kept and served.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// The address to listen on
    #[arg(
        long,
        env = "ASCEND_CENTER_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8787"
    )]
    pub(crate) listen: SocketAddr,
    /// A further host name by which the center may be addressed
    #[arg(long, env = "ASCEND_CENTER_ALLOW_HOST", value_name = "HOST", value_delimiter = ',')]
    pub(crate) allow_host: Vec<String>,
    /// A certificate chain as PEM, to serve with TLS
    #[arg(long, env = "ASCEND_CENTER_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key as PEM
    #[arg(long, env = "ASCEND_CENTER_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Serve behind a proxy that has TLS, at this address or network; what it
    /// says in X-Forwarded-* is believed
    #[arg(long, env = "ASCEND_CENTER_BEHIND_PROXY", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) behind_proxy: Vec<ProxyNetwork>,
    /// How long requests under way may take once the center is told to stop
    #[arg(
        long,
        env = "ASCEND_CENTER_SHUTDOWN_TIMEOUT",
        value_name = "TIME",
        default_value = "20s",
        value_parser = lifetime
    )]
    pub(crate) shutdown_timeout: Duration,
    #[command(flatten)]
    pub(crate) policies: InUse,
    /// Whether an answer waits until the disk has what it says; `system` survives
    /// the end of the process, not a loss of power
    #[arg(
        long,
        env = "ASCEND_CENTER_DURABILITY",
        value_enum,
        value_name = "LEVEL",
        default_value_t = Level::Disk
    )]
    pub(crate) durability: Level,
    /// The name that the owner of the directory gets in the record, once it is
    /// created [default: the operating system's user]
    #[arg(long, env = "ASCEND_CENTER_APPROVER", value_name = "NAME")]
    pub(crate) approver: Option<String>,
    /// Have the keys in the directory take the place of those that the database
    /// knows; else a replica with other keys does not start
    #[cfg(feature = "postgres")]
    #[arg(
        long,
        env = "ASCEND_CENTER_ADOPT_KEYS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = false
    )]
    pub(crate) adopt_keys: bool,
    /// Remove what is older from the audit log once a day, and erase the
    /// arguments of actions that are over, such as 365d [default: never]
    #[arg(long, env = "ASCEND_CENTER_RETENTION", value_name = "TIME", value_parser = lifetime)]
    pub(crate) retention: Option<Duration>,
    /// How long a grant lasts at most
    #[arg(
        long,
        env = "ASCEND_CENTER_GRANT_TIME",
        value_name = "TIME",
        default_value = "24h",
        value_parser = lifetime
    )]
    pub(crate) grant_time: Duration,
    /// For how many calls a grant is at most; 0 for no grants at all
    #[arg(long, env = "ASCEND_CENTER_GRANT_CALLS", value_name = "N", default_value_t = 1000)]
    pub(crate) grant_calls: u32,
    /// How often each agent may ask in a minute; 0 for as often as it likes
    #[arg(long, env = "ASCEND_CENTER_AGENT_RATE", value_name = "N", default_value_t = 6000)]
    pub(crate) agent_rate: u32,
    /// How often all agents together may ask in a minute; 0 for as often as they like
    #[arg(long, env = "ASCEND_CENTER_TENANT_RATE", value_name = "N", default_value_t = 60_000)]
    pub(crate) tenant_rate: u32,
    /// The most bytes of a request's body
    #[arg(long, env = "ASCEND_CENTER_BODY_LIMIT", value_name = "N", default_value_t = 1_048_576)]
    pub(crate) body_limit: u32,
    /// The most connections at once; who comes then waits for one to end
    #[arg(
        long,
        env = "ASCEND_CENTER_MAX_CONNECTIONS",
        value_name = "N",
        default_value_t = const { NonZeroU32::new(4096).unwrap() }
    )]
    pub(crate) max_connections: NonZeroU32,
    /// A host to which webhooks may lead, whatever its address is
    #[arg(
        long,
        env = "ASCEND_CENTER_ALLOW_WEBHOOK_HOST",
        value_name = "HOST",
        value_delimiter = ','
    )]
    pub(crate) allow_webhook_host: Vec<String>,
    /// How often a message to a webhook is tried, over growing pauses
    #[arg(long, env = "ASCEND_CENTER_WEBHOOK_ATTEMPTS", value_name = "N", default_value_t = 13)]
    pub(crate) webhook_attempts: u32,
    /// Serve metrics for Prometheus at this address too, at /metrics and to
    /// everybody who reaches it: an address of this machine, or of a network of
    /// its own [default: only to people, at the center's own address]
    #[arg(long, env = "ASCEND_CENTER_METRICS_ADDRESS", value_name = "ADDRESS")]
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Name agents in the metrics: as many time series as there are agents
    #[arg(
        long,
        env = "ASCEND_CENTER_METRICS_AGENTS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = false
    )]
    pub(crate) metrics_agents: bool,
    /// How the log on stderr is written
    #[arg(
        long,
        env = "ASCEND_CENTER_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub(crate) log_format: LogFormat,
    /// How much is logged: error, warn, info, debug or trace, also by part, as
    /// in `warn,ascend_center=debug` [default: info for serve, else warn]
    #[arg(long, env = "RUST_LOG", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    #[cfg(feature = "oidc")]
    #[command(flatten)]
    pub(crate) oidc: super::oidc::OidcSettings,
}

/// What a decision is safe from by the time it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// From everything that leaves the disk intact
    Disk,
    /// From the end of the process
    System,
}

impl Settings {
    /// The center, for what needs no policies.
    pub(super) fn store(&self, directory: PathBuf) -> CenterConfig {
        let config = CenterConfig::new(directory).durability(match self.durability {
            Level::Disk => Durability::Disk,
            Level::System => Durability::System,
        });
        let config = config.grant_limits(self.grant_time, self.grant_calls);
        #[cfg(feature = "postgres")]
        let config = config.adopt_keys(self.adopt_keys);
        match &self.approver {
            Some(name) => config.approver(name),
            None => config,
        }
    }

    /// How it is served.
    pub(crate) fn serving(&self) -> anyhow::Result<ServeConfig> {
        let config = ServeConfig::new()
            .agent_rate(self.agent_rate)
            .tenant_rate(self.tenant_rate)
            .body_limit(self.body_limit)
            .max_connections(self.max_connections)
            .webhook_attempts(self.webhook_attempts)
            .shutdown_timeout(self.shutdown_timeout)
            .name_agents_in_metrics(self.metrics_agents);
        let config = self.allow_host.iter().fold(config, ServeConfig::allow_host);
        let config = self.allow_webhook_host.iter().fold(config, ServeConfig::allow_webhook_host);
        let config =
            self.behind_proxy.iter().fold(config, |config, proxy| config.behind_proxy(*proxy));
        let config = match self.metrics_address {
            Some(address) => config.metrics_address(address),
            None => config,
        };
        let config = match &self.retention {
            Some(time) => config.retention(*time),
            None => config,
        };
        let config = match (&self.tls_cert, &self.tls_key) {
            (Some(certificates), Some(key)) => config.tls(certificates, key),
            _ => config,
        };
        #[cfg(feature = "oidc")]
        let config = match self.oidc.config()? {
            Some(provider) => config.oidc(provider),
            None => config,
        };
        Ok(config)
    }

    /// Whether the settings fit together: each mistake, with what to do.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => mistakes.push("`tls_cert` is set: set `tls_key` too".to_owned()),
            (None, Some(_)) => mistakes.push("`tls_key` is set: set `tls_cert` too".to_owned()),
            (Some(_), Some(_)) if !self.behind_proxy.is_empty() => mistakes.push(
                "`tls_cert` and `behind_proxy` are both set: either the center has TLS, or the \
                 proxy in front of it"
                    .to_owned(),
            ),
            _ => {}
        }
        let is_open = !self.listen.ip().is_loopback();
        if is_open && self.tls_cert.is_none() && self.behind_proxy.is_empty() {
            mistakes.push(format!(
                "`listen` is {}, open to other machines: set `tls_cert` and `tls_key` \
                 (--tls-cert, --tls-key), or name the proxy in front that has TLS with \
                 `behind_proxy` (--behind-proxy), or listen on 127.0.0.1",
                self.listen
            ));
        } else if is_open && self.allow_host.is_empty() {
            mistakes.push(
                "name the host by which other machines address the center with `allow_host` \
                 (--allow-host)"
                    .to_owned(),
            );
        }
        #[cfg(feature = "oidc")]
        mistakes.extend(self.oidc.mistakes());
        mistakes
    }
}
