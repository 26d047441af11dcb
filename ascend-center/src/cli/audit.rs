//! `ascend-center audit`

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use ascend_center::{
    AuditError, AuditFormat, AuditReport, Center, PublicKey, SignedHead, VerifyAudit,
    verify_audit_file,
};
use clap::{Args, Subcommand, ValueEnum};
use jiff::{Timestamp, ToSpan as _, civil, tz::TimeZone};

use crate::{card, say};

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Prove that the log stands as it was written, or name the first entry that does not
    Verify {
        #[command(flatten)]
        range: Range,
        /// An exported log (JSONL) instead of the center's
        #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to"])]
        file: Option<PathBuf>,
        /// Count only signatures with this key; can be given again for earlier keys
        /// [default: the center's own; with --file, the key that the log names]
        #[arg(long = "public-key", value_name = "HEX")]
        keys: Vec<PublicKey>,
        /// A head that `audit head` wrote and that was kept elsewhere: the log must go on from it
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
    },
    /// Write the log out, verified on the way; JSONL can be verified by itself
    Export {
        #[command(flatten)]
        range: Range,
        /// How
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,
        /// A new file to write to, for its owner alone [default: stdout]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Sign the log as it ends now, and print that: to be kept where the center cannot write
    Head,
    /// Print the key by which the log's signatures are verified
    Key,
    /// Remove what is old: entries behind a signed checkpoint, and the arguments of old actions
    Prune {
        /// Keep what is of this day (UTC) or time, or later: 2026-01-31, 2026-01-31T12:00:00Z
        #[arg(long, value_name = "DATE", required_unless_present = "keep_days")]
        before: Option<String>,
        /// Keep what is younger than so many days
        #[arg(long, value_name = "N", conflicts_with = "before")]
        keep_days: Option<u32>,
    },
}

#[derive(Args)]
pub(crate) struct Range {
    /// The number of the first entry [default: the first that is there]
    #[arg(long, value_name = "N")]
    from: Option<i64>,
    /// The number of the last entry [default: the last that is there]
    #[arg(long, value_name = "N")]
    to: Option<i64>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Jsonl,
    Csv,
}

impl Range {
    fn to_verify(&self) -> VerifyAudit {
        let what = VerifyAudit::new();
        let what = self.from.into_iter().fold(what, VerifyAudit::from);
        self.to.into_iter().fold(what, VerifyAudit::to)
    }
}

impl AuditCommand {
    /// Does what needs no center; whether it was that.
    pub(crate) fn run_alone(&self) -> anyhow::Result<bool> {
        let Self::Verify { file: Some(file), keys, head, .. } = self else { return Ok(false) };
        let head = head.as_deref().map(read_head).transpose()?;
        let report = verify_audit_file(file, keys, head.as_ref())?;
        tell(&report)?;
        if keys.is_empty() {
            say("any key was accepted: compare it with `audit key`, or name it with --public-key")?;
        }
        Ok(true)
    }

    pub(crate) async fn run(self, center: &Center) -> anyhow::Result<()> {
        match self {
            Self::Verify { range, keys, head, .. } => {
                let mut what = keys.into_iter().fold(range.to_verify(), VerifyAudit::public_key);
                if let Some(head) = head {
                    what = what.head(read_head(&head)?);
                }
                tell(&center.verify_audit(&what).await?)?;
            }
            Self::Export { range, format, output } => {
                export(center, &range.to_verify(), format, output).await?;
            }
            Self::Head => say(&center.audit_head().await?.to_string())?,
            Self::Key => say(&center.audit_key().to_string())?,
            Self::Prune { before, keep_days } => {
                let before = match (before, keep_days) {
                    (Some(text), _) => moment(&text)?,
                    (None, days) => days_ago(days.unwrap_or_default())?,
                };
                let approver = center.local_approver().await?;
                let pruned = center.prune_audit(before, &approver).await?;
                say(&format!(
                    "removed {} entries; erased the arguments of {} actions",
                    pruned.entries, pruned.actions
                ))?;
            }
        }
        Ok(())
    }
}

fn tell(report: &AuditReport) -> io::Result<()> {
    say(&format!(
        "entries {} to {} stand as they were written, in the log {}",
        report.from, report.to, report.chain
    ))?;
    if report.pruned > 0 && report.from == report.pruned + 1 {
        say(&format!("a signed checkpoint stands for the {} before", report.pruned))?;
    }
    if report.actions > 0 {
        say(&format!("actions that stand as they were recorded: {}", report.actions))?;
    }
    let unsigned = report.to - report.signed.max(report.from - 1);
    if unsigned > 0 {
        say(&format!("the last {unsigned} are chained, and not signed yet"))?;
    }
    for key in &report.keys {
        say(&format!("signed with {key}"))?;
    }
    Ok(())
}

fn read_head(path: &Path) -> anyhow::Result<SignedHead> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.parse().with_context(|| path.display().to_string())
}

async fn export(
    center: &Center,
    what: &VerifyAudit,
    format: Format,
    output: Option<PathBuf>,
) -> anyhow::Result<()> {
    let format = match format {
        Format::Jsonl => AuditFormat::Jsonl,
        Format::Csv => AuditFormat::Csv,
    };
    let mut out: Box<dyn Write + Send> = match &output {
        Some(path) => {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            {
                use std::os::unix::fs::OpenOptionsExt;
                options.mode(0o600);
            }
            Box::new(options.open(path).with_context(|| path.display().to_string())?)
        }
        None if io::stdout().is_terminal() => Box::new(Shown::default()),
        None => Box::new(io::stdout()),
    };
    let mut buffered = BufWriter::new(&mut out);
    match center.export_audit(what, format, &mut buffered).await {
        Ok(_) => Ok(()),
        // Where nobody reads any more, `main` is to see it.
        Err(AuditError::Output(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}

/// Shows what is written to it on a terminal, whatever it is.
#[derive(Default)]
struct Shown {
    line: Vec<u8>,
}

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                say(&card::shown(String::from_utf8_lossy(&line).trim_end_matches('\r')))?;
            } else {
                self.line.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A time, or the begin of a day, UTC.
fn moment(text: &str) -> anyhow::Result<Timestamp> {
    let day = || text.parse::<civil::Date>()?.to_zoned(TimeZone::UTC).map(|day| day.timestamp());
    text.parse::<Timestamp>().or_else(|_| day()).map_err(|_: jiff::Error| {
        anyhow::anyhow!("`{text}` is no date; write 2026-01-31 or 2026-01-31T12:00:00Z")
    })
}

fn days_ago(days: u32) -> anyhow::Result<Timestamp> {
    let hours = i64::from(days) * 24;
    Timestamp::now().checked_sub(hours.hours()).context("that is before all time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_read() {
        let read = |text| moment(text).ok().map(|at| at.to_string());
        assert_eq!(read("2026-01-31").as_deref(), Some("2026-01-31T00:00:00Z"));
        assert_eq!(read("2026-01-31T12:00:00+01:00").as_deref(), Some("2026-01-31T11:00:00Z"));
        assert_eq!(read("2026-02-30"), None);
        assert_eq!(read("yesterday"), None);
    }
}
