//! `ascend-center policy check`

use std::path::PathBuf;

use ascend_center::PolicySet;

use crate::{card::shown, chosen, existing, say};

/// Where there is a center, also by who is in its groups.
pub(super) async fn check(set: &PolicySet, directory: Option<PathBuf>) -> anyhow::Result<()> {
    let directory = chosen(directory).ok().filter(|it| set.names_groups() && it.exists());
    if let Some(directory) = directory
        && let Ok(center) = existing(directory).await
    {
        let told = center.rules_of_without_people(set).await;
        center.close().await;
        for sentence in told? {
            say(&format!("warning: {}", shown(&sentence)))?;
        }
    }
    let summary = set.summary();
    for warning in &summary.warnings {
        for line in warning.to_string().lines() {
            say(&format!("warning: {}", shown(line)))?;
        }
    }
    say(&format!("{} policies, no mistakes", summary.policies))?;
    Ok(())
}
