//! Where an approver sits: at the center's directory, as its owner, or at
//! another machine, with a personal token.

use ascend_center::{ActionState, Center, Changes, Record};
use jiff::Timestamp;

use crate::remote::Remote;

/// The most actions shown at once.
const LIMIT: u32 = 1000;

pub(crate) enum Desk {
    Here(Center),
    There(Remote),
}

/// The kill switch, while it is raised.
pub(crate) struct Raised {
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
    pub(crate) by: String,
}

impl Desk {
    /// The start of a command that reaches the same center.
    pub(crate) fn command(&self) -> String {
        match self {
            Self::Here(center) => center.command(),
            Self::There(remote) => remote.command(),
        }
    }

    /// Tells of changes; elsewhere somebody has to look.
    pub(crate) fn changes(&self) -> Option<Changes> {
        match self {
            Self::Here(center) => Some(center.changes()),
            Self::There(_) => None,
        }
    }

    pub(crate) async fn pending(&self) -> anyhow::Result<Vec<Record>> {
        match self {
            Self::Here(center) => Ok(center.actions(Some(ActionState::Pending), LIMIT).await?),
            Self::There(remote) => Ok(remote.pending(LIMIT).await?),
        }
    }

    pub(crate) async fn action(&self, id: i64) -> anyhow::Result<Option<Record>> {
        match self {
            Self::Here(center) => Ok(center.action(id).await?),
            Self::There(remote) => Ok(remote.action(id).await?),
        }
    }

    pub(crate) async fn kill_switch(&self) -> anyhow::Result<Option<Raised>> {
        match self {
            Self::Here(center) => Ok(center.kill_switch().await?.map(|switch| Raised {
                reason: switch.reason,
                at: switch.raised_at,
                by: switch.raised_by,
            })),
            Self::There(remote) => Ok(remote.kill_switch().await?),
        }
    }

    /// Approves or rejects; who it was, as the record has it.
    pub(crate) async fn decide(
        &self,
        id: i64,
        approve: bool,
        comment: Option<String>,
    ) -> anyhow::Result<String> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                let record = if approve {
                    center.approve(id, &owner, comment).await?
                } else {
                    center.reject(id, &owner, comment).await?
                };
                Ok(record.reviewed_by.unwrap_or_default())
            }
            Self::There(remote) => Ok(remote.decide(id, approve, comment).await?),
        }
    }

    pub(crate) async fn kill(&self, reason: String) -> anyhow::Result<()> {
        match self {
            Self::Here(center) => Ok(center.kill(reason, &center.local_approver().await?).await?),
            Self::There(remote) => Ok(remote.kill(reason).await?),
        }
    }

    /// Whether it was raised.
    pub(crate) async fn release(&self) -> anyhow::Result<bool> {
        match self {
            Self::Here(center) => Ok(center.release(&center.local_approver().await?).await?),
            Self::There(remote) => Ok(remote.release().await?),
        }
    }

    pub(crate) async fn close(&self) {
        if let Self::Here(center) = self {
            center.close().await;
        }
    }
}
