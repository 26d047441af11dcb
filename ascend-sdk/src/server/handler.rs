//! MCP's requests, answered.

use std::{panic::AssertUnwindSafe, sync::Arc};

use base64::Engine as _;
use futures_util::FutureExt as _;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock as Block,
        CustomRequest, CustomResult, ErrorCode, Implementation, JsonObject, ListToolsResult,
        PaginatedRequestParams, Resource, ResourceContents as McpContents, ServerCapabilities,
        ServerConfig, Tool as Listing,
    },
    service::RequestContext,
};
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Server,
    catalog::{Entry, Output},
    clients,
    message::{HiddenArguments, fault_of_request},
    progress::{Channel, Heartbeat},
};
use crate::{
    CallContext, ContentBlock, Refusal, RefusalKind, ResourceContents, SessionContext,
    context::Patience,
    output::Rendered,
    rmcp_return::RmcpResult as _,
    route::{Answer, Call, Unanswered},
};

/// How many reports of progress may wait to be sent; more are dropped.
const PROGRESS_QUEUE: usize = 32;

/// One client's view of a server.
#[derive(Clone)]
pub(crate) struct Handler {
    server: Arc<Server>,
    session_id: Arc<str>,
    /// Cancelled when the client is gone or the server ends.
    ended: CancellationToken,
}

impl Handler {
    pub(crate) fn new(server: Arc<Server>, ended: CancellationToken) -> Self {
        Self { server, session_id: random_session_id().into(), ended }
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let arrived = Instant::now();
        let server = &*self.server;
        let offer = match server.catalog.find(&request.name) {
            Entry::Open(offer) => offer,
            Entry::StatusTool => return Ok(self.approval_status(request, context).await),
            Entry::Blocked => {
                tracing::info!(tool = %request.name, "blocked by server policy");
                return Ok(refused(&Refusal::new(RefusalKind::Blocked)));
            }
            Entry::Unknown => {
                return Err(ErrorData::invalid_params(
                    format!(
                        "Unknown tool: {:.100}; available tools: {}",
                        request.name,
                        server.catalog.names()
                    ),
                    None,
                ));
            }
        };
        if server.calls.len() >= server.limits.concurrent_calls {
            let text = "the server is busy: too many calls are in flight; try again later";
            return Err(ErrorData::new(ErrorCode(-32000), text, None));
        }
        let _in_flight = server.calls.token();
        let is_legacy = context.protocol_version().is_none_or(|version| version.has_initialize());
        let arguments = arguments(&mut context, request.arguments);
        let arguments = match offer.check(arguments) {
            Ok(arguments) => arguments,
            Err(fault) => {
                let text = format!("invalid arguments for `{}`: {fault}", request.name);
                return Ok(failed(text, None));
            }
        };

        let cancellation = context.ct.child_token();
        let session = self.session(&context);
        let token = context.meta.get_progress_token();
        let hold = server
            .hold
            .unwrap_or_else(|| clients::hold(session.client_name.as_deref(), token.is_some()));
        let (sender, waiting) = watch::channel(None);
        let patience = Patience { until: hold.map(|hold| arrived + hold), waiting: sender };
        let mut call_context =
            CallContext::new(session, cancellation.clone()).with_patience(patience);
        let answered = CancellationToken::new();
        let mut progress = None;
        if let Some(token) = token {
            let (sender, reports) = mpsc::channel(PROGRESS_QUEUE);
            call_context = call_context.on_progress(move |report| {
                let _ = sender.try_send(report);
            });
            let heartbeat = Heartbeat::new(waiting, server.limits.heartbeat);
            let channel = Channel::new(context.peer.clone(), token);
            progress = Some(channel.carry(heartbeat, reports, answered.clone()));
        }
        let call = offer.route.call(Call {
            governor: server.governor.clone(),
            arguments,
            state: server.state.clone(),
            context: call_context,
        });
        // A panic past this point is caught where the body runs; one caught here
        // came from user code that describes the call.
        let call = AssertUnwindSafe(call).catch_unwind();
        tokio::pin!(call);
        let progress = async {
            if let Some(progress) = progress {
                progress.await;
            }
        };
        tokio::pin!(progress);
        let mut forwarding = true;
        let outcome = loop {
            tokio::select! {
                outcome = &mut call => break outcome,
                () = &mut progress, if forwarding => forwarding = false,
                () = self.ended.cancelled(), if !cancellation.is_cancelled() => {
                    cancellation.cancel();
                }
            }
        };
        answered.cancel();
        if forwarding {
            // What was reported before the answer is sent before it, unless the
            // caller no longer listens.
            tokio::select! {
                () = progress => {}
                () = cancellation.cancelled() => {}
            }
        }
        Ok(match outcome {
            Ok(Ok(answer)) => answered_with(answer, is_legacy, offer.output != Output::Content),
            Ok(Err(unanswered)) => {
                let mut result = unanswered_with(&unanswered, offer.output.is_listed(is_legacy));
                if let (Some(tool), Unanswered::Refused(refusal)) =
                    (&server.status_tool, &unanswered)
                {
                    let governor = offer.route.governor();
                    let governor = governor.as_ref().unwrap_or(&server.governor);
                    tool.mention(refusal, governor, &mut result);
                }
                result
            }
            Err(_) => failed(
                "the call failed with a panic before the tool ran; it was not executed",
                None,
            ),
        })
    }

    async fn approval_status(
        &self,
        request: CallToolRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> CallToolResult {
        let Some(tool) = &self.server.status_tool else {
            return refused(&Refusal::new(RefusalKind::Blocked));
        };
        let _in_flight = self.server.calls.token();
        let arguments = arguments(&mut context, request.arguments);
        tokio::select! {
            result = tool.call(&arguments) => result,
            () = self.ended.cancelled() => failed("the server ends", None),
            () = context.ct.cancelled() => failed("the call was cancelled", None),
        }
    }

    fn session(&self, context: &RequestContext<RoleServer>) -> SessionContext {
        let client = context.client_info();
        let (client_name, client_version) =
            client.map(|client| (shortened(client.name), shortened(client.version))).unzip();
        SessionContext {
            session_id: http_session_id(context).unwrap_or_else(|| self.session_id.to_string()),
            client_name,
            client_version,
        }
    }
}

/// A call's arguments, where the transport hid them or where they came.
fn arguments(context: &mut RequestContext<RoleServer>, given: Option<JsonObject>) -> JsonObject {
    let hidden = context.extensions.remove::<HiddenArguments>().map(|hidden| hidden.0);
    hidden.or(given).unwrap_or_default()
}

/// What a client calls itself, no longer than an authority needs to know.
fn shortened(mut name: String) -> String {
    const LIMIT: usize = 200;
    if let Some((end, _)) = name.char_indices().nth(LIMIT) {
        name.truncate(end);
    }
    name
}

#[cfg(feature = "streamable-http")]
fn http_session_id(context: &RequestContext<RoleServer>) -> Option<String> {
    let parts = context.extensions.get::<hyper::http::request::Parts>()?;
    Some(parts.headers.get("mcp-session-id")?.to_str().ok()?.to_owned())
}

#[cfg(not(feature = "streamable-http"))]
fn http_session_id(_: &RequestContext<RoleServer>) -> Option<String> {
    None
}

fn random_session_id() -> String {
    format!("mcp-{}", uuid())
}

fn uuid() -> String {
    hex::encode(&crate::Salt::random().public()[..16])
}

fn answered_with(answer: Answer, is_legacy: bool, has_schema: bool) -> CallToolResult {
    let Answer { result, governance } = answer;
    let Rendered { blocks, structured } = match result {
        Ok(rendered) => rendered,
        Err(error) => return failed(error, Some(governance)),
    };
    let mut content: Vec<Block> = blocks.into_iter().map(block).collect();
    // A tool that promised structured content and returned nothing returned null.
    let structured =
        structured.or_else(|| (has_schema && content.is_empty()).then_some(Value::Null));
    if content.is_empty() && structured.is_some() {
        content.push(Block::text("null"));
    }
    let mut result = CallToolResult::success(content);
    // Before 2026-07-28 structured content is an object; the list leaves other
    // schemas out for those clients, and the text has the value.
    result.structured_content = structured.filter(|value| value.is_object() || !is_legacy);
    result.governed(governance)
}

fn unanswered_with(unanswered: &Unanswered, has_schema: bool) -> CallToolResult {
    match unanswered {
        Unanswered::Refused(refusal) if refusal.kind() == RefusalKind::Pending => {
            let mut result = refused(refusal);
            // Nothing went wrong. But the official clients refuse a result that
            // lacks the structured content which the tool promised, unless it is
            // an error.
            result.is_error = Some(has_schema);
            result
        }
        Unanswered::Refused(refusal) => refused(refusal),
        Unanswered::Panicked { governance } => {
            failed(unanswered.to_string(), Some(governance.clone()))
        }
        Unanswered::InvalidArguments(_) | Unanswered::MissingState(_) => {
            failed(unanswered.to_string(), None)
        }
    }
}

fn refused(refusal: &Refusal) -> CallToolResult {
    failed(refusal.to_string(), Some(refusal.to_json()))
}

fn failed(text: impl Into<String>, governance: Option<Value>) -> CallToolResult {
    let result = CallToolResult::error(vec![Block::text(text)]);
    match governance {
        Some(governance) => result.governed(governance),
        None => result,
    }
}

fn block(block: ContentBlock) -> Block {
    let base64 = |data| base64::engine::general_purpose::STANDARD.encode::<Vec<u8>>(data);
    match block {
        ContentBlock::Text(text) => Block::text(text),
        ContentBlock::Image { data, mime_type } => Block::image(base64(data), mime_type),
        ContentBlock::Audio { data, mime_type } => Block::audio(base64(data), mime_type),
        ContentBlock::ResourceLink { uri, name, mime_type } => {
            let mut resource = Resource::new(uri, name);
            resource.mime_type = mime_type;
            Block::resource_link(resource)
        }
        ContentBlock::Resource { uri, mime_type, contents } => Block::resource(match contents {
            ResourceContents::Text(text) => {
                McpContents::TextResourceContents { uri, mime_type, text, meta: None }
            }
            ResourceContents::Blob(data) => {
                McpContents::BlobResourceContents { uri, mime_type, blob: base64(data), meta: None }
            }
        }),
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let server = &*self.server;
        let mut implementation =
            Implementation::new(server.governor.server_id(), server.version.clone());
        implementation.title.clone_from(&server.title);
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(implementation);
        info.instructions.clone_from(&server.instructions);
        info
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if request.is_some_and(|request| request.cursor.is_some()) {
            let text = "unknown `cursor`; all tools are on the first page";
            return Err(ErrorData::invalid_params(text, None));
        }
        Ok(ListToolsResult::with_all_items(self.server.catalog.listed().to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.call(request, context).await.map(CallToolResponse::from)
    }

    /// By this rmcp holds the `Mcp-Param-*` headers of a call against its
    /// arguments: what decides by the headers, and what runs, must agree.
    fn get_tool(&self, name: &str) -> Option<Listing> {
        self.server.catalog.listing(name).cloned()
    }

    /// Here come methods that rmcp does not know, and those that it knows with
    /// params that it cannot read.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let CustomRequest { method, params, .. } = request;
        let is_legacy = context.protocol_version().is_none_or(|version| version.has_initialize());
        let is_known = match &*method {
            "tools/call" | "tools/list" | "server/discover" => true,
            // 2026-07-28 has them no more, however their params look.
            "initialize" | "ping" => is_legacy,
            _ => false,
        };
        Err(if is_known {
            let fault = fault_of_request(&method, params.as_ref())
                .unwrap_or_else(|| format!("malformed params of `{method}`"));
            ErrorData::invalid_params(fault, None)
        } else {
            ErrorData::new(
                ErrorCode::METHOD_NOT_FOUND,
                format!("Unknown method: {method:.100}"),
                None,
            )
        })
    }
}
