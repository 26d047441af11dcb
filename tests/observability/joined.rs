//! A client's trace goes through a server and its center, each a process of its
//! own, and an approval in another trace is linked to it.

use std::collections::BTreeSet;

use ascend_tests::client::{Approver, RemoteCenter, program};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rmcp::{
    RoleClient, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResult, ClientConfig, Implementation, RequestParamsMeta as _,
    },
    service::{Peer, RunningService},
    transport::TokioChildProcess,
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::collector::{Collector, Span};

const DOCS: &str = include_str!("../../docs/observability.md");
/// In every argument.
const SECRET: &str = "hunter2-s3cr3t";
/// The client's own span in each trace.
const CALLER: &str = "00f067aa0ba902b7";

/// The trace of one call.
fn trace(of: u8) -> String {
    format!("{of:02x}").repeat(16)
}

/// A server of which the client knows how long it waits: as long as it takes.
async fn connect(command: Command) -> RunningService<RoleClient, ClientConfig> {
    let config = ClientConfig::new(Default::default(), Implementation::new("rmcp", "test"));
    config.serve(TokioChildProcess::new(command).unwrap()).await.unwrap()
}

async fn call(
    peer: &Peer<RoleClient>,
    of: u8,
    tool: &'static str,
    arguments: Value,
) -> CallToolResult {
    let Value::Object(arguments) = arguments else { panic!("an object") };
    let mut params = CallToolRequestParams::new(tool).with_arguments(arguments);
    params.set_traceparent(&format!("00-{}-{CALLER}-01", trace(of)));
    params.set_tracestate("rojo=00f067aa0ba902b7");
    params.set_baggage(&format!("user={SECRET}"));
    peer.call_tool(params).await.unwrap()
}

fn select() -> Value {
    json!({ "sql": format!("SELECT count(*) AS n FROM events WHERE kind <> '{SECRET}'") })
}

fn delete() -> Value {
    json!({ "table": "users", "where_clause": format!("name = '{SECRET}'") })
}

/// The request that a span makes, and the span that answers it at the center.
async fn asked(collector: &Collector, parent: &Span, route: &str) -> Span {
    let request = collector.child(parent, "POST").await;
    assert_eq!(request.kind, SpanKind::Client);
    assert_eq!(request.attributes["http.request.method"], "POST");
    assert_eq!(request.attributes["http.response.status_code"], "200");
    assert_eq!(request.attributes["server.address"], "127.0.0.1");
    let answered = collector.child(&request, &format!("POST {route}")).await;
    assert_eq!((answered.kind, &*answered.service), (SpanKind::Server, "ascend-center"));
    assert_eq!(answered.attributes["http.route"], route);
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_joins_client_server_and_center() {
    let collector = Collector::start().await;
    let environment = collector.environment();
    let data = tempfile::tempdir().unwrap();
    let center = RemoteCenter::start_in(data.path().join("remote"), &environment).await;
    let approver = center.approver().env(&environment);
    let mut command = Command::new(program("08_mcp_server"));
    command.arg("--data").arg(data.path()).envs(environment).envs(center.environment());
    let client = connect(command).await;
    let peer = client.peer().clone();

    runs(&collector, &peer).await;
    is_refused(&collector, &peer).await;
    is_approved(&collector, &peer, &approver).await;
    measured(&collector).await;

    client.cancel().await.unwrap();
    for secret in [SECRET, "SELECT", "DROP", "users", &center.token("agent.key")] {
        assert!(!collector.has_seen(secret), "{secret} was exported");
    }
    assert!(collector.has_seen("query_analytics"), "the search finds what is there");
    documented(&collector);
}

async fn runs(collector: &Collector, peer: &Peer<RoleClient>) {
    let result = call(peer, 0xa1, "query_analytics", select()).await;
    assert_ne!(result.is_error, Some(true), "{result:?}");
    let trace = trace(0xa1);
    let served = collector.span(&trace, "tools/call query_analytics").await;
    assert_eq!((served.kind, &*served.parent), (SpanKind::Server, CALLER));
    assert!(!served.is_error, "{served:?}");
    for (key, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "query_analytics"),
        ("gen_ai.operation.name", "execute_tool"),
        ("network.transport", "pipe"),
        ("ascend.decision", "ALLOW"),
        ("ascend.status", "approved"),
    ] {
        assert_eq!(served.attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
    for key in ["mcp.session.id", "mcp.protocol.version", "jsonrpc.request.id", "ascend.action.id"]
    {
        assert!(served.attributes.contains_key(key), "{key}: {served:?}");
    }
    let evaluated = collector.child(&served, "ascend.evaluate").await;
    assert_eq!(evaluated.attributes["ascend.decision"], "ALLOW");
    assert_eq!(evaluated.attributes["ascend.action.id"], served.attributes["ascend.action.id"]);
    asked(collector, &evaluated, "/mcp/governance/evaluate").await;
    let ran = collector.child(&served, "ascend.run").await;
    assert!(!ran.is_error);
    let claims = |span: &Span| span.trace == served.trace && span.name == "ascend.claim";
    assert!(!collector.spans().iter().any(claims), "it came with the evaluation");
    let reported = collector.child(&served, "ascend.report").await;
    assert_eq!(reported.attributes["ascend.outcome"], "completed");
    asked(collector, &reported, "/api/agent-action/{id}/complete").await;
}

async fn is_refused(collector: &Collector, peer: &Peer<RoleClient>) {
    let sql = format!("DROP TABLE {SECRET}");
    let result = call(peer, 0xa2, "query_analytics", json!({ "sql": sql })).await;
    assert_eq!(result.is_error, Some(true));
    let served = collector.span(&trace(0xa2), "tools/call query_analytics").await;
    assert!(served.is_error);
    assert_eq!(served.attributes["error.type"], "tool_error");
    assert_eq!(served.attributes["ascend.refusal"], "denied");
    let evaluated = collector.child(&served, "ascend.evaluate").await;
    assert!(!evaluated.is_error, "the authority did its work: {evaluated:?}");
    assert_eq!(evaluated.attributes["ascend.decision"], "DENY");
    let ran = |span: &Span| span.trace == served.trace && span.name == "ascend.run";
    assert!(!collector.spans().iter().any(ran));
}

async fn is_approved(collector: &Collector, peer: &Peer<RoleClient>, approver: &Approver) {
    let first = tokio::spawn({
        let peer = peer.clone();
        async move { call(&peer, 0xa3, "delete_records", delete()).await }
    });
    let pending = approver.pending().await;
    let id = pending[0]["id"].to_string();
    let parent = pending[0]["traceparent"].as_str().unwrap().to_owned();
    assert_eq!(&parent[3..35], trace(0xa3), "the center keeps the trace");
    assert!(approver.run(&["pending"]).await.contains(&trace(0xa3)), "and shows it");
    // The same call in another trace waits for the same action.
    let second = tokio::spawn({
        let peer = peer.clone();
        async move { call(&peer, 0xa4, "delete_records", delete()).await }
    });
    collector.metric("ascend.calls.waiting", &[], 2).await;
    approver.run(&["approve", &id]).await;
    first.await.unwrap();
    second.await.unwrap();

    let served = collector.span(&trace(0xa3), "tools/call delete_records").await;
    let evaluated = collector.child(&served, "ascend.evaluate").await;
    assert_eq!(evaluated.attributes["ascend.floor.require_human_approval"], "true");
    let waited = collector.child(&served, "ascend.wait").await;
    assert_eq!(waited.attributes["ascend.wait.outcome"], "approved");
    waited.attributes["ascend.wait.ms"].parse::<u64>().unwrap();
    let asked = collector.child(&waited, "GET").await;
    assert_eq!(asked.attributes["ascend.operation"], "wait");
    let decided = collector.anywhere("ascend.decide").await;
    assert_eq!(decided.service, "ascend-center");
    assert_ne!(decided.trace, served.trace, "an approval is a trace of its own");
    assert_eq!(decided.links[..], [(served.trace.clone(), parent[36..52].to_owned())]);
    let joined = collector.span(&trace(0xa4), "tools/call delete_records").await;
    assert_eq!(joined.attributes["ascend.joined"], "true");
    assert_eq!(joined.links[..], [(evaluated.trace.clone(), evaluated.id.clone())]);
    // One of the two ran, in its own trace.
    let runs: Vec<Span> = collector
        .spans()
        .into_iter()
        .filter(|span| {
            span.name == "ascend.run" && [&served.id, &joined.id].contains(&&span.parent)
        })
        .collect();
    assert_eq!(runs.len(), 1);
    let ran = if runs[0].parent == served.id { &served } else { &joined };
    let claimed = collector.child(ran, "ascend.claim").await;
    self::asked(collector, &claimed, "/api/v1/actions/{id}/claim").await;
}

async fn measured(collector: &Collector) {
    let query = ("gen_ai.tool.name", "query_analytics");
    let delete = ("gen_ai.tool.name", "delete_records");
    let operation = "mcp.server.operation.duration";
    collector.metric(operation, &[query, ("mcp.method.name", "tools/call")], 1).await;
    collector.metric(operation, &[query, ("error.type", "tool_error")], 1).await;
    collector.metric("ascend.decisions", &[query, ("ascend.decision", "DENY")], 1).await;
    collector.metric("ascend.decisions", &[delete, ("ascend.risk.level", "HIGH")], 1).await;
    collector.metric("ascend.refusals", &[query, ("ascend.refusal", "denied")], 1).await;
    collector.metric("ascend.refusals", &[delete, ("ascend.refusal", "already_executed")], 1).await;
    collector
        .metric("ascend.approval.wait", &[delete, ("ascend.wait.outcome", "approved")], 2)
        .await;
    collector.metric("ascend.runs", &[query, ("ascend.outcome", "completed")], 1).await;
    let request = "ascend.authority.request.duration";
    collector.metric(request, &[("ascend.operation", "evaluate")], 3).await;
    collector.metric(request, &[("ascend.operation", "wait")], 1).await;
}

/// Each span, attribute and metric stands in the documentation's tables.
fn documented(collector: &Collector) {
    let mut names = BTreeSet::new();
    for span in collector.spans() {
        // Log lines can quote arguments.
        assert_eq!(span.events, 0, "{span:?}");
        names.extend(span.attributes.into_keys());
        let name = span.name.split(' ').next().unwrap();
        names.insert(name.to_owned());
    }
    for point in collector.points() {
        names.extend(point.attributes.into_keys());
        names.insert(point.metric);
    }
    let unknown: Vec<_> =
        names.iter().filter(|name| !DOCS.contains(&format!("`{name}`"))).collect();
    assert!(unknown.is_empty(), "docs/observability.md does not tell of {unknown:?}");
    let of_docs = DOCS.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    // The example marks no argument: `traced`, a test of the SDK, has one that does.
    let rare =
        ["rpc.response.status_code", "network.protocol.name", "OTEL_", "ascend.argument.NAME"];
    for name in of_docs.filter(|name| !rare.iter().any(|rare| name.starts_with(rare))) {
        let name = name.split(' ').next().unwrap();
        assert!(names.contains(name), "nothing has {name}, which docs/observability.md tells of");
    }
}
