//! SQL and shell commands in color. The colors are cut into the text: nothing of
//! it is left out, added or moved, whatever it is.

use maud::{Markup, PreEscaped};
use sqlparser::{
    dialect::GenericDialect,
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace},
};

use super::text::{Breaks, push};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Sql,
    Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Keyword,
    Text,
    Number,
    Comment,
    Operator,
}

impl Kind {
    const fn class(self) -> Option<&'static str> {
        Some(match self {
            Self::Plain => return None,
            Self::Keyword => "k",
            Self::Text => "s",
            Self::Number => "d",
            Self::Comment => "c",
            Self::Operator => "o",
        })
    }
}

/// From which byte on the text is of which kind; the first is 0.
type Cuts = Vec<(usize, Kind)>;

impl Language {
    /// What a text argument is, by its name and how it begins.
    pub(super) fn of(name: &str, text: &str) -> Option<Self> {
        const SQL: [&str; 20] = [
            "select", "insert", "update", "delete", "drop", "create", "alter", "truncate", "merge",
            "with", "grant", "revoke", "explain", "show", "describe", "begin", "call", "replace",
            "pragma", "values",
        ];
        let name = name.to_ascii_lowercase();
        let named = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let start = text.trim_start();
        let first = start.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let begins = SQL.iter().any(|word| first.eq_ignore_ascii_case(word));
        let comment = start.starts_with("--") || start.starts_with("/*") || start.starts_with('(');
        if named(&["sql"]) || named(&["query", "statement"]) && (begins || comment) {
            Some(Self::Sql)
        } else if named(&["command", "cmd", "shell", "script", "bash"]) {
            Some(Self::Shell)
        } else {
            // A statement in an argument of whatever name.
            (begins && start.contains(' ') && looks_like_sql(start)).then_some(Self::Sql)
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sql => "SQL",
            Self::Shell => "shell",
        }
    }

    fn cuts(self, text: &str) -> Cuts {
        match self {
            Self::Sql => sql(text),
            Self::Shell => shell(text),
        }
    }
}

/// An English sentence can begin with `show`; few are in capitals.
fn looks_like_sql(text: &str) -> bool {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The text in color.
pub(super) fn highlighted(text: &str, language: Language) -> Markup {
    let cuts = language.cuts(text);
    let mut out = String::with_capacity(text.len() * 2);
    let ends = cuts.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
    for ((start, kind), end) in cuts.iter().zip(ends) {
        let piece = &text[*start..end];
        match kind.class() {
            Some(class) if !piece.is_empty() => {
                out.push_str("<span class=\"");
                out.push_str(class);
                out.push_str("\">");
                push(&mut out, piece, Breaks::Kept);
                out.push_str("</span>");
            }
            _ => push(&mut out, piece, Breaks::Kept),
        }
    }
    PreEscaped(out)
}

/// By the tokenizer that the SDK reads SQL with. What it cannot read stays plain
/// from there on.
fn sql(text: &str) -> Cuts {
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    let whole =
        Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    let mut cuts = vec![(0, Kind::Plain)];
    // Where the tokenizer counts lines and columns, here are bytes.
    let mut at = (1, 1, 0);
    let mut characters = text.chars();
    let mut offset_of = |line: u64, column: u64| {
        while (at.0, at.1) < (line, column) {
            let character = characters.next()?;
            at = match character {
                '\n' => (at.0 + 1, 1, at.2 + 1),
                other => (at.0, at.1 + 1, at.2 + other.len_utf8()),
            };
        }
        ((at.0, at.1) == (line, column)).then_some(at.2)
    };
    for token in &tokens {
        let start = token.span.start;
        let Some(offset) = offset_of(start.line, start.column) else { break };
        cut(&mut cuts, offset, kind_of(&token.token));
    }
    if whole.is_err()
        && let Some(last) = tokens.last()
        && let Some(end) = offset_of(last.span.end.line, last.span.end.column)
    {
        cut(&mut cuts, end, Kind::Plain);
    }
    cuts
}

fn cut(cuts: &mut Cuts, offset: usize, kind: Kind) {
    match cuts.last_mut() {
        Some((start, last)) if *start == offset => *last = kind,
        Some((_, last)) if *last == kind => {}
        _ => cuts.push((offset, kind)),
    }
}

fn kind_of(token: &Token) -> Kind {
    match token {
        Token::Word(word) if word.quote_style.is_none() && word.keyword != Keyword::NoKeyword => {
            Kind::Keyword
        }
        Token::Word(_) => Kind::Plain,
        Token::Number(..) => Kind::Number,
        Token::Whitespace(
            Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_),
        ) => Kind::Comment,
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::LParen | Token::RParen => {
            Kind::Plain
        }
        Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::DollarQuotedString(_)
        | Token::HexStringLiteral(_) => Kind::Text,
        _ => Kind::Operator,
    }
}

/// A shell command, roughly: quotes, variables, comments, operators, and the word
/// where a command stands.
fn shell(text: &str) -> Cuts {
    let mut cuts = vec![(0, Kind::Plain)];
    let mut characters = text.char_indices().peekable();
    let mut begins_command = true;
    let mut begins_word = true;
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' | '"' => {
                cut(&mut cuts, at, Kind::Text);
                while let Some((_, inner)) = characters.next() {
                    if inner == character {
                        break;
                    }
                    if inner == '\\' && character == '"' {
                        characters.next();
                    }
                }
                (begins_command, begins_word) = (false, false);
            }
            '\\' => {
                cut(&mut cuts, at, Kind::Text);
                characters.next();
                (begins_command, begins_word) = (false, false);
            }
            '#' if begins_word => {
                cut(&mut cuts, at, Kind::Comment);
                while characters.next_if(|(_, next)| *next != '\n').is_some() {}
            }
            '|' | '&' | ';' | '(' | ')' | '`' | '{' | '}' | '\n' => {
                cut(&mut cuts, at, Kind::Operator);
                (begins_command, begins_word) = (true, true);
            }
            '<' | '>' => {
                cut(&mut cuts, at, Kind::Operator);
                begins_word = true;
            }
            '$' => {
                cut(&mut cuts, at, Kind::Number);
                match characters.peek() {
                    Some((_, '(')) => {}
                    Some((_, '{')) => {
                        while characters.next_if(|(_, next)| !matches!(next, '}' | '\n')).is_some()
                        {
                        }
                        characters.next_if(|(_, next)| *next == '}');
                    }
                    _ => {
                        let part = |next: char| next.is_ascii_alphanumeric() || next == '_';
                        if characters.next_if(|(_, next)| part(*next)).is_none() {
                            characters.next_if(|(_, next)| "?!$@*#-".contains(*next));
                        }
                        while characters.next_if(|(_, next)| part(*next)).is_some() {}
                    }
                }
                (begins_command, begins_word) = (false, false);
            }
            ' ' | '\t' | '\r' => {
                cut(&mut cuts, at, Kind::Plain);
                begins_word = true;
            }
            _ => {
                let kind = match begins_word {
                    true if begins_command => Kind::Keyword,
                    true => Kind::Plain,
                    false => cuts.last().map_or(Kind::Plain, |(_, last)| match last {
                        Kind::Keyword => Kind::Keyword,
                        _ => Kind::Plain,
                    }),
                };
                cut(&mut cuts, at, kind);
                if begins_word {
                    (begins_command, begins_word) = (false, false);
                }
            }
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::text::tests::undone, *};

    fn kinds(text: &str, language: Language) -> Vec<(&str, Kind)> {
        let cuts = language.cuts(text);
        let ends = cuts.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
        let pieces = cuts.iter().zip(ends).map(|((start, kind), end)| (&text[*start..end], *kind));
        pieces.filter(|(piece, kind)| !piece.is_empty() && *kind != Kind::Plain).collect()
    }

    #[test]
    fn sql_is_colored() {
        use Kind::{Comment, Keyword, Number, Operator, Text};
        let found = kinds("DELETE FROM größe WHERE a = 'x' AND b=12 -- ü\n;", Language::Sql);
        assert_eq!(
            found,
            [
                ("DELETE", Keyword),
                ("FROM", Keyword),
                ("WHERE", Keyword),
                ("=", Operator),
                ("'x'", Text),
                ("AND", Keyword),
                ("=", Operator),
                ("12", Number),
                ("-- ü", Comment),
                (";", Operator),
            ]
        );
        // What cannot be read is plain.
        assert_eq!(kinds("SELECT 'open", Language::Sql), [("SELECT", Keyword)]);
    }

    #[test]
    fn shell_is_colored() {
        use Kind::{Comment, Keyword, Number, Operator, Text};
        let found = kinds("rm -rf \"$HOME/x\" && echo ${A} | tee 'b' # all", Language::Shell);
        assert_eq!(
            found,
            [
                ("rm", Keyword),
                ("\"$HOME/x\"", Text),
                ("&&", Operator),
                ("echo", Keyword),
                ("${A}", Number),
                ("|", Operator),
                ("tee", Keyword),
                ("'b'", Text),
                ("# all", Comment),
            ]
        );
    }

    #[test]
    fn the_language_is_found() {
        assert_eq!(Language::of("query", "select 1"), Some(Language::Sql));
        assert_eq!(Language::of("query", "how to bake"), None);
        assert_eq!(Language::of("text", "DROP TABLE users"), Some(Language::Sql));
        assert_eq!(Language::of("text", "show me the way"), None);
        assert_eq!(Language::of("command", "ls -l"), Some(Language::Shell));
    }

    proptest! {
        #[test]
        fn color_never_changes_the_text(
            text in prop_oneof![
                any::<String>(),
                "(SELECT|'|\"|--|/\\*|\\*/|\\$\\$|\\$|\\{|\\}|\\\\|`|#|;|\r|\n|\u{202e}|é|1|e|x| |<b>){0,40}",
            ]
        ) {
            for language in [Language::Sql, Language::Shell] {
                prop_assert_eq!(undone(&highlighted(&text, language).into_string()), text.as_str());
            }
        }
    }
}
