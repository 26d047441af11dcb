//! One server process and the client at its pipes. Blocking: a client that does
//! nothing of its own takes nothing away from what is measured.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

/// A server that has shaken hands.
pub(crate) struct Server {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
    line: String,
}

impl Server {
    /// Starts the server, and returns once it has listed its tools, with how
    /// long that took in seconds.
    ///
    /// # Errors
    ///
    /// When it does not start, or does not speak MCP.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<(Self, f64)> {
        let began = Instant::now();
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("{} does not start", command.get_program().display()))?;
        let input = process.stdin.take().context("stdin is piped")?;
        let output = process.stdout.take().context("stdout is piped")?;
        let output = BufReader::with_capacity(256 * 1024, output);
        let mut server = Self { process, input, output, next: 0, line: String::new() };
        let id = server.send(
            "initialize",
            &json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": { "name": "ascend-benches", "version": "1" },
            }),
        )?;
        server.answer_to(id)?;
        server.write(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")?;
        let id = server.send("tools/list", &json!({}))?;
        let tools = server.answer_to(id)?;
        ensure!(tools["result"]["tools"].is_array(), "no list of tools: {tools}");
        Ok((server, began.elapsed().as_secs_f64()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.input.write_all(bytes).context("the server has ended")
    }

    fn send(&mut self, method: &str, params: &Value) -> anyhow::Result<u64> {
        let mut line = String::new();
        let id = self.line_of(method, params, &mut line);
        self.write(line.as_bytes())?;
        Ok(id)
    }

    fn line_of(&mut self, method: &str, params: &Value, line: &mut String) -> u64 {
        self.next += 1;
        let message =
            json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params });
        line.push_str(&message.to_string());
        line.push('\n');
        self.next
    }

    fn read(&mut self) -> anyhow::Result<&str> {
        self.line.clear();
        ensure!(self.output.read_line(&mut self.line)? > 0, "the server has ended");
        Ok(&self.line)
    }

    /// The answer to `id`; what else comes is dropped.
    ///
    /// # Errors
    ///
    /// When the server ends.
    pub(crate) fn answer_to(&mut self, id: u64) -> anyhow::Result<Value> {
        loop {
            let message = self.answer()?;
            if message["id"] == id {
                return Ok(message);
            }
        }
    }

    /// The next message.
    ///
    /// # Errors
    ///
    /// When the server ends.
    pub(crate) fn answer(&mut self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(self.read()?)?)
    }

    /// Begins a call.
    ///
    /// # Errors
    ///
    /// When the server has ended.
    pub(crate) fn begin(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<u64> {
        self.send("tools/call", &json!({ "name": tool, "arguments": arguments }))
    }

    /// Calls the fast tool until one of the bounds is reached, one call after
    /// another; returns the time of each in seconds.
    ///
    /// # Errors
    ///
    /// When a call fails.
    pub(crate) fn one_by_one(&mut self, bound: Bound) -> anyhow::Result<Vec<f64>> {
        let began = Instant::now();
        let mut times = Vec::with_capacity(bound.calls);
        while times.len() < bound.calls && began.elapsed().as_secs_f64() < bound.seconds {
            let mut line = String::new();
            self.query(&mut line);
            let asked = Instant::now();
            self.write(line.as_bytes())?;
            check(self.read()?)?;
            times.push(asked.elapsed().as_secs_f64());
        }
        Ok(times)
    }

    /// The same with `width` calls in flight; returns calls per second.
    ///
    /// # Errors
    ///
    /// When a call fails.
    pub(crate) fn at_once(&mut self, bound: Bound, width: usize) -> anyhow::Result<f64> {
        let began = Instant::now();
        let (mut asked, mut answered) = (0, 0);
        let mut lines = String::new();
        let mut wanted = width;
        loop {
            let open = began.elapsed().as_secs_f64() < bound.seconds;
            lines.clear();
            while open && wanted > 0 && asked < bound.calls {
                self.query(&mut lines);
                wanted -= 1;
                asked += 1;
            }
            self.write(lines.as_bytes())?;
            if answered == asked {
                break;
            }
            // All answers that are there; then as many new calls in one write.
            loop {
                check(self.read()?)?;
                answered += 1;
                wanted += 1;
                if !self.output.buffer().contains(&b'\n') {
                    break;
                }
            }
        }
        Ok(f64::from(u32::try_from(answered)?) / began.elapsed().as_secs_f64())
    }

    fn query(&mut self, lines: &mut String) {
        // No two calls are alike, as no two of an agent's are.
        let sql = format!("SELECT name FROM customers WHERE id = {}", self.next);
        let params =
            json!({ "name": "query", "arguments": { "sql": sql, "database": "analytics" } });
        self.line_of("tools/call", &params, lines);
    }
}

/// Where a measurement ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) calls: usize,
    pub(crate) seconds: f64,
}

fn check(answer: &str) -> anyhow::Result<()> {
    // Parsing every answer would be measured too.
    if answer.contains("\"result\"") && !answer.contains("\"isError\":true") {
        return Ok(());
    }
    bail!("a call failed: {answer}");
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to measure; one that has ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
