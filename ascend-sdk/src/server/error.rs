//! What keeps a server from serving.

use std::{fmt, io, net::SocketAddr};

use crate::Location;

/// Why a server did not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It is put together wrongly: every mistake that was found, before
    /// anything was served.
    #[error("the server cannot start: {0}")]
    Setup(Mistakes),
    /// The address is open to other machines, and nothing said that it should be.
    #[error(
        "{0} is reachable from other machines; serve on 127.0.0.1, or name the hosts that clients use with `.expose_to([…])`"
    )]
    NotLoopback(SocketAddr),
    /// The operating system refused.
    #[error("the server cannot serve: {0}")]
    Io(#[from] io::Error),
}

/// Every mistake in a server's set-up, in the order of its tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(crate) fn check(found: Vec<Mistake>) -> Result<(), ServeError> {
        if found.is_empty() { Ok(()) } else { Err(ServeError::Setup(Self(found))) }
    }

    /// The mistakes.
    #[must_use]
    pub fn as_slice(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

/// One mistake in a server's set-up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// Two tools have one name.
    #[error(
        "two tools are named `{name}`, at {first} and {second}; give one another name with `name = \"…\"`"
    )]
    DuplicateTool {
        /// The name.
        name: &'static str,
        /// Where the first is written.
        first: Location,
        /// Where the second is written.
        second: Location,
    },
    /// A tool of an rmcp server has the name of another tool.
    #[error("two tools are named `{name}`, one of them an rmcp server's; give one another name")]
    SameName {
        /// The name.
        name: String,
    },
    /// A tool of an rmcp server is not governed, and nothing says why.
    #[error(
        "the tool `{name}` is not governed: put `#[mcp_governance(…)]` or `#[high_risk_action(…)]` above its `#[tool]`, or say why it needs neither, with `#[ungoverned(reason = \"…\")]` there or `.ungoverned(\"{name}\", \"…\")` on the server"
    )]
    Ungoverned {
        /// The name.
        name: String,
    },
    /// `ungoverned` names a tool that an attribute already speaks of.
    #[error(
        "`.ungoverned(\"{name}\", …)` names a tool that {}; remove one of them",
        if *.governed { "is governed" } else { "is said to be ungoverned already" }
    )]
    NotUngoverned {
        /// The name.
        name: String,
        /// Whether it is governed.
        governed: bool,
    },
    /// `ungoverned` gives no reason.
    #[error("`.ungoverned(\"{name}\", …)` gives no reason; say why nobody needs to be asked")]
    NoReason {
        /// The name.
        name: String,
    },
    /// A tool has the name of one that the server was told to offer itself.
    #[error(
        "the tool at {location} is named `{name}`, as one of the server's own; give it another name with `name = \"…\"`, or leave out `.offer_{name}()`"
    )]
    NameTaken {
        /// The name.
        name: &'static str,
        /// Where the tool is written.
        location: Location,
    },
    /// A tool takes state that the server was not given.
    #[error("`{tool}` takes state of type `{type_name}`; give it with `.state(…)`")]
    MissingState {
        /// The tool.
        tool: &'static str,
        /// The type.
        type_name: &'static str,
    },
    /// The allow list, the block list or `ungoverned` names a tool that does not exist.
    #[error("`{list}` names `{name}`, and no tool is named so{}", did_you_mean(.suggestion))]
    UnknownTool {
        /// `allow_tools`, `block_tools` or `ungoverned`.
        list: &'static str,
        /// The name.
        name: String,
        /// The tool whose name is nearest, if one is near.
        suggestion: Option<String>,
    },
    /// The key of `request_state_key` is too short to be secret.
    #[error("`request_state_key` has {bytes} bytes; give it 32 or more, all of them random")]
    ShortStateKey {
        /// How long it is.
        bytes: usize,
    },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The name nearest to `wanted`, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (distance(wanted, name), name))
        .filter(|&(distance, name)| distance <= 1 + name.len().min(wanted.len()) / 4)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance, over bytes: tool names are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["query_analytics", "delete_records"];
        assert_eq!(nearest("delete_record", names), Some("delete_records"));
        assert_eq!(nearest("qeury_analytics", names), Some("query_analytics"));
        assert_eq!(nearest("send_mail", names), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
