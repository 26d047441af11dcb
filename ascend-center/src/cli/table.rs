//! Lists as columns.

use std::{
    io::{self, Write},
    time::Duration,
};

use jiff::{Span, SpanRelativeTo, Timestamp};

pub(crate) struct Table<const N: usize>(Vec<[String; N]>);

impl<const N: usize> Table<N> {
    pub(crate) fn new(heading: [&str; N]) -> Self {
        Self(vec![heading.map(str::to_owned)])
    }

    pub(crate) fn row(&mut self, row: [String; N]) {
        self.0.push(row);
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        let mut widths = [0; N];
        for row in &self.0 {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut out = io::stdout().lock();
        for row in &self.0 {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        out.flush()
    }
}

/// The day, or a dash.
pub(crate) fn day(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

/// A time such as `90d`, `24h` or `1h 30m`.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 90d, 24h or 30m".to_owned();
    let span: Span = text.parse().map_err(|_| expected())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
    Duration::try_from(duration).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let day = 24 * 3600;
        for (text, seconds) in [("90d", 90 * day), ("24h", day), ("1h 30m", 5400), ("0s", 0)] {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "-1h", "90", "1y"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }
}
