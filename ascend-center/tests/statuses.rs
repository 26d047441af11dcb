//! One question about many actions.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use ascend_center::{ActionState, Center, ServeConfig};
use ascend_sdk::Authority as _;
use serde_json::{Value, json};
use support::{action, delete, number, open, served::token, state};
use tokio::{net::TcpListener, sync::oneshot};

struct Face {
    center: Center,
    url: String,
    http: reqwest::Client,
    agent: String,
    approver: String,
    stop: oneshot::Sender<()>,
}

impl Face {
    async fn new(directory: &Path) -> Self {
        let center = open(directory).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn({
            let center = center.clone();
            async move {
                let stopped = async { drop(stopped.await) };
                center.serve(listener, ServeConfig::new(), stopped).await.unwrap();
            }
        });
        Self {
            agent: token(directory, "agent.key"),
            approver: token(directory, "approver.key"),
            http: reqwest::Client::new(),
            center,
            url,
            stop,
        }
    }

    async fn get(&self, token: &str, query: &str) -> (u16, Option<String>, Value) {
        let url = format!("{}/api/v1/actions/status?{query}", self.url);
        let answer = self.http.get(url).bearer_auth(token).send().await.unwrap();
        let status = answer.status().as_u16();
        let waited =
            answer.headers().get("x-ascend-wait").map(|value| value.to_str().unwrap().to_owned());
        (status, waited, answer.json().await.unwrap())
    }

    async fn ask(&self, query: &str) -> (Option<String>, Value) {
        let (status, waited, answer) = self.get(&self.agent, query).await;
        assert_eq!(status, 200, "{answer}");
        (waited, answer)
    }

    /// Opens an action as the agent whose key this face has.
    async fn pending(&self, seconds: f64) -> i64 {
        let body = json!({
            "server_id": "server-a",
            "namespace": "database",
            "verb": "delete",
            "resource": "database://production",
            "approval_timeout_seconds": seconds,
        });
        let url = format!("{}/mcp/governance/evaluate", self.url);
        let request = self.http.post(url).bearer_auth(&self.agent).json(&body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["decision"], "REQUIRE_APPROVAL", "{answer}");
        answer["action_id"].as_i64().unwrap()
    }

    async fn approve(&self, id: i64) {
        let approver = self.center.local_approver().await.unwrap();
        self.center.approve(id, &approver, None).await.unwrap();
    }
}

fn ids(answer: &Value) -> (Vec<i64>, Vec<i64>) {
    let numbers = |list: &Value, id: fn(&Value) -> Option<i64>| {
        list.as_array().unwrap().iter().map(|item| id(item).unwrap()).collect()
    };
    (
        numbers(&answer["actions"], |action| action["action_id"].as_i64()),
        numbers(&answer["pending"], Value::as_i64),
    )
}

#[tokio::test]
async fn the_decided_are_told_as_each_alone_and_the_others_by_their_ids() {
    let directory = tempfile::tempdir().unwrap();
    let face = Face::new(directory.path()).await;
    let (first, second, third) =
        (face.pending(300.0).await, face.pending(300.0).await, face.pending(300.0).await);
    face.approve(second).await;
    let (waited, answer) =
        face.ask(&format!("ids={third},{first},{second},{first},4711,no-number,")).await;
    assert_eq!(waited, None);
    assert_eq!(ids(&answer), (vec![second], vec![first, third]));
    let alone = format!("{}/api/v1/actions/{second}/status", face.url);
    let alone = face.http.get(alone).bearer_auth(&face.agent).send().await.unwrap();
    assert_eq!(answer["actions"][0], alone.json::<Value>().await.unwrap());

    // What is decided is told at once, also where one is ready to wait.
    let began = Instant::now();
    let (waited, answer) = face.ask(&format!("ids={first},{second}&wait=25")).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(waited.as_deref(), Some("25"));
    assert_eq!(ids(&answer), (vec![second], vec![first]));
}

#[tokio::test]
async fn a_question_is_held_until_one_of_them_is_decided() {
    let directory = tempfile::tempdir().unwrap();
    let face = Face::new(directory.path()).await;
    let (first, second) = (face.pending(300.0).await, face.pending(300.0).await);
    let query = format!("ids={first},{second}&wait=25");
    let asked = face.ask(&query);
    let decided = async {
        // Whether it comes before the question or after it, it is seen.
        face.approve(second).await;
        Instant::now()
    };
    let ((_, answer), decided) = tokio::join!(asked, decided);
    assert_eq!(ids(&answer), (vec![second], vec![first]));
    assert!(decided.elapsed() < Duration::from_secs(5));

    let began = Instant::now();
    let (waited, answer) = face.ask(&format!("ids={first}&wait=1")).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((waited.as_deref(), ids(&answer)), (Some("1"), (vec![], vec![first])));
}

#[tokio::test]
async fn what_expires_ends_the_question_and_is_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let face = Face::new(directory.path()).await;
    let (short, long) = (face.pending(0.3).await, face.pending(300.0).await);
    let began = Instant::now();
    let (_, answer) = face.ask(&format!("ids={short},{long}&wait=25")).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(ids(&answer), (vec![short], vec![long]));
    assert_eq!(answer["actions"][0]["status"], "timeout");
    assert_eq!(state(&face.center, short).await, ActionState::Expired);
}

#[tokio::test]
async fn another_agents_actions_are_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let face = Face::new(directory.path()).await;
    // Asked in process, which is another caller than the agent's key.
    let foreign = number(&face.center.evaluate(&delete()).await.unwrap().action_id);
    let decided = action("database", "read", "analytics_db");
    let decided = number(&face.center.evaluate(&decided).await.unwrap().action_id);
    let began = Instant::now();
    let (_, answer) = face.ask(&format!("ids={foreign},{decided}&wait=25")).await;
    assert_eq!(ids(&answer), (vec![], vec![]));
    assert!(began.elapsed() < Duration::from_secs(10), "there is nothing to wait for");
    // An approver sees all.
    let query = format!("ids={foreign},{decided}");
    let (_, _, answer) = face.get(&face.approver, &query).await;
    assert_eq!(ids(&answer), (vec![decided], vec![foreign]));
    assert_eq!(face.get("nobody", &query).await.0, 401);
}

#[tokio::test]
async fn a_question_has_bounds_and_ends_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let face = Face::new(directory.path()).await;
    let many: Vec<String> = (1..=1_001).map(|id: u32| id.to_string()).collect();
    for query in
        ["".to_owned(), "ids=".to_owned(), "ids=,,".to_owned(), format!("ids={}", many.join(","))]
    {
        let (status, _, answer) = face.get(&face.agent, &query).await;
        assert_eq!(status, 422, "{answer}");
        assert_eq!(answer["detail"][0]["loc"], json!(["query", "ids"]), "{answer}");
    }
    let (status, _, answer) = face.get(&face.agent, "ids=1&wait=soon").await;
    assert_eq!((status, &answer["detail"][0]["loc"][1]), (422, &json!("wait")));
    assert_eq!(face.ask(&format!("ids={}", many[..1_000].join(","))).await.1["pending"], json!([]));

    let id = face.pending(300.0).await;
    let Face { http, url, agent, stop, .. } = face;
    let asked = tokio::spawn(async move {
        let url = format!("{url}/api/v1/actions/status?ids={id}&wait=25");
        http.get(url).bearer_auth(agent).send().await.unwrap().json::<Value>().await.unwrap()
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    stop.send(()).unwrap();
    assert_eq!(ids(&asked.await.unwrap()), (vec![], vec![id]));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
