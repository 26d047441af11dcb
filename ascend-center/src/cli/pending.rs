//! `ascend-center pending`

use std::io::{self, Write};

use ascend_center::Record;
use jiff::Timestamp;

use crate::{card, desk::Desk, say};

pub(crate) async fn show(desk: &Desk, json: bool) -> anyhow::Result<()> {
    let pending = desk.pending().await?;
    if json {
        say(&card::ascii_json(&serde_json::to_string_pretty(&pending)?))?;
        return Ok(());
    }
    write(desk, &pending).await
}

/// What waits, in full.
pub(crate) async fn write(desk: &Desk, pending: &[Record]) -> anyhow::Result<()> {
    let heading = card::heading(desk, pending.len()).await?;
    let command = card::shown(&desk.command());
    let mut out = io::stdout().lock();
    for line in heading {
        writeln!(out, "{line}")?;
    }
    for record in pending {
        card::write(&mut out, record, &command, Timestamp::now())?;
    }
    out.flush()?;
    Ok(())
}
