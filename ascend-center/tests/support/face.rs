//! A center served over HTTP within the test's own process.

use ascend_center::{Center, ServeConfig};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::{contract::Contract, open, served::token};

/// A center over HTTP. Every answer to [`send`](Face::send) is checked against
/// the API's own description.
pub(crate) struct Face {
    pub(crate) directory: TempDir,
    pub(crate) center: Center,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) agent: String,
    pub(crate) approver: String,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) serving: JoinHandle<()>,
    contract: Contract,
}

impl Face {
    pub(crate) async fn new() -> Self {
        Self::serving(ServeConfig::new()).await
    }

    pub(crate) async fn serving(config: ServeConfig) -> Self {
        Self::over(tempfile::tempdir().unwrap(), config).await
    }

    /// Over what may be there already.
    pub(crate) async fn over(directory: TempDir, config: ServeConfig) -> Self {
        let center = open(directory.path()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn({
            let center = center.clone();
            async move {
                let stopped = async { drop(stopped.await) };
                center.serve(listener, config, stopped).await.unwrap();
            }
        });
        let http = reqwest::Client::new();
        let contract = Contract::fetch(&http, &url).await;
        Self {
            contract,
            agent: token(directory.path(), "agent.key"),
            approver: token(directory.path(), "approver.key"),
            http,
            directory,
            center,
            url,
            stop,
            serving,
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        self.send_under(None, method, path, token, body).await
    }

    /// The same, under an `Idempotency-Key`.
    async fn send_under(
        &self,
        key: Option<&str>,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request =
            self.http.request(method.clone(), format!("{}{path}", self.url)).bearer_auth(token);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let answer = response.json().await.unwrap();
        self.contract.check(&method, path, body.as_ref(), status, &answer);
        (status, answer)
    }

    /// Every method and path of the API's own description.
    pub(crate) fn described(&self) -> Vec<(String, String)> {
        self.contract.operations()
    }

    pub(crate) async fn evaluate(&self, body: Value) -> Value {
        let path = "/mcp/governance/evaluate";
        let (status, answer) = self.send(Method::POST, path, &self.agent, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The same, under an `Idempotency-Key`.
    pub(crate) async fn evaluate_under(&self, key: &str, body: Value) -> Value {
        let path = "/mcp/governance/evaluate";
        let (status, answer) =
            self.send_under(Some(key), Method::POST, path, &self.agent, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Claims under a key; `granted`, or why not.
    pub(crate) async fn claim(&self, id: &Value, digest: &Value, key: &str) -> Value {
        let path = format!("/api/v1/actions/{id}/claim");
        let body = json!({ "digest": digest });
        let (status, answer) =
            self.send_under(Some(key), Method::POST, &path, &self.agent, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        if answer["granted"] == true { json!("granted") } else { answer["refusal"].clone() }
    }

    pub(crate) async fn agent(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, &self.agent, Some(body)).await
    }

    pub(crate) async fn approver(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, &self.approver, Some(body)).await
    }

    pub(crate) async fn status(&self, id: &Value) -> Value {
        let path = format!("/api/v1/actions/{id}/status");
        let (status, answer) = self.send(Method::GET, &path, &self.agent, None).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// What ASCEND's example sends.
pub(crate) fn call(verb: &str, resource: &str) -> Value {
    json!({
        "server_id": "mcp-enterprise-tools",
        "namespace": "database",
        "verb": verb,
        "resource": resource,
        "parameters": { "query": "…", "database": "production" },
        "user_context": {},
        "session_context": { "session_id": "mcp-session-default" },
    })
}
