//! A server that writes whatever bytes a script tells it to, or none.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

#[derive(Debug, Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// Sends these bytes so many times.
    Repeat(Vec<u8>, usize),
    /// Sends one byte at a time, with this pause after each.
    Drip(Vec<u8>, Duration),
    /// Keeps the connection open and says nothing more.
    Hang,
}

pub fn send(text: impl Into<String>) -> Step {
    Step::Send(text.into().into_bytes())
}

/// A whole answer. The connection is closed after it.
pub fn answer(status: &str, body: &str) -> Step {
    answer_with(status, "", body)
}

pub fn answer_with(status: &str, headers: &str, body: &str) -> Step {
    send(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

pub fn ok(body: &str) -> Step {
    answer("200 OK", body)
}

pub struct Rogue {
    pub url: String,
    pub connections: Arc<AtomicUsize>,
    pub sent: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Rogue {
    /// Answers by `script`, which gets the request's path and how many
    /// requests came before it.
    pub async fn start(script: impl Fn(&str, usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let sent = Arc::new(AtomicUsize::new(0));
        let (counter, bytes) = (connections.clone(), sent.clone());
        let script = Arc::new(script);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let nth = counter.fetch_add(1, Ordering::SeqCst);
                let (script, bytes) = (script.clone(), bytes.clone());
                tokio::spawn(async move {
                    // A client that goes away in the middle is as it should be.
                    let _ = serve(stream, &*script, nth, &bytes).await;
                });
            }
        });
        Self { url, connections, sent, server }
    }

    /// The same for every request.
    pub async fn always(steps: Vec<Step>) -> Self {
        Self::start(move |_, _| steps.clone()).await
    }
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    script: &(dyn Fn(&str, usize) -> Vec<Step> + Send + Sync),
    nth: usize,
    sent: &AtomicUsize,
) -> std::io::Result<()> {
    let path = read_request(&mut stream).await?;
    for step in script(&path, nth) {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).await?,
            Step::Repeat(bytes, times) => {
                for _ in 0..times {
                    stream.write_all(&bytes).await?;
                    sent.fetch_add(bytes.len(), Ordering::SeqCst);
                }
            }
            Step::Drip(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Step::Hang => std::future::pending().await,
        }
    }
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&buffer[..count]);
        let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.trim().parse().unwrap());
        if request.len() >= end + 4 + length {
            let path = head.split(' ').nth(1).unwrap_or_default();
            return Ok(path.split('?').next().unwrap_or_default().to_owned());
        }
    }
}
