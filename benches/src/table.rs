//! The tables, as Markdown.

use crate::{
    measure::{Crowd, Sample, Wakes, median},
    rows::Row,
};

/// A time in seconds, for people.
fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds.is_nan() => "-".to_owned(),
        _ if seconds < 1e-3 => format!("{:.1} µs", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

fn rate(per_second: f64) -> String {
    if per_second < 10_000.0 {
        format!("{per_second:.0} /s")
    } else {
        format!("{:.1} k/s", per_second / 1e3)
    }
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

/// How often the baseline's value, round by round: noise that lasts longer than
/// a round hits both.
fn ratio(own: &[Sample], base: Option<&[Sample]>, of: impl Fn(&Sample) -> f64) -> String {
    let Some(base) = base.filter(|base| !base.is_empty()) else { return "-".to_owned() };
    let ratios = own.iter().zip(base).map(|(own, base)| of(own) / of(base));
    format!("{:.2}×", median(ratios))
}

pub(crate) fn calls(rows: &[(Row, Vec<Sample>)]) {
    println!(
        "| | p50 | p99 | 64 in flight | CPU per call | start-up | idle | p50 to by hand | in \
         flight to by hand |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (row, samples) in rows {
        if samples.is_empty() {
            println!("| {} | skipped | | | | | | | |", row.title());
            continue;
        }
        let base = row.baseline().and_then(|base| rows.iter().find(|(row, _)| *row == base));
        let base = base.map(|(_, samples)| &**samples);
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.title(),
            time(of(|sample| sample.p50)),
            time(of(|sample| sample.p99)),
            rate(of(|sample| sample.per_second)),
            time(of(|sample| sample.cpu)),
            time(of(|sample| sample.start_up)),
            mebibytes(of(|sample| sample.idle_bytes)),
            ratio(samples, base, |sample| sample.p50),
            ratio(samples, base, |sample| sample.per_second),
        );
    }
}

pub(crate) fn crowds(crowds: &[Crowd]) {
    println!(
        "\n| | waiting | fast call, p50 | p99 | idle server: p50 | p99 | memory each | \
         together |\n|---|---|---|---|---|---|---|---|"
    );
    for crowd in crowds {
        println!(
            "| {} | {} | {} | {} | {} | {} | {:.1} KiB | {} |",
            crowd.label,
            crowd.waiting,
            time(crowd.beside.0),
            time(crowd.beside.1),
            time(crowd.idle.0),
            time(crowd.idle.1),
            crowd.bytes_each / 1024.0,
            mebibytes(crowd.bytes),
        );
    }
}

pub(crate) fn wakes(wakes: &[Wakes]) {
    println!("\n| approval → body starts | p50 | p99 |\n|---|---|---|");
    for wakes in wakes {
        println!("| {} | {} | {} |", wakes.label, time(wakes.p50), time(wakes.p99));
    }
}
