//! `ascend-center policy check`

use ascend_center::PolicySet;

use crate::{card::shown, say};

pub(super) fn check(set: &PolicySet) -> anyhow::Result<()> {
    let summary = set.summary();
    for warning in &summary.warnings {
        for line in warning.to_string().lines() {
            say(&format!("warning: {}", shown(line)))?;
        }
    }
    say(&format!("{} policies, no mistakes", summary.policies))?;
    Ok(())
}
