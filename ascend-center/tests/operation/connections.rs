use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use ascend_center::ServeConfig;
use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::support::open;

/// A center that is served in this process.
async fn served(directory: &std::path::Path, config: ServeConfig) -> SocketAddr {
    let center = open(directory).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { center.serve(listener, config, std::future::pending()).await });
    address
}

async fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
}

async fn answered(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn who_begins_a_request_and_never_ends_it_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let address = served(directory.path(), ServeConfig::new()).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    ask(&mut idle).await;
    answered(&mut idle).await;
    slow.write_all(b"GET /health HTTP/1.1\r\nhost: local").await.unwrap();
    tokio::time::pause();
    let begun = Instant::now();
    // Answered or not, it ends.
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    let waited = begun.elapsed();
    assert!((Duration::from_secs(100)..Duration::from_secs(200)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn no_more_are_answered_than_there_may_be() {
    let directory = tempfile::tempdir().unwrap();
    let config = ServeConfig::new().max_connections(NonZeroU32::new(2).unwrap());
    let address = served(directory.path(), config).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    for stream in [&mut first, &mut second] {
        ask(stream).await;
        answered(stream).await;
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    ask(&mut third).await;
    for _ in 0..50 {
        ask(&mut first).await;
        answered(&mut first).await;
    }
    assert!(third.readable().now_or_never().is_none(), "it was answered");
    drop(first);
    answered(&mut third).await;
    ask(&mut second).await;
    answered(&mut second).await;
}
