//! The log: on stderr alone, since stdout is for what commands answer.

use std::{
    fmt,
    io::{self, IsTerminal as _},
};

#[cfg(feature = "opentelemetry")]
use ascend_sdk::telemetry::Telemetry;
use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt as _, registry::LookupSpan, util::SubscriberInitExt as _,
};

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// The log, as long as this is there.
#[must_use = "what is exported ends with it"]
pub(crate) struct Log {
    #[cfg(feature = "opentelemetry")]
    _telemetry: Option<Telemetry>,
}

/// Starts the log. `level` is `info`, or by part, as `warn,ascend_center=debug`;
/// it is not for traces, which have their own settings.
pub(crate) fn start(format: LogFormat, level: &str) -> anyhow::Result<Log> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| anyhow::anyhow!("`log_level` is {level:?}, no log level: {error}"))?;
    #[cfg(feature = "opentelemetry")]
    let telemetry = Telemetry::from_env("ascend-center")?;
    let subscriber = tracing_subscriber::registry();
    #[cfg(feature = "opentelemetry")]
    let subscriber = subscriber.with(telemetry.as_ref().map(Telemetry::layer));
    subscriber.with(written(format).with_filter(filter)).try_init()?;
    Ok(Log {
        #[cfg(feature = "opentelemetry")]
        _telemetry: telemetry,
    })
}

fn written<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}
