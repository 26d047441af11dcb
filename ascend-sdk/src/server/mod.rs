//! The MCP server: governed tools over stdio, or Streamable HTTP.
//!
//! ```no_run
//! use ascend_sdk::{Governor, Refusal, mcp_governance, server::GovernedServer, tools};
//!
//! /// Tells the time.
//! #[mcp_governance(action_type = "clock.read", resource = "clock")]
//! async fn time() -> Result<String, Refusal> {
//!     Ok(format!("{:?}", std::time::SystemTime::now()))
//! }
//!
//! # async fn example(governor: Governor) -> Result<(), ascend_sdk::server::ServeError> {
//! GovernedServer::new("mcp-server-001", governor).tools(tools![time]).serve_stdio().await
//! # }
//! ```
//!
//! # What clients get
//!
//! - `tools/list`: each description is followed by its risk, as in
//!   `Deletes records. [Risk: HIGH]`.
//! - `tools/call`: every result of a call that was evaluated has the governance
//!   object under the key `governance` of its `_meta`: `status`, `decision`,
//!   `action_id`, `risk_score`, `reason`, `reviewed_by`. A call that was
//!   refused is a result with `isError` and one sentence.
//! - While a call waits, a client that asked for its progress is told so every
//!   15 s, with where to approve.
//! - A call that waits, of a client that takes tasks (2026-07-28 with the extension
//!   `io.modelcontextprotocol/tasks`, declared in the request), is a task at once.
//!   `tasks/get` says what it waits for and until when, then who approved, and at
//!   the end the very result that the call would have had: a refusal too is a
//!   task that is `completed`. `tasks/cancel` gives the action up. A task outlives
//!   its connection, but not the server: after a restart the same call joins its
//!   action.
//! - Another call that waits longer than its client would is answered as pending
//!   before; an identical call joins its action, and runs once it is approved.
//!   Such an answer is no error, except where the tool has an output schema:
//!   clients would refuse it for its lack of structured content.
//! - A client of 2026-07-28 is answered with `input_required` and a sealed
//!   `requestState` after 45 s, and comes back with it to wait on: ten requests at
//!   most, then the call is answered as pending. A state that was changed, or is of
//!   another call, session or server, is the error -32602, and nothing runs.
//! - Where [`in_client_approval`](GovernedServer::in_client_approval) and the
//!   authority allow it, the client's user is shown the call in a form, and can
//!   approve or reject it there; the authority's approvers can meanwhile.
//! - Identical calls of one session that wait at once share one action, and one
//!   of them runs.
//! - Calls run concurrently: one that waits for a person delays no other.
//! - A cancelled call is withdrawn, in whichever of its requests, and so is one
//!   over HTTP whose session is deleted. Not so an action that an agent was told
//!   of as pending, nor one that another call or task still holds. A body that has
//!   begun is offered to stop through its [`CallContext`](crate::CallContext).
//!
//! # Where it ends
//!
//! When stdin ends, or on SIGTERM, SIGINT or SIGHUP, no more calls are taken,
//! waiting ones are withdrawn, and what runs gets the grace (2 s) to end and be
//! reported. A second signal ends the process at once.
//!
//! # Logs
//!
//! People read stderr; stdout belongs to the protocol. rmcp writes whole results
//! to its debug log, so let [`log_filter`] make the filter:
//!
//! ```
//! let rust_log = std::env::var("RUST_LOG").ok();
//! tracing_subscriber::fmt()
//!     .with_writer(std::io::stderr)
//!     .with_env_filter(ascend_sdk::server::log_filter(rust_log.as_deref()))
//!     .init();
//! ```

mod answer;
mod call;
mod card;
mod catalog;
mod clients;
mod connection;
#[cfg(feature = "validate")]
mod constraints;
mod error;
mod handler;
#[cfg(feature = "streamable-http")]
mod http;
#[cfg(feature = "streamable-http")]
mod http_sessions;
mod in_client;
mod legs;
mod lines;
mod logging;
pub(crate) mod marks;
pub(crate) mod message;
pub(crate) mod method;
mod outbox;
mod progress;
mod rmcp_server;
mod salvage;
mod session;
#[cfg(feature = "streamable-http")]
mod sessions;
mod signals;
mod status_tool;
mod stdio;
mod tasks;
mod transport;

use std::{sync::Arc, time::Duration};

use rmcp::ServerHandler;
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

pub use error::{Mistake, Mistakes, ServeError};
#[cfg(feature = "streamable-http")]
pub use http::HttpServer;
pub use logging::log_filter;
pub use marks::RmcpTools;

use self::{
    catalog::{Catalog, Lists, Others},
    in_client::InClient,
    legs::Legs,
    rmcp_server::RmcpServer,
    status_tool::StatusTool,
    stdio::Sink,
    tasks::Tasks,
};
use crate::{Governor, LONGEST, Manifest, RiskLevel, State, Tools};

/// A server of governed tools, being put together.
#[derive(Debug)]
#[must_use = "a server does nothing until it serves"]
pub struct GovernedServer {
    governor: Governor,
    title: Option<String>,
    version: String,
    instructions: Option<String>,
    state: State,
    tools: Tools,
    others: Others,
    lists: Lists,
    limits: Limits,
    hold: Option<Option<Duration>>,
    has_status_tool: bool,
    state_key: Option<SecretString>,
    in_client: Option<RiskLevel>,
    #[cfg(feature = "streamable-http")]
    hosts: Vec<String>,
}

/// What a server takes from one client before it says no.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) line_bytes: usize,
    pub(crate) unread_bytes: usize,
    pub(crate) concurrent_calls: usize,
    pub(crate) grace: Duration,
    pub(crate) heartbeat: Duration,
}

/// Clients whose patience grows with progress have at least 60 s of it; some
/// proxies between have less.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(15);
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 16 << 20,
            unread_bytes: 64 << 20,
            concurrent_calls: 16_384,
            grace: Duration::from_secs(2),
            heartbeat: LONGEST_HEARTBEAT,
        }
    }
}

/// A server that was checked and serves.
pub(crate) struct Server {
    governor: Governor,
    title: Option<String>,
    version: String,
    instructions: Option<String>,
    state: State,
    catalog: Catalog,
    limits: Limits,
    /// `None`: by the client's name.
    hold: Option<Option<Duration>>,
    /// `None`: not offered.
    status_tool: Option<StatusTool>,
    legs: Legs,
    in_client: InClient,
    /// Calls that have not returned.
    calls: TaskTracker,
    tasks: Tasks,
    /// The sessions of clients that have some, to be told when they end.
    #[cfg(feature = "streamable-http")]
    sessions: sessions::Sessions,
}

impl GovernedServer {
    /// A server that authorities and clients know as `server_id`, such as
    /// `mcp-server-001`, under `governor`. Serving uses the governor up: when
    /// the server ends, the governor is closed.
    pub fn new(server_id: impl AsRef<str>, governor: Governor) -> Self {
        Self {
            governor: governor.with_server_id(server_id.as_ref()),
            title: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instructions: None,
            state: State::default(),
            tools: Tools::new(),
            others: Others::default(),
            lists: Lists::default(),
            limits: Limits::default(),
            hold: None,
            has_status_tool: false,
            state_key: None,
            in_client: None,
            #[cfg(feature = "streamable-http")]
            hosts: Vec::new(),
        }
    }

    /// A name for people.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The server's version. Default: that of this crate.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// What a model should know before it uses the tools.
    pub fn instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = Some(instructions.into());
        self
    }

    /// Gives `value` to the `#[state]` parameters of its type, in the place of
    /// an earlier value of the same type. Each call gets a clone.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.state.insert(value);
        self
    }

    /// Adds tools, listed in this order: `.tools(tools![query, delete])`.
    pub fn tools(mut self, tools: Tools) -> Self {
        self.tools.extend(tools);
        self
    }

    /// Adds the tools of an rmcp server: those that `tools` lists, each governed by
    /// an attribute above its `#[tool]`, or marked
    /// [`#[ungoverned(reason = "…")]`](macro@crate::ungoverned) there. One that is
    /// neither keeps this server from starting. The governed ones are under this
    /// server's governor.
    ///
    /// ```
    /// # use ascend_sdk::{GovernedServer, Governor, mcp_governance, ungoverned};
    /// # use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router, model::CallToolResult};
    /// #[derive(Clone)]
    /// struct Notes;
    ///
    /// #[tool_router]
    /// impl Notes {
    ///     /// Deletes all notes.
    ///     #[mcp_governance(action_type = "notes.delete", resource = "notes")]
    ///     #[tool]
    ///     async fn delete_notes(&self) -> Result<CallToolResult, ErrorData> {
    ///         Ok(CallToolResult::success(vec![]))
    ///     }
    ///
    ///     /// Says which version this is.
    ///     #[ungoverned(reason = "it has no arguments and tells nothing secret")]
    ///     #[tool]
    ///     fn version(&self) -> String {
    ///         "1".to_owned()
    ///     }
    /// }
    ///
    /// #[tool_handler]
    /// impl ServerHandler for Notes {}
    ///
    /// # fn example(governor: Governor) -> GovernedServer {
    /// GovernedServer::new("notes", governor).rmcp(Notes, Notes::tool_router)
    /// # }
    /// ```
    ///
    /// The tools are listed once, now: what the rmcp server offers later, or answers
    /// without listing it, no client gets, and a tool whose schema is another by then
    /// is refused. Only its tools are served, no prompts or resources. Its calls wait
    /// as [methods](macro@crate::mcp_governance#methods) do.
    pub fn rmcp<H: ServerHandler, T: RmcpTools>(
        mut self,
        handler: H,
        tools: impl FnOnce() -> T,
    ) -> Self {
        self.others.servers.push(RmcpServer::new(handler, tools));
        self
    }

    /// Lets a tool of an [rmcp server](Self::rmcp) run without being asked about, where
    /// no attribute can say so, since its route is made by hand. The reason is for
    /// reviewers: it is in the [manifest](Self::manifest), and in the log at the start.
    pub fn ungoverned(mut self, tool: impl Into<String>, reason: impl Into<String>) -> Self {
        self.others.exempt.push((tool.into(), reason.into()));
        self
    }

    /// What an agent may do with the tools, as a document to be reviewed. Print it
    /// where the program is asked to, before anything is served:
    ///
    /// ```no_run
    /// # fn example(server: ascend_sdk::GovernedServer) {
    /// if std::env::args().any(|argument| argument == "--manifest") {
    ///     print!("{}", server.manifest());
    ///     return;
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let mut manifest = Manifest::new(self.governor.server_id(), &self.tools);
        manifest.extend(self.others.entries());
        manifest
    }

    /// Lets clients use these tools alone. Others are not listed, and a call of
    /// one is refused.
    pub fn allow_tools<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into);
        self.lists.allowed.get_or_insert_default().extend(names);
        self
    }

    /// Keeps clients from these tools, also where the allow list has them.
    pub fn block_tools<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.lists.blocked.extend(names.into_iter().map(Into::into));
        self
    }

    /// The longest message that is read, in bytes. Longer ones are skipped and
    /// answered with an error. Default: 16 MiB.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.limits.line_bytes = bytes;
        self
    }

    /// How many bytes of answers may wait for a stdio client that does not read
    /// them. While more wait, none of its messages are read. As many may the
    /// results of tasks take; while they take more, calls that wait are no tasks.
    /// Default: 64 MiB.
    pub fn max_unread_bytes(mut self, bytes: usize) -> Self {
        self.limits.unread_bytes = bytes;
        self
    }

    /// How many calls may be in flight, waiting ones and tasks included. One more
    /// is answered with the error -32000. Default: 16,384.
    pub fn max_concurrent_calls(mut self, calls: usize) -> Self {
        self.limits.concurrent_calls = calls;
        self
    }

    /// How long a call may wait for a person before it is answered as pending:
    /// it did not run, its action goes on waiting, and an identical call joins
    /// it and runs once it is approved. `None` holds each call until it is
    /// decided or the time for its approval is over.
    ///
    /// By default that depends on the client, by the name that it gives itself:
    /// a bit less than the client would wait, 50 s for an unknown one. A client
    /// of 2026-07-28 is held for 45 s or less, and comes back nine times by
    /// itself, before it is answered so; unless this is `None`.
    pub fn hold_calls_for(mut self, longest: impl Into<Option<Duration>>) -> Self {
        self.hold = Some(longest.into().map(|longest| longest.min(LONGEST)));
        self
    }

    /// Also offers the tool `approval_status`, by which an agent asks how an action
    /// stands that was answered as pending. It takes the `action_id`, answers in
    /// one sentence and the governance object, and only looks: it neither approves
    /// nor runs anything, so nobody is asked whether it may. It tells of this
    /// server's actions alone. The allow and block lists hold for it too.
    /// Default: not offered.
    pub fn offer_approval_status(mut self) -> Self {
        self.has_status_tool = true;
        self
    }

    /// The key under which the state of a waiting call is sealed for clients of
    /// 2026-07-28, which bring it back with their next request: 32 bytes or more.
    /// Default: a random one of this process. Give several servers over one
    /// authority the same, where a call may come back to another of them.
    pub fn request_state_key(mut self, key: SecretString) -> Self {
        self.state_key = Some(key);
        self
    }

    /// Lets the user of a client that can show forms approve a call there, where
    /// its risk is at most `max_risk` and the authority takes their word for it:
    /// a convenience, since it is the client that says what its user said. The
    /// authority's own approvers can decide meanwhile. Never enough for a tool
    /// that requires a person's approval, such as a `#[high_risk_action]`.
    ///
    /// Default: nobody is asked in a client.
    pub fn in_client_approval(mut self, max_risk: RiskLevel) -> Self {
        self.in_client = Some(max_risk);
        self
    }

    /// How often a client that asked for progress is told that its call waits
    /// for a person, and where to approve; the first time at once. Default, and
    /// the longest: 15 s. The shortest is 10 ms.
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.limits.heartbeat = every.clamp(SHORTEST_HEARTBEAT, LONGEST_HEARTBEAT);
        self
    }

    /// How long what still runs may take to end, be answered and be reported,
    /// once the server ends. Default: 2 s, which is what the official SDKs
    /// leave a server before they kill it.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.limits.grace = grace.min(LONGEST);
        self
    }

    /// Serves the client at this process's stdin and stdout, until it goes
    /// away or a signal ends the server. Needs a runtime with I/O and time.
    ///
    /// # Errors
    ///
    /// When the server is put together wrongly, or signals cannot be listened to.
    pub async fn serve_stdio(self) -> Result<(), ServeError> {
        let server = self.check()?;
        let connection = transport::Connection::default();
        let _signals = signals::watch(connection.ended().clone())?;
        server.announce("stdio");
        connection::serve(server, connection, stdio::source(), stdio::sink()).await;
        Ok(())
    }

    /// Serves one client over any pair of streams, such as those of
    /// [`tokio::io::duplex`], until it goes away.
    ///
    /// # Errors
    ///
    /// When the server is put together wrongly.
    pub async fn serve<R, W>(self, reader: R, writer: W) -> Result<(), ServeError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let server = self.check()?;
        server.announce("a stream");
        let connection = transport::Connection::default();
        connection::serve(server, connection, Box::new(reader), Sink::Async(Box::new(writer)))
            .await;
        Ok(())
    }

    fn check(self) -> Result<Arc<Server>, ServeError> {
        let mut mistakes = Vec::new();
        let legs = Legs::new(self.state_key.as_ref(), &mut mistakes);
        let catalog = Catalog::new(
            &self.tools,
            &self.state,
            self.others,
            self.lists,
            self.has_status_tool,
            mistakes,
        )?;
        let status_tool = catalog.offers_status_tool().then(|| {
            StatusTool::new(std::iter::once(self.governor.clone()).chain(catalog.governors()))
        });
        Ok(Arc::new(Server {
            catalog,
            status_tool,
            governor: self.governor,
            title: self.title,
            version: self.version,
            instructions: self.instructions,
            state: self.state,
            limits: self.limits,
            hold: self.hold,
            legs,
            in_client: InClient::new(self.in_client),
            calls: TaskTracker::new(),
            tasks: Tasks::default(),
            #[cfg(feature = "streamable-http")]
            sessions: sessions::Sessions::default(),
        }))
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("governor", &self.governor).finish_non_exhaustive()
    }
}

impl Server {
    /// One line for the person who started the server.
    fn announce(&self, transport: &str) {
        tracing::info!(
            server_id = self.governor.server_id(),
            tools = self.catalog.names(),
            authority = self.governor.authority().describe(),
            "serving over {transport}"
        );
        for (tool, reason) in self.catalog.ungoverned() {
            tracing::warn!(tool, reason, "runs ungoverned: nobody is asked");
        }
    }

    /// Refuses what waits and what comes, and waits for reports until `deadline`.
    async fn close_governors(&self, deadline: tokio::time::Instant) {
        let governors = self.catalog.governors().chain([self.governor.clone()]);
        let closing = governors.map(|governor| async move {
            governor.close(deadline.saturating_duration_since(tokio::time::Instant::now())).await
        });
        if !futures_util::future::join_all(closing).await.into_iter().all(|arrived| arrived) {
            tracing::warn!("not every outcome could be reported before the server ended");
        }
    }

    /// Tells every governor that the server ends, without waiting.
    async fn withdraw(&self) {
        for governor in self.catalog.governors().chain([self.governor.clone()]) {
            governor.close(Duration::ZERO).await;
        }
    }
}
