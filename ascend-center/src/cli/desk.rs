//! Where an approver sits: at the center's directory, as its owner, or at
//! another machine, with a personal token.

use ascend_center::{ActionState, AuditEntry, Center, Follow, Grant, Record};
use jiff::Timestamp;

use crate::{
    grants::{Bounds, Terms},
    remote::{Events, Remote},
};

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

/// What came of an approval.
pub(crate) struct Approved {
    /// Who decided, once it is decided.
    pub(crate) by: Option<String>,
    /// How far it is, in words.
    pub(crate) approvals: String,
    /// What else was let pass.
    pub(crate) grant: Option<Grant>,
}

impl Approved {
    fn of(record: &Record) -> Self {
        let by = record.reviewed_by.clone().filter(|_| record.state == ActionState::Approved);
        Self { by, approvals: record.approvals(), grant: None }
    }

    pub(crate) fn sentence(&self, id: i64) -> String {
        match &self.by {
            Some(by) => format!("action {id} approved by {by}"),
            None => format!("your approval counts; action {id} has {}", self.approvals),
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

    /// Approves; with `also`, calls like it too.
    pub(crate) async fn approve(
        &self,
        id: i64,
        comment: Option<String>,
        also: Option<Bounds>,
    ) -> anyhow::Result<Approved> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                let (record, grant) = match also {
                    Some(also) => {
                        let grant = also.to_grant();
                        let (record, grant) =
                            center.approve_and_grant(id, &owner, comment, grant).await?;
                        (record, Some(grant))
                    }
                    None => (center.approve(id, &owner, comment).await?, None),
                };
                Ok(Approved { grant, ..Approved::of(&record) })
            }
            Self::There(remote) => Ok(remote.approve(id, comment, also).await?),
        }
    }

    /// Takes the own approval back.
    pub(crate) async fn take_back(&self, id: i64) -> anyhow::Result<Approved> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                Ok(Approved::of(&center.take_back(id, &owner).await?))
            }
            Self::There(remote) => Ok(remote.take_back(id).await?),
        }
    }

    /// Rejects; who it was, as the record has it.
    pub(crate) async fn reject(&self, id: i64, comment: Option<String>) -> anyhow::Result<String> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                let record = center.reject(id, &owner, comment).await?;
                Ok(record.reviewed_by.unwrap_or_default())
            }
            Self::There(remote) => Ok(remote.reject(id, comment).await?),
        }
    }

    pub(crate) async fn grants(&self) -> anyhow::Result<Vec<Grant>> {
        match self {
            Self::Here(center) => Ok(center.grants(LIMIT).await?),
            Self::There(remote) => Ok(remote.grants().await?),
        }
    }

    pub(crate) async fn grant(&self, terms: Terms) -> anyhow::Result<Grant> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                Ok(center.grant(&owner, terms.to_grant()).await?)
            }
            Self::There(remote) => Ok(remote.grant(&terms).await?),
        }
    }

    /// Whether it was live.
    pub(crate) async fn revoke_grant(&self, id: i64) -> anyhow::Result<bool> {
        match self {
            Self::Here(center) => {
                Ok(center.revoke_grant(&center.local_approver().await?, id).await?)
            }
            Self::There(remote) => Ok(remote.revoke_grant(id).await?),
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
