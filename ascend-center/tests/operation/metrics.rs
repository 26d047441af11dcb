use std::collections::BTreeMap;

use ascend_center::{NewKey, Role, ServeConfig};
use openmetrics_parser::{OpenMetricsValue, openmetrics::parse_openmetrics};
use reqwest::{Client, header};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::open;

/// Every sample by name and labels, read by a parser of the format; of a
/// histogram, how many it counted.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let parsed = parse_openmetrics(text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let mut samples = BTreeMap::new();
    for (name, family) in &parsed.families {
        assert!(name.starts_with("ascend_center_"), "{name}");
        assert!(!family.help.is_empty(), "{name} has no help");
        for sample in family.iter_samples() {
            let labels = sample.get_labelset().map(|labels| {
                let pairs = labels.iter().map(|(name, value)| format!("{name}={value}"));
                pairs.collect::<Vec<_>>().join(",")
            });
            let value = match &sample.value {
                OpenMetricsValue::Counter(counter) => counter.value.as_f64(),
                OpenMetricsValue::Gauge(gauge) => gauge.as_f64(),
                OpenMetricsValue::Histogram(histogram) => {
                    f64::from(u32::try_from(histogram.count.unwrap()).unwrap())
                }
                other => panic!("{name}: {other:?}"),
            };
            samples.insert(format!("{name}{{{}}}", labels.unwrap_or_default()), value);
        }
    }
    samples
}

#[tokio::test]
async fn what_happened_is_counted() {
    const SECRET: &str = "the-resource-is-secret";
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let owner = center.local_approver().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Free a moment ago, and nobody else's yet.
    let beside = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config =
        ServeConfig::new().agent_rate(4).metrics_address(beside).name_agents_in_metrics(true);
    tokio::spawn({
        let center = center.clone();
        async move { center.serve(listener, config, std::future::pending()).await.unwrap() }
    });
    let http = Client::new();
    let agent = center.create_key(&owner, NewKey::of("billing")).await.unwrap();
    let ask = async |verb: &str| {
        let body = json!({
            "server_id": "srv", "namespace": "database", "verb": verb, "resource": SECRET,
            "parameters": { "password": SECRET },
        });
        let request = http.post(format!("{url}/mcp/governance/evaluate")).json(&body);
        let answer = request.bearer_auth(agent.token.expose_secret()).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let mut pending = Vec::new();
    for (verb, status) in
        [("read", 200), ("delete", 200), ("delete", 200), ("drop", 200), ("read", 429)]
    {
        let (answered, answer) = ask(verb).await;
        assert_eq!(answered, status, "{verb}: {answer}");
        if verb == "delete" {
            pending.push(answer["action_id"].as_i64().unwrap());
        }
    }
    center.approve(pending[0], &owner, None).await.unwrap();
    let login = json!({ "name": "nobody", "password": "wrong" });
    let login = http.post(format!("{url}/api/v1/login")).json(&login).send().await.unwrap();
    assert_eq!(login.status(), 401);
    let unknown = http.get(format!("{url}/nowhere/{SECRET}")).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    center.kill("an incident", &owner).await.unwrap();

    let metrics = format!("{url}/metrics");
    for refused in [None, Some(agent.token.expose_secret())] {
        let request = http.get(&metrics);
        let request = refused.map_or(http.get(&metrics), |key| request.bearer_auth(key));
        let status = request.send().await.unwrap().status().as_u16();
        assert_eq!(status, if refused.is_some() { 403 } else { 401 });
    }
    center.create_user(&owner, "vera", Role::Viewer, None).await.unwrap();
    let day = std::time::Duration::from_secs(24 * 3600);
    let vera = center.create_token(&owner, "vera", "prometheus", day).await.unwrap();
    let answer = http.get(&metrics).bearer_auth(vera.token.expose_secret()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text().await.unwrap();
    assert!(!text.contains(SECRET) && !text.contains("vera"), "{text}");
    let told = samples(&text);
    let count = |name: &str, labels: &[&str]| -> f64 {
        let fits = |key: &str| {
            key.starts_with(&format!("ascend_center_{name}{{"))
                && labels.iter().all(|label| key.contains(label))
        };
        told.iter().filter(|(key, _)| fits(key)).map(|(_, value)| value).sum()
    };
    let agent = "agent=billing";
    assert_eq!(
        count("decisions", &["outcome=allowed", "namespace=database", agent]),
        1.0,
        "{told:?}"
    );
    assert_eq!(count("decisions", &["outcome=pending", "risk_level=HIGH"]), 2.0, "{told:?}");
    assert_eq!(count("decisions", &["outcome=denied"]), 1.0, "{told:?}");
    assert_eq!(count("events", &["kind=approved"]), 1.0, "{told:?}");
    assert_eq!(count("events", &["kind=login_failed"]), 1.0, "{told:?}");
    assert_eq!(count("approval_wait_seconds", &[]), 1.0, "{told:?}");
    assert_eq!(count("evaluation_duration_seconds", &[]), 4.0, "{told:?}");
    assert_eq!(count("rate_limited", &["limit=agent"]), 1.0, "{told:?}");
    let route = "route=/mcp/governance/evaluate";
    assert_eq!(count("http_requests", &[route, "status=200"]), 4.0, "{told:?}");
    assert_eq!(count("http_requests", &[route, "status=429"]), 1.0, "{told:?}");
    assert_eq!(count("http_requests", &["route=unmatched", "status=404"]), 1.0, "{told:?}");
    assert_eq!(count("http_request_duration_seconds", &[route]), 5.0, "{told:?}");
    assert_eq!(count("pending_actions", &[]), 1.0, "{told:?}");
    assert_eq!(count("kill_switch_raised", &[]), 1.0, "{told:?}");
    assert!(count("commit_duration_seconds", &[]) >= 6.0, "{told:?}");
    assert!(count("audit_unsigned_entries", &[]) >= 1.0, "{told:?}");
    assert!(count("policies", &[]) > 10.0, "{told:?}");

    let beside = http.get(format!("http://{beside}/metrics")).send().await.unwrap();
    assert_eq!(beside.status(), 200);
    assert!(samples(&beside.text().await.unwrap()).len() >= told.len());
}
