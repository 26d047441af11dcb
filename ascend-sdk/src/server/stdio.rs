//! The process's stdin and stdout, read and written without blocking.
//!
//! Clients give a server pipes (most), sockets (node's `socketpair`), or a
//! terminal or files (people). `tokio::io::stdin` hands each read to a pool
//! thread, and the runtime's shutdown then waits for a read that never returns.
//! Here a pipe is reopened non-blocking, a socket is read with `MSG_DONTWAIT`,
//! and the rest gets a detached thread of its own. The flags of the streams
//! that the process was given, which others share, are never changed.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    sync::{mpsc, oneshot},
};

/// What a transport reads from.
pub(crate) type Source = Box<dyn AsyncRead + Send + Unpin>;

/// What a transport writes to.
pub(crate) enum Sink {
    Async(Box<dyn AsyncWrite + Send + Unpin>),
    Thread(ThreadWriter),
}

impl Sink {
    /// Writes all of `batch`, and gives the buffer back.
    pub(crate) async fn write(&mut self, batch: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Async(writer) => {
                writer.write_all(&batch).await?;
                writer.flush().await?;
                Ok(batch)
            }
            Self::Thread(writer) => writer.write(batch).await,
        }
    }
}

/// The process's stdin.
pub(crate) fn source() -> Source {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd as _;
        if let Some(source) = unix::source(io::stdin().as_fd()) {
            return source;
        }
    }
    Box::new(ThreadReader::new(io::stdin()))
}

/// The process's stdout.
pub(crate) fn sink() -> Sink {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd as _;
        if let Some(writer) = unix::sink(io::stdout().as_fd()) {
            return Sink::Async(writer);
        }
    }
    Sink::Thread(ThreadWriter::new(io::stdout()))
}

/// A blocking stream, read by a thread that nobody waits for.
struct ThreadReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl ThreadReader {
    fn new(mut stream: impl io::Read + Send + 'static) -> Self {
        let (sender, chunks) = mpsc::channel(4);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let chunk = match stream.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        });
        Self { chunks, current: Bytes::new() }
    }
}

impl AsyncRead for ThreadReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.chunks.poll_recv(context)) {
                Some(chunk) => self.current = chunk?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current[..count]);
        self.current.advance(count);
        Poll::Ready(Ok(()))
    }
}

type Job = (Vec<u8>, oneshot::Sender<io::Result<Vec<u8>>>);

/// A blocking stream, written by a thread that nobody waits for.
pub(crate) struct ThreadWriter(mpsc::Sender<Job>);

impl ThreadWriter {
    fn new(mut stream: impl io::Write + Send + 'static) -> Self {
        let (sender, mut jobs) = mpsc::channel::<Job>(1);
        std::thread::spawn(move || {
            while let Some((batch, done)) = jobs.blocking_recv() {
                let written = stream.write_all(&batch).and_then(|()| stream.flush());
                let _ = done.send(written.map(|()| batch));
            }
        });
        Self(sender)
    }

    async fn write(&self, batch: Vec<u8>) -> io::Result<Vec<u8>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (done, written) = oneshot::channel();
        self.0.send((batch, done)).await.map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }
}

#[cfg(unix)]
mod unix {
    use std::{
        io,
        os::fd::{BorrowedFd, OwnedFd},
        pin::Pin,
        task::{Context, Poll, ready},
    };

    use rustix::{
        fs::{FileType, fstat},
        net::{RecvFlags, SendFlags, recv, send},
    };
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

    use super::Source;

    pub(super) fn source(fd: BorrowedFd<'_>) -> Option<Source> {
        match kind(fd)? {
            #[cfg(target_os = "linux")]
            FileType::Fifo => {
                let fd = reopen(fd, rustix::fs::OFlags::RDONLY)?;
                let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(fd).ok()?;
                Some(Box::new(pipe))
            }
            FileType::Socket => Some(Box::new(Socket::new(fd)?)),
            _ => None,
        }
    }

    pub(super) fn sink(fd: BorrowedFd<'_>) -> Option<Box<dyn AsyncWrite + Send + Unpin>> {
        match kind(fd)? {
            #[cfg(target_os = "linux")]
            FileType::Fifo => {
                let fd = reopen(fd, rustix::fs::OFlags::WRONLY)?;
                let pipe = tokio::net::unix::pipe::Sender::from_owned_fd(fd).ok()?;
                Some(Box::new(pipe))
            }
            FileType::Socket => Some(Box::new(Socket::new(fd)?)),
            _ => None,
        }
    }

    fn kind(fd: BorrowedFd<'_>) -> Option<FileType> {
        fstat(fd).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
    }

    /// A description of its own for the same pipe, so that `O_NONBLOCK` is not
    /// shared with the process's stream and its other holders. `None` where
    /// that is not allowed, as for a pipe that another user made.
    #[cfg(target_os = "linux")]
    fn reopen(fd: BorrowedFd<'_>, access: rustix::fs::OFlags) -> Option<OwnedFd> {
        use std::os::fd::AsRawFd as _;

        use rustix::fs::{Mode, OFlags};

        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).ok()
    }

    /// A socket whose shared flags say that it blocks.
    struct Socket(AsyncFd<OwnedFd>);

    impl Socket {
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types whose descriptor may change; an `OwnedFd` keeps its own"
        )]
        fn new(fd: BorrowedFd<'_>) -> Option<Self> {
            AsyncFd::new(fd.try_clone_to_owned().ok()?).ok().map(Self)
        }
    }

    impl AsyncRead for Socket {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            loop {
                let mut guard = ready!(self.0.poll_read_ready(context))?;
                let space = buffer.initialize_unfilled();
                let received = guard.try_io(|fd| {
                    let (count, _) = recv(fd, &mut *space, RecvFlags::DONTWAIT)?;
                    Ok(count)
                });
                match received {
                    Ok(Ok(count)) => {
                        buffer.advance(count);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(Err(error)) => return Poll::Ready(Err(error)),
                    Err(_would_block) => {}
                }
            }
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            loop {
                let mut guard = ready!(self.0.poll_write_ready(context))?;
                // Rust programs ignore SIGPIPE: a closed socket is an error here.
                match guard.try_io(|fd| Ok(send(fd, bytes, SendFlags::DONTWAIT)?)) {
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(sent) => return Poll::Ready(sent),
                    Err(_would_block) => {}
                }
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}
