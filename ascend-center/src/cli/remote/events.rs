//! What happens at a center elsewhere, as its server-sent events.

use std::time::Duration;

use ascend_center::AuditEntry;
use reqwest::{Method, Response, StatusCode};

use super::{Remote, RemoteError, read};

/// Longer than a stream lasts.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How soon a stream that ended is gone on with.
const PAUSE: Duration = Duration::from_millis(500);
/// The most bytes of one event.
const LONGEST: usize = 1024 * 1024;

/// A stream of events, gone on with wherever it was cut.
pub(crate) struct Events<'a> {
    remote: &'a Remote,
    last: Option<i64>,
    answer: Option<Response>,
    buffer: Vec<u8>,
}

impl Remote {
    pub(crate) async fn follow(&self, after: Option<i64>) -> Result<Events<'_>, RemoteError> {
        let mut events = Events { remote: self, last: after, answer: None, buffer: Vec::new() };
        events.connect().await?;
        Ok(events)
    }
}

impl Events<'_> {
    async fn connect(&mut self) -> Result<(), RemoteError> {
        let mut request = self.remote.request(Method::GET, "api/v1/events").timeout(TIMEOUT);
        if let Some(last) = self.last {
            request = request.header("last-event-id", last.to_string());
        }
        let answer = request.send().await.map_err(RemoteError::unreachable)?;
        if answer.status() != StatusCode::OK {
            return Err(Remote::refusal(answer).await);
        }
        self.buffer.clear();
        self.answer = Some(answer);
        Ok(())
    }

    /// The next thing that happens; a stream that ended is gone on with.
    pub(crate) async fn next(&mut self) -> Result<AuditEntry, RemoteError> {
        loop {
            if let Some(entry) = self.buffered()? {
                self.last = Some(entry.seq);
                return Ok(entry);
            }
            let Some(answer) = &mut self.answer else {
                tokio::time::sleep(PAUSE).await;
                match self.connect().await {
                    Err(error) if error.is_passing() => {
                        tracing::warn!("no news of the center, trying again: {error}");
                    }
                    connected => connected?,
                }
                continue;
            };
            match answer.chunk().await {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) | Err(_) => self.answer = None,
            }
            if self.buffer.len() > LONGEST {
                return Err(RemoteError::Unreadable("an event without an end".to_owned()));
            }
        }
    }

    /// The next whole event of what was read; comments are passed over.
    fn buffered(&mut self) -> Result<Option<AuditEntry>, RemoteError> {
        while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let block = String::from_utf8_lossy(&block);
            if let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) {
                let data = serde_json::from_str(data)
                    .map_err(|error| RemoteError::Unreadable(error.to_string()))?;
                return read(data).map(Some);
            }
        }
        Ok(None)
    }
}
