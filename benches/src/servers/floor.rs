//! The floor: reads a line, parses it, writes a line. No protocol beyond what
//! the driver needs, and nothing that can wait.

use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};

use serde_json::{Value, json};

fn main() -> io::Result<()> {
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
