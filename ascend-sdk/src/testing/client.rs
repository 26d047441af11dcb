//! A client in memory.

use rmcp::{
    RoleClient, ServiceExt as _,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientConfig, ClientRequest,
        Implementation, ServerResult,
    },
    service::{PeerRequestOptions, RequestHandle, RunningService},
};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::GovernedServer;

/// How much may be written before it is read.
const BUFFER: usize = 64 << 10;

/// rmcp's client, in one process with the server that it is a client of.
#[derive(Debug)]
pub struct Client {
    service: RunningService<RoleClient, ClientConfig>,
    serving: JoinHandle<()>,
}

/// What a call returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// Its text; that of several blocks is joined by line ends.
    pub text: String,
    /// Its structured content.
    pub structured: Option<Value>,
    /// Whether it is an error for the model.
    pub is_error: bool,
    /// The governance object; null where the call was never evaluated.
    pub governance: Value,
}

/// A call under way.
#[derive(Debug)]
#[must_use = "await its answer, or cancel it"]
pub struct Calling(RequestHandle<RoleClient>);

#[expect(clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]
impl Client {
    /// Serves `server` in memory, and connects to it.
    ///
    /// # Panics
    ///
    /// When the server is put together wrongly.
    pub async fn of(server: GovernedServer) -> Self {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let (reader, writer) = tokio::io::split(theirs);
        let serving = tokio::spawn(async move {
            if let Err(error) = server.serve(reader, writer).await {
                panic!("{error}");
            }
        });
        // A name that servers hold calls for as long as it takes.
        let config = ClientConfig::new(Default::default(), Implementation::new("rmcp", "test"));
        let service = match config.serve(ours).await {
            Ok(service) => service,
            Err(error) => {
                serving.await.expect("the server is sound");
                panic!("the client cannot connect: {error}");
            }
        };
        Self { service, serving }
    }

    /// Calls a tool, and waits for its result.
    ///
    /// # Panics
    ///
    /// When the arguments are no JSON object, or the server answers with an
    /// error of the protocol, such as for a tool that it does not have.
    pub async fn call(&self, tool: &str, arguments: Value) -> Called {
        self.begin(tool, arguments).await.answer().await
    }

    /// Sends a call.
    ///
    /// # Panics
    ///
    /// When the arguments are no JSON object, or the server is gone.
    pub async fn begin(&self, tool: &str, arguments: Value) -> Calling {
        let Value::Object(arguments) = arguments else {
            panic!("the arguments of `{tool}` are no JSON object: {arguments}");
        };
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let sent = self.service.send_cancellable_request(request, PeerRequestOptions::default());
        Calling(sent.await.expect("the server takes requests"))
    }

    /// Goes away, and waits until the server has ended.
    ///
    /// # Panics
    ///
    /// When the server does not end well.
    pub async fn close(self) {
        let _ = self.service.cancel().await;
        self.serving.await.expect("the server ends well");
    }
}

#[expect(clippy::panic, reason = "a test fails by panicking")]
impl Calling {
    /// Waits for the result.
    ///
    /// # Panics
    ///
    /// When the server answers with an error of the protocol.
    pub async fn answer(self) -> Called {
        match self.0.await_response().await {
            Ok(ServerResult::CallToolResult(result)) => Called::from(result),
            Ok(other) => panic!("not the result of a call: {other:?}"),
            Err(error) => panic!("the call failed: {error}"),
        }
    }

    /// Tells the server that the result is no longer wanted.
    ///
    /// # Panics
    ///
    /// When the server is gone.
    pub async fn cancel(self) {
        if let Err(error) = self.0.cancel(Some("cancelled by a test".to_owned())).await {
            panic!("the call cannot be cancelled: {error}");
        }
    }
}

impl From<CallToolResult> for Called {
    fn from(result: CallToolResult) -> Self {
        let texts: Vec<&str> = result
            .content
            .iter()
            .filter_map(|block| block.as_text().map(|text| text.text.as_str()))
            .collect();
        Self {
            text: texts.join("\n"),
            structured: result.structured_content,
            is_error: result.is_error == Some(true),
            governance: result
                .meta
                .and_then(|meta| meta.0.get("governance").cloned())
                .unwrap_or_default(),
        }
    }
}
