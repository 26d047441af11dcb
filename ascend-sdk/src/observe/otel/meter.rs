//! Metrics. No name of a person, an action or a client is in them, so that they
//! stay few.

use std::{sync::LazyLock, time::Duration};

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Histogram, UpDownCounter},
};

use super::Tool;
use crate::{Decision, RefusalKind, RiskLevel};

/// Made at the first call: the meter provider has to be there by then.
static METERS: LazyLock<Meters> = LazyLock::new(Meters::new);

/// Of an MCP request, by OpenTelemetry's conventions.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Of a request to the authority: one nearby answers within a millisecond.
const REQUEST_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 30.0];
/// Of a person.
const WAIT_SECONDS: [f64; 11] =
    [1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0];

struct Meters {
    operation: Histogram<f64>,
    decisions: Counter<u64>,
    wait: Histogram<f64>,
    waiting: UpDownCounter<i64>,
    refusals: Counter<u64>,
    request: Histogram<f64>,
    runs: Counter<u64>,
}

impl Meters {
    fn new() -> Self {
        let meter = global::meter("ascend-sdk");
        let seconds = |name: &'static str, about: &'static str, bounds: &[f64]| {
            let builder = meter.f64_histogram(name).with_unit("s").with_description(about);
            builder.with_boundaries(bounds.to_vec()).build()
        };
        let count = |name: &'static str, unit: &'static str, about: &'static str| {
            meter.u64_counter(name).with_unit(unit).with_description(about).build()
        };
        Self {
            operation: seconds(
                "mcp.server.operation.duration",
                "From a request until its answer",
                &SECONDS,
            ),
            decisions: count("ascend.decisions", "{decision}", "What the authority decided"),
            wait: seconds(
                "ascend.approval.wait",
                "How long calls waited for a person",
                &WAIT_SECONDS,
            ),
            waiting: meter
                .i64_up_down_counter("ascend.calls.waiting")
                .with_unit("{call}")
                .with_description("Calls that wait for a person now")
                .build(),
            refusals: count("ascend.refusals", "{call}", "Calls that did not run, by reason"),
            request: seconds(
                "ascend.authority.request.duration",
                "Of one HTTP request to the authority",
                &REQUEST_SECONDS,
            ),
            runs: count("ascend.runs", "{run}", "Bodies that ran"),
        }
    }
}

fn tool(tool: &Tool) -> KeyValue {
    KeyValue::new("gen_ai.tool.name", tool.0.clone())
}

#[cfg(feature = "server")]
pub(in super::super) fn served(call: Call<'_>, took: Duration) {
    let mut attributes = vec![
        KeyValue::new("mcp.method.name", super::super::CALL),
        KeyValue::new("gen_ai.operation.name", super::super::EXECUTE),
        KeyValue::new("network.transport", call.transport),
    ];
    let more = [
        ("gen_ai.tool.name", call.tool.map(str::to_owned)),
        ("mcp.protocol.version", call.version),
        ("error.type", call.error),
        ("rpc.response.status_code", call.code.map(|code| code.to_string())),
    ];
    let more = more.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?)));
    attributes.extend(more);
    METERS.operation.record(took.as_secs_f64(), &attributes);
}

/// What is known of a call that was answered.
#[cfg(feature = "server")]
pub(in super::super) struct Call<'a> {
    pub(in super::super) tool: Option<&'a str>,
    pub(in super::super) version: Option<String>,
    pub(in super::super) transport: &'static str,
    pub(in super::super) error: Option<String>,
    pub(in super::super) code: Option<i32>,
}

pub(in super::super) fn decided(named: &Tool, decision: Decision, level: RiskLevel) {
    let decision = KeyValue::new("ascend.decision", decision.as_str());
    METERS
        .decisions
        .add(1, &[tool(named), decision, KeyValue::new("ascend.risk.level", level.as_str())]);
}

pub(in super::super) fn waits(change: i64) {
    METERS.waiting.add(change, &[]);
}

pub(in super::super) fn waited(named: &Tool, outcome: &'static str, waited: Duration) {
    let attributes = [tool(named), KeyValue::new("ascend.wait.outcome", outcome)];
    METERS.wait.record(waited.as_secs_f64(), &attributes);
}

pub(in super::super) fn refused(named: &Tool, kind: RefusalKind) {
    METERS.refusals.add(1, &[tool(named), KeyValue::new("ascend.refusal", kind.as_str())]);
}

pub(in super::super) fn ran(named: &Tool, outcome: &'static str) {
    METERS.runs.add(1, &[tool(named), KeyValue::new("ascend.outcome", outcome)]);
}

#[cfg(feature = "ascend")]
pub(in super::super) fn asked(
    operation: &'static str,
    method: &'static str,
    error: Option<&'static str>,
    took: Duration,
) {
    let operation = KeyValue::new("ascend.operation", operation);
    let method = KeyValue::new("http.request.method", method);
    let mut attributes = vec![operation, method];
    attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
    METERS.request.record(took.as_secs_f64(), &attributes);
}
