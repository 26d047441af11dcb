//! Several real processes over one directory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use support::{
    digest,
    served::{Served, token},
};

fn call(verb: &str, key: &str) -> Value {
    json!({
        "server_id": "srv", "namespace": "database", "verb": verb, "resource": "x",
        "digest": digest(1), "idempotency_key": key,
    })
}

async fn post(
    http: &reqwest::Client,
    url: &str,
    path: &str,
    token: &str,
    body: &Value,
) -> Option<Value> {
    let request = http.post(format!("{url}{path}")).bearer_auth(token).json(body);
    request.send().await.ok()?.json().await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_claims_in_several_processes_one_is_granted() {
    let directory = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    // All create the same files at once.
    let starting: Vec<_> = (0..4).map(|_| Served::starting(directory.path())).collect();
    let servers: Vec<_> = starting.into_iter().map(|started| started()).collect();
    let agent = token(directory.path(), "agent.key");
    for round in 0..5 {
        let body = call("read", &format!("key-{round}"));
        let allowed =
            post(&http, &servers[0].url, "/mcp/governance/evaluate", &agent, &body).await.unwrap();
        let path = format!("/api/v1/actions/{}/claim", allowed["action_id"]);
        let claims: Vec<_> = (0..16)
            .map(|index| {
                let (http, path, agent) = (http.clone(), path.clone(), agent.clone());
                let url = servers[index % 4].url.clone();
                let body = json!({ "digest": digest(1) });
                tokio::spawn(async move { post(&http, &url, &path, &agent, &body).await.unwrap() })
            })
            .collect();
        let mut granted = 0;
        for claim in claims {
            let answer = claim.await.unwrap();
            if answer["granted"] == true {
                granted += 1;
            } else {
                assert_eq!(answer["refusal"], "already_executed", "{answer}");
            }
        }
        assert_eq!(granted, 1);
    }
}
