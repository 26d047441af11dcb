//! What is too old is removed while the center serves.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{AuditError, Center, Pruned};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Prunes the audit log now, and once a day.
pub(super) async fn keep(center: Center, age: Duration) {
    loop {
        match prune(&center, age).await {
            Ok(Pruned { entries: 0, actions: 0, .. }) => {}
            Ok(Pruned { entries, actions, .. }) => {
                tracing::info!(entries, actions, "removed what was older than the retention");
            }
            Err(error) => tracing::error!(%error, "what is too old cannot be removed"),
        }
        tokio::time::sleep(DAY).await;
    }
}

async fn prune(center: &Center, age: Duration) -> Result<Pruned, RetentionError> {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    // Before all time there is nothing.
    let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
    let owner = center.local_approver().await?;
    Ok(center.prune_audit(before, &owner).await?)
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum RetentionError {
    Credential(#[from] crate::CredentialError),
    Audit(#[from] AuditError),
}
