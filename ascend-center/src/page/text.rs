//! What an agent wrote, shown as what it is: a character that would be
//! invisible, or change how others are shown, stands there as a marked escape.

use ascend_sdk::is_invisible;
use maud::{Markup, PreEscaped};

/// What becomes of line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaks {
    /// They are escaped like any control character.
    Escaped,
    /// Lines break, and each break is marked.
    Kept,
}

/// The text on one line.
pub(super) fn visible(text: &str) -> Markup {
    let mut out = String::with_capacity(text.len());
    push(&mut out, text, Breaks::Escaped);
    PreEscaped(out)
}

/// The text over as many lines as it has.
pub(super) fn block(text: &str) -> Markup {
    let mut out = String::with_capacity(text.len());
    push(&mut out, text, Breaks::Kept);
    PreEscaped(out)
}

/// Adds the text as HTML.
pub(super) fn push(out: &mut String, text: &str, breaks: Breaks) {
    // So many marks in a row are letters of no script: they would cover others.
    const MARKS: usize = 3;
    let mut marks = 0;
    for character in text.chars() {
        marks = if is_mark(character) { marks + 1 } else { 0 };
        match character {
            '\n' if breaks == Breaks::Kept => out.push_str("<i class=\"n\"></i>\n"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ if is_invisible(character) || marks > MARKS => escape(out, character),
            _ => out.push(character),
        }
    }
}

fn escape(out: &mut String, character: char) {
    out.push_str("<span class=\"e\"");
    if let Some(name) = name(character) {
        out.push_str(" title=\"");
        out.push_str(name);
        out.push('"');
    }
    out.push('>');
    out.extend(character.escape_unicode());
    out.push_str("</span>");
}

/// Combining marks, which are drawn over the letter before.
const fn is_mark(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36F}' | '\u{483}'..='\u{489}' | '\u{1AB0}'..='\u{1AFF}'
        | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}

const fn name(character: char) -> Option<&'static str> {
    Some(match character {
        '\0' => "null",
        '\u{7}' => "bell",
        '\u{8}' => "backspace",
        '\t' => "tab",
        '\n' => "line break",
        '\r' => "carriage return",
        '\u{1b}' => "escape: begins a terminal's command",
        '\u{7f}' => "delete",
        '\u{9b}' => "control sequence: begins a terminal's command",
        '\u{a0}' => "no-break space",
        '\u{ad}' => "soft hyphen",
        '\u{61c}' => "Arabic letter mark",
        '\u{200b}' => "zero-width space",
        '\u{200c}' => "zero-width non-joiner",
        '\u{200d}' => "zero-width joiner",
        '\u{200e}' => "left-to-right mark",
        '\u{200f}' => "right-to-left mark",
        '\u{202a}' => "left-to-right embedding",
        '\u{202b}' => "right-to-left embedding",
        '\u{202c}' => "end of a change of direction",
        '\u{202d}' => "left-to-right override",
        '\u{202e}' => "right-to-left override",
        '\u{2060}' => "word joiner",
        '\u{2066}' => "left-to-right isolate",
        '\u{2067}' => "right-to-left isolate",
        '\u{2068}' => "isolate",
        '\u{2069}' => "end of an isolate",
        '\u{feff}' => "byte order mark",
        '\u{e0000}'..='\u{e007f}' => "tag",
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text that is shown, with the escapes undone; panics on markup that
    /// is not ours.
    pub(crate) fn undone(html: &str) -> String {
        let mut out = String::new();
        let mut rest = html;
        while let Some(character) = rest.chars().next() {
            if character == '<' {
                let end = rest.find('>').expect("a tag ends") + 1;
                let (tag, after) = rest.split_at(end);
                let known = ["<span class=\"", "</span>", "<i class=\"n\">", "</i>"];
                assert!(known.iter().any(|known| tag.starts_with(known)), "{tag}");
                rest = after;
                if tag.starts_with("<span class=\"e\"") {
                    let (escape, after) = rest.split_once("</span>").expect("it is closed");
                    let code = escape.strip_prefix("\\u{").and_then(|code| code.strip_suffix('}'));
                    let code = u32::from_str_radix(code.expect("an escape"), 16).expect("hex");
                    out.push(char::from_u32(code).expect("a character"));
                    rest = after;
                }
            } else if character == '&' {
                let (entity, after) = rest.split_once(';').expect("an entity ends");
                out.push_str(match entity {
                    "&amp" => "&",
                    "&lt" => "<",
                    "&gt" => ">",
                    "&quot" => "\"",
                    "&#39" => "'",
                    other => panic!("{other}"),
                });
                rest = after;
            } else {
                assert!(character == '\n' || !is_invisible(character), "{character:?} is shown");
                out.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
        out
    }

    #[test]
    fn what_is_hostile_is_marked() {
        let html = visible("<b>\u{202e}x\u{1b}[2J\u{200b}\n").into_string();
        assert_eq!(
            html,
            "&lt;b&gt;<span class=\"e\" title=\"right-to-left override\">\\u{202e}</span>x\
             <span class=\"e\" title=\"escape: begins a terminal&#39;s command\">\\u{1b}</span>[2J\
             <span class=\"e\" title=\"zero-width space\">\\u{200b}</span>\
             <span class=\"e\" title=\"line break\">\\u{a}</span>"
                .replace("&#39;", "'")
        );
        assert_eq!(block("a\nb").into_string(), "a<i class=\"n\"></i>\nb");
        // A letter with its accents stays; a tower of them does not.
        assert_eq!(visible("e\u{301}").into_string(), "e\u{301}");
        let tower = visible(&format!("a{}", "\u{300}".repeat(9))).into_string();
        assert_eq!(tower.matches("class=\"e\"").count(), 6);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_hidden(text in any::<String>()) {
            prop_assert_eq!(undone(&visible(&text).into_string()), text.as_str());
            prop_assert_eq!(undone(&block(&text).into_string()), text.as_str());
        }

        #[test]
        fn nor_of_what_is_hostile(text in "[<>&\"'a\u{0}\u{1b}\n\r\t\u{202e}\u{200b}\u{300}\u{e0041}\u{feff}א]{0,60}") {
            prop_assert_eq!(undone(&visible(&text).into_string()), text.as_str());
            prop_assert_eq!(undone(&block(&text).into_string()), text.as_str());
        }
    }
}
