//! What is recorded of keys, people and logins: all of it passes through here.

use super::{StoreError, writer::Transaction};

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
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::AgentCredential => "agent_credential",
            Self::OwnerCredential => "approver_credential",
            Self::KeyCreated => "key_created",
            Self::KeyRotated => "key_rotated",
            Self::KeyRevoked => "key_revoked",
            Self::UserCreated => "user_created",
            Self::RoleChanged => "role_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
            Self::PasswordChanged => "password_changed",
            Self::TokenCreated => "token_created",
            Self::TokenRevoked => "token_revoked",
            #[cfg(feature = "http")]
            Self::LoggedIn => "logged_in",
            #[cfg(feature = "http")]
            Self::LoginFailed => "login_failed",
            #[cfg(feature = "http")]
            Self::LoggedOut => "logged_out",
        }
    }
}

impl Transaction {
    /// Adds to the record, in the transaction of the change itself. `about`
    /// says whom or what it concerns; never a secret.
    pub(super) async fn record_identity(
        &mut self,
        event: IdentityEvent,
        by: &str,
        about: &str,
    ) -> Result<(), StoreError> {
        tracing::info!(event = event.as_str(), by, about, "identity");
        let detail = Some(about).filter(|about| !about.is_empty());
        self.note(None, event.as_str(), by, detail).await
    }
}
