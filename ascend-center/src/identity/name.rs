//! Names of people, agents and keys: shown to approvers, so without anything
//! that could look like something else.

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// It has characters that a name does not have, none, or too many.
    #[error(
        "a name has 1 to {LONGEST} characters: {allowed}, and `.`, `_`, `-`, `@`, `+`, starting \
         with a letter or digit"
    )]
    Characters {
        /// Which letters and digits.
        allowed: &'static str,
    },
    /// The center uses it itself.
    #[error("the name `{0}` is the center's own; choose another")]
    Reserved(String),
}

const LONGEST: usize = 64;

/// What the center calls whoever asks without a key of their own.
pub(crate) const EMBEDDED: &str = "embedded";
/// The agents of this machine, by the key in the center's directory.
pub(crate) const LOCAL_AGENT: &str = "local-agent";

/// The name of a person: lower case, so that no two look alike.
pub(crate) fn user(name: &str) -> Result<(), InvalidName> {
    let allowed = "lower-case letters a-z, digits";
    check(name, allowed, |c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// The name of a group of people, as policies write it.
pub(crate) fn group(name: &str) -> Result<(), InvalidName> {
    user(name)
}

pub(crate) fn agent(name: &str) -> Result<(), InvalidName> {
    if [EMBEDDED, LOCAL_AGENT].iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(InvalidName::Reserved(name.to_owned()));
    }
    label(name)
}

/// The name of a key or a token.
pub(crate) fn label(name: &str) -> Result<(), InvalidName> {
    check(name, "letters, digits", |c| c.is_ascii_alphanumeric())
}

fn check(
    name: &str,
    allowed: &'static str,
    plain: impl Fn(char) -> bool,
) -> Result<(), InvalidName> {
    let fits = name.len() <= LONGEST
        && name.starts_with(&plain)
        && name.chars().all(|c| plain(c) || "._-@+".contains(c));
    if fits { Ok(()) } else { Err(InvalidName::Characters { allowed }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["alice", "a", "bob.jones+x@example.com", "7up"] {
            assert_eq!(user(name), Ok(()), "{name}");
        }
        for name in ["", "Alice", "-a", "a b", "а", "a\u{202e}", &"a".repeat(65)] {
            assert!(user(name).is_err(), "{name}");
        }
        assert_eq!(agent("Billing-Agent_1"), Ok(()));
        for name in ["embedded", "Local-Agent", "a/b", ""] {
            assert!(agent(name).is_err(), "{name}");
        }
    }
}
