//! How requests travel: plainly to this machine, with TLS and the environment's
//! proxies to any other.

use std::{error::Error, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{Uri, body::Incoming};
use reqwest::{
    Method, Url,
    header::{ACCEPT, HOST, HeaderMap, HeaderValue, USER_AGENT},
};
use tokio::time::{Instant, timeout_at};
use url::Position;

use super::{
    config::{ConfigError, is_loopback},
    near::{Connection, Near, NearError},
};

/// The most bytes of an answer that are read.
pub(super) const BODY_LIMIT: usize = 1 << 20;

const NAME: &str = concat!("ascend-sdk/", env!("CARGO_PKG_VERSION"), " Rust");

/// The way to one server.
pub(super) enum Carrier {
    Near(Near),
    Far(reqwest::Client, Url),
}

/// What is sent.
pub(super) struct Message {
    pub(super) method: Method,
    /// With its query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The head of an answer, and what could be had of its body.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Bytes, BodyError>,
}

/// Why the body of an answer is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    Late,
    Broken,
    TooLong,
}

/// Why there is no answer.
pub(super) enum Silence {
    Late,
    /// In words that name no URL.
    Unsent(String),
}

impl Carrier {
    pub(super) fn new(base: &Url, connect: Duration) -> Result<Self, ConfigError> {
        // `http` goes nowhere else.
        if base.scheme() == "http" {
            return Ok(Self::Near(Near::new(base, connect)));
        }
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(connect)
            .https_only(true);
        if is_loopback(base) {
            // A proxy would read what is meant for this machine. Away from it
            // the environment's proxy only sees the host.
            let local = [
                (std::net::Ipv4Addr::LOCALHOST, 0).into(),
                (std::net::Ipv6Addr::LOCALHOST, 0).into(),
            ];
            builder = builder.no_proxy().resolve_to_addrs("localhost", &local);
        }
        builder
            .build()
            .map(|http| Self::Far(http, base.clone()))
            .map_err(|error| ConfigError::Client(innermost(&error)))
    }

    /// The headers of every request to `base`.
    pub(super) fn headers(&self, base: &Url) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let authority = &base[Position::BeforeHost..Position::AfterPort];
        if let (Self::Near(_), Ok(host)) = (self, HeaderValue::from_str(authority)) {
            headers.insert(HOST, host);
        }
        headers
    }

    /// Sends a message, and reads the answer by `deadline`.
    ///
    /// # Errors
    ///
    /// When not even the head of an answer came.
    pub(super) async fn send(&self, message: Message, deadline: Instant) -> Result<Reply, Silence> {
        match self {
            Self::Near(near) => send_near(near, message, deadline).await,
            // Its future is large, and the other one the usual wait.
            Self::Far(http, base) => Box::pin(send_far(http, base, message, deadline)).await,
        }
    }
}

async fn send_near(near: &Near, message: Message, deadline: Instant) -> Result<Reply, Silence> {
    let Message { method, path, headers, body } = message;
    let mut request = hyper::Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(path).map_err(|_| unsendable())?;
    *request.headers_mut() = headers;
    let (response, mut connection) = timeout_at(deadline, near.send(request))
        .await
        .map_err(|_| Silence::Late)?
        .map_err(|error| Silence::Unsent(text_of(&error)))?;
    let (head, mut body) = response.into_parts();
    let body = timeout_at(deadline, read_near(&mut connection, &mut body))
        .await
        .unwrap_or(Err(BodyError::Late));
    if body.is_ok() {
        near.keep(connection);
    }
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

async fn read_near(connection: &mut Connection, body: &mut Incoming) -> Result<Bytes, BodyError> {
    let mut read = Chunks::default();
    while let Some(frame) = connection.drive(body.frame()).await {
        if let Ok(chunk) = frame.map_err(|_| BodyError::Broken)?.into_data() {
            read.add(chunk)?;
        }
    }
    Ok(read.into_bytes())
}

fn unsendable() -> Silence {
    Silence::Unsent("the path cannot be sent".to_owned())
}

async fn send_far(
    http: &reqwest::Client,
    base: &Url,
    message: Message,
    deadline: Instant,
) -> Result<Reply, Silence> {
    let Message { method, path, headers, body } = message;
    let url = base.join(&path).map_err(|_| unsendable())?;
    let mut request = reqwest::Request::new(method, url);
    *request.headers_mut() = headers;
    if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    let mut response = timeout_at(deadline, http.execute(request))
        .await
        .map_err(|_| Silence::Late)?
        .map_err(|error| Silence::Unsent(why_unsent(&error)))?;
    let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
    let body = timeout_at(deadline, read_far(&mut response)).await.unwrap_or(Err(BodyError::Late));
    Ok(Reply { status, headers, body })
}

async fn read_far(response: &mut reqwest::Response) -> Result<Bytes, BodyError> {
    let mut read = Chunks::default();
    while let Some(chunk) = response.chunk().await.map_err(|_| BodyError::Broken)? {
        read.add(chunk)?;
    }
    Ok(read.into_bytes())
}

/// A body as it comes: mostly in one piece, which is not copied.
#[derive(Default)]
struct Chunks {
    first: Bytes,
    all: BytesMut,
}

impl Chunks {
    fn add(&mut self, chunk: Bytes) -> Result<(), BodyError> {
        if self.first.len().max(self.all.len()) + chunk.len() > BODY_LIMIT {
            return Err(BodyError::TooLong);
        }
        if self.first.is_empty() {
            self.first = chunk;
            return Ok(());
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&chunk);
        Ok(())
    }

    fn into_bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

fn text_of(error: &NearError) -> String {
    match error {
        NearError::Exchange(error) => innermost(error),
        error => error.to_string(),
    }
}

fn why_unsent(error: &reqwest::Error) -> String {
    if error.is_timeout() { "no connection in time".to_owned() } else { innermost(error) }
}

/// The text of the error at the bottom, which is the telling one. The ones
/// above it name the URL.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    if error.is::<reqwest::Error>() {
        return "the request failed".to_owned();
    }
    error.to_string()
}
