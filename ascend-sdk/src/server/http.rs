//! Streamable HTTP, for this machine unless told otherwise.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, combinators::BoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, body::Incoming, service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rmcp::transport::{
    StreamableHttpServerConfig, StreamableHttpService,
    streamable_http_server::session::local::{LocalSessionManager, SessionConfig},
};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    GovernedServer, ServeError, Server,
    handler::Handler,
    http_sessions::{Answers, Sessions},
    session::SESSION_ID,
    signals,
};

/// Where the protocol is spoken.
const PATH: &str = "/mcp";

/// How long a session of a version with sessions may be silent. rmcp's 5 min
/// would end it under a call that waits for a person.
const SESSION_SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

type Service = StreamableHttpService<Handler, LocalSessionManager>;

impl GovernedServer {
    /// Lets [`serve_http`](Self::serve_http) take an address that other machines
    /// can reach, where clients know the server by these hosts, such as
    /// `mcp.example.com` or `mcp.example.com:8080`. Nothing here authenticates
    /// clients: put something in front that does.
    pub fn expose_to<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Serves Streamable HTTP at `address` and the path `/mcp`, such as
    /// `([127, 0, 0, 1], 3000)`; port 0 takes any free one. Returns once it listens.
    ///
    /// A request is refused unless its `Host`, and its `Origin` if it has one, is
    /// this machine's loopback or one that [`expose_to`](Self::expose_to) names:
    /// otherwise any web page could reach the server by rebinding its own name.
    ///
    /// # Errors
    ///
    /// When the server is put together wrongly, the address is open to other
    /// machines without `expose_to`, or the system does not give it.
    pub async fn serve_http(
        mut self,
        address: impl Into<SocketAddr>,
    ) -> Result<HttpServer, ServeError> {
        let address = address.into();
        let hosts = std::mem::take(&mut self.hosts);
        if !address.ip().is_loopback() && hosts.is_empty() {
            return Err(ServeError::NotLoopback(address));
        }
        let server = self.check()?;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        server.announce(&format!("http://{address}{PATH}"));

        let ended = CancellationToken::new();
        let sessions = CancellationToken::new();
        let config = StreamableHttpServerConfig::default()
            .with_cancellation_token(sessions.clone())
            .with_max_request_body_bytes(server.limits.line_bytes)
            .with_allowed_hosts(allowed_hosts(&hosts))
            .with_allowed_origins(allowed_origins(&hosts))
            .enforce_origin_validation();
        let mut manager = LocalSessionManager::default();
        let answers = Answers::default();
        let mut session = SessionConfig::default();
        session.keep_alive = Some(SESSION_SILENCE);
        manager.session_config = session;
        let prototype = Handler::new(server.clone(), ended.clone());
        // A session has an id of its own, which the handler reads from the
        // request; requests without one share that of the server.
        let manager = Arc::new(manager);
        let service = Service::new(move || Ok(prototype.clone()), manager.clone(), config);
        let connections = TaskTracker::new();
        let face = Face {
            server: server.clone(),
            service,
            sessions: Arc::new(Sessions::new(manager)),
            answers: answers.clone(),
        };
        tokio::spawn(accept(
            Arc::new(face),
            listener,
            connections.clone(),
            ended.clone(),
            sessions.clone(),
        ));
        Ok(HttpServer { server, address, ended, sessions, connections, answers })
    }
}

fn allowed_hosts(exposed: &[String]) -> Vec<String> {
    let loopback = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    loopback.into_iter().chain(exposed.iter().cloned()).collect()
}

fn allowed_origins(exposed: &[String]) -> Vec<String> {
    let loopback = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
    loopback
        .into_iter()
        .chain(exposed.iter().cloned())
        .flat_map(|host| {
            let has_port =
                host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let port = if has_port { "" } else { ":*" };
            ["http", "https"].map(|scheme| format!("{scheme}://{host}{port}"))
        })
        .collect()
}

/// What requests are answered with.
struct Face {
    server: Arc<Server>,
    service: Service,
    sessions: Arc<Sessions>,
    answers: Answers,
}

async fn accept(
    face: Arc<Face>,
    listener: TcpListener,
    connections: TaskTracker,
    ended: CancellationToken,
    sessions: CancellationToken,
) {
    loop {
        let stream = tokio::select! {
            () = ended.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to be closed.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let (face, sessions) = (face.clone(), sessions.clone());
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let face = face.clone();
                async move { Ok::<_, Infallible>(face.answer(request).await) }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            let connection = builder.serve_connection(TokioIo::new(stream), answer);
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = sessions.cancelled() => {
                    // What is on its way still arrives.
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error, "a connection broke");
            }
        });
    }
}

impl Face {
    async fn answer(&self, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        if request.uri().path() != PATH {
            let mut response = Response::new(Empty::new().boxed());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
        let method = request.method().clone();
        let id = |headers: &HeaderMap| Some(headers.get(SESSION_ID)?.to_str().ok()?.to_owned());
        let session = id(request.headers());
        let in_use = session.as_ref().and_then(|session| self.sessions.use_one(session));
        let answered = (method == Method::POST).then(|| self.answers.token());
        let response = self.service.clone().handle(request).await;
        match session {
            Some(session) if method == Method::DELETE => {
                if response.status().is_success() {
                    self.sessions.forget(&session);
                    self.server.sessions.end(&session);
                }
            }
            Some(_) => {}
            None => {
                if let Some(session) = id(response.headers()) {
                    for idle in self.sessions.begin(session).await {
                        self.server.sessions.end(&idle);
                    }
                }
            }
        }
        // Until the body has ended, which for a call is when it is answered.
        let in_use = (in_use, answered);
        response.map(|body| {
            body.map_frame(move |frame| {
                let _ = &in_use;
                frame
            })
            .boxed()
        })
    }
}

/// A server that listens. Dropped, it stops listening and cancels its calls.
#[derive(Debug)]
#[must_use = "a server that is dropped stops; call `wait`"]
pub struct HttpServer {
    server: Arc<Server>,
    address: SocketAddr,
    ended: CancellationToken,
    sessions: CancellationToken,
    connections: TaskTracker,
    answers: Answers,
}

impl HttpServer {
    /// The address that it listens at.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What a client is given, such as `http://127.0.0.1:3000/mcp`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Serves until SIGTERM, SIGINT or SIGHUP, and then ends as
    /// [`shutdown`](Self::shutdown) does.
    ///
    /// # Errors
    ///
    /// When signals cannot be listened to.
    pub async fn wait(self) -> Result<(), ServeError> {
        let _signals = signals::watch(self.ended.clone())?;
        self.ended.cancelled().await;
        self.shutdown().await;
        Ok(())
    }

    /// Takes no more calls, withdraws those that wait, and gives what runs the
    /// grace to end, be answered and be reported.
    pub async fn shutdown(self) {
        self.ended.cancel();
        let deadline = Instant::now() + self.server.limits.grace;
        self.server.withdraw().await;
        self.server.calls.close();
        if tokio::time::timeout_at(deadline, self.server.calls.wait()).await.is_err() {
            tracing::warn!("a tool did not end within the grace");
        }
        self.server.close_governors(deadline).await;
        // What is answered arrives before its session ends.
        self.answers.close();
        let _ = tokio::time::timeout_at(deadline, self.answers.wait()).await;
        self.sessions.cancel();
        self.connections.close();
        let _ = tokio::time::timeout_at(deadline, self.connections.wait()).await;
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.ended.cancel();
        self.sessions.cancel();
    }
}
