//! An authority that allows everything at once, over HTTP, in as little time as
//! a server can take: what is measured is who asks. A delay stands for distance.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As plain ASCEND: a decision, which the caller keeps to itself.
    Plain,
    /// As our center: the decision is claimed before the run, with the evaluation
    /// where the caller asks for that.
    Claims,
}

/// Starts one on a free port of this machine, and returns its URL. It lives as
/// long as this process.
///
/// # Errors
///
/// When there is no port.
pub(crate) fn start(dialect: Dialect, delay: Duration) -> io::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    let ids = Arc::new(AtomicU64::new(1));
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let ids = ids.clone();
            // A caller that goes away is no error.
            thread::spawn(move || drop(serve(connection, dialect, delay, &ids)));
        }
    });
    Ok(url)
}

fn serve(
    mut connection: TcpStream,
    dialect: Dialect,
    delay: Duration,
    ids: &AtomicU64,
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    let mut body = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or_default();
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        let answer = answer(&path, &body, dialect, ids);
        // In one piece: each would wake whoever asks by itself.
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        connection.write_all(answer.as_bytes())?;
    }
}

fn answer(path: &str, body: &[u8], dialect: Dialect, ids: &AtomicU64) -> String {
    if path.ends_with("/claim") {
        return r#"{"granted":true}"#.to_owned();
    }
    if path.ends_with("/evaluations") {
        let calls = String::from_utf8_lossy(body);
        let said: Vec<_> = calls
            .split(r#"{"key":""#)
            .skip(1)
            .filter_map(|call| {
                let (key, call) = call.split_once('"')?;
                let body = answer("/evaluate", call.as_bytes(), dialect, ids);
                Some(format!(r#"{{"key":"{key}","status":200,"body":{body}}}"#))
            })
            .collect();
        return format!(r#"{{"evaluations":[{}]}}"#, said.join(","));
    }
    if path.ends_with("/outcomes") && dialect == Dialect::Claims {
        let reports = String::from_utf8_lossy(body);
        let noted: Vec<_> = reports
            .split(r#"{"action_id":"#)
            .skip(1)
            .filter_map(|report| report.split_once(','))
            .map(|(id, _)| format!(r#"{{"action_id":{id},"success":true}}"#))
            .collect();
        return format!(r#"{{"outcomes":[{}]}}"#, noted.join(","));
    }
    // The official Python SDK has a route and a word of its own.
    let submitted = path.ends_with("/submit");
    if submitted || path.ends_with("/evaluate") {
        let decision = if submitted { "allowed" } else { "ALLOW" };
        let id = ids.fetch_add(1, Ordering::Relaxed);
        let claim = match dialect {
            Dialect::Plain => String::new(),
            Dialect::Claims => claimed(body),
        };
        return format!(
            r#"{{"action_id":"{id}","id":"{id}","decision":"{decision}","status":"approved","risk_score":15,"risk_level":"low","reason":"reads are allowed"{claim}}}"#
        );
    }
    r#"{"success":true,"status":"healthy","blocked":false}"#.to_owned()
}

/// What the answer says of the claim.
fn claimed(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let digest = body.split_once(r#""digest":""#).and_then(|(_, rest)| rest.split_once('"'));
    match digest {
        Some((digest, rest)) if rest.contains(r#""claim":true"#) => {
            format!(r#","claim":true,"claimed":true,"digest":"{digest}""#)
        }
        _ => r#","claim":true"#.to_owned(),
    }
}
