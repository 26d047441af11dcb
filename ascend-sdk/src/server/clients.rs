//! How long known clients wait for a call.
//!
//! Measured with unmodified clients; `docs/mcp-clients.md` has the numbers that
//! these follow from, each less a margin for the way of the answer. Names are
//! what the programs send as `clientInfo.name`. They decide nothing else, since
//! any program can send any name.

use std::time::Duration;

/// How long a call may be held.
struct Patience {
    /// `clientInfo.name` in lower case, or how it begins.
    name: &'static str,
    /// Where the client asked for progress, and so hears of it every 15 s;
    /// `None`: as long as it takes.
    with_progress: Option<Duration>,
    /// Where it did not.
    without: Option<Duration>,
}

const fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

const fn always(name: &'static str, hold: Option<Duration>) -> Patience {
    Patience { name, with_progress: hold, without: hold }
}

/// The TypeScript SDK's 60 s, which most clients inherit. Asking for progress
/// says nothing: whether it extends their patience is up to the host.
const UNKNOWN: Patience = always("", seconds(50));

/// The first that fits counts.
const KNOWN: [Patience; 10] = [
    // Claude Desktop: 60 s or 240 s, by build.
    always("claude-ai", seconds(50)),
    // 30 min without progress on stdio, 5 min over HTTP.
    Patience { name: "claude-code", with_progress: None, without: seconds(290) },
    always("codex", seconds(290)),
    always("gemini-cli", seconds(590)),
    always("cursor", seconds(290)),
    // 60 s without progress.
    Patience { name: "opencode", with_progress: None, without: seconds(50) },
    always("visual studio code", None),
    always("visual-studio-code", None),
    // The Python SDK's own name, where the host gives none.
    always("mcp", None),
    // rmcp's own name.
    always("rmcp", None),
];

/// How long a call of the client named `name` may be held; `None`: as long as
/// an approval takes.
pub(crate) fn hold(name: Option<&str>, has_progress: bool) -> Option<Duration> {
    let name = name.unwrap_or_default().to_ascii_lowercase();
    let fits = |known: &&Patience| {
        // `mcp` is a name, and the beginning of a thousand others.
        if known.name.ends_with("mcp") { name == known.name } else { name.starts_with(known.name) }
    };
    let patience = KNOWN.iter().find(fits).unwrap_or(&UNKNOWN);
    if has_progress { patience.with_progress } else { patience.without }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_is_known_by_the_name_it_sends() {
        for (name, with_progress, without) in [
            ("claude-ai", seconds(50), seconds(50)),
            ("claude-code", None, seconds(290)),
            ("codex-mcp-client", seconds(290), seconds(290)),
            ("gemini-cli-mcp-client-database", seconds(590), seconds(590)),
            ("cursor-vscode", seconds(290), seconds(290)),
            ("opencode", None, seconds(50)),
            ("Visual Studio Code - Insiders", None, None),
            ("mcp", None, None),
            ("rmcp", None, None),
            ("mcp-inspector", seconds(50), seconds(50)),
            ("my own agent", seconds(50), seconds(50)),
            ("", seconds(50), seconds(50)),
        ] {
            assert_eq!(hold(Some(name), true), with_progress, "{name}");
            assert_eq!(hold(Some(name), false), without, "{name}");
        }
        assert_eq!(hold(None, true), seconds(50));
    }
}
