//! What the kernel says of processes.

use std::fs;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Pins this process, and those that it starts later, to its last processor:
/// interrupts are mostly served by the first.
///
/// # Errors
///
/// When the kernel refuses.
pub(crate) fn pin() -> anyhow::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
    let last = last.context("this process may run on no processor")?;
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one)?;
    Ok(last)
}

/// The processor time of all threads of a process, in nanoseconds.
pub(crate) fn cpu_time(process: u32) -> anyhow::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end between the listing and this.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let time = text.split_whitespace().next().context("an empty schedstat")?;
        total += time.parse::<u64>()?;
    }
    Ok(total)
}

/// The memory that a process holds, in bytes.
pub(crate) fn memory(process: u32) -> anyhow::Result<usize> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)).context("no VmRSS")?;
    Ok(kilobytes.parse::<usize>()? * 1024)
}

/// The processor's name, for the table's head.
pub(crate) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or("an unnamed processor", |(_, name)| name.trim())
        .to_owned()
}
