//! The measurements.

use std::{thread, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    center::RealCenter,
    machine,
    rows::{Row, World},
    server::{Bound, Server},
};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Bound,
    pub(crate) calls: Bound,
    pub(crate) waiting: &'static [usize],
    pub(crate) approvals: usize,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        warm_up: Bound { calls: 2_000, seconds: 0.5 },
        calls: Bound { calls: 20_000, seconds: 1.0 },
        waiting: &[1_000, 10_000],
        approvals: 200,
    };
    /// Enough to see that everything still works.
    pub(crate) const SMOKE: Self = Self {
        rounds: 1,
        warm_up: Bound { calls: 5, seconds: 1.0 },
        calls: Bound { calls: 70, seconds: 1.0 },
        waiting: &[50],
        approvals: 5,
    };
}

/// The calls in flight of the throughput's measurement.
const WIDTH: usize = 64;

/// One round of one row. Times are in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) start_up: f64,
    pub(crate) idle_bytes: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) per_second: f64,
    /// Processor time of the server for one call, with many in flight.
    pub(crate) cpu: f64,
}

/// One round of a row; `None` where its server is not set up.
///
/// # Errors
///
/// When a call fails.
pub(crate) fn calls(world: &World, row: Row, effort: Effort) -> anyhow::Result<Option<Sample>> {
    let Some((mut command, _center)) = world.command(row)? else { return Ok(None) };
    let failed = || format!("in the row `{}`", row.title());
    let (mut server, start_up) = Server::start(&mut command).with_context(failed)?;
    let idle_bytes = machine::memory(server.id())? as f64;
    server.one_by_one(effort.warm_up).with_context(failed)?;
    server.at_once(effort.warm_up, WIDTH).with_context(failed)?;
    let times = server.one_by_one(effort.calls).with_context(failed)?;
    let (p50, p99) = percentiles(times);
    let before = machine::cpu_time(server.id())?;
    let began = std::time::Instant::now();
    let per_second = server.at_once(effort.calls, WIDTH).with_context(failed)?;
    let calls = per_second * began.elapsed().as_secs_f64();
    let cpu = (machine::cpu_time(server.id())? - before) as f64 / 1e9 / calls;
    Ok(Some(Sample { start_up, idle_bytes, p50, p99, per_second, cpu }))
}

/// What it costs that calls wait.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    pub(crate) label: &'static str,
    pub(crate) waiting: usize,
    pub(crate) idle: (f64, f64),
    pub(crate) beside: (f64, f64),
    pub(crate) bytes_each: f64,
    pub(crate) bytes: f64,
}

/// A fast call beside many that wait.
///
/// # Errors
///
/// When a call fails.
pub(crate) fn crowd(
    label: &'static str,
    (mut command, center): (std::process::Command, RealCenter),
    waiting: usize,
    effort: Effort,
) -> anyhow::Result<Crowd> {
    let (mut server, _) = Server::start(&mut command)?;
    server.one_by_one(effort.warm_up)?;
    let idle = percentiles(server.one_by_one(effort.calls)?);
    let before = machine::memory(server.id())?;
    for index in 0..waiting {
        server.begin("delete", &deletion(index))?;
    }
    center.waiting(waiting)?;
    // Once this is answered, so is all that was asked before it.
    server.one_by_one(effort.warm_up)?;
    let after = machine::memory(server.id())?;
    let beside = percentiles(server.one_by_one(effort.calls)?);
    let bytes = after.saturating_sub(before) as f64;
    Ok(Crowd { label, waiting, idle, beside, bytes_each: bytes / waiting as f64, bytes })
}

/// From the moment that an approval is asked for to the moment that the body
/// begins: the median and the 99th percentile, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wakes {
    pub(crate) label: &'static str,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// How long after one approval from outside the next one follows.
const BETWEEN_APPROVALS: Duration = Duration::from_millis(20);

/// Who approves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// The server's own process.
    Inside,
    /// This process.
    Outside,
}

/// # Errors
///
/// When a call fails.
pub(crate) fn wakes(
    label: &'static str,
    (mut command, center): (std::process::Command, RealCenter),
    approver: Where,
    effort: Effort,
) -> anyhow::Result<Wakes> {
    let (mut server, _) = Server::start(&mut command)?;
    let first = server.begin("delete", &deletion(0))?;
    for index in 1..effort.approvals {
        server.begin("delete", &deletion(index))?;
    }
    let waiting = center.waiting(effort.approvals)?;
    let mut asked = vec![0; effort.approvals];
    let mut began = vec![0; effort.approvals];
    let index = |filter: &str| filter.rsplit(' ').next().unwrap_or_default().parse::<usize>();
    let mut started = |answer: &Value| {
        let Some(call) = answer["id"].as_u64().and_then(|id| id.checked_sub(first)) else {
            return anyhow::Ok(());
        };
        let text = answer["result"]["content"][0]["text"].as_str();
        let slot = began.get_mut(usize::try_from(call)?);
        if let (Some(slot), Some(text)) = (slot, text) {
            *slot = text.parse().with_context(|| format!("a time: {answer}"))?;
        }
        Ok(())
    };
    if approver == Where::Inside {
        let ids: Vec<_> = waiting.iter().map(|waiting| waiting.id).collect();
        let call = server.begin("approve", &json!({ "actions": ids }))?;
        let mut left = effort.approvals + 1;
        while left > 0 {
            let answer = server.answer()?;
            left -= 1;
            if answer["id"] == call {
                let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
                let times: Vec<u64> =
                    serde_json::from_str(text).with_context(|| format!("times: {answer}"))?;
                for (waiting, time) in waiting.iter().zip(times) {
                    asked[index(&waiting.filter)?] = time;
                }
            } else {
                started(&answer)?;
            }
        }
    } else {
        for waiting in &waiting {
            // As people do, who are slower still: each approval finds an idle server.
            thread::sleep(BETWEEN_APPROVALS);
            asked[index(&waiting.filter)?] = center.approve(waiting.id)?;
            started(&server.answer()?)?;
        }
    }
    let times = asked.iter().zip(&began).map(|(asked, began)| {
        anyhow::ensure!(*asked > 0 && *began >= *asked, "asked at {asked}, began at {began}");
        Ok((*began - *asked) as f64 / 1e9)
    });
    let (p50, p99) = percentiles(times.collect::<anyhow::Result<Vec<_>>>()?);
    Ok(Wakes { label, p50, p99 })
}

fn deletion(index: usize) -> Value {
    json!({ "filter": format!("inactive since {index}"), "database": "production" })
}

fn percentiles(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
    (at(0.5).unwrap_or(f64::NAN), at(0.99).unwrap_or(f64::NAN))
}

/// The middle one of several.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    percentiles(values.collect()).0
}
