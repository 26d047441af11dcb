//! Several real processes over one directory, and one that is killed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use ascend_center::ActionState;
use serde_json::{Value, json};
use support::{
    digest, open,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let http = reqwest::Client::new();
    let mut answered = Vec::new();
    for round in 0..4 {
        let mut server = Served::start(directory.path());
        let agent = token(directory.path(), "agent.key");
        let senders: Vec<_> = (0..6)
            .map(|sender| {
                let (http, url, agent) = (http.clone(), server.url.clone(), agent.clone());
                tokio::spawn(async move {
                    let mut answered = Vec::new();
                    for index in 0.. {
                        let verb = if index % 2 == 0 { "read" } else { "delete" };
                        let body = call(verb, &format!("{round}-{sender}-{index}"));
                        let evaluated =
                            post(&http, &url, "/mcp/governance/evaluate", &agent, &body).await;
                        let Some(answer) = evaluated else { break };
                        let id = answer["action_id"].as_i64().unwrap();
                        if verb == "delete" {
                            answered.push((id, ActionState::Pending));
                            continue;
                        }
                        let path = format!("/api/v1/actions/{id}/claim");
                        let body = json!({ "digest": digest(1) });
                        match post(&http, &url, &path, &agent, &body).await {
                            Some(claimed) => {
                                assert_eq!(claimed["granted"], true, "{claimed}");
                                answered.push((id, ActionState::Executing));
                            }
                            // Allowed it was; whether the claim came through is not known.
                            None => break,
                        }
                    }
                    answered
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150 + 90 * round)).await;
        server.kill();
        for sender in senders {
            answered.extend(sender.await.unwrap());
        }
        let center = open(directory.path()).await;
        for (id, state) in &answered {
            let record = center.action(*id).await.unwrap().unwrap();
            assert_eq!(record.state, *state, "action {id}");
        }
        center.close().await;
    }
    println!("{} answers survived 4 kills", answered.len());
    assert!(answered.len() > 20);
}
