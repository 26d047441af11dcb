//! Texts with placeholders, split.

use syn::{LitStr, ext::IdentExt, parse::Parser};

use crate::diagnostics::Diagnostics;

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Text as it stands.
    Literal(String),
    /// `{name}`
    Parameter(String),
    /// `{+name}`
    Path(String),
}

impl Segment {
    /// The parameter that the placeholder names.
    pub(crate) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Parameter(name) | Self::Path(name) => Some(name),
        }
    }
}

/// Splits the template that the argument `key` gives.
pub(crate) fn parse(key: &str, text: &LitStr, diagnostics: &mut Diagnostics) -> Vec<Segment> {
    match split(&text.value()) {
        Ok(segments) => {
            if segments.is_empty() {
                diagnostics.at(text, format!("`{key}` is empty"));
            }
            let placeholders: Vec<_> =
                segments.iter().filter(|segment| segment.parameter().is_some()).collect();
            for (index, segment) in placeholders.iter().enumerate() {
                let Segment::Path(name) = segment else { continue };
                if key != "resource" {
                    diagnostics
                        .at(text, format!("`{{+{name}}}` is for a `resource`; write `{{{name}}}`"));
                } else if index + 1 < placeholders.len() {
                    diagnostics.at(
                        text,
                        format!("`{{+{name}}}` must be the last placeholder; write `{{{name}}}`"),
                    );
                }
            }
            segments
        }
        Err(message) => {
            diagnostics.at(text, message);
            Vec::new()
        }
    }
}

fn split(text: &str) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    let mut literal = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '{' | '}' if rest.peek() == Some(&character) => {
                rest.next();
                literal.push(character);
            }
            '}' => return Err("a `}` without `{`; write `}}` for the character".to_owned()),
            '{' => {
                let mut inside = String::new();
                loop {
                    match rest.next() {
                        Some('}') => break,
                        Some('{') | None => {
                            return Err(
                                "a `{` without `}`; write `{{` for the character".to_owned()
                            );
                        }
                        Some(character) => inside.push(character),
                    }
                }
                if !literal.is_empty() {
                    segments.push(Segment::Literal(std::mem::take(&mut literal)));
                }
                segments.push(placeholder(&inside)?);
            }
            _ => literal.push(character),
        }
    }
    if !literal.is_empty() {
        segments.push(Segment::Literal(literal));
    }
    Ok(segments)
}

fn placeholder(inside: &str) -> Result<Segment, String> {
    let (name, is_path) = match inside.strip_prefix('+') {
        Some(name) => (name, true),
        None => (inside, false),
    };
    if name.is_empty() {
        return Err("a placeholder names a parameter, as in `{table}`".to_owned());
    }
    let is_word = syn::Ident::parse_any.parse_str(name).is_ok() && !name.starts_with("r#");
    if !is_word || ["_", "self", "Self", "super", "crate"].contains(&name) {
        return Err(format!(
            "the placeholder `{{{inside}}}` may only name a parameter, as in `{{table}}`"
        ));
    }
    let name = name.to_owned();
    Ok(if is_path { Segment::Path(name) } else { Segment::Parameter(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_split() {
        assert_eq!(split("{type}"), Ok(vec![Segment::Parameter("type".to_owned())]));
        assert_eq!(
            split("a{{b}}://{c}/{+d}"),
            Ok(vec![
                Segment::Literal("a{b}://".to_owned()),
                Segment::Parameter("c".to_owned()),
                Segment::Literal("/".to_owned()),
                Segment::Path("d".to_owned()),
            ])
        );
        for wrong in [
            "{", "}", "{a", "{a{b}}", "{}", "{+}", "{a.b}", "{a:?}", "{0}", "{a²}", "{_}", "{r#a}",
            "{self}",
        ] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
