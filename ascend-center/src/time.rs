//! Times in words, for the command line and the page.

use jiff::Timestamp;

/// `at`, to the second.
#[doc(hidden)]
#[must_use]
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long it is between two times.
#[doc(hidden)]
#[must_use]
pub fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {seconds} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_readable() {
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        assert_eq!(span(at(0), at(9)), "9 s");
        assert_eq!(span(at(0), at(291)), "4 min 51 s");
        assert_eq!(span(at(0), at(7_300)), "2 h 1 min");
        assert_eq!(span(at(9), at(0)), "0 s");
    }
}
