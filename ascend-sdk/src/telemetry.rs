//! Traces and metrics by OpenTelemetry, exported over OTLP.
//!
//! One call sets up what the standard variables ask for; without an endpoint in
//! them nothing is exported, and [`Telemetry::from_env`] is `None`:
//!
//! ```no_run
//! use ascend_sdk::telemetry::Telemetry;
//! use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};
//!
//! # fn main() -> Result<(), ascend_sdk::telemetry::TelemetryError> {
//! let telemetry = Telemetry::from_env("refunds")?;
//! let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
//! tracing_subscriber::registry()
//!     .with(telemetry.as_ref().map(Telemetry::layer))
//!     .with(logs.with_filter(tracing_subscriber::filter::LevelFilter::INFO))
//!     .init();
//! // … serve; what is left is exported when `telemetry` is dropped.
//! # Ok(())
//! # }
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | the collector: `http://127.0.0.1:4318`; likewise `…_TRACES_ENDPOINT`, `…_METRICS_ENDPOINT` with their whole paths |
//! | `OTEL_EXPORTER_OTLP_PROTOCOL` | `http/protobuf`, which is the only one |
//! | `OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT` | for the requests to it |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | who exports |
//! | `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER` | `none` leaves one of them out |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | which traces; the default follows the client |
//! | `OTEL_BSP_…`, `OTEL_METRIC_EXPORT_INTERVAL` | how often |
//! | `OTEL_SDK_DISABLED` | `true` exports nothing |
//!
//! Threads of their own export. Calls never wait for them: what a collector does
//! not take in time is lost. Log lines are not exported, since their texts can
//! quote arguments; the spans' attributes cannot
//! (`docs/observability.md` lists them).

use std::{env, sync::mpsc, thread, time::Duration};

use opentelemetry::{global, propagation::TextMapCompositePropagator, trace::TracerProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    metrics::SdkMeterProvider,
    propagation::{BaggagePropagator, TraceContextPropagator},
    trace::SdkTracerProvider,
};
use tracing::{Level, Metadata, Span, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::{TraceContext, observe};

/// How long the end of a process waits for what is not exported yet. Clients
/// kill servers that take much longer to end.
const TIME_TO_FLUSH: Duration = Duration::from_secs(2);

/// What is exported, and where to. Dropped, it exports what is left, within two
/// seconds, and then nothing more.
#[derive(Debug)]
#[must_use = "dropped, it exports nothing more"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// OTLP has further protocols, which this crate does not speak.
    #[error("`{0}` asks for a protocol that is not supported; set it to `http/protobuf`")]
    Protocol(&'static str),
    /// A variable, such as an endpoint, cannot be used.
    #[error("the OTLP exporter cannot be set up: {0}")]
    Exporter(#[from] ExporterBuildError),
}

impl Telemetry {
    /// What the environment asks for; `None` where it names no collector. The
    /// meter provider becomes the process's, and so does the propagator of W3C's
    /// contexts. `service` is its name unless `OTEL_SERVICE_NAME` says another.
    ///
    /// # Errors
    ///
    /// When a variable cannot be used.
    pub fn from_env(service: &str) -> Result<Option<Self>, TelemetryError> {
        let is_off = said("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"));
        let wants = |exporter: &str, endpoint: &str| {
            let endpoint = said(endpoint).or_else(|| said("OTEL_EXPORTER_OTLP_ENDPOINT"));
            !is_off && said(exporter).as_deref() != Some("none") && endpoint.is_some()
        };
        let traced = wants("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let metered = wants("OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
        if !traced && !metered {
            return Ok(None);
        }
        for variable in [
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        ] {
            if said(variable).is_some_and(|protocol| protocol != "http/protobuf") {
                return Err(TelemetryError::Protocol(variable));
            }
        }
        let resource = resource(service);
        let traces = traced.then(|| traces(resource.clone())).transpose()?;
        let metrics = metered.then(|| metrics(resource)).transpose()?;
        if let Some(metrics) = &metrics {
            global::set_meter_provider(metrics.clone());
        }
        global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
            Box::new(TraceContextPropagator::new()),
            Box::new(BaggagePropagator::new()),
        ]));
        Ok(Some(Self { traces, metrics }))
    }

    /// Exports spans: those of this project, and yours from `INFO` on. A filter
    /// for the logs belongs to their layer, not to all.
    #[must_use]
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        self.traces.as_ref().map(|traces| {
            tracing_opentelemetry::layer()
                .with_tracer(traces.tracer("ascend-sdk"))
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(filter_fn(is_exported).with_max_level_hint(LevelFilter::DEBUG))
        })
    }
}

/// No events: a log line's text can quote an argument. No spans of libraries
/// that handle messages.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    const NOT: [&str; 6] = ["rmcp", "hyper", "h2", "reqwest", "rustls", "sqlx"];
    let target = metadata.target();
    let root = target.split("::").next().unwrap_or_default();
    let level = if root.starts_with("ascend") { Level::DEBUG } else { Level::INFO };
    metadata.is_span() && *metadata.level() <= level && !NOT.contains(&root)
}

/// Makes `span`, before it is entered, a part of `trace`: of the span there.
pub fn join(span: &Span, trace: &TraceContext) {
    observe::joins(span, Some(trace));
}

/// Links `span` to a span of another trace.
pub fn link(span: &Span, trace: &TraceContext) {
    observe::link(span, trace);
}

/// The context of the current span, to be told to whoever is asked from there:
/// `None` where it is not exported.
#[must_use]
pub fn current() -> Option<TraceContext> {
    observe::context_of(&Span::current())
}

fn resource(service: &str) -> Resource {
    let builder = Resource::builder();
    let is_named = said("OTEL_SERVICE_NAME").is_some()
        || said("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|attributes| attributes.contains("service.name="));
    if is_named { builder } else { builder.with_service_name(service.to_owned()) }.build()
}

fn traces(resource: Resource) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter =
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?;
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

fn metrics(resource: Resource) -> Result<SdkMeterProvider, ExporterBuildError> {
    let exporter =
        MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?;
    Ok(SdkMeterProvider::builder().with_resource(resource).with_periodic_exporter(exporter).build())
}

/// A variable that is set to something.
fn said(variable: &str) -> Option<String> {
    env::var(variable).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let (done, ends) = mpsc::channel();
        // Each waits for its own thread, and a collector that does not answer
        // makes that take long.
        let end = |end: Box<dyn FnOnce() + Send>| {
            let done = done.clone();
            let ending = thread::Builder::new().spawn(move || {
                end();
                let _ = done.send(());
            });
            ending.is_ok()
        };
        let mut ending = 0;
        if let Some(traces) = self.traces.take() {
            ending += usize::from(end(Box::new(move || drop(traces.shutdown()))));
        }
        if let Some(metrics) = self.metrics.take() {
            ending += usize::from(end(Box::new(move || drop(metrics.shutdown()))));
        }
        let until = std::time::Instant::now() + TIME_TO_FLUSH;
        for _ in 0..ending {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if ends.recv_timeout(left).is_err() {
                tracing::info!("the collector does not take the last traces and metrics in time");
                return;
            }
        }
    }
}
