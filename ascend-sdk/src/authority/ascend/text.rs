//! Texts of the server, made fit to be shown.

use secrecy::{ExposeSecret as _, SecretString};

use crate::is_invisible;

/// The most characters of an error text that are shown.
pub(super) const ERROR_LIMIT: usize = 200;
/// The most characters of a reason, a comment or a name that are shown.
pub(super) const REASON_LIMIT: usize = 500;

/// Quotes what a server wrote: without our secrets, should it echo them,
/// bounded, and with invisible characters shown as escapes.
pub(super) struct Quoter(Vec<SecretString>);

impl Quoter {
    pub(super) fn new(secrets: Vec<SecretString>) -> Self {
        Self(secrets)
    }

    pub(super) fn holds_secret(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret.expose_secret()))
    }

    pub(super) fn quote(&self, text: &str, limit: usize) -> String {
        let mut text = std::borrow::Cow::Borrowed(text);
        for secret in &self.0 {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), "[redacted]").into();
            }
        }
        let mut characters = text.trim().chars();
        let mut quoted = String::with_capacity(text.len().min(limit));
        for character in characters.by_ref().take(limit) {
            if is_invisible(character) {
                quoted.extend(character.escape_unicode());
            } else {
                quoted.push(character);
            }
        }
        if characters.next().is_some() {
            quoted.push('…');
        }
        quoted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_cut_out_before_the_text_is_bounded() {
        let quoter = Quoter::new(vec!["owkai_topsecret".into()]);
        // The bound falls inside the secret: a part of it must not be left over.
        let echoed = format!("{}owkai_topsecret", "x".repeat(ERROR_LIMIT - 3));
        let quoted = quoter.quote(&echoed, ERROR_LIMIT);
        assert!(quoted.ends_with("[re…"), "{quoted}");
        assert!(!quoted.contains("owk"), "{quoted}");
    }

    #[test]
    fn invisible_characters_are_shown() {
        let quoter = Quoter::new(Vec::new());
        assert_eq!(quoter.quote("a\u{202e}b\u{1b}[2Jc", 100), "a\\u{202e}b\\u{1b}[2Jc");
    }
}
