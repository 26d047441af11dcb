//! `ascend-center policy check`

use ascend_center::PolicySet;

use crate::{Here, card::shown, say};

/// Where there is a center, also by who is in its groups.
pub(super) async fn check(set: &PolicySet, here: Here) -> anyhow::Result<()> {
    if set.names_groups()
        && let Ok(center) = here.existing(|config| config).await
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
