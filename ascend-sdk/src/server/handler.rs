//! MCP's requests, answered.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
};

use futures_util::FutureExt as _;
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskMethod,
        CancelTaskParams, ConstString, CreateTaskResult, CustomRequest, CustomResult, ErrorCode,
        GetTaskMethod, GetTaskParams, GetTaskResult, Implementation, InitializeRequestParams,
        InitializeResult, JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
        ServerConfig, ServerResult, TASKS_EXTENSION_ID, Tool as Listing, UpdateTaskMethod,
        UpdateTaskParams,
    },
    service::RequestContext,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    Server,
    answer::{self, Ended, failed, refused},
    call::{Asked, Ongoing},
    catalog::{Entry, Offer},
    clients,
    in_client::Asking,
    legs::{Brought, Leg},
    message::{HiddenArguments, fault_of_request},
    rmcp_server::RmcpTool,
    session,
    status_tool::StatusTool,
    tasks::{self, Tasks},
};
use crate::{
    ActionId, BoxFuture, Refusal, RefusalKind, TraceContext, context::Wish, observe::Served,
};

/// One client's view of a server.
#[derive(Clone)]
pub(crate) struct Handler {
    server: Arc<Server>,
    session_id: Arc<str>,
    /// Cancelled when the client is gone or the server ends.
    ended: CancellationToken,
    /// Over lines: the client, once it has sent `initialize`.
    peer: Option<Arc<OnceLock<Peer<RoleServer>>>>,
}

impl Handler {
    pub(crate) fn new(server: Arc<Server>, ended: CancellationToken) -> Self {
        let session_id = random_session_id().into();
        Self { server, session_id, ended, peer: None }
    }

    /// The same, for the one session of a connection.
    pub(crate) fn over_lines(server: Arc<Server>, ended: CancellationToken) -> Self {
        Self { peer: Some(Arc::default()), ..Self::new(server, ended) }
    }

    /// The client, once it has sent `initialize`.
    pub(crate) fn peer(&self) -> Option<Peer<RoleServer>> {
        self.peer.as_ref()?.get().cloned()
    }

    /// Answers a call as rmcp would in a session that began with `initialize`.
    pub(crate) fn answer(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ServerResult, ErrorData>> + Send {
        self.call_tool(call, context).map(|answer| {
            let CallToolResponse::Complete(result) = answer? else {
                return Err(ErrorData::internal_error("an answer of a later protocol", None));
            };
            let mut result = ServerResult::CallToolResult(result);
            result.strip_result_type_for_legacy_peer();
            result.strip_non_object_output_for_legacy_peer();
            Ok(result)
        })
    }

    /// Thousands of these wait at once: what came with the request is not kept.
    fn call(
        &self,
        mut request: CallToolRequestParams,
        mut context: RequestContext<RoleServer>,
        trace: Option<TraceContext>,
    ) -> BoxFuture<'_, Result<CallToolResponse, ErrorData>> {
        let arrived = Instant::now();
        let server = &*self.server;
        let offer = match server.catalog.find(&request.name) {
            Entry::Open(offer) => offer,
            Entry::Rmcp(_) if self.is_busy() => return at_once(Err(busy())),
            Entry::Rmcp(tool) => return self.call_rmcp(tool, request, context),
            Entry::StatusTool => {
                return Box::pin(
                    self.approval_status(request, context).map(|said| Ok(said.into())),
                );
            }
            Entry::Blocked => {
                tracing::info!(tool = %request.name, "blocked by server policy");
                return at_once(Ok(refused(&Refusal::new(RefusalKind::Blocked)).into()));
            }
            Entry::Unknown => {
                let text = format!(
                    "Unknown tool: {:.100}; available tools: {}",
                    request.name,
                    server.catalog.names()
                );
                return at_once(Err(ErrorData::invalid_params(text, None)));
            }
        };
        if self.is_busy() {
            return at_once(Err(busy()));
        }
        let arguments = arguments(&mut context, request.arguments.take());
        let arguments = match offer.check(arguments) {
            Ok(arguments) => arguments,
            Err(fault) => {
                let text = format!("invalid arguments for `{}`: {fault}", request.name);
                return at_once(Ok(failed(text, None).into()));
            }
        };
        let is_legacy = is_legacy(&context);
        let brought = Brought::take(&mut request);
        let what = (&*request.name, &arguments);
        let mut leg = match Leg::of(server, &context, &self.session_id, is_legacy, what, brought) {
            Ok(leg) => leg,
            Err(fault) => return at_once(fault.answer()),
        };
        let session = session::of(&context, &self.session_id);
        let token = context.meta.get_progress_token();
        let hold = server
            .hold
            .unwrap_or_else(|| clients::hold(session.client_name.as_deref(), token.is_some()));
        let until = leg.hold(server, hold).map(|hold| arrived + hold);
        // What began as legs goes on as legs.
        let may_be_task = leg.resumes.is_none()
            && tasks::may_answer(&context, is_legacy)
            && server.tasks.have_room(&server.limits);
        let task_of = may_be_task.then(|| session.session_id.clone());
        let asking = Asking::of(server, offer, &context, &session, is_legacy, &mut leg);
        let call = Ongoing::start(
            server,
            offer,
            Asked {
                arguments,
                session,
                trace,
                progress: token.map(|token| (context.peer.clone(), token)),
                call: leg.call,
                resumes: leg.resumes.clone(),
                principal: session::principal(&context, &self.session_id),
                needs_card: asking.as_ref().is_some_and(|asking| asking.needs_card()),
            },
        );
        let http_session = session::http_session_id(&context).filter(|_| is_legacy);
        let client = Client {
            cancelled: context.ct.clone(),
            http_session: http_session.map(Into::into),
            wish: call.wish.clone(),
        };
        match task_of {
            Some(session) => Box::pin(self.hold_until_promised(offer, call, client, session)),
            None => Box::pin(self.hold(offer, call, client, until, leg, asking, is_legacy)),
        }
    }

    /// Resolves when the client does not want its call any more, or is gone.
    async fn left(&self, Client { cancelled, http_session, wish }: &Client) {
        tokio::select! {
            // Its client does not want it any more, nor the state or the task
            // that it was to get, or has.
            () = cancelled.cancelled() => {
                wish.send_replace(Wish::Abandon);
            }
            // It may be started anew, and come back.
            () = self.ended.cancelled() => {}
            () = self.session_ended(http_session.as_deref()) => {}
        }
    }

    /// Answers with what became of the call, or with a task once it waits.
    async fn hold_until_promised(
        &self,
        offer: &Offer,
        call: Ongoing,
        client: Client,
        session_id: String,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(match call.end_unless_promised(self.left(&client)).await {
            // Tasks are of 2026-07-28 and later.
            Ok(ended) => self.result(ended, offer, false).into(),
            Err((call, waiting)) => {
                let (server, ended) = (self.server.clone(), self.ended.clone());
                self.remember(&waiting.action_id, offer);
                let task =
                    Tasks::take_over(server, call, &waiting, offer.output, session_id, ended);
                CreateTaskResult::new(task).into()
            }
        })
    }

    /// Answers with what became of the call, or that it waits on.
    #[expect(clippy::too_many_arguments, reason = "what is left of the request")]
    #[expect(clippy::manual_async_fn, reason = "that has room for each argument twice")]
    fn hold<'a>(
        &'a self,
        offer: &'a Offer,
        mut call: Ongoing,
        client: Client,
        until: Option<Instant>,
        leg: Leg,
        asking: Option<Box<Asking<'a>>>,
        is_legacy: bool,
    ) -> impl Future<Output = Result<CallToolResponse, ErrorData>> + Send + 'a {
        async move {
            let server = &*self.server;
            let mut left = pin!(self.left(&client));
            let mut asks = None;
            let asking = asking.map(|asking| {
                Box::pin(asking.run(call.waiting.clone(), call.wish.clone(), &mut asks))
            });
            let asking = async {
                match asking {
                    Some(asking) => asking.await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                biased;
                ended = call.end(until, left.as_mut()) => ended,
                never = asking => match never {},
            };
            drop(call);
            if let Some(next) = leg.next(server, &ended, asks) {
                if let Some(id) = answer::pending(&ended).and_then(Refusal::action_id) {
                    self.remember(id, offer);
                }
                return Ok(next.into());
            }
            Ok(self.result(ended, offer, is_legacy).into())
        }
    }

    /// Lets agents ask how the action of a call that waits on stands.
    fn remember(&self, id: &ActionId, offer: &Offer) {
        if let Some(tool) = &self.server.status_tool {
            tool.remember(id, offer.route.governor().as_ref().unwrap_or(&self.server.governor));
        }
    }

    /// On the heap, as all that is rarely used.
    fn call_rmcp<'a>(
        &'a self,
        tool: &'a RmcpTool,
        mut request: CallToolRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> BoxFuture<'a, Result<CallToolResponse, ErrorData>> {
        Box::pin(async move {
            request.arguments = Some(arguments(&mut context, request.arguments.take()));
            let _in_flight = self.server.calls.token();
            tool.call(self.server.governor.clone(), request, context).await
        })
    }

    fn is_busy(&self) -> bool {
        self.server.calls.len() >= self.server.limits.concurrent_calls
    }

    fn result(&self, ended: Ended, offer: &Offer, is_legacy: bool) -> CallToolResult {
        let pending = answer::pending(&ended).cloned();
        let mut result = answer::result(ended, offer.output, is_legacy);
        if let (Some(_), Some(pending)) = (&self.server.status_tool, pending)
            && let Some(id) = pending.action_id()
        {
            self.remember(id, offer);
            result.content = vec![StatusTool::mentioned_after(&pending)];
        }
        result
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

    /// Resolves when the session ends; never where there is none that can.
    #[cfg(feature = "streamable-http")]
    fn session_ended<'a>(&'a self, id: Option<&'a str>) -> impl Future<Output = ()> + Send + 'a {
        let ended = id.map(|id| Box::pin(self.server.sessions.end_of(id)));
        futures_util::future::OptionFuture::from(ended).then(|ended| match ended {
            Some(()) => futures_util::future::Either::Left(std::future::ready(())),
            None => futures_util::future::Either::Right(std::future::pending()),
        })
    }

    #[cfg(not(feature = "streamable-http"))]
    fn session_ended(&self, _: Option<&str>) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    fn session_id(&self, context: &RequestContext<RoleServer>) -> String {
        session::of(context, &self.session_id).session_id
    }

    /// The tasks of the server, and whose request this is.
    fn tasks<M: ConstString>(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<(&Tasks, String), ErrorData> {
        // Earlier versions have methods of the same names, for other tasks.
        if is_legacy(context) {
            return Err(ErrorData::method_not_found::<M>());
        }
        Ok((&self.server.tasks, self.session_id(context)))
    }
}

/// The client of a call that is held.
struct Client {
    /// When it cancels its request.
    cancelled: CancellationToken,
    /// The session of the request that can end by itself.
    http_session: Option<Box<str>>,
    wish: watch::Sender<Wish>,
}

/// A call's arguments, where the transport hid them or where they came.
fn arguments(context: &mut RequestContext<RoleServer>, given: Option<JsonObject>) -> JsonObject {
    let hidden = context.extensions.remove::<HiddenArguments>().map(|hidden| hidden.0);
    hidden.or(given).unwrap_or_default()
}

fn at_once(
    answer: Result<CallToolResponse, ErrorData>,
) -> BoxFuture<'static, Result<CallToolResponse, ErrorData>> {
    Box::pin(std::future::ready(answer))
}

fn busy() -> ErrorData {
    let text = "the server is busy: too many calls are in flight; try again later";
    ErrorData::new(ErrorCode(-32000), text, None)
}

/// Whether the request is of a version before 2026-07-28.
fn is_legacy(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_none_or(|version| version.has_initialize())
}

fn random_session_id() -> String {
    format!("mcp-{}", uuid())
}

pub(super) fn uuid() -> String {
    hex::encode(&crate::Salt::random().public()[..16])
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let server = &*self.server;
        let mut implementation =
            Implementation::new(server.governor.server_id(), server.version.clone());
        implementation.title.clone_from(&server.title);
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tasks().build();
        let mut info = ServerConfig::new(capabilities).with_server_info(implementation);
        info.instructions.clone_from(&server.instructions);
        info
    }

    /// Of tasks it says nothing: the versions that have this method know others.
    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        if let Some(peer) = &self.peer {
            // A second `initialize` does not come so far.
            let _ = peer.set(context.peer.clone());
        }
        let mut result = self.negotiate_initialize(&request)?;
        let extensions = &mut result.capabilities.extensions;
        *extensions = extensions.take().and_then(|mut extensions| {
            extensions.remove(TASKS_EXTENSION_ID);
            (!extensions.is_empty()).then_some(extensions)
        });
        Ok(result)
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

    fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<CallToolResponse, ErrorData>> + Send {
        let tool = self.server.catalog.listing(&request.name).map(|tool| &*tool.name);
        let served = Served::start(tool, &context, || self.session_id(&context));
        let (span, trace) = (served.span(), served.trace());
        let call = span.in_scope(|| self.call(request, context, trace));
        call.instrument(span).inspect(|answer| served.ended(answer))
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let (tasks, session_id) = self.tasks::<GetTaskMethod>(&context)?;
        tasks.show(&request.task_id, &session_id).map(GetTaskResult::new)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let (tasks, session_id) = self.tasks::<CancelTaskMethod>(&context)?;
        tasks.abandon(&request.task_id, &session_id)
    }

    /// No task asks its client for anything, so that no answer has a taker.
    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let (tasks, session_id) = self.tasks::<UpdateTaskMethod>(&context)?;
        tasks.check(&request.task_id, &session_id)
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
            "tasks/get" | "tasks/update" | "tasks/cancel" => !is_legacy(&context),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, CallContext, Governor};

    fn size<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    /// Thousands of them wait at once.
    #[test]
    fn a_call_that_waits_is_small() {
        type Held = (Ongoing, Client, Leg, Option<Box<Asking<'static>>>);
        let held = size(|(handler, offer, held): (&'static Handler, &'static Offer, Held)| {
            let (call, client, leg, asking) = held;
            handler.hold(offer, call, client, None, leg, asking, true)
        });
        assert!(held <= 1_000, "{held} bytes");
        type Asked<T> = (&'static Handler, T, RequestContext<RoleServer>);
        let answering = size(|(handler, call, context): Asked<_>| handler.answer(call, context));
        // With OpenTelemetry also what is measured of it.
        let bounds = if cfg!(feature = "opentelemetry") { [500, 4_352] } else { [200, 3_584] };
        assert!(answering <= bounds[0], "{answering} bytes");
        let task = size(|(handler, request, context): Asked<_>| {
            rmcp::Service::handle_request(handler, request, context)
        });
        assert!(task <= bounds[1], "{task} bytes");
        type Governed = (&'static Governor, Action, &'static CallContext);
        let authorize =
            size(|(governor, action, context): Governed| governor.authorize(action, context));
        assert!(authorize <= 128, "{authorize} bytes");
    }
}
