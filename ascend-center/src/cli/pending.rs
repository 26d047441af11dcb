//! `ascend-center pending`

use std::{
    collections::BTreeSet,
    io::{self, Write},
    time::Duration,
};

use ascend_center::{ActionState, Center, Record};
use jiff::Timestamp;

use crate::card;

/// The most actions shown at once.
const LIMIT: u32 = 1000;
/// How often expiries are looked for; they are no news by themselves.
const EXPIRIES: Duration = Duration::from_secs(1);

pub(crate) async fn show(center: &Center, watch: bool, json: bool) -> anyhow::Result<()> {
    let changes = center.changes();
    let command = card::shown(&center.command());
    let mut shown = BTreeSet::new();
    let mut first = true;
    loop {
        let change = changes.next();
        let pending = center.actions(Some(ActionState::Pending), LIMIT).await?;
        let listed: BTreeSet<i64> = pending.iter().map(|record| record.id).collect();
        let fresh: Vec<&Record> =
            pending.iter().filter(|record| !shown.contains(&record.id)).collect();

        let heading = if first { card::heading(center, pending.len()).await? } else { Vec::new() };
        let mut ended = Vec::new();
        for id in shown.difference(&listed) {
            ended.extend(center.action(*id).await?);
        }

        let mut out = io::stdout().lock();
        match (json, watch) {
            (true, false) => {
                writeln!(out, "{}", card::ascii_json(&serde_json::to_string_pretty(&pending)?))?;
            }
            (true, true) => {
                for record in &fresh {
                    writeln!(out, "{}", card::ascii_json(&serde_json::to_string(record)?))?;
                }
            }
            (false, _) => {
                for line in &heading {
                    writeln!(out, "{line}")?;
                }
                for record in &fresh {
                    card::write(&mut out, record, &command, Timestamp::now())?;
                }
                for record in &ended {
                    writeln!(out, "{}", card::outcome(record))?;
                }
            }
        }
        out.flush()?;
        drop(out);
        if !watch {
            return Ok(());
        }
        shown = listed;
        first = false;
        tokio::select! {
            () = change => {}
            () = tokio::time::sleep(EXPIRIES) => {}
        }
    }
}
