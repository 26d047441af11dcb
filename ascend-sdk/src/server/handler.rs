//! MCP's requests, answered.

use std::sync::Arc;

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode,
        Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
        Tool as Listing,
    },
    service::RequestContext,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Server,
    answer::{self, failed, refused},
    call::{Asked, Ongoing},
    catalog::Entry,
    clients,
    in_client::Asking,
    legs::{Brought, Leg},
    message::{HiddenArguments, fault_of_request},
};
use crate::{Refusal, RefusalKind, SessionContext};

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
        mut request: CallToolRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arrived = Instant::now();
        let server = &*self.server;
        let offer = match server.catalog.find(&request.name) {
            Entry::Open(offer) => offer,
            Entry::Blocked => {
                tracing::info!(tool = %request.name, "blocked by server policy");
                return Ok(refused(&Refusal::new(RefusalKind::Blocked)).into());
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
        let arguments = context
            .extensions
            .remove::<HiddenArguments>()
            .map(|hidden| hidden.0)
            .or(request.arguments.take())
            .unwrap_or_default();
        let arguments = match offer.check(arguments) {
            Ok(arguments) => arguments,
            Err(fault) => {
                let text = format!("invalid arguments for `{}`: {fault}", request.name);
                return Ok(failed(text, None).into());
            }
        };
        let is_legacy = is_legacy(&context);
        let brought = Brought::take(&mut request);
        let what = (&*request.name, &arguments);
        let leg = match Leg::of(server, &context, &self.session_id, is_legacy, what, brought) {
            Ok(leg) => leg,
            Err(fault) => return fault.answer(),
        };
        let session = self.session(&context);
        let token = context.meta.get_progress_token();
        let hold = server
            .hold
            .unwrap_or_else(|| clients::hold(session.client_name.as_deref(), token.is_some()));
        let asking = Asking::of(server, offer, &context, &session, is_legacy, &leg);
        let call = Ongoing::start(
            server,
            offer,
            Asked {
                arguments,
                session,
                progress: token.map(|token| (context.peer.clone(), token)),
                resumes: leg.resumes.clone(),
                needs_card: asking.needs_card(),
            },
        );
        let gone = async {
            tokio::select! {
                () = context.ct.cancelled() => {}
                () = self.ended.cancelled() => {}
            }
        };
        let until = leg.hold(server, hold).map(|hold| arrived + hold);
        let mut asks = None;
        let asking = asking.run(call.waiting.clone(), call.wish.clone(), &mut asks);
        let ended = tokio::select! {
            biased;
            ended = call.end(until, gone) => ended,
            never = asking => match never {},
        };
        if let Some(next) = leg.next(server, &ended, asks) {
            return Ok(next.into());
        }
        Ok(answer::result(ended, offer, is_legacy).into())
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

/// Whether the request is of a version before 2026-07-28.
fn is_legacy(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_none_or(|version| version.has_initialize())
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
        self.call(request, context).await
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
        let is_known = match &*method {
            "tools/call" | "tools/list" | "server/discover" => true,
            // 2026-07-28 has them no more, however their params look.
            "initialize" | "ping" => is_legacy(&context),
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
