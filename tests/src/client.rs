//! The official MCP clients and FastMCP's, each a program of its own, and the approver's
//! command line beside them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// An MCP client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// `mcp` 1.x from PyPI.
    Python1,
    /// `mcp` 2.x from PyPI.
    Python2,
    /// `fastmcp` with `fastmcp-tasks` from PyPI.
    FastMcp,
    /// `@modelcontextprotocol/sdk` from npm.
    TypeScript1,
    /// `@modelcontextprotocol/client` from npm.
    TypeScript2,
}

/// A built program of this workspace.
///
/// # Panics
///
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/debug/deps/this-test -> target/debug/name
    let path = test.ancestors().nth(2).map(|folder| folder.join(name)).unwrap_or_default();
    assert!(path.exists(), "{} was not built; run `cargo xtask test`", path.display());
    path
}

/// The folder in which `cargo xtask clients` sets up the clients.
///
/// # Panics
///
/// When it did not.
#[must_use]
pub fn clients() -> PathBuf {
    let folder = std::env::var_os("ASCEND_TEST_CLIENTS").map(PathBuf::from);
    folder.expect("the official MCP clients are not set up; run `cargo xtask test`")
}

/// A server, started by a client: its program, arguments and environment.
#[derive(Debug, Clone)]
pub struct Server(Value);

impl Server {
    /// The built example `name` over the data in `data`.
    #[must_use]
    pub fn example(name: &str, data: &Path) -> Self {
        Self(json!({
            "command": program(name),
            "args": ["--data", data],
            "env": {},
        }))
    }

    /// The program at `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(json!({ "command": path, "args": [], "env": {} }))
    }

    /// One that listens at `url` already.
    #[must_use]
    pub fn listening(url: &str) -> Self {
        Self(json!({ "url": url }))
    }

    /// What the client calls itself before it.
    #[must_use]
    pub fn named(mut self, client: &str) -> Self {
        self.0["name"] = client.into();
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0["env"][name] = value.into();
        self
    }
}

/// A call of `tool`; the client waits for its result before it goes on.
#[must_use]
pub fn call(tool: &str, arguments: Value) -> Value {
    json!({ "tool": tool, "arguments": arguments })
}

/// A call of `tool`, whose result the client waits for only in the end.
#[must_use]
pub fn call_aside(tool: &str, arguments: Value) -> Value {
    json!({ "tool": tool, "arguments": arguments, "concurrent": true })
}

/// The same call, of whose progress the client wants to hear. It then waits as
/// long as it hears.
#[must_use]
pub fn with_progress(mut call: Value) -> Value {
    call["progress"] = true.into();
    call["reset"] = true.into();
    call
}

/// The same call, cancelled by the client at the first report of its progress.
#[must_use]
pub fn cancelled_on_progress(mut call: Value) -> Value {
    call["cancel_on_progress"] = true.into();
    call
}

/// A call of `tool` that comes back with a `requestState` which is not the server's.
#[must_use]
pub fn call_tampering(tool: &str, arguments: Value) -> Value {
    json!({ "tool": tool, "arguments": arguments, "tamper": true })
}

/// A running client. What it sees comes as one JSON object after another.
#[derive(Debug)]
pub struct Session {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    /// Starts `server`, and makes the calls.
    #[must_use]
    pub fn start(self, server: &Server, calls: &[Value]) -> Session {
        self.start_with(server, calls, &json!({}))
    }

    /// The same, with the `modern` and `elicit` of the drivers.
    #[must_use]
    pub fn start_with(self, server: &Server, calls: &[Value], options: &Value) -> Session {
        let clients = clients();
        let python = |name: &str, driver: &str| {
            let environment = clients.join(format!("python-{name}"));
            let mut command = Command::new(environment.join("bin/python"));
            command.arg(clients.join(driver));
            command
        };
        let node = |major: &str| {
            let mut command = Command::new("node");
            command.arg(clients.join("typescript/drive.mjs")).arg(major);
            command
        };
        let mut command = match self {
            Self::Python1 => python("v1", "drive.py"),
            Self::Python2 => python("v2", "drive.py"),
            Self::FastMcp => python("fastmcp", "drive_fastmcp.py"),
            Self::TypeScript1 => node("1"),
            Self::TypeScript2 => node("2"),
        };
        let mut child = command
            .arg(server.0.to_string())
            .arg(Value::from(calls).to_string())
            .arg(options.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{self:?} does not start: {error}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        Session { child, lines: BufReader::new(stdout).lines() }
    }
}

impl Session {
    /// The next thing that the client sees.
    ///
    /// # Panics
    ///
    /// When nothing comes within two minutes.
    pub async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("the client saw nothing for two minutes")
            .expect("the client's output is text")
            .expect("the client ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The result of call `index`, which is the next thing that the client sees.
    pub async fn result(&mut self, index: usize) -> Value {
        let mut seen = self.next().await;
        assert_eq!(seen["call"], json!(index), "{seen}");
        assert!(seen.get("error").is_none(), "{seen}");
        seen["result"].take()
    }

    /// Waits until the client has ended by itself.
    pub async fn finished(mut self) {
        assert_eq!(self.lines.next_line().await.expect("text"), None);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("the client does not end").expect("it was started");
        assert!(status.success(), "{status}");
    }
}

/// The approver's command line over the center in `directory`.
#[derive(Debug, Clone)]
pub struct Approver {
    directory: PathBuf,
    environment: Vec<(String, String)>,
}

impl Approver {
    /// Over the center in `directory`.
    #[must_use]
    pub fn of(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), environment: Vec::new() }
    }

    /// Sets variables of its environment.
    #[must_use]
    pub fn env(mut self, environment: &[(String, String)]) -> Self {
        self.environment.extend_from_slice(environment);
        self
    }

    /// Runs `ascend-center` with these arguments, which must succeed.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let (succeeded, text) = self.try_run(arguments).await;
        assert!(succeeded, "{arguments:?}: {text}");
        text
    }

    /// Waits until nothing is pending, then runs `ascend-center` with these
    /// arguments, which must fail.
    ///
    /// # Panics
    ///
    /// When it succeeds, or something stays pending.
    pub async fn fails(&self, arguments: &[&str]) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.run(&["pending", "--json"]).await.trim() != "[]" {
            assert!(tokio::time::Instant::now() < deadline, "something stays pending");
        }
        let (succeeded, text) = self.try_run(arguments).await;
        assert!(!succeeded, "{arguments:?}: {text}");
        text
    }

    async fn try_run(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(program("ascend-center"))
            .arg("--directory")
            .arg(&self.directory)
            .envs(self.environment.clone())
            .args(arguments)
            .output()
            .await
            .expect("ascend-center starts");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            text += &String::from_utf8_lossy(&output.stderr);
        }
        (output.status.success(), text)
    }

    /// The actions that wait, once there are any.
    pub async fn pending(&self) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            let text = self.run(&["pending", "--json"]).await;
            let pending: Vec<Value> =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            if !pending.is_empty() {
                return pending;
            }
        }
        panic!("nothing waits for approval");
    }
}

/// `ascend-center serve`, as a process of its own.
#[derive(Debug)]
pub struct RemoteCenter {
    _process: Child,
    directory: PathBuf,
    url: String,
}

impl RemoteCenter {
    /// Starts one over `directory`, on any free port.
    pub async fn start(directory: impl Into<PathBuf>) -> Self {
        Self::start_in(directory, &[]).await
    }

    /// Starts one with these variables in its environment.
    pub async fn start_in(directory: impl Into<PathBuf>, environment: &[(String, String)]) -> Self {
        let directory = directory.into();
        let mut process = Command::new(program("ascend-center"))
            .arg("--directory")
            .arg(&directory)
            .envs(environment.iter().cloned())
            .args(["serve", "--listen", "127.0.0.1:0"])
            // Tests ask more often than agents.
            .args(["--agent-rate", "0", "--tenant-rate", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("ascend-center starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await.expect("text").expect("it says where it listens");
        let url = line.strip_prefix("listening on ").expect("it says where it listens").to_owned();
        Self { _process: process, directory, url }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The approver's command line over this center.
    #[must_use]
    pub fn approver(&self) -> Approver {
        Approver::of(&self.directory)
    }

    /// The token in one of its credential files.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn token(&self, file: &str) -> String {
        let credential = std::fs::read_to_string(self.directory.join(file));
        let credential: Value =
            serde_json::from_str(&credential.expect("the key is there")).expect("it is JSON");
        credential["token"].as_str().expect("it has a token").to_owned()
    }

    /// The environment that makes a server ask this center.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("ASCEND_BASE_URL", self.url.clone()), ("ASCEND_API_KEY", self.token("agent.key"))]
    }
}
