//! rmcp's transport over lines, with the manners that stdio clients need.
//!
//! rmcp's own drops requests that it cannot read, ends at a stray first
//! message, and keys calls by the client's ids alone, so that a reused id gets
//! an older call's result. Here every request is answered, and rmcp sees only
//! sound messages under ids of our own, each used once.

use std::{
    collections::HashMap,
    io,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::FutureExt as _;
use rmcp::{
    Peer, RoleServer,
    model::{
        CallToolRequest, ClientJsonRpcMessage, ClientRequest, ErrorData, GetExtensions as _,
        GetMeta as _, JsonRpcError, JsonRpcMessage, JsonRpcResponse, ProtocolVersion, RequestId,
        ServerJsonRpcMessage,
    },
    service::RequestContext,
    transport::Transport,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Limits,
    handler::Handler,
    lines::{Line, Lines},
    message::{self, Complaint, Incoming, Request},
    outbox::Outbox,
    stdio::Source,
};

/// What the transport shares with whoever ends the connection.
#[derive(Clone, Default)]
pub(crate) struct Connection(Arc<Shared>);

#[derive(Default)]
struct Shared {
    outbox: Outbox,
    /// Cancelled when no more is read: the stream ended, or the server ends.
    ended: CancellationToken,
    pending: Mutex<Pending>,
    answered: Notify,
    next_id: AtomicI64,
}

/// The requests that wait for their answer, by our id and by the client's.
#[derive(Default)]
struct Pending {
    ours: HashMap<i64, Open>,
    theirs: HashMap<Value, i64>,
}

struct Open {
    /// The client's id.
    id: Value,
    /// What its client's cancellation cancels; `None` where rmcp is told of it.
    ct: Option<CancellationToken>,
}

impl Connection {
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    /// Cancelled when nothing more is read.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.0.ended
    }

    /// Waits until every request is answered or cancelled.
    pub(crate) async fn settled(&self) {
        loop {
            let answered = self.0.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            if !self.is_answering() {
                return;
            }
            answered.await;
        }
    }

    /// Whether requests are still to be answered.
    pub(crate) fn is_answering(&self) -> bool {
        !self.pending().ours.is_empty()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our id for the client's `id`; `None` when that one is in flight.
    fn open(&self, id: Value, ct: Option<CancellationToken>) -> Option<i64> {
        let mut pending = self.pending();
        if pending.theirs.contains_key(&id) {
            return None;
        }
        let ours = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        pending.theirs.insert(id.clone(), ours);
        pending.ours.insert(ours, Open { id, ct });
        Some(ours)
    }

    /// Answers a request, unless it was cancelled.
    fn answer(&self, ours: i64, outcome: Result<&impl Serialize, &ErrorData>) -> io::Result<()> {
        let mut pending = self.pending();
        let Some(Open { id, .. }) = pending.ours.remove(&ours) else { return Ok(()) };
        pending.theirs.remove(&id);
        // Before the lock is let go: what ends the connection waits until nothing is
        // pending, and then for the outbox.
        let pushed = self.0.outbox.push(&Answer { jsonrpc: "2.0", id: Some(&id), outcome });
        drop(pending);
        self.0.answered.notify_waiters();
        pushed
    }

    /// Forgets a request that its client cancelled: our id for it.
    fn cancel(&self, id: &Value) -> Option<(i64, Option<CancellationToken>)> {
        let mut pending = self.pending();
        let ours = pending.theirs.remove(id)?;
        let ct = pending.ours.remove(&ours).and_then(|open| open.ct);
        drop(pending);
        self.0.answered.notify_waiters();
        Some((ours, ct))
    }

    fn is_open(&self, id: &Value) -> bool {
        self.pending().theirs.contains_key(id)
    }

    fn complain(&self, Complaint { id, error }: Complaint) {
        // An answer under the id of a sound request would be taken for its own.
        let id = id.filter(|id| !self.is_open(id));
        tracing::info!(code = error.code.0, message = ?error.message, "refused a message");
        self.push(&Answer::<()> { jsonrpc: "2.0", id: id.as_ref(), outcome: Err(&error) });
    }

    fn push(&self, message: &impl Serialize) {
        if let Err(error) = self.0.outbox.push(message) {
            tracing::debug!(%error, "not sent");
        }
    }
}

/// An answer as it is written, under the client's id. JSON-RPC wants `null`
/// where there is none.
struct Answer<'a, T> {
    jsonrpc: &'static str,
    id: Option<&'a Value>,
    outcome: Result<&'a T, &'a ErrorData>,
}

impl<T: Serialize> Serialize for Answer<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut answer = serializer.serialize_struct("Answer", 3)?;
        answer.serialize_field("jsonrpc", self.jsonrpc)?;
        answer.serialize_field("id", &self.id)?;
        match self.outcome {
            Ok(result) => answer.serialize_field("result", result)?,
            Err(error) => answer.serialize_field("error", error)?,
        }
        answer.end()
    }
}

/// Taken out of its box, which is gone then: one that is taken apart where it stands lives
/// as long as its name.
#[expect(clippy::boxed_local, reason = "to unbox it")]
fn unboxed<T>(boxed: Box<T>) -> T {
    *boxed
}

/// Which rules the session follows: settled by its first request.
#[derive(Debug)]
enum Era {
    Open,
    /// After `initialize`.
    Handshake,
    /// Each request says its own version (2026-07-28).
    Inline,
}

/// A transport over lines.
pub(crate) struct LineTransport {
    lines: Lines<Source>,
    limits: Limits,
    connection: Connection,
    handler: Handler,
    era: Era,
}

impl LineTransport {
    pub(crate) fn new(
        source: Source,
        limits: Limits,
        connection: Connection,
        handler: Handler,
    ) -> Self {
        let lines = Lines::new(source, limits.line_bytes);
        Self { lines, limits, connection, handler, era: Era::Open }
    }

    /// What rmcp should see of a line, if anything.
    fn accept(&mut self, line: Line) -> Option<ClientJsonRpcMessage> {
        let incoming = match line {
            Line::Whole(line) => message::read(line)?,
            Line::TooLong(id) => Incoming::Complaint(message::too_long(id, self.limits.line_bytes)),
        };
        let opening = matches!(self.era, Era::Open);
        match incoming {
            Incoming::Complaint(complaint) => {
                self.connection.complain(complaint);
                None
            }
            Incoming::Ignored(what) => {
                tracing::info!("ignored {what}");
                None
            }
            Incoming::Request(request) => self.accept_request(*request),
            Incoming::Notification(_) | Incoming::Cancelled { .. } | Incoming::Response { .. }
                if opening =>
            {
                tracing::info!("ignored a message before `initialize`");
                None
            }
            Incoming::Notification(notification) => {
                Some(JsonRpcMessage::notification(notification))
            }
            Incoming::Cancelled { id, mut notification } => {
                let Some((ours, ct)) = self.connection.cancel(&id) else {
                    tracing::debug!("ignored the cancellation of a request that is not in flight");
                    return None;
                };
                if let Some(ct) = ct {
                    ct.cancel();
                    return None;
                }
                notification.params.request_id = Some(RequestId::Number(ours));
                Some(JsonRpcMessage::notification(notification.into()))
            }
            Incoming::Response { id, result } => Some(match result {
                Ok(result) => JsonRpcMessage::response(result, id),
                Err(error) => JsonRpcMessage::error(error, Some(id)),
            }),
        }
    }

    fn accept_request(&mut self, request: Request) -> Option<ClientJsonRpcMessage> {
        let Request { id, mut request, arguments } = request;
        if let Err(error) = self.check_era(&request) {
            self.connection.complain(Complaint { id: Some(id), error });
            return None;
        }
        let own = self.own_call(&request).map(|peer| (peer, CancellationToken::new()));
        let ct = own.as_ref().map(|(_, ct)| ct.clone());
        let Some(ours) = self.connection.open(id.clone(), ct) else {
            // Under its own id, which is the other request's too, this would
            // end that one. Its sender broke the protocol and sees it in `data`.
            let text = format!("a request with the id {id} is already in flight");
            let error = ErrorData::invalid_request(text, None);
            self.connection.complain(Complaint { id: None, error });
            return None;
        };
        self.enter_era(&request);
        if let Some(arguments) = arguments {
            request.extensions_mut().insert(arguments);
        }
        #[cfg(feature = "opentelemetry")]
        request.extensions_mut().insert(crate::observe::ClientsId(id));
        match (request, own) {
            (ClientRequest::CallToolRequest(call), Some((peer, ct))) => {
                self.begin(ours, call, peer, ct);
                None
            }
            (request, _) => Some(JsonRpcMessage::request(request, RequestId::Number(ours))),
        }
    }

    /// Answers a call in a task of its own, also one in which what is not its body panics.
    fn begin(
        &self,
        ours: i64,
        mut call: CallToolRequest,
        peer: Peer<RoleServer>,
        ct: CancellationToken,
    ) {
        let mut context = RequestContext::new(RequestId::Number(ours), peer);
        context.ct = ct;
        context.meta = call.extensions.remove().unwrap_or_default();
        context.extensions = call.extensions;
        let (handler, connection) = (self.handler.clone(), self.connection.clone());
        // On the heap until the call has begun: what waits has no room for it.
        let asked = Box::new((call.params, context));
        tokio::spawn(async move {
            let answering = AssertUnwindSafe(async {
                let (params, context) = unboxed(asked);
                handler.answer(params, context).await
            });
            let answer = answering.catch_unwind().await.unwrap_or_else(|_| {
                let text = "the server panicked as it answered; what was done is not known";
                Err(ErrorData::internal_error(text, None))
            });
            if let Err(error) = connection.answer(ours, answer.as_ref()) {
                tracing::debug!(%error, "not sent");
            }
        });
    }

    /// The client, where the request is a call that is not left to rmcp: one in a
    /// session that began with `initialize`, whose rules are few. rmcp's loop takes
    /// three turns and a task more for each, and keeps kilobytes while it waits.
    fn own_call(&self, request: &ClientRequest) -> Option<Peer<RoleServer>> {
        let is_own = matches!(self.era, Era::Handshake)
            && matches!(request, ClientRequest::CallToolRequest(_))
            && message::inline_version(request).is_none();
        is_own.then(|| self.handler.peer()).flatten()
    }

    fn check_era(&self, request: &ClientRequest) -> Result<(), ErrorData> {
        let is_initialize = matches!(request, ClientRequest::InitializeRequest(_));
        match self.era {
            Era::Open => match request {
                ClientRequest::InitializeRequest(_)
                | ClientRequest::PingRequest(_)
                | ClientRequest::DiscoverRequest(_) => Ok(()),
                _ if message::inline_version(request).is_some() => Ok(()),
                _ => Err(ErrorData::invalid_request(
                    "the session has not begun; send `initialize` first",
                    None,
                )),
            },
            _ if is_initialize => Err(ErrorData::invalid_request(
                "the session has already begun; `initialize` comes first and once",
                None,
            )),
            Era::Handshake => match message::inline_version(request) {
                Some(version) if !version.has_initialize() => Err(ErrorData::invalid_request(
                    format!(
                        "the session began with `initialize`; a request cannot switch it to {version}"
                    ),
                    None,
                )),
                _ => Ok(()),
            },
            Era::Inline => Ok(()),
        }
    }

    /// Follows rmcp, which settles on the first `initialize`, or the first
    /// other request that carries all of the metadata of 2026-07-28.
    fn enter_era(&mut self, request: &ClientRequest) {
        if !matches!(self.era, Era::Open) {
            return;
        }
        match request {
            ClientRequest::InitializeRequest(_) => self.era = Era::Handshake,
            ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_) => {}
            _ => {
                let meta = request.get_meta();
                let complete =
                    meta.missing_required_keys(&ProtocolVersion::V_2026_07_28).is_empty();
                let known = |version| ProtocolVersion::KNOWN_VERSIONS.contains(&version);
                if complete && meta.protocol_version().is_some_and(known) {
                    self.era = Era::Inline;
                }
            }
        }
    }
}

impl Transport<RoleServer> for LineTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        item: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let connection = &self.connection;
        let outbox = &connection.0.outbox;
        let sent = match &item {
            JsonRpcMessage::Response(JsonRpcResponse {
                id: RequestId::Number(id), result, ..
            }) => connection.answer(*id, Ok(result)),
            JsonRpcMessage::Error(JsonRpcError {
                id: Some(RequestId::Number(id)), error, ..
            }) => connection.answer(*id, Err::<&(), _>(error)),
            JsonRpcMessage::Error(JsonRpcError { id: None, error, .. }) => {
                outbox.push(&Answer::<()> { jsonrpc: "2.0", id: None, outcome: Err(error) })
            }
            // To no request of rmcp's: its ids are ours, which are numbers.
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => Ok(()),
            // Nobody waits for a notification, and a client that reads nothing
            // must not make them pile up.
            JsonRpcMessage::Notification(_) if outbox.unread() > self.limits.unread_bytes => Ok(()),
            message => outbox.push(message),
        };
        std::future::ready(sent)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        let connection = self.connection.clone();
        let (ended, outbox) = (&connection.0.ended, &connection.0.outbox);
        loop {
            if ended.is_cancelled() {
                // rmcp takes `None` as leave to wait 5 s before it cancels
                // anything; whoever serves this connection ends it instead.
                return std::future::pending().await;
            }
            let line = tokio::select! {
                biased;
                () = ended.cancelled() => continue,
                () = outbox.gone().cancelled() => None,
                line = async {
                    outbox.drained_to(self.limits.unread_bytes).await;
                    self.lines.next().await
                } => line.unwrap_or_else(|error| {
                    tracing::info!(%error, "the client's messages can no longer be read");
                    None
                }),
            };
            match line {
                None => ended.cancel(),
                Some(line) => {
                    if let Some(message) = self.accept(line) {
                        return Some(message);
                    }
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.connection.0.ended.cancel();
        Ok(())
    }
}
