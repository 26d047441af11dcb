//! The arguments as written, spans kept.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{
    Error, Expr, ExprLit, Ident, Lit, LitStr, Path, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    spanned::Spanned,
    token,
};

use crate::diagnostics::{Diagnostics, alternatives, nearest};

/// Which attribute it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `#[mcp_governance]`
    Governance,
    /// `#[high_risk_action]`
    HighRisk,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Governance, Self::HighRisk];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Governance => "mcp_governance",
            Self::HighRisk => "high_risk_action",
        }
    }
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    Flag,
    Expression,
    Pairs,
    Path,
}

/// A key, what it takes, and an example of it.
struct Key(&'static str, Takes, &'static str);

const KEYS: [Key; 20] = [
    Key("action_type", Takes::Text, r#"action_type = "database.query""#),
    Key("namespace", Takes::Text, r#"namespace = "database""#),
    Key("verb", Takes::Expression, r#"verb = "query""#),
    Key("facts", Takes::Expression, "facts = classify::sql(query)"),
    Key("resource", Takes::Text, r#"resource = "database://{database}""#),
    Key("summary", Takes::Text, r#"summary = "Delete rows of {table}""#),
    Key("risk_level", Takes::Text, r#"risk_level = "high""#),
    Key("require_human_approval", Takes::Flag, "require_human_approval"),
    Key("name", Takes::Text, r#"name = "delete_records""#),
    Key("title", Takes::Text, r#"title = "Delete records""#),
    Key("description", Takes::Text, r#"description = "Deletes records.""#),
    Key("approval_timeout", Takes::Text, r#"approval_timeout = "10m""#),
    Key("metadata", Takes::Pairs, r#"metadata(team = "data")"#),
    Key("read_only", Takes::Flag, "read_only"),
    Key("destructive", Takes::Flag, "destructive"),
    Key("idempotent", Takes::Flag, "idempotent"),
    Key("open_world", Takes::Flag, "open_world"),
    Key("governor", Takes::Expression, "governor = GOVERNOR"),
    Key("crate", Takes::Path, r#"crate = "ascend_sdk""#),
    // Not an argument: it is written as the first one, without a key.
    Key("", Takes::Expression, "GOVERNOR"),
];

fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.0 == name && !name.is_empty())
}

fn names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.0).filter(|name| !name.is_empty())
}

#[derive(Debug)]
enum Value {
    Text(LitStr),
    Flag(bool),
    Expression(Box<Expr>),
    Pairs(Vec<(Ident, LitStr)>),
    Path(Path),
    /// Given, and wrong: reported where it was read.
    Wrong,
}

/// One argument.
#[derive(Debug)]
struct Entry {
    name: &'static str,
    span: Span,
    value: Value,
}

/// The arguments of one attribute.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) kind: Kind,
    entries: Vec<Entry>,
}

impl Arguments {
    /// Reads the arguments; mistakes go to `diagnostics`.
    pub(crate) fn parse(kind: Kind, tokens: TokenStream, diagnostics: &mut Diagnostics) -> Self {
        let mut arguments = Self { kind, entries: Vec::new() };
        let parser = |input: ParseStream<'_>| {
            while !input.is_empty() {
                if let Err(error) = arguments.parse_one(input, diagnostics) {
                    diagnostics.push(error);
                    skip_to_comma(input)?;
                }
                if !input.is_empty() {
                    if !input.peek(Token![,]) {
                        diagnostics.push(input.error("expected `,` between arguments"));
                        if arguments.key_ahead(input).is_none() {
                            skip_to_comma(input)?;
                        }
                    }
                    let _: Option<Token![,]> = input.parse()?;
                }
            }
            Ok(())
        };
        if let Err(error) = parser.parse2(tokens) {
            diagnostics.push(error);
        }
        arguments
    }

    fn parse_one(&mut self, input: ParseStream<'_>, out: &mut Diagnostics) -> syn::Result<()> {
        if let Some(ident) = self.key_ahead(input) {
            input.call(Ident::parse_any)?;
            return self.parse_value(&ident, input, out);
        }
        let is_first = self.entries.is_empty();
        let expression: Expr = input.parse()?;
        if text(&expression).is_some() {
            out.at(&expression, "give this text a key, as in `description = \"…\"`");
        } else if is_first {
            self.insert("governor", expression.span(), Value::Expression(expression.into()), out);
        } else {
            const MESSAGE: &str =
                "only the first argument, the governor, goes without a key; write `governor = …`";
            out.at(&expression, MESSAGE);
        }
        Ok(())
    }

    /// The key that comes next, if this is no expression.
    fn key_ahead(&self, input: ParseStream<'_>) -> Option<Ident> {
        let ahead = input.fork();
        let ident = ahead.call(Ident::parse_any).ok()?;
        if ahead.peek(Token![=]) && !ahead.peek(Token![==])
            || ahead.peek(Token![:]) && !ahead.peek(Token![::])
        {
            return Some(ident);
        }
        let name = ident.to_string();
        let alone = ahead.is_empty() || ahead.peek(Token![,]);
        if !alone && !ahead.peek(token::Paren) {
            return None;
        }
        // A word alone, or with parentheses: a key, unless it is the governor.
        let is_key = key(&name).is_some() && (alone || name != "governor");
        let may_be_governor = self.entries.is_empty() && !is_key;
        if name == "governor" && may_be_governor {
            return None;
        }
        // A call can make the governor: of the keys, `metadata` alone takes parentheses.
        let looks_like_key =
            if alone { nearest(&name, names()) } else { nearest(&name, ["metadata"]) }.is_some();
        (!may_be_governor || looks_like_key).then_some(ident)
    }

    fn parse_value(
        &mut self,
        ident: &Ident,
        input: ParseStream<'_>,
        out: &mut Diagnostics,
    ) -> syn::Result<()> {
        let name = ident.to_string();
        let Some(&Key(name, takes, example)) = key(&name) else {
            let near = nearest(&name, names());
            out.at(ident, unknown_argument(&name, near));
            // What it was meant to be is not missing as well.
            if let Some(meant) = near
                && !self.is_given(meant)
            {
                self.entries.push(Entry { name: meant, span: ident.span(), value: Value::Wrong });
            }
            return skip_to_comma(input);
        };
        let wrong = |out: &mut Diagnostics, at: &dyn ToTokens| {
            let what = match takes {
                Takes::Text => "takes a string",
                Takes::Flag => "takes `true` or `false`",
                Takes::Expression if name == "verb" => "takes a string",
                Takes::Expression if name == "facts" => "takes an expression",
                Takes::Expression => "takes a governor",
                Takes::Pairs => "takes keys and strings",
                Takes::Path => "takes a path in a string",
            };
            let example =
                if takes == Takes::Flag { format!("{name} = true") } else { example.to_owned() };
            out.push(Error::new_spanned(
                at.to_token_stream(),
                format!("`{name}` {what}, as in `{example}`"),
            ));
            Value::Wrong
        };

        let value = if input.peek(Token![=]) || input.peek(Token![:]) {
            if let Some(colon) = input.parse::<Option<Token![:]>>()? {
                out.at(colon, format!("write `{name} = …`"));
            } else {
                input.parse::<Token![=]>()?;
            }
            if input.is_empty() || input.peek(Token![,]) {
                wrong(out, ident)
            } else {
                let value: Expr = match input.parse() {
                    Ok(value) => value,
                    Err(error) => {
                        self.insert(name, ident.span(), Value::Wrong, out);
                        return Err(error);
                    }
                };
                match (takes, literal(&value)) {
                    (Takes::Text, Some(Lit::Str(text))) => Value::Text(text.clone()),
                    (Takes::Flag, Some(Lit::Bool(flag))) => Value::Flag(flag.value),
                    (Takes::Expression, Some(Lit::Str(text))) if name == "verb" => {
                        Value::Text(text.clone())
                    }
                    (Takes::Expression, Some(literal)) => wrong(out, &literal),
                    (Takes::Expression, None) => Value::Expression(value.into()),
                    (Takes::Path, Some(Lit::Str(text))) => match text.parse() {
                        Ok(path) => Value::Path(path),
                        Err(_) => wrong(out, text),
                    },
                    _ => wrong(out, &value),
                }
            }
        } else if input.peek(token::Paren) {
            let content;
            syn::parenthesized!(content in input);
            if takes == Takes::Pairs {
                parse_pairs(&content, out)?
            } else {
                skip_all(&content)?;
                wrong(out, ident)
            }
        } else if takes == Takes::Flag {
            Value::Flag(true)
        } else {
            wrong(out, ident)
        };
        self.insert(name, ident.span(), value, out);
        Ok(())
    }

    fn insert(&mut self, name: &'static str, span: Span, value: Value, out: &mut Diagnostics) {
        if self.is_given(name) {
            out.at_span(span, format!("`{name}` is given twice"));
        } else {
            self.entries.push(Entry { name, span, value });
        }
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Whether the key was given, be it wrongly.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Where the key stands.
    pub(crate) fn key_span(&self, name: &str) -> Span {
        self.entry(name).map_or_else(Span::call_site, |entry| entry.span)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&LitStr> {
        match &self.entry(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        match self.entry(name)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(crate) fn expression(&self, name: &str) -> Option<&Expr> {
        match &self.entry(name)?.value {
            Value::Expression(expression) => Some(expression),
            _ => None,
        }
    }

    pub(crate) fn pairs(&self, name: &str) -> &[(Ident, LitStr)] {
        match self.entry(name) {
            Some(Entry { value: Value::Pairs(pairs), .. }) => pairs,
            _ => &[],
        }
    }

    pub(crate) fn path(&self, name: &str) -> Option<&Path> {
        match &self.entry(name)?.value {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The example for a key, for messages.
    pub(crate) fn example(name: &str) -> &'static str {
        key(name).map_or("", |key| key.2)
    }
}

fn unknown_argument(name: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("unknown argument `{name}`; did you mean `{near}`?"),
        None => format!("unknown argument `{name}`; expected {}", alternatives(names())),
    }
}

pub(crate) fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        // What a `macro_rules!` macro passes on stands in a group that is not seen.
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

/// The text that an expression is.
pub(crate) fn text(value: &Expr) -> Option<&LitStr> {
    match literal(value) {
        Some(Lit::Str(text)) => Some(text),
        _ => None,
    }
}

fn parse_pairs(input: ParseStream<'_>, out: &mut Diagnostics) -> syn::Result<Value> {
    let mut pairs: Vec<(Ident, LitStr)> = Vec::new();
    while !input.is_empty() {
        let key = input.call(Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        let value: Expr = input.parse()?;
        match literal(&value) {
            _ if pairs.iter().any(|(other, _)| *other == key) => {
                out.at(&key, format!("`{key}` is given twice"));
            }
            Some(Lit::Str(text)) => pairs.push((key, text.clone())),
            _ => out.at(&value, format!("`{key}` takes a string, as in `{key} = \"…\"`")),
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(Value::Pairs(pairs))
}

fn skip_to_comma(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<proc_macro2::TokenTree>()?;
    }
    Ok(())
}

fn skip_all(input: ParseStream<'_>) -> syn::Result<()> {
    input.parse::<TokenStream>().map(drop)
}
