//! One run: rounds over all rows, then what waits.

use std::path::PathBuf;

use crate::{
    machine,
    measure::{self, Effort, Sample, Where},
    rows::{Row, World},
    table,
};

/// Drives whole stdio servers, ours beside the alternatives, and prints a table.
#[derive(Debug, clap::Parser)]
pub(crate) struct Options {
    /// Everything once with few calls: shows that the benches work, and nothing else
    #[arg(long)]
    smoke: bool,
    /// How many rounds the medians are of
    #[arg(long)]
    rounds: Option<usize>,
    /// Only rows whose title contains this
    #[arg(long)]
    only: Option<String>,
    /// Only calls: no waiting, no approvals
    #[arg(long)]
    calls_only: bool,
    /// A Python that has `mcp` and `ascend-ai-sdk`, for the row of the official SDK
    #[arg(long, env = "ASCEND_BENCH_PYTHON")]
    python: Option<PathBuf>,
}

/// # Errors
///
/// When a server fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut effort = if options.smoke { Effort::SMOKE } else { Effort::FULL };
    effort.rounds = options.rounds.unwrap_or(effort.rounds).max(1);
    let processor = machine::pin()?;
    if cfg!(debug_assertions) && !options.smoke {
        eprintln!("this is an unoptimised build: its numbers mean nothing");
    }
    let world = World::new(options.python.clone())?;
    let wanted = |row: &Row| options.only.as_ref().is_none_or(|part| row.title().contains(part));
    let mut samples: Vec<(Row, Vec<Sample>)> =
        Row::ALL.into_iter().filter(wanted).map(|row| (row, Vec::new())).collect();
    for round in 1..=effort.rounds {
        for (row, samples) in &mut samples {
            eprintln!("round {round} of {}: {}", effort.rounds, row.title());
            match measure::calls(&world, *row, effort)? {
                Some(sample) => samples.push(sample),
                None => eprintln!("  skipped: name a Python that has the SDK with `--python`"),
            }
        }
    }
    println!("{}, processor {processor} alone, {} rounds\n", machine::processor(), effort.rounds);
    table::calls(&samples);
    if options.calls_only {
        return Ok(());
    }

    let mut crowds = Vec::new();
    for waiting in effort.waiting {
        eprintln!("{waiting} calls wait");
        crowds.push(measure::crowd("embedded", world.embedded(false)?, *waiting, effort)?);
        crowds.push(measure::crowd("over loopback HTTP", world.over_http()?, *waiting, effort)?);
    }
    table::crowds(&crowds);

    eprintln!("from an approval to its body");
    let wakes = [
        measure::wakes("embedded, durable", world.embedded(false)?, Where::Inside, effort)?,
        measure::wakes(
            "embedded, not waiting for the disk",
            world.embedded(true)?,
            Where::Inside,
            effort,
        )?,
        measure::wakes(
            "embedded, approved by another process",
            world.embedded(false)?,
            Where::Outside,
            effort,
        )?,
        measure::wakes("over loopback HTTP", world.over_http()?, Where::Outside, effort)?,
    ];
    table::wakes(&wakes);
    Ok(())
}
