//! A center, and servers that are processes of their own over its files.

use std::path::Path;

use ascend_center::{ActionState, Center, CenterConfig, Record};
use tokio::process::Command;

use crate::{
    client::program,
    raw_client::{PATIENCE, Process},
};

/// A center over a directory of its own.
pub struct Host {
    directory: tempfile::TempDir,
    /// The center.
    pub center: Center,
}

impl Host {
    /// An empty center.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let center = Center::open(CenterConfig::new(directory.path())).await.unwrap();
        Self { directory, center }
    }

    /// A server that holds its calls for so many milliseconds, and its client
    /// after the handshake of 2025-11-25.
    pub async fn server(&self, hold: u64) -> Process {
        let mut process = Process::start(command(self.directory.path(), hold));
        process.client.initialize().await;
        process
    }

    /// The command of a server that holds its calls for a minute.
    #[must_use]
    pub fn command(&self) -> Command {
        command(self.directory.path(), 60_000)
    }

    /// Approves or rejects.
    pub async fn decide(&self, id: &str, approve: bool) {
        let approver = self.center.local_approver().await.unwrap();
        let id = id.parse().unwrap();
        if approve {
            self.center.approve(id, &approver, None).await.unwrap();
        } else {
            self.center.reject(id, &approver, Some("not today".to_owned())).await.unwrap();
        }
    }

    /// The action as it stands.
    pub async fn record(&self, id: &str) -> Record {
        self.center.action(id.parse().unwrap()).await.unwrap().unwrap()
    }

    /// Waits until the action is in `state`.
    pub async fn until(&self, id: &str, state: ActionState) {
        let changes = self.center.changes();
        let reached = async {
            loop {
                let changed = changes.next();
                if self.record(id).await.state == state {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }
}

fn command(center: &Path, hold: u64) -> Command {
    let mut command = Command::new(program("governed_fixture"));
    command.env_remove("RUST_LOG").env("CENTER", center).env("HOLD", hold.to_string());
    command
}
