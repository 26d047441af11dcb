//! `ascend-center policy shadow`

use std::io::{self, Write};

use serde_json::json;

use super::show;
use crate::{card::ascii_json, config::Config, say};

pub(super) async fn shadow(config: &Config, last: u32, json: bool) -> anyhow::Result<()> {
    let center = config.existing(|config| config).await?;
    let report = center.shadow_report(last).await;
    center.close().await;
    let report = report?;
    if json {
        let differences: Vec<_> = report
            .differences
            .iter()
            .map(|(record, shadow)| json!({ "action": record, "shadow": shadow }))
            .collect();
        let whole = json!({
            "asked": report.asked,
            "differing": report.differing,
            "differences": differences,
        });
        return Ok(say(&ascii_json(&serde_json::to_string_pretty(&whole)?))?);
    }
    let mut out = io::stdout().lock();
    for (record, shadow) in &report.differences {
        let said = show::Said {
            decision: shadow.decision,
            risk_score: shadow.risk_score,
            reason: &shadow.reason,
            rules: &shadow.rules,
        };
        show::difference(&mut out, record, "shadow", said)?;
    }
    let shown = match u64::try_from(report.differences.len()) {
        Ok(shown) if shown < report.differing => format!(", of which {shown} are shown"),
        _ => String::new(),
    };
    writeln!(
        out,
        "the shadow policies were asked of {} actions, and said otherwise of {}{shown}",
        report.asked, report.differing
    )?;
    Ok(out.flush()?)
}
