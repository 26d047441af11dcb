//! The floor: reads a line, parses it, writes a line. No protocol beyond what
//! the driver needs, and nothing that can wait. `asks` as the first argument: between
//! the two it sends an authority one request, always the same, and reads the answer.

use std::{
    env,
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

/// One connection to an authority.
struct Authority {
    stream: TcpStream,
    request: String,
    answer: Vec<u8>,
}

impl Authority {
    fn from_env() -> io::Result<Self> {
        let missing = || io::Error::other("ASCEND_BASE_URL is no http URL");
        let url = env::var("ASCEND_BASE_URL").map_err(io::Error::other)?;
        let host = url.strip_prefix("http://").ok_or_else(missing)?;
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        let body = r#"{"server_id":"bench","namespace":"database","verb":"query","resource":"database://analytics","tool_name":"query","parameters":{"sql":"SELECT 1","database":"analytics"}}"#;
        let request = format!(
            "POST /mcp/governance/evaluate HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { stream, request, answer: vec![0; 4096] })
    }

    fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(self.request.as_bytes())?;
        // It comes in one piece.
        let length = self.stream.read(&mut self.answer)?;
        let answer = String::from_utf8_lossy(&self.answer[..length]);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let answer: Value = serde_json::from_str(body)?;
        if answer["decision"] != "ALLOW" {
            return Err(io::Error::other("denied"));
        }
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let asks = env::args().nth(1).as_deref() == Some("asks");
    let mut authority = asks.then(Authority::from_env).transpose()?;
    let mut input = BufReader::with_capacity(64 * 1024, io::stdin().lock());
    let mut output = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let message: Value = serde_json::from_str(&line)?;
        if let Some(id) = message.get("id") {
            if let (Some(authority), "tools/call") =
                (&mut authority, message["method"].as_str().unwrap_or_default())
            {
                authority.ask()?;
            }
            let result = json!({ "content": [{ "type": "text", "text": "42" }], "tools": [] });
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
            serde_json::to_writer(&mut output, &answer)?;
            output.write_all(b"\n")?;
        }
        // One write for all answers that are ready.
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
}
