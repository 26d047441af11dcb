//! `ascend-center manifest`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use ascend_center::{Change, ChangeEffect, Manifest};
use clap::Subcommand;
use serde_json::Value;

use crate::{
    card::{ascii_json, shown},
    policy::Otherwise,
    say,
};

#[derive(Subcommand)]
pub(crate) enum ManifestCommand {
    /// Show what differs between two manifests, and what got weaker
    ///
    /// Exits with 5 when anything does.
    Diff {
        /// What a server printed with `--manifest` before
        old: PathBuf,
        /// What it prints now
        new: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: ManifestCommand) -> anyhow::Result<()> {
    let ManifestCommand::Diff { old, new, json } = command;
    let changes = Manifest::read(&old)?.changes(&Manifest::read(&new)?);
    if json {
        say(&ascii_json(&serde_json::to_string_pretty(&changes)?))?;
    } else {
        let mut out = io::stdout().lock();
        for change in &changes {
            writeln!(out, "{}", line(change))?;
        }
        out.flush()?;
    }
    if changes.is_empty() {
        return Ok(());
    }
    let weaker = changes.iter().filter(|change| change.effect == ChangeEffect::Weaker).count();
    let differ = match changes.len() {
        1 => "1 thing differs".to_owned(),
        count => format!("{count} things differ"),
    };
    let weaker = match weaker {
        0 => "nothing is weaker".to_owned(),
        count => format!("{count} weaker"),
    };
    Err(Otherwise::new(format!("{differ}, {weaker}")).into())
}

/// As `delete_records: floor.riskLevel "HIGH" -> "MEDIUM" (weaker)`.
fn line(change: &Change) -> String {
    let of = change.tool.as_deref().unwrap_or("the server");
    let what = match (change.path.as_str(), &change.old, &change.new) {
        ("", _, Some(entry)) => format!("is new: {}", described(entry)),
        ("", _, None) => "is gone".to_owned(),
        (path, Some(old), Some(new)) => format!("{path} {old} -> {new}"),
        (path, Some(old), None) => format!("{path} {old} -> none"),
        (path, None, Some(new)) => format!("{path} none -> {new}"),
        (path, None, None) => path.to_owned(),
    };
    let effect = match change.effect {
        ChangeEffect::Weaker => " (weaker)",
        ChangeEffect::Stronger => " (stronger)",
        _ => "",
    };
    format!("{}: {}{effect}", shown(of), shown(&what))
}

/// What a new tool does.
fn described(entry: &Value) -> String {
    let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
    if entry.get("governed") == Some(&Value::Bool(false)) {
        return "ungoverned".to_owned();
    }
    let asks = match entry.pointer("/floor/requireHumanApproval") {
        Some(Value::Bool(true)) => "never without a person",
        _ => "as policies say",
    };
    format!(
        "{}.{} on {}, {asks}",
        text("/action/namespace").unwrap_or_default(),
        text("/action/verb").unwrap_or("(by its arguments)"),
        text("/resource").unwrap_or_default(),
    )
}
