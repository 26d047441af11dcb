//! What a server may log.

/// A filter for `tracing_subscriber::EnvFilter`: what `RUST_LOG` says, or
/// `info`, but never rmcp below `warn`, since its debug log has the results of
/// tools in it.
///
/// Directives for rmcp are left out, and those for spans or fields
/// (`[span{field=value}]`), which could name rmcp's.
///
/// ```
/// use ascend_sdk::server::log_filter;
/// assert_eq!(log_filter(None), "info,rmcp=warn");
/// assert_eq!(log_filter(Some("debug,rmcp::service=trace")), "debug,rmcp=warn");
/// ```
#[must_use]
pub fn log_filter(rust_log: Option<&str>) -> String {
    let kept = rust_log
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty() && !directive.starts_with("rmcp"))
        // A span's directive may be split here at its own commas.
        .filter(|directive| !directive.contains(['[', ']', '{', '}']));
    let mut filter: Vec<&str> = kept.collect();
    if filter.is_empty() {
        filter.push("info");
    }
    filter.push("rmcp=warn");
    filter.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lets_rmcp_below_warn() {
        for (given, filter) in [
            ("", "info,rmcp=warn"),
            ("trace", "trace,rmcp=warn"),
            ("rmcp=debug", "info,rmcp=warn"),
            ("warn, my_crate=debug", "warn,my_crate=debug,rmcp=warn"),
            ("[serve_inner]=debug,off", "off,rmcp=warn"),
            ("[{a=1,b=2}]=trace,error", "error,rmcp=warn"),
        ] {
            assert_eq!(log_filter(Some(given)), filter, "{given}");
        }
    }
}
