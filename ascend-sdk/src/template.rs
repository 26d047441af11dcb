//! Texts with placeholders for arguments: the resource and the summary.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// A text with placeholders, checked and split at compile time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template(pub &'static [Segment]);

/// A part of a [`Template`]. Parameters go by their names in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// Text as it stands.
    Literal(&'static str),
    /// `{name}`: the argument, every reserved character escaped (RFC 6570, simple expansion).
    Parameter(&'static str),
    /// `{+name}`: the argument as a path, `/` kept between its segments (RFC 6570, reserved expansion).
    Path(&'static str),
}

/// The most bytes that one argument contributes to a resource.
pub(crate) const RESOURCE_VALUE_LIMIT: usize = 256;
/// The most characters that one argument contributes to a summary.
pub(crate) const SUMMARY_VALUE_LIMIT: usize = 500;

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Segment::Parameter(name) => write!(f, "{{{name}}}"),
            Segment::Path(name) => write!(f, "{{+{name}}}"),
        })
    }
}

impl Template {
    /// The resource for `arguments`. No argument can forge another resource:
    /// each value is percent-encoded, so that it cannot end its place in the
    /// template, and one that is too long is cut and ends in its hash.
    ///
    /// # Errors
    ///
    /// The name of a parameter that `arguments` lacks.
    pub fn render_resource(self, arguments: &Map<String, Value>) -> Result<String, &'static str> {
        self.render(arguments, |out, text, is_path| {
            // Each byte becomes at least one, so more than this is cut anyway.
            let start = &text[..text.floor_char_boundary(RESOURCE_VALUE_LIMIT + 1)];
            let encoded = if is_path {
                start.split('/').map(encode_segment).collect::<Vec<_>>().join("/")
            } else {
                encode_segment(start)
            };
            if start.len() == text.len() && encoded.len() <= RESOURCE_VALUE_LIMIT {
                out.push_str(&encoded);
            } else {
                // `~sha256:` cannot come from a value, since `:` is always encoded.
                let hash = hex::encode(Sha256::digest(text));
                let cut = RESOURCE_VALUE_LIMIT - "~sha256:".len() - hash.len();
                // Never inside a `%XX`.
                let cut = encoded[..cut].rfind('%').filter(|&at| at + 3 > cut).unwrap_or(cut);
                let _ = write!(out, "{}~sha256:{hash}", &encoded[..cut]);
            }
        })
    }

    /// The summary for `arguments`. Each value stands between backticks, with
    /// control, bidirectional and other invisible characters shown as escapes,
    /// so that an argument cannot pass for the text around it.
    ///
    /// # Errors
    ///
    /// The name of a parameter that `arguments` lacks.
    pub fn render_summary(self, arguments: &Map<String, Value>) -> Result<String, &'static str> {
        self.render(arguments, |out, text, _| {
            out.push('`');
            let mut characters = text.chars();
            for character in characters.by_ref().take(SUMMARY_VALUE_LIMIT) {
                match character {
                    '`' | '\\' => out.extend(['\\', character]),
                    _ if is_invisible(character) => out.extend(character.escape_unicode()),
                    _ => out.push(character),
                }
            }
            match characters.count() {
                0 => out.push('`'),
                more => {
                    let _ = write!(out, "`… ({more} more characters)");
                }
            }
        })
    }

    fn render(
        self,
        arguments: &Map<String, Value>,
        push: impl Fn(&mut String, &str, bool),
    ) -> Result<String, &'static str> {
        let mut out = String::new();
        for segment in self.0 {
            let (name, is_path) = match *segment {
                Segment::Literal(text) => {
                    out.push_str(text);
                    continue;
                }
                Segment::Parameter(name) => (name, false),
                Segment::Path(name) => (name, true),
            };
            match arguments.get(name).ok_or(name)? {
                Value::String(text) => push(&mut out, text, is_path),
                value => push(&mut out, &value.to_string(), is_path),
            }
        }
        Ok(out)
    }
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A path's segment: `.` and `..` would change where the path leads for
/// whoever resolves it, so they are escaped.
fn encode_segment(segment: &str) -> String {
    match segment {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => encode(segment),
    }
}

/// `text` on one line, each invisible character as `\u{…}`: what an agent wrote
/// is shown to people as what it is.
///
/// ```
/// assert_eq!(ascend_sdk::shown("a\u{202e}b\n"), r"a\u{202e}b\u{a}");
/// ```
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// Whether a character is shown as nothing, or changes how others are shown:
/// controls, format characters (bidirectional, zero-width, tags), separators
/// other than the space, private use and fillers.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(character,
            '\u{AD}' | '\u{34F}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}'
            | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{2800}' | '\u{3164}' | '\u{E000}'..='\u{F8FF}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}' | '\u{F0000}'..='\u{10FFFF}')
}
