//! A center of its own for a test, and what its approver does.

use std::path::Path;

use ascend_center::{ActionState, Center, CenterConfig, Record};

use crate::raw_client::PATIENCE;

/// A center over a folder that goes away with it.
pub struct Host {
    directory: tempfile::TempDir,
    /// The center.
    pub center: Center,
}

#[allow(clippy::missing_panics_doc, reason = "a test fails by panicking")]
impl Host {
    /// A center with the policies that a newcomer gets.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a folder can be made");
        let center = Center::open(CenterConfig::new(directory.path())).await;
        Self { directory, center: center.expect("the center opens") }
    }

    /// Where the center keeps its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Approves or rejects the action.
    pub async fn decide(&self, id: &str, approve: bool) {
        let approver = self.center.local_approver().await.expect("the folder is ours");
        let id = id.parse().expect("a number");
        let decided = if approve {
            self.center.approve(id, &approver, None).await
        } else {
            self.center.reject(id, &approver, Some("not today".to_owned())).await
        };
        decided.expect("it waits");
    }

    /// The action as it stands.
    pub async fn record(&self, id: &str) -> Record {
        let record = self.center.action(id.parse().expect("a number")).await;
        record.expect("the database can be read").expect("there is such an action")
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
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.unwrap_or_else(|_| panic!("action {id} does not become {state}"));
    }

    /// Waits until `count` actions are pending, oldest first.
    pub async fn pending(&self, count: usize) -> Vec<Record> {
        let changes = self.center.changes();
        let found = async {
            loop {
                let changed = changes.next();
                let pending = self.center.actions(Some(ActionState::Pending), 1_000_000).await;
                let pending = pending.expect("the database can be read");
                if pending.len() >= count {
                    return pending;
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("{count} actions do not wait"))
    }
}
