//! What takes traces and metrics over OTLP, as a collector does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value as AnyValue},
    metrics::v1::{metric::Data, number_data_point::Value as Number},
    trace::v1::{Span as Exported, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::Notify, time::timeout};

/// After this, what was awaited will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A collector in this process.
#[derive(Clone)]
pub(crate) struct Collector {
    endpoint: String,
    taken: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    all: Mutex<All>,
    more: Notify,
}

/// All that was exported.
#[derive(Default, Clone)]
struct All {
    spans: Vec<Span>,
    points: Vec<Point>,
    /// As it came.
    bytes: Vec<Vec<u8>>,
}

/// A span.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the first of a trace.
    pub(crate) parent: String,
    pub(crate) kind: SpanKind,
    pub(crate) is_error: bool,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The spans that it is linked to: trace and id.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) events: usize,
}

/// The newest value of a metric for some attributes.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) metric: String,
    pub(crate) attributes: BTreeMap<String, String>,
    /// A sum's value, or how many values a histogram has.
    pub(crate) value: i64,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::<Taken>::default();
        let routes = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(taken.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { endpoint, taken }
    }

    /// The variables that make a process export to it, soon.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*self.endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
            ("NO_PROXY", "127.0.0.1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    async fn until<T>(&self, what: &str, found: impl Fn(&All) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let more = self.taken.more.notified();
                if let Some(found) = found(&self.taken.all.lock().unwrap()) {
                    return found;
                }
                more.await;
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => {
                let spans = self.taken.all.lock().unwrap().spans.clone();
                panic!("{what} was not exported, but {spans:#?}")
            }
        }
    }

    /// A span of this trace, by its name.
    pub(crate) async fn span(&self, trace: &str, name: &str) -> Span {
        self.until(name, |all| {
            all.spans.iter().find(|span| span.trace == trace && span.name == name).cloned()
        })
        .await
    }

    /// A child of `parent`, by its name.
    pub(crate) async fn child(&self, parent: &Span, name: &str) -> Span {
        let what = format!("{name} below {}", parent.name);
        self.until(&what, |all| {
            let mut spans = all.spans.iter();
            let is_it = |span: &&Span| {
                span.trace == parent.trace && span.parent == parent.id && span.name == name
            };
            spans.find(is_it).cloned()
        })
        .await
    }

    /// A span in any trace.
    pub(crate) async fn anywhere(&self, name: &str) -> Span {
        self.until(name, |all| all.spans.iter().find(|span| span.name == name).cloned()).await
    }

    /// A metric with these among its attributes, once its value is at least that.
    pub(crate) async fn metric(
        &self,
        name: &str,
        attributes: &[(&str, &str)],
        value: i64,
    ) -> Point {
        self.until(name, |all| {
            let mut points = all.points.iter();
            let has = |point: &&Point| {
                point.metric == name
                    && point.value >= value
                    && attributes.iter().all(|(key, value)| {
                        point.attributes.get(*key).map(String::as_str) == Some(*value)
                    })
            };
            points.find(has).cloned()
        })
        .await
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.taken.all.lock().unwrap().spans.clone()
    }

    pub(crate) fn points(&self) -> Vec<Point> {
        self.taken.all.lock().unwrap().points.clone()
    }

    /// Whether `text` was in anything that was exported.
    pub(crate) fn has_seen(&self, text: &str) -> bool {
        let taken = self.taken.all.lock().unwrap();
        taken
            .bytes
            .iter()
            .any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

async fn traces(State(taken): State<Arc<Taken>>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
    let mut all = taken.all.lock().unwrap();
    all.bytes.push(body.to_vec());
    for resource in request.resource_spans {
        let attributes = resource.resource.unwrap_or_default().attributes;
        let service = texts(&attributes).remove("service.name").unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        all.spans.extend(spans.map(|span| read(&service, span)));
    }
    drop(all);
    taken.more.notify_waiters();
}

fn read(service: &str, span: Exported) -> Span {
    Span {
        service: service.to_owned(),
        kind: span.kind(),
        is_error: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
        attributes: texts(&span.attributes),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        events: span.events.len(),
        name: span.name,
    }
}

async fn metrics(State(taken): State<Arc<Taken>>, body: Bytes) {
    let request = ExportMetricsServiceRequest::decode(&*body).unwrap();
    let mut all = taken.all.lock().unwrap();
    all.bytes.push(body.to_vec());
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    for metric in scopes.flat_map(|scope| scope.metrics) {
        let points: Vec<_> = match metric.data {
            Some(Data::Sum(sum)) => {
                let point = |point: opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
                    let value = match point.value {
                        Some(Number::AsInt(value)) => value,
                        other => panic!("{other:?}"),
                    };
                    (texts(&point.attributes), value)
                };
                sum.data_points.into_iter().map(point).collect()
            }
            Some(Data::Histogram(histogram)) => histogram
                .data_points
                .into_iter()
                .map(|point| (texts(&point.attributes), i64::try_from(point.count).unwrap()))
                .collect(),
            other => panic!("{other:?}"),
        };
        for (attributes, value) in points {
            all.points.push(Point { metric: metric.name.clone(), attributes, value });
        }
    }
    drop(all);
    taken.more.notify_waiters();
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &AnyValue| match value {
        AnyValue::StringValue(text) => text.clone(),
        AnyValue::IntValue(number) => number.to_string(),
        AnyValue::BoolValue(is) => is.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .filter_map(|attribute| {
            Some((attribute.key.clone(), text(attribute.value.as_ref()?.value.as_ref()?)))
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
