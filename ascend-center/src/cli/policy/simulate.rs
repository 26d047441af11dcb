//! `ascend-center policy simulate`

use std::io::{self, Write};

use ascend_center::{PolicySet, Simulation};

use super::{Otherwise, show};
use crate::{card::ascii_json, config::Config, say};

pub(super) async fn simulate(
    config: &Config,
    set: &PolicySet,
    last: u32,
    json: bool,
) -> anyhow::Result<()> {
    let center = config.existing(|config| config).await?;
    let simulation = center.simulate(set, last).await;
    center.close().await;
    let simulation = simulation?;
    if json {
        say(&ascii_json(&serde_json::to_string_pretty(&simulation)?))?;
    } else {
        let mut out = io::stdout().lock();
        for difference in &simulation.differences {
            let now = show::Said {
                decision: difference.decision,
                risk_score: difference.risk_score,
                reason: &difference.reason,
                rules: &difference.rules,
            };
            show::difference(&mut out, &difference.record, "would be", now)?;
        }
        writeln!(out, "{}", summary(&simulation))?;
        out.flush()?;
    }
    match simulation.differences.len() {
        0 => Ok(()),
        1 => Err(Otherwise("1 recorded action would differ".to_owned()).into()),
        count => Err(Otherwise(format!("{count} recorded actions would differ")).into()),
    }
}

fn summary(simulation: &Simulation) -> String {
    let (stricter, milder) = (simulation.stricter(), simulation.milder());
    let otherwise = simulation.otherwise();
    let at_another_risk = simulation.differences.len() - stricter - milder - otherwise;
    let otherwise = match otherwise {
        0 => String::new(),
        count => format!(", {count} approved by others"),
    };
    let left_out = match simulation.left_out {
        0 => String::new(),
        count => format!("; {count} that the kill switch had denied are left out"),
    };
    format!(
        "{} replayed: {stricter} would be decided more strictly, {milder} more mildly, \
         {at_another_risk} alike at another risk{otherwise}{left_out}",
        simulation.replayed
    )
}
