//! Where an approver sits: at the center's directory, as its owner, or at
//! another machine, with a personal token.

use ascend_center::{ActionState, AuditEntry, Center, Follow, Record};
use jiff::Timestamp;

use crate::remote::{Events, Remote};

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

/// What happens, as it happens.
pub(crate) enum Following<'a> {
    Here(Box<Follow>),
    There(Events<'a>),
}

impl Following<'_> {
    pub(crate) async fn next(&mut self) -> anyhow::Result<AuditEntry> {
        match self {
            Self::Here(follow) => Ok(follow.next().await?),
            Self::There(events) => Ok(events.next().await?),
        }
    }
}

impl Desk {
    /// The start of a command that reaches the same center.
    pub(crate) fn command(&self) -> String {
        match self {
            Self::Here(center) => center.command(),
            Self::There(remote) => remote.command(),
        }
    }

    /// What happens after entry `after` of the log, or from now on.
    pub(crate) async fn follow(&self, after: Option<i64>) -> anyhow::Result<Following<'_>> {
        Ok(match self {
            Self::Here(center) => Following::Here(Box::new(center.follow(after).await?)),
            Self::There(remote) => Following::There(remote.follow(after).await?),
        })
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
