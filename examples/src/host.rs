//! What every example server has in common: its options, who decides, and how
//! it serves.

use std::{
    io::IsTerminal as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use ascend_center::{Center, CenterConfig};
use ascend_sdk::{
    GovernedServer, Governor, authority::Ascend, server::log_filter, telemetry::Telemetry,
};
use clap::{CommandFactory as _, FromArgMatches as _};
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// The options of an example server.
#[derive(Debug, Clone, clap::Parser)]
#[command(after_help = "\
Who decides: ASCEND, when ASCEND_API_KEY is set (and ASCEND_BASE_URL, unless it is the
hosted one); else the authorization center inside this process. Approve with
`ascend-center pending` and `ascend-center approve ID`.")]
pub struct Options {
    /// Run ASCEND's scenarios through the real server instead of serving; exits
    /// non-zero when one does not behave.
    #[arg(long)]
    pub test: bool,
    /// Print what an agent may do with the tools, as JSON, instead of serving.
    #[arg(long)]
    pub manifest: bool,
    /// Serve Streamable HTTP on this loopback address instead of stdio.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:3000")]
    pub http: Option<SocketAddr>,
    /// Keep everything in this folder: the data, and the center. Default: the
    /// user's data folder.
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
}

impl Options {
    /// Reads the options of an example that is `about` something. Ends the
    /// process where they are wrong, or ask for help.
    #[must_use]
    pub fn parse_for(about: &'static str) -> Self {
        let matches = Self::command().about(about).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// An example server's surroundings.
pub struct Host {
    name: &'static str,
    manifest: bool,
    http: Option<SocketAddr>,
    data: PathBuf,
    governor: Governor,
}

/// Sends logs to stderr: stdout belongs to the protocol.
pub fn log_to_stderr() {
    log(None);
}

/// The same, and exports traces and metrics of the server `name` where
/// `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector, until the value is dropped.
///
/// # Errors
///
/// When one of OpenTelemetry's variables cannot be used.
pub fn log_and_export(name: &str) -> anyhow::Result<Option<Telemetry>> {
    let telemetry = Telemetry::from_env(name)?;
    log(telemetry.as_ref());
    Ok(telemetry)
}

fn log(telemetry: Option<&Telemetry>) {
    let rust_log = std::env::var("RUST_LOG").ok();
    let logs = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(EnvFilter::new(log_filter(rust_log.as_deref())));
    tracing_subscriber::registry().with(telemetry.map(Telemetry::layer)).with(logs).init();
}

/// Where a center is kept beside the data of an example.
#[must_use]
pub fn center_folder(data: &Path) -> PathBuf {
    data.join("center")
}

impl Host {
    /// Opens what decides, and the folder for the data of the example `name`.
    ///
    /// # Errors
    ///
    /// When the environment names an authority that cannot be used, or a folder
    /// cannot be made.
    pub async fn start(name: &'static str, options: &Options) -> anyhow::Result<Self> {
        let home = CenterConfig::default_directory();
        let (data, center) = match &options.data {
            Some(folder) => (folder.clone(), center_folder(folder)),
            None => {
                let center = home.context("no data folder is known for this user; give --data")?;
                (center.with_file_name("ascend-examples").join(name), center)
            }
        };
        std::fs::create_dir_all(&data)
            .with_context(|| format!("cannot create the folder {}", data.display()))?;
        let governor = match Ascend::from_env().context("ASCEND's settings in the environment")? {
            Some(ascend) => Governor::new(ascend),
            None => Governor::new(Center::open(CenterConfig::new(center)).await?),
        };
        if let Err(error) = governor.authority().health().await {
            tracing::warn!(%error, "the authority does not answer; until it does, every call is refused");
        }
        let Options { manifest, http, .. } = *options;
        Ok(Self { name, manifest, http, data, governor })
    }

    /// Where the example keeps its data.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Who stands between callers and bodies.
    #[must_use]
    pub fn governor(&self) -> Governor {
        self.governor.clone()
    }

    /// Serves until the client goes away, or a signal; or prints the manifest.
    ///
    /// # Errors
    ///
    /// When the server is put together wrongly, or the address cannot be used.
    pub async fn serve(self, server: GovernedServer) -> anyhow::Result<()> {
        if self.manifest {
            print!("{}", server.manifest());
            return Ok(());
        }
        if let Some(address) = self.http {
            let server = server.serve_http(address).await?;
            tracing::info!("connect a client to {}", server.url());
            server.wait().await?;
            return Ok(());
        }
        if std::io::stdin().is_terminal() {
            self.explain();
        }
        server.serve_stdio().await?;
        Ok(())
    }

    /// For a person who started the server by hand.
    fn explain(&self) {
        let program = std::env::current_exe().unwrap_or_else(|_| self.name.into());
        tracing::info!(
            "this is {}, an MCP server: it waits for a client to write requests to its stdin. \
             Connect one by its configuration, for example:\n  claude mcp add {} -- {}\n  \
             {{ \"mcpServers\": {{ \"{}\": {{ \"command\": \"{}\" }} }} }}\n\
             Who decides: {}\nEnd it with Ctrl-D or Ctrl-C; try it with --test.",
            self.name,
            self.name,
            program.display(),
            self.name,
            program.display(),
            self.governor.authority().describe(),
        );
    }
}
