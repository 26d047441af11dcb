//! `ascend-center policy check`

use ascend_center::PolicySet;

use super::Otherwise;
use crate::{card::shown, config::Config, say};

/// Where there is a center, also by who is in its groups.
pub(super) async fn check(
    set: &PolicySet,
    config: &Config,
    deny_warnings: bool,
) -> anyhow::Result<()> {
    let mut warnings = 0;
    if set.names_groups()
        && let Ok(center) = config.existing(|center| center).await
    {
        let told = center.rules_of_without_people(set).await;
        center.close().await;
        for sentence in told? {
            warnings += 1;
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
    match warnings + summary.warnings.len() {
        0 => Ok(()),
        _ if !deny_warnings => Ok(()),
        count => Err(Otherwise::warnings(count).into()),
    }
}
