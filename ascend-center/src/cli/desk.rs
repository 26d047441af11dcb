//! Where a person sits: at the center's directory, as its owner, or at
//! another machine, with a personal token.

use std::{io, time::Duration};

use ascend_center::{
    ActionState, AgentKey, AuditEntry, Center, Follow, Grant, Issued, Record, Role, User, UserToken,
};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    grants::{Bounds, Terms},
    keys,
    remote::{Events, Remote},
    say,
};

/// The most actions shown at once.
pub(crate) const LIMIT: u32 = 1000;

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

/// A key or a token that was made just now.
pub(crate) struct Secret {
    pub(crate) id: i64,
    pub(crate) token: SecretString,
}

impl Secret {
    /// The one time that it is shown.
    pub(crate) fn show(&self) -> io::Result<()> {
        say(self.token.expose_secret())
    }
}

impl From<Issued> for Secret {
    fn from(issued: Issued) -> Self {
        Self { id: issued.id, token: issued.token }
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

    pub(crate) async fn keys(&self) -> anyhow::Result<Vec<AgentKey>> {
        match self {
            Self::Here(center) => Ok(center.keys().await?),
            Self::There(remote) => Ok(remote.keys().await?),
        }
    }

    pub(crate) async fn create_key(&self, terms: &keys::Terms) -> anyhow::Result<Secret> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                Ok(center.create_key(&owner, terms.to_key()).await?.into())
            }
            Self::There(remote) => Ok(remote.create_key(terms).await?),
        }
    }

    /// Whether it was active.
    pub(crate) async fn revoke_key(&self, id: i64) -> anyhow::Result<bool> {
        match self {
            Self::Here(center) => {
                Ok(center.revoke_key(&center.local_approver().await?, id).await?)
            }
            Self::There(remote) => Ok(remote.revoke_key(id).await?),
        }
    }

    pub(crate) async fn rotate_key(&self, id: i64, grace: Duration) -> anyhow::Result<Secret> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                Ok(center.rotate_key(&owner, id, grace).await?.into())
            }
            Self::There(remote) => Ok(remote.rotate_key(id, grace).await?),
        }
    }

    pub(crate) async fn users(&self) -> anyhow::Result<Vec<User>> {
        match self {
            Self::Here(center) => Ok(center.users().await?),
            Self::There(remote) => Ok(remote.users().await?),
        }
    }

    pub(crate) async fn create_user(
        &self,
        name: &str,
        role: Role,
        password: Option<SecretString>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                Ok(center.create_user(&owner, name, role, password).await?)
            }
            Self::There(remote) => Ok(remote.create_user(name, role, password).await?),
        }
    }

    pub(crate) async fn set_role(&self, name: &str, role: Role) -> anyhow::Result<()> {
        match self {
            Self::Here(center) => {
                Ok(center.set_role(&center.local_approver().await?, name, role).await?)
            }
            Self::There(remote) => Ok(remote.set_role(name, role).await?),
        }
    }

    pub(crate) async fn set_password(
        &self,
        name: &str,
        password: SecretString,
    ) -> anyhow::Result<()> {
        match self {
            Self::Here(center) => {
                Ok(center.set_password(&center.local_approver().await?, name, password).await?)
            }
            Self::There(remote) => Ok(remote.set_password(name, &password).await?),
        }
    }

    pub(crate) async fn set_disabled(&self, name: &str, disabled: bool) -> anyhow::Result<()> {
        match self {
            Self::Here(center) => {
                Ok(center.set_disabled(&center.local_approver().await?, name, disabled).await?)
            }
            Self::There(remote) => Ok(remote.set_disabled(name, disabled).await?),
        }
    }

    /// Puts a person into a group or takes them out; whether it was otherwise.
    pub(crate) async fn set_member(
        &self,
        name: &str,
        group: &str,
        is_member: bool,
    ) -> anyhow::Result<bool> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                Ok(if is_member {
                    center.add_to_group(&owner, name, group).await?
                } else {
                    center.remove_from_group(&owner, name, group).await?
                })
            }
            Self::There(remote) => Ok(remote.set_member(name, group, is_member).await?),
        }
    }

    pub(crate) async fn tokens(&self) -> anyhow::Result<Vec<UserToken>> {
        match self {
            Self::Here(center) => Ok(center.tokens().await?),
            Self::There(remote) => Ok(remote.tokens().await?),
        }
    }

    pub(crate) async fn create_token(
        &self,
        user: &str,
        name: &str,
        lifetime: Duration,
    ) -> anyhow::Result<Secret> {
        match self {
            Self::Here(center) => {
                let owner = center.local_approver().await?;
                Ok(center.create_token(&owner, user, name, lifetime).await?.into())
            }
            Self::There(remote) => Ok(remote.create_token(user, name, lifetime).await?),
        }
    }

    /// Whether it was active.
    pub(crate) async fn revoke_token(&self, id: i64) -> anyhow::Result<bool> {
        match self {
            Self::Here(center) => {
                Ok(center.revoke_token(&center.local_approver().await?, id).await?)
            }
            Self::There(remote) => Ok(remote.revoke_token(id).await?),
        }
    }

    pub(crate) async fn close(&self) {
        if let Self::Here(center) = self {
            center.close().await;
        }
    }
}
