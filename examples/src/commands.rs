//! One literal command, run without a shell.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ascend_sdk::{
    Refusal,
    classify::{Command, NotLiteral, Root},
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The most bytes that are kept of each of the two outputs.
pub const OUTPUT_LIMIT: usize = 64 * 1024;
/// The longest that a command runs.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What a command sees of this process's environment.
const ENVIRONMENT: [&str; 5] = ["PATH", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// A command that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finished {
    /// What it returned; absent when a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What it wrote, up to 64 KiB.
    pub stdout: String,
    /// What it wrote as errors, up to 64 KiB.
    pub stderr: String,
    /// Whether `stdout` is cut.
    pub stdout_truncated: bool,
    /// Whether `stderr` is cut.
    pub stderr_truncated: bool,
    /// Whether it was stopped because it ran too long.
    pub timed_out: bool,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
}

/// Why a command did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The call was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is not one literal command.
    #[error("{0}. Nothing was executed")]
    NotLiteral(#[from] NotLiteral),
    /// The working directory is not under the root.
    #[error(
        "`{0}` is not a directory within the one that this server works in. Nothing was executed"
    )]
    Directory(String),
    /// There is no such program.
    #[error("there is no program `{0}`. Nothing was executed")]
    NotFound(String),
    /// It could not be started or watched.
    #[error("`{program}` could not be run: {source}")]
    Io {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Runs commands in directories under one root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Commands {
    root: Root,
    time_limit: Duration,
}

impl Commands {
    /// Commands under `root`, which is made when it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made or looked at.
    pub fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        Ok(Self { root: Root::new(root)?, time_limit: TIME_LIMIT })
    }

    /// The folder that working directories are under.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The same with another limit of time.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Runs one literal command in `directory`, relative to the root.
    ///
    /// It has no standard input, hardly any environment, and a process group of its own, which
    /// is killed when the command ends, runs too long, or nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// When it is not one literal command, or cannot be started. A command that
    /// fails is no error: see [`Finished::exit_code`].
    pub async fn run(
        &self,
        command: &str,
        directory: Option<&str>,
    ) -> Result<Finished, CommandError> {
        let command = Command::parse(command)?;
        let directory = self.directory(directory.unwrap_or("."))?;
        let program = command.program();
        let failure = |source: io::Error| CommandError::Io { program: program.to_owned(), source };
        let started = Instant::now();
        let mut child = tokio::process::Command::new(program)
            .args(command.arguments())
            .current_dir(&directory)
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("HOME", self.root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => CommandError::NotFound(program.to_owned()),
                _ => failure(error),
            })?;
        // Dropped before `child`, so that the group still is its own.
        let group = Group::of(&child).ok_or_else(|| failure(io::Error::other("it has no id")))?;
        let stdout = Reading::start(child.stdout.take());
        let stderr = Reading::start(child.stderr.take());

        let timed_out = tokio::time::timeout(self.time_limit, group.ended()).await.is_err();
        // All that it started goes with it.
        drop(group);
        let status = child.wait().await.map_err(failure)?;
        let duration = started.elapsed();
        let (stdout, stderr) = (stdout.end().await, stderr.end().await);
        Ok(Finished {
            exit_code: status.code(),
            signal: std::os::unix::process::ExitStatusExt::signal(&status),
            stdout: stdout.text(),
            stderr: stderr.text(),
            stdout_truncated: stdout.truncated,
            stderr_truncated: stderr.truncated,
            timed_out,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn directory(&self, given: &str) -> Result<PathBuf, CommandError> {
        let facts = self.root.facts(given);
        let directory = self.root.path().join(&facts.path);
        if facts.escapes || !directory.is_dir() {
            return Err(CommandError::Directory(given.to_owned()));
        }
        Ok(directory)
    }
}

/// The process group of a child that was not yet reaped, so that its id cannot
/// be another's. Dropped, it is killed.
struct Group(Pid);

impl Group {
    fn of(child: &tokio::process::Child) -> Option<Self> {
        Pid::from_raw(i32::try_from(child.id()?).ok()?).map(Self)
    }

    /// Waits until the leader has ended, and leaves it to be reaped.
    async fn ended(&self) {
        let leader = self.0;
        let wait = move || loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            match rustix::process::waitid(WaitId::Pid(leader), options) {
                Err(rustix::io::Errno::INTR) => {}
                _ => return,
            }
        };
        // It also ends when the group is killed.
        let _ = tokio::task::spawn_blocking(wait).await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        match rustix::process::kill_process_group(self.0, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::warn!(%error, "a command's process group stays behind"),
        }
    }
}

/// The kept part of an output.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Kept {
    fn take(&mut self, read: &[u8]) {
        let room = OUTPUT_LIMIT - self.bytes.len();
        self.bytes.extend_from_slice(&read[..read.len().min(room)]);
        self.truncated |= read.len() > room;
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        // The limit may lie within a character.
        let whole = if self.truncated { text.trim_end_matches('\u{fffd}') } else { &*text };
        whole.to_owned()
    }
}

/// Reads an output to its end and keeps the beginning, so that a command that
/// writes more is not held up.
struct Reading {
    kept: Arc<Mutex<Kept>>,
    task: tokio::task::JoinHandle<()>,
}

impl Reading {
    fn start(output: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let shared = kept.clone();
        let task = tokio::spawn(async move {
            let Some(mut output) = output else { return };
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(read @ 1..) = output.read(&mut buffer).await {
                shared.lock().unwrap_or_else(PoisonError::into_inner).take(&buffer[..read]);
            }
        });
        Self { kept, task }
    }

    /// What was kept. A process that left the group may hold the output open for ever.
    async fn end(mut self) -> Kept {
        if tokio::time::timeout(Duration::from_secs(1), &mut self.task).await.is_err() {
            self.task.abort();
        }
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
