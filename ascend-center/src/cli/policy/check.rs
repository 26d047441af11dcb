//! `ascend-center policy check`

use ascend_center::PolicySet;

use super::Otherwise;
use crate::{card::shown, say};

pub(super) fn check(set: &PolicySet, deny_warnings: bool) -> anyhow::Result<()> {
    let summary = set.summary();
    for warning in &summary.warnings {
        for line in warning.to_string().lines() {
            say(&format!("warning: {}", shown(line)))?;
        }
    }
    say(&format!("{} policies, no mistakes", summary.policies))?;
    match summary.warnings.len() {
        0 => Ok(()),
        _ if !deny_warnings => Ok(()),
        count => Err(Otherwise::warnings(count).into()),
    }
}
