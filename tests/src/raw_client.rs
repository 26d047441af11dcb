//! A client that writes lines, so that it can write wrong ones.

use std::{collections::VecDeque, process::Stdio, time::Duration};

use ascend_sdk::server::{GovernedServer, ServeError};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    task::JoinHandle,
};

/// After this, a message that was awaited will not come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A client of one server.
pub struct RawClient {
    reader: Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>,
    writer: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Messages that came while another was awaited.
    kept: VecDeque<Value>,
    /// After this, a message that was awaited will not come.
    pub patience: Duration,
}

impl RawClient {
    /// A client over any streams.
    #[must_use]
    pub fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let reader: Box<dyn AsyncRead + Send + Unpin> = Box::new(reader);
        Self {
            reader: BufReader::new(reader).lines(),
            writer: Some(Box::new(writer)),
            kept: VecDeque::new(),
            patience: PATIENCE,
        }
    }

    /// A client of `server` in this process.
    #[must_use]
    pub fn in_memory(server: GovernedServer) -> (Self, JoinHandle<Result<(), ServeError>>) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = tokio::io::split(theirs);
        let serving = tokio::spawn(server.serve(reader, writer));
        let (reader, writer) = tokio::io::split(ours);
        (Self::new(reader, writer), serving)
    }

    /// Takes the server's output out of the client, which then only writes.
    #[must_use]
    pub fn without_reader(self) -> (impl AsyncRead + Send + Unpin + use<>, Self) {
        let nothing: Box<dyn AsyncRead + Send + Unpin> = Box::new(tokio::io::empty());
        let reader = self.reader.into_inner();
        let client = Self {
            reader: BufReader::new(nothing).lines(),
            writer: self.writer,
            kept: self.kept,
            patience: self.patience,
        };
        (reader, client)
    }

    /// Writes a line as it is.
    pub async fn send_line(&mut self, line: impl AsRef<[u8]>) {
        let mut line = line.as_ref().to_vec();
        line.push(b'\n');
        let writer = self.writer.as_mut().expect("the input is open");
        writer.write_all(&line).await.expect("the server reads");
        writer.flush().await.expect("the server reads");
    }

    /// Writes a message.
    pub async fn send(&mut self, message: Value) {
        self.send_line(message.to_string()).await;
    }

    /// Ends the server's input.
    pub async fn close_input(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            // The other half of an in-memory stream stays open until it is told.
            let _ = writer.shutdown().await;
        }
    }

    async fn read(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(self.patience, self.reader.next_line())
            .await
            .expect("the server says something")
            .expect("the server's output can be read")?;
        Some(serde_json::from_str(&line).expect("the server writes JSON"))
    }

    /// The next message; `None` at the end of the server's output.
    pub async fn receive(&mut self) -> Option<Value> {
        match self.kept.pop_front() {
            Some(message) => Some(message),
            None => self.read().await,
        }
    }

    /// The first message that fits; others are kept for later.
    ///
    /// # Panics
    ///
    /// When the server ends without having sent it.
    pub async fn receive_where(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.kept.iter().position(&fits) {
            return self.kept.remove(at).expect("it was found there");
        }
        loop {
            let message = self.read().await.expect("the server goes on");
            if fits(&message) {
                return message;
            }
            self.kept.push_back(message);
        }
    }

    /// How many messages came that nobody asked for yet.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// The answer to the request `id`.
    pub async fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        self.receive_where(|message| message.get("method").is_none() && message["id"] == id).await
    }

    /// Sends a request and returns its answer.
    pub async fn request(&mut self, id: impl Into<Value>, method: &str, params: Value) -> Value {
        let id = id.into();
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
        self.answer(id).await
    }

    /// Shakes hands as a client of 2025-11-25.
    pub async fn initialize(&mut self) -> Value {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "raw", "version": "9" },
        });
        let answer = self.request("initialize", "initialize", params).await;
        self.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        answer
    }

    /// Begins a call.
    pub async fn begin(&mut self, id: impl Into<Value>, tool: &str, arguments: Value) {
        let params = json!({ "name": tool, "arguments": arguments });
        self.send(
            json!({ "jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params }),
        )
        .await;
    }

    /// Begins a call that reports its progress under `token`.
    pub async fn begin_with_progress(
        &mut self,
        id: impl Into<Value>,
        tool: &str,
        arguments: Value,
        token: impl Into<Value>,
    ) {
        let params = json!({
            "name": tool,
            "arguments": arguments,
            "_meta": { "progressToken": token.into() },
        });
        self.send(
            json!({ "jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params }),
        )
        .await;
    }

    /// The next notification of progress.
    pub async fn progress(&mut self) -> Value {
        self.receive_where(|message| message["method"] == "notifications/progress").await
    }

    /// Calls a tool and returns its result.
    pub async fn call(&mut self, id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
        let id = id.into();
        self.begin(id.clone(), tool, arguments).await;
        self.answer(id).await["result"].take()
    }

    /// Cancels a request.
    pub async fn cancel(&mut self, id: impl Into<Value>) {
        let params = json!({ "requestId": id.into(), "reason": "the user thought again" });
        self.send(
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }),
        )
        .await;
    }
}

/// A server process and its client.
pub struct Process {
    /// The process.
    pub child: Child,
    /// What it logs.
    pub stderr: Lines<BufReader<ChildStderr>>,
    /// Its client.
    pub client: RawClient,
}

impl Process {
    /// Starts `command` with pipes, as most clients do.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, stderr, client: RawClient::new(stdout, stdin) }
    }

    /// Waits for a line of the log that has `text` in it.
    ///
    /// # Panics
    ///
    /// When the log ends without one.
    pub async fn logged(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let line = tokio::time::timeout(PATIENCE, self.stderr.next_line())
                .await
                .expect("the server logs something")
                .expect("the log can be read");
            match line {
                Some(line) if line.contains(text) => return line,
                Some(line) => seen.push(line),
                None => panic!("nothing logged has `{text}` in it: {seen:#?}"),
            }
        }
    }

    /// Everything that is logged from here to the process's end.
    pub async fn rest_of_log(&mut self) -> String {
        let mut log = String::new();
        while let Some(line) = self.stderr.next_line().await.expect("the log can be read") {
            log.push_str(&line);
            log.push('\n');
        }
        log
    }

    /// Sends a signal by its name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await;
        assert!(status.expect("`kill` starts").success());
    }
}
