//! Requests as clients of 2026-07-28 make them.

use serde_json::{Value, json};

use crate::raw_client::RawClient;

/// What a call brings back of an earlier request.
#[derive(Debug, Clone, Default)]
pub struct Retry<'a> {
    /// The `requestState`.
    pub state: Option<&'a str>,
    /// The `inputResponses`.
    pub answers: Option<Value>,
}

impl<'a> Retry<'a> {
    /// A state alone.
    #[must_use]
    pub fn of(state: Option<&'a str>) -> Self {
        Self { state, answers: None }
    }
}

/// The metadata of every request, of a client that can show forms.
#[must_use]
pub fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "modern", "version": "3" },
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {} } },
    })
}

/// The params of a call.
#[must_use]
pub fn params(tool: &str, arguments: Value, retry: Retry<'_>) -> Value {
    let mut params = json!({ "name": tool, "arguments": arguments, "_meta": meta() });
    if let Some(state) = retry.state {
        params["requestState"] = state.into();
    }
    if let Some(answers) = retry.answers {
        params["inputResponses"] = answers;
    }
    params
}

/// Begins a call.
pub async fn begin(
    client: &mut RawClient,
    id: u32,
    tool: &str,
    arguments: Value,
    retry: Retry<'_>,
) {
    let params = params(tool, arguments, retry);
    let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
    client.send(call).await;
}

/// Calls a tool and returns its result.
pub async fn call(
    client: &mut RawClient,
    id: u32,
    tool: &str,
    arguments: Value,
    retry: Retry<'_>,
) -> Value {
    begin(client, id, tool, arguments, retry).await;
    let mut answer = client.answer(id).await;
    assert!(answer.get("error").is_none(), "{answer}");
    answer["result"].take()
}

/// Makes a call over HTTP with this credential, if any, and returns its answer.
pub async fn post(url: &str, credential: &str, params: Value) -> Value {
    let mut request = reqwest::Client::new()
        .post(url)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", params["name"].as_str().unwrap());
    if !credential.is_empty() {
        request = request.header("authorization", format!("Bearer {credential}"));
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let text = request.json(&body).send().await.unwrap().text().await.unwrap();
    let answer = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .find(|line| line.contains("\"id\""))
        .unwrap_or(&text);
    serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {text}"))
}
