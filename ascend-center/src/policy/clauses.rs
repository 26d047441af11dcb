//! A policy's text taken apart, so that each part can be told by itself whether
//! it holds: the three parts of the scope, and what `&&` and `||` join in its
//! conditions.

use std::ops::Range;

/// The parts of one policy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clauses {
    pub(super) scope: Vec<Part>,
    pub(super) conditions: Vec<Condition>,
}

/// One `when` or `unless`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) unless: bool,
    /// What `||` joins, each as what `&&` joins.
    pub(super) alternatives: Vec<Vec<Part>>,
}

/// A part of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// On one line, without comments.
    pub(super) text: String,
    /// Where it starts in the policy's text.
    pub(super) at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Text,
    Symbol,
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    range: Range<usize>,
}

/// The parts of the policy `text`, which Cedar has accepted; `None` where it is
/// not understood, which is then told as a whole.
pub(super) fn clauses(text: &str) -> Option<Clauses> {
    let tokens = tokens(text);
    let word = |index: usize| tokens.get(index).map(|token| &text[token.range.clone()]);
    let effect = (0..tokens.len()).find(|&index| {
        matches!(word(index), Some("permit" | "forbid"))
            && tokens[index].kind == Kind::Word
            && (index == 0 || word(index - 1) != Some("@"))
    })?;
    let end = closing(text, &tokens, effect + 1)?;
    let scope = split(text, &tokens[effect + 2..end], ",");
    let mut conditions = Vec::new();
    let mut next = end + 1;
    while let Some(keyword @ ("when" | "unless")) = word(next) {
        let end = closing(text, &tokens, next + 1)?;
        let inside = &tokens[next + 2..end];
        conditions.push(Condition {
            unless: keyword == "unless",
            alternatives: alternatives(text, inside),
        });
        next = end + 1;
    }
    (word(next) == Some(";") || next == tokens.len()).then(|| Clauses {
        scope: scope.iter().map(|part| whole(text, part)).collect(),
        conditions,
    })
}

/// Where `name` first stands as an attribute: after a `.`, a `has` or a `[`.
pub(super) fn attribute_at(text: &str, name: &str) -> Option<usize> {
    let tokens = tokens(text);
    let written = |token: &Token| &text[token.range.clone()];
    let quoted = format!("{name:?}");
    tokens.windows(2).find_map(|pair| {
        let named = written(&pair[1]) == name || written(&pair[1]) == quoted;
        (named && matches!(written(&pair[0]), "." | "has" | "[")).then_some(pair[1].range.start)
    })
}

fn alternatives(text: &str, tokens: &[Token]) -> Vec<Vec<Part>> {
    // `if` binds weaker than all: nothing at its level can be taken apart.
    if tokens.first().is_some_and(|token| &text[token.range.clone()] == "if") {
        return vec![vec![whole(text, tokens)]];
    }
    split(text, tokens, "||")
        .into_iter()
        .map(|side| split(text, side, "&&").into_iter().map(|part| whole(text, part)).collect())
        .collect()
}

/// The parts between the separators that stand in no brackets.
fn split<'t>(text: &str, tokens: &'t [Token], separator: &str) -> Vec<&'t [Token]> {
    let mut depth = 0_i32;
    tokens
        .split(|token| {
            if token.kind != Kind::Symbol {
                return false;
            }
            let symbol = &text[token.range.clone()];
            depth += change(symbol);
            depth == 0 && symbol == separator
        })
        .filter(|part| !part.is_empty())
        .collect()
}

fn change(symbol: &str) -> i32 {
    match symbol {
        "(" | "[" | "{" => 1,
        ")" | "]" | "}" => -1,
        _ => 0,
    }
}

/// The token that closes the bracket at `open`.
fn closing(text: &str, tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        if token.kind == Kind::Symbol {
            depth += change(&text[token.range.clone()]);
        }
        if depth == 0 {
            return (index > open).then_some(index);
        }
    }
    None
}

/// The tokens as one part.
fn whole(text: &str, tokens: &[Token]) -> Part {
    let mut line = String::new();
    let mut end = None;
    for token in tokens {
        if end.is_some_and(|end| end < token.range.start) {
            line.push(' ');
        }
        line.push_str(&text[token.range.clone()]);
        end = Some(token.range.end);
    }
    Part { text: line, at: tokens.first().map_or(0, |token| token.range.start) }
}

fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        let rest = &bytes[at..];
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let kind = if rest.starts_with(b"//") {
            at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            continue;
        } else if is_word(&byte) {
            at += rest.iter().position(|byte| !is_word(byte)).unwrap_or(rest.len());
            Kind::Word
        } else if byte == b'"' {
            at += text_length(rest);
            Kind::Text
        } else if byte.is_ascii_whitespace() || !byte.is_ascii() {
            // Outside of texts and comments Cedar's language is ASCII.
            at += 1;
            continue;
        } else {
            at += if rest.starts_with(b"&&") || rest.starts_with(b"||") { 2 } else { 1 };
            Kind::Symbol
        };
        tokens.push(Token { kind, range: start..at });
    }
    tokens
}

/// How long the text literal is with which `bytes` start.
fn text_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Whether it is an `unless`, and its alternatives.
    type Texts = (bool, Vec<Vec<String>>);

    fn parts(text: &str) -> (Vec<String>, Vec<Texts>) {
        let Clauses { scope, conditions } = clauses(text).unwrap();
        let texts = |parts: Vec<Part>| parts.into_iter().map(|part| part.text).collect();
        let conditions = conditions
            .into_iter()
            .map(|Condition { unless, alternatives }| {
                (unless, alternatives.into_iter().map(texts).collect())
            })
            .collect();
        (texts(scope), conditions)
    }

    #[test]
    fn a_policy_is_taken_apart_where_it_is_joined() {
        let text = r#"@id("permit") // permit (
            @reason("a \" ; forbid (x")
            forbid (principal == Agent::"a,b", action in [Action::"read", Action::"write"], resource)
            when { context has sql && // why
                   !(context.sql.parsed && context.sql.statements == 1) &&
                   ["a && b", "}"].contains(context.verb) }
            unless { context.high_risk || resource.words.contains("x") && true }
            when { if context.high_risk && true then true || false else false };"#;
        let (scope, conditions) = parts(text);
        assert_eq!(
            scope,
            [
                r#"principal == Agent::"a,b""#,
                r#"action in [Action::"read", Action::"write"]"#,
                "resource"
            ]
        );
        let expected: [(bool, &[&[&str]]); 3] = [
            (
                false,
                &[&[
                    "context has sql",
                    "!(context.sql.parsed && context.sql.statements == 1)",
                    r#"["a && b", "}"].contains(context.verb)"#,
                ]],
            ),
            (true, &[&["context.high_risk"], &[r#"resource.words.contains("x")"#, "true"]]),
            (false, &[&["if context.high_risk && true then true || false else false"]]),
        ];
        assert_eq!(conditions.len(), expected.len());
        for ((unless, alternatives), expected) in conditions.iter().zip(expected) {
            assert_eq!(
                (*unless, alternatives.as_slice() == expected.1),
                (expected.0, true),
                "{alternatives:#?}"
            );
        }
    }

    #[test]
    fn a_part_knows_where_it_stands() {
        let text = "permit (principal, action, resource)\nwhen { true &&\n  false };";
        let clauses = clauses(text).unwrap();
        let part = &clauses.conditions[0].alternatives[0][1];
        assert_eq!(&text[part.at..], "false };");
    }

    #[test]
    fn what_is_not_understood_is_left_whole() {
        assert_eq!(clauses("permit"), None);
        assert_eq!(clauses("permit (principal"), None);
        assert_eq!(clauses("what"), None);
    }
}
