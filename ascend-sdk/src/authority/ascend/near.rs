//! HTTP/1.1 to a server on this machine, over connections that are kept.
//!
//! Here there is no TLS, no proxy and no name to look up, and a call takes little
//! more than its requests. A connection has no task of its own: whoever asks
//! drives it, so that an exchange wakes nobody else.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use url::{Host, Url};

/// The most connections that are kept while nobody asks, and for how long.
const IDLE_LIMIT: usize = 256;
const IDLE_TIME: Duration = Duration::from_secs(60);

/// A server on this machine.
pub(super) struct Near {
    addresses: Vec<SocketAddr>,
    connect: Duration,
    /// The one that was used last is at the end.
    idle: Mutex<VecDeque<(Box<Connection>, Instant)>>,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NearError {
    #[error("no connection in time")]
    ConnectTimeout,
    #[error(transparent)]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
}

impl Near {
    /// Nothing is opened yet.
    pub(super) fn new(base: &Url, connect: Duration) -> Self {
        let hosts: &[IpAddr] = match base.host() {
            Some(Host::Ipv4(host)) => &[IpAddr::V4(host)],
            Some(Host::Ipv6(host)) => &[IpAddr::V6(host)],
            _ => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        };
        let port = base.port_or_known_default().unwrap_or(80);
        let addresses = hosts.iter().map(|host| SocketAddr::new(*host, port)).collect();
        Self { addresses, connect, idle: Mutex::default() }
    }

    /// Sends a request, and returns once the head of its answer is there. A
    /// connection that was closed meanwhile, so that nothing could be sent, is
    /// replaced by another.
    ///
    /// # Errors
    ///
    /// When there is no connection, or it breaks.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Box<Connection>), NearError> {
        loop {
            let (mut connection, is_kept) = match self.take() {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            if !connection.is_ready().await {
                if is_kept {
                    continue;
                }
                return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
            }
            match connection.send(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn keep(&self, connection: Box<Connection>) {
        if connection.driver.is_none() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        while idle.front().is_some_and(|(_, since)| now - *since > IDLE_TIME)
            || idle.len() >= IDLE_LIMIT
        {
            idle.pop_front();
        }
        idle.push_back((connection, now));
    }

    fn take(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle();
        let (connection, since) = idle.pop_back()?;
        if since.elapsed() > IDLE_TIME {
            // So are all others.
            idle.clear();
            return None;
        }
        Some(connection)
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(Box<Connection>, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Box<Connection>, NearError> {
        let stream = timeout(self.connect, TcpStream::connect(&*self.addresses))
            .await
            .map_err(|_| NearError::ConnectTimeout)??;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Box::new(Connection { sender, driver: Some(driver) }))
    }
}

/// A connection, and what moves it.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>,
}

impl Connection {
    /// Whether a request can be sent, as far as can be known.
    async fn is_ready(&mut self) -> bool {
        poll_fn(|context| {
            self.poll_driver(context);
            let is_ready = self.driver.is_some()
                && matches!(self.sender.poll_ready(context), Poll::Ready(Ok(())));
            Poll::Ready(is_ready)
        })
        .await
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let answer = self.sender.try_send_request(request);
        self.drive(answer).await
    }

    /// Moves the connection until `work`, which waits for it, is done.
    pub(super) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.poll_driver(context);
            work.as_mut().poll(context)
        })
        .await
    }

    fn poll_driver(&mut self, context: &mut Context<'_>) {
        // How it ended is told to whoever waits for an answer.
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(context).is_ready()
        {
            self.driver = None;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        task::yield_now,
    };

    use super::*;

    async fn ask(near: &Near) -> Bytes {
        let mut request = Request::new(Full::new(Bytes::new()));
        request.headers_mut().insert("host", "localhost".parse().unwrap());
        let (response, mut connection) = near.send(request).await.unwrap();
        let body = connection.drive(response.into_body().collect()).await.unwrap().to_bytes();
        near.keep(connection);
        body
    }

    async fn answer(stream: &mut TcpStream, body: &str) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_replaced_once_it_was_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let near = Near::new(&url, Duration::from_secs(5));
        let serve = async {
            let (mut first, _) = listener.accept().await.unwrap();
            answer(&mut first, "one").await;
            answer(&mut first, "two").await;
            first
        };
        let asked = async { (ask(&near).await, ask(&near).await) };
        let (first, (one, two)) = tokio::join!(serve, asked);
        assert_eq!((&*one, &*two), (&b"one"[..], &b"two"[..]));

        drop(first);
        let (mut kept, since) = near.idle().pop_back().unwrap();
        while kept.is_ready().await {
            yield_now().await;
        }
        near.idle().push_back((kept, since));
        let serve = async {
            let (mut second, _) = listener.accept().await.unwrap();
            answer(&mut second, "three").await;
            second
        };
        let (_second, three) = tokio::join!(serve, ask(&near));
        assert_eq!(&*three, b"three");
        assert_eq!(near.idle().len(), 1);
    }
}
