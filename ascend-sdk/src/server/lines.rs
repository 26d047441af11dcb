//! Lines from a byte stream, none longer than a limit.

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::salvage::IdScanner;

/// How much is asked for in one read: a Linux pipe holds as much.
const CHUNK: usize = 64 * 1024;

/// A line, or what is known of one that was too long to keep.
#[derive(Debug)]
pub(crate) enum Line {
    /// Without its line end.
    Whole(Vec<u8>),
    /// It was skipped to its end; its id, if one was found.
    TooLong(Option<Value>),
}

/// Splits a stream into lines.
pub(crate) struct Lines<R> {
    reader: R,
    limit: usize,
    buffer: Vec<u8>,
    /// Up to here, `buffer` was already searched for a line end.
    searched: usize,
    /// Where the next line starts in `buffer`.
    start: usize,
    skipping: Option<IdScanner>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, buffer: Vec::new(), searched: 0, start: 0, skipping: None }
    }

    /// The next line; `None` at the end of the stream, where an unfinished line
    /// is dropped. Loses nothing when the future is dropped.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.searched -= self.start;
                self.start = 0;
            }
            // One large line must not hold its memory for ever.
            if self.buffer.is_empty() && self.buffer.capacity() > 16 * CHUNK {
                self.buffer = Vec::new();
            }
            self.buffer.reserve(CHUNK);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Option<Line> {
        let found = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
        let end = found.map_or(self.buffer.len(), |offset| self.searched + offset);
        self.searched = end;
        if self.skipping.is_none() && end - self.start > self.limit {
            self.skipping = Some(IdScanner::default());
        }
        if let Some(scanner) = &mut self.skipping {
            scanner.feed(&self.buffer[self.start..end]);
            self.start = end;
        }
        found?;
        let line = match self.skipping.take() {
            Some(scanner) => Line::TooLong(scanner.finish()),
            None => {
                let line = &self.buffer[self.start..end];
                Line::Whole(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
            }
        };
        self.start = end + 1;
        self.searched = self.start;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    async fn split(chunks: &[&[u8]], limit: usize) -> Vec<String> {
        let mut reader = tokio_test_reader(chunks);
        let mut lines = Lines::new(&mut reader, limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(match line {
                Line::Whole(bytes) => String::from_utf8(bytes).unwrap(),
                Line::TooLong(id) => format!("too long: {id:?}"),
            });
        }
        found
    }

    fn tokio_test_reader(chunks: &[&[u8]]) -> impl AsyncRead + Unpin {
        let mut whole: Box<dyn AsyncRead + Unpin> = Box::new(tokio::io::empty());
        for chunk in chunks {
            whole = Box::new(whole.chain(std::io::Cursor::new(chunk.to_vec())));
        }
        whole
    }

    #[tokio::test]
    async fn lines_are_whole_however_they_arrive() {
        let found = split(&[b"a\nb", b"b\r\n", b"\n", b"ccc\nd"], 10).await;
        assert_eq!(found, ["a", "bb", "", "ccc"]);
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_skipped_to_its_end() {
        let long = br#"{"method":"m","pad":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","id":4}"#;
        let (head, tail) = long.split_at(30);
        let found = split(&[b"a\n", head, tail, b"\nb\n"], 20).await;
        assert_eq!(found, ["a", "too long: Some(Number(4))", "b"]);
        // Found with its end in one read, too.
        let found = split(&[b"0123456789\n01234567890\nb\n"], 10).await;
        assert_eq!(found, ["0123456789", "too long: None", "b"]);
    }
}
