//! `ascend-center pending`

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use ascend_center::Record;
use jiff::Timestamp;

use crate::{card, desk::Desk};

pub(crate) async fn show(desk: &Desk, watch: bool, json: bool) -> anyhow::Result<()> {
    let mut following = if watch { Some(desk.follow(None).await?) } else { None };
    let command = card::shown(&desk.command());
    let mut shown = BTreeSet::new();
    let mut first = true;
    loop {
        let pending = desk.pending().await?;
        let listed: BTreeSet<i64> = pending.iter().map(|record| record.id).collect();
        let fresh: Vec<&Record> =
            pending.iter().filter(|record| !shown.contains(&record.id)).collect();

        let heading = if first { card::heading(desk, pending.len()).await? } else { Vec::new() };
        let mut ended = Vec::new();
        for id in shown.difference(&listed) {
            ended.extend(desk.action(*id).await?);
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
        let Some(following) = &mut following else { return Ok(()) };
        shown = listed;
        first = false;
        following.next().await?;
    }
}
