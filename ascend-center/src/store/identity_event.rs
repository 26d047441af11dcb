//! What is recorded of keys, people and logins: all of it passes through here.

use super::{StoreError, writer::Transaction};
use crate::audit::{Actor, AuditEvent, AuditKind};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdentityEvent {
    AgentCredential,
    OwnerCredential,
    KeyCreated,
    KeyRotated,
    KeyRevoked,
    UserCreated,
    RoleChanged,
    UserDisabled,
    UserEnabled,
    GroupJoined,
    GroupLeft,
    PasswordChanged,
    TokenCreated,
    TokenRevoked,
    #[cfg(feature = "http")]
    LoggedIn,
    #[cfg(feature = "http")]
    LoginFailed,
    #[cfg(feature = "http")]
    LoggedOut,
}

impl IdentityEvent {
    /// What stands in the log, and what is to be said where that is not all.
    const fn recorded(self) -> (AuditKind, Option<&'static str>) {
        match self {
            Self::AgentCredential
            | Self::OwnerCredential
            | Self::KeyCreated
            | Self::TokenCreated => (AuditKind::CredentialCreated, None),
            Self::KeyRotated => (AuditKind::CredentialRotated, None),
            Self::KeyRevoked | Self::TokenRevoked => (AuditKind::CredentialRevoked, None),
            Self::UserCreated => (AuditKind::UserCreated, None),
            Self::RoleChanged => (AuditKind::UserChanged, Some("role")),
            Self::UserDisabled => (AuditKind::UserChanged, Some("disabled")),
            Self::UserEnabled => (AuditKind::UserChanged, Some("enabled")),
            Self::GroupJoined => (AuditKind::UserChanged, Some("group joined")),
            Self::GroupLeft => (AuditKind::UserChanged, Some("group left")),
            Self::PasswordChanged => (AuditKind::UserChanged, Some("password")),
            #[cfg(feature = "http")]
            Self::LoggedIn => (AuditKind::LoggedIn, None),
            #[cfg(feature = "http")]
            Self::LoginFailed => (AuditKind::LoginFailed, None),
            #[cfg(feature = "http")]
            Self::LoggedOut => (AuditKind::LoggedOut, None),
        }
    }
}

impl Transaction {
    /// Adds to the record, in the transaction of the change itself. `about`
    /// says whom or what it concerns, or whence somebody came; never a secret.
    pub(super) async fn record_identity(
        &mut self,
        event: IdentityEvent,
        by: Actor,
        about: &str,
    ) -> Result<(), StoreError> {
        let (kind, detail) = event.recorded();
        tracing::info!(%kind, detail, by = by.name, about, "identity");
        let mut entry = AuditEvent::new(kind, by);
        entry.subject = Some(about.to_owned()).filter(|about| !about.is_empty());
        entry.detail = detail.map(str::to_owned);
        self.note(entry).await
    }
}
