//! Arguments as rows of name, type and value.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::{
    code::{Language, highlighted},
    text::{block, visible},
    words::{count, counted, size},
};

/// What the SDK sends in place of a sensitive value.
const MASK: &str = "[sensitive]";
/// How deep objects are shown as rows; deeper ones as JSON.
const DEPTH: usize = 6;
/// How many characters a card shows, and how many of one value.
const CARD: Budget = Budget { characters: 1000, rows: 20, of_one: 500 };

/// How much is shown.
#[derive(Debug, Clone, Copy)]
struct Budget {
    characters: usize,
    rows: usize,
    of_one: usize,
}

impl Budget {
    const ALL: Self = Self { characters: usize::MAX, rows: usize::MAX, of_one: usize::MAX };

    /// Takes what of the text is shown; whether that is all of it.
    fn take<'a>(&mut self, text: &'a str) -> (&'a str, bool) {
        let most = self.characters.min(self.of_one);
        // A text has at least as many bytes as characters.
        if text.len() <= most {
            self.characters -= text.len();
            return (text, true);
        }
        match text.char_indices().nth(most) {
            None => {
                self.characters = self.characters.saturating_sub(text.chars().count());
                (text, true)
            }
            Some((end, _)) => {
                self.characters = self.characters.saturating_sub(most);
                (&text[..end], false)
            }
        }
    }

    fn row(&mut self) -> bool {
        let some = self.rows > 0 && self.characters > 0;
        self.rows = self.rows.saturating_sub(1);
        some
    }
}

/// Every argument in full.
pub(super) fn all(arguments: &Map<String, Value>) -> Markup {
    rows(arguments, &mut Budget::ALL.clone(), 0)
}

/// As much as fits on a card, and whether that is all.
pub(super) fn preview(arguments: &Map<String, Value>) -> (Markup, bool) {
    let mut budget = CARD;
    let shown = rows(arguments, &mut budget, 0);
    let whole = shown.0.find("class=\"more\"").is_none();
    (shown, whole)
}

/// How large they are, as JSON.
pub(super) fn extent(arguments: &Map<String, Value>) -> String {
    let bytes = serde_json::to_vec(arguments).map_or(0, |json| json.len());
    size(bytes)
}

fn rows(object: &Map<String, Value>, budget: &mut Budget, depth: usize) -> Markup {
    let mut left = object.len();
    html! {
        dl.arguments {
            @for (name, value) in object {
                @if budget.row() {
                    ({ left -= 1; row(&visible(name), name, value, budget, depth) })
                }
            }
            @if left > 0 {
                (more(&counted(left, "more argument")))
            }
        }
    }
}

fn more(text: &str) -> Markup {
    html! { div.row { dt.more { "…" } dd.more { (text) } } }
}

fn row(label: &Markup, name: &str, value: &Value, budget: &mut Budget, depth: usize) -> Markup {
    html! {
        div.row {
            dt { bdi { (label) } " " span.type { (kind(name, value)) } }
            dd { (shown(name, value, budget, depth)) }
        }
    }
}

/// What type a value has, and how large it is.
fn kind(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "boolean".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(text) if text == MASK => "masked".to_owned(),
        Value::String(text) => {
            let what = Language::of(name, text).map_or("text", Language::name);
            let (characters, lines) = (text.chars().count(), text.split('\n').count());
            match (characters, lines) {
                (0..=80, 1) => what.to_owned(),
                (_, 1) => format!("{what}, {} characters", count(characters)),
                _ => format!("{what}, {} characters, {} lines", count(characters), count(lines)),
            }
        }
        Value::Array(items) => format!("list of {}", count(items.len())),
        Value::Object(fields) => format!("object of {}", count(fields.len())),
    }
}

fn shown(name: &str, value: &Value, budget: &mut Budget, depth: usize) -> Markup {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => html! { code { (value.to_string()) } },
        Value::String(text) if text.is_empty() => html! { span.quiet { "empty" } },
        Value::String(text) if text == MASK => {
            html! { code { (MASK) } " " span.quiet { "masked before it reached the center" } }
        }
        Value::String(text) => string(name, text, budget),
        Value::Array(items) if items.is_empty() => html! { span.quiet { "empty" } },
        Value::Object(fields) if fields.is_empty() => html! { span.quiet { "empty" } },
        Value::Object(fields) if depth < DEPTH => rows(fields, budget, depth + 1),
        Value::Array(items) if depth < DEPTH => list(name, items, budget, depth + 1),
        deeper => string("json", &serde_json::to_string_pretty(deeper).unwrap_or_default(), budget),
    }
}

fn list(name: &str, items: &[Value], budget: &mut Budget, depth: usize) -> Markup {
    let mut left = items.len();
    html! {
        dl.arguments.list {
            @for (at, item) in items.iter().enumerate() {
                @if budget.row() {
                    ({ left -= 1; row(&html! { (at) }, name, item, budget, depth) })
                }
            }
            @if left > 0 {
                (more(&counted(left, "more item")))
            }
        }
    }
}

fn string(name: &str, text: &str, budget: &mut Budget) -> Markup {
    let language = Language::of(name, text);
    let (shown, whole) = budget.take(text);
    let rest = || counted(text.chars().count() - shown.chars().count(), "more character");
    html! {
        pre.value.code[language.is_some()] tabindex=[is_long(shown).then_some("0")] {
            @match language {
                Some(language) => (highlighted(shown, language)),
                None => (block(shown)),
            }
        }
        @if !whole {
            span class="more" { "… " (rest()) }
        }
    }
}

/// Whether it is shown in a box of its own height, which keys can scroll.
fn is_long(text: &str) -> bool {
    text.len() > 2000 || text.split('\n').count() > 24
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn every_argument_has_its_name_type_and_value() {
        let arguments = object(json!({
            "query": "DELETE FROM users",
            "limit": 12,
            "force": true,
            "token": MASK,
            "nothing": null,
            "options": { "a.b": [1, "<x>"] },
        }));
        let html = all(&arguments).into_string();
        for part in [
            "<bdi>query</bdi> <span class=\"type\">SQL</span>",
            "<span class=\"k\">DELETE</span>",
            "<span class=\"type\">number</span></dt><dd><code>12</code>",
            "<span class=\"type\">boolean</span></dt><dd><code>true</code>",
            "<span class=\"type\">masked</span>",
            "<code>null</code>",
            "<bdi>options</bdi> <span class=\"type\">object of 1</span>",
            "<bdi>a.b</bdi> <span class=\"type\">list of 2</span>",
            "&lt;x&gt;",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn what_a_card_leaves_out_it_says() {
        let (html, whole) = preview(&object(json!({ "a": "x".repeat(65_536), "b": "y" })));
        assert!(!whole);
        let html = html.into_string();
        assert!(html.contains("… 65,036 more characters"), "{html}");
        assert!(html.contains("text, 65,536 characters"), "{html}");
        assert!(html.len() < 2000, "{}", html.len());

        let many: Map<String, Value> = (0..500).map(|n| (n.to_string(), n.into())).collect();
        let (html, whole) = preview(&many);
        assert!(!whole && html.into_string().contains("480 more arguments"));
        // An argument that says so is not taken for a cut.
        let (_, whole) = preview(&object(json!({ "class=\"more\"": "class=\"more\"" })));
        assert!(whole);
        let (_, whole) = preview(&object(json!({ "a": "é".repeat(500) })));
        assert!(whole);
    }
}
