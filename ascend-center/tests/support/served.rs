//! A center served by the real binary.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

pub(crate) struct Served {
    pub(crate) url: String,
    pub(crate) child: Child,
}

impl Served {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::starting(directory)()
    }

    /// Starts the process; what is returned waits until it serves.
    pub(crate) fn starting(directory: &Path) -> impl FnOnce() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ascend-center"))
            .envs(super::database::variable(directory))
            .args(["serve", "--listen", "127.0.0.1:0", "--directory"])
            .arg(directory)
            .env("RUST_LOG", "warn")
            .env("USER", "alice")
            // Tests ask more often than agents.
            .env("ASCEND_CENTER_AGENT_RATE", "0")
            .env("ASCEND_CENTER_TENANT_RATE", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        move || {
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
            Self { url, child }
        }
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The token in a credential file.
pub(crate) fn token(directory: &Path, file: &str) -> String {
    let content = std::fs::read_to_string(directory.join(file)).unwrap();
    let content: Value = serde_json::from_str(&content).unwrap();
    content["token"].as_str().unwrap().to_owned()
}
