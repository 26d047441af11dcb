//! ASCEND's Python SDK, as a program of its own, over a served center.

use std::{path::Path, process::Stdio, time::Duration};

use ascend_tests::client::{RemoteCenter, clients};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running client.
pub(crate) struct Sdk {
    _child: Child,
    orders: ChildStdin,
    outcomes: Lines<BufReader<ChildStdout>>,
}

impl Sdk {
    /// A client of `center` with the credential in `file`.
    pub(crate) fn start(center: &RemoteCenter, file: &str) -> Self {
        let options = json!({ "agent_id": "agent-001", "environment": "development" });
        let mut child = Command::new(clients().join("python-ascend/bin/python"))
            .arg(clients().join("ascend_sdk.py"))
            .arg(options.to_string())
            .env_clear()
            .env("ASCEND_API_URL", center.url())
            .env("ASCEND_API_KEY", center.token(file))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python starts");
        let orders = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        Self { _child: child, orders, outcomes: BufReader::new(stdout).lines() }
    }

    /// Gives an order, without waiting for its outcome.
    pub(crate) async fn order(&mut self, order: Value) {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.expect("it listens");
    }

    /// The outcome of the oldest order that has none.
    pub(crate) async fn outcome(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.outcomes.next_line())
            .await
            .expect("there was no outcome for two minutes")
            .expect("the outcome is text")
            .expect("the client ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// What `AscendClient.method(**arguments)` returns.
    pub(crate) async fn call(&mut self, method: &str, arguments: Value) -> Value {
        let mut outcome = self.attempt(method, arguments).await;
        assert!(outcome.get("error").is_none(), "{method}: {outcome}");
        outcome["result"].take()
    }

    /// The same, with the error where it raises one.
    pub(crate) async fn attempt(&mut self, method: &str, arguments: Value) -> Value {
        self.order(json!({ "call": method, "with": arguments })).await;
        self.outcome().await
    }
}

/// A served center in a directory of its own.
pub(crate) async fn center(directory: &Path) -> RemoteCenter {
    RemoteCenter::start(directory).await
}
