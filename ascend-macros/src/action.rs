//! The valid model: what the arguments say, once nothing in them is wrong.
//! Later stages trust it.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote};
use syn::{Attribute, Expr, LitStr, Meta, Path, spanned::Spanned as _};

use crate::{
    args::{Arguments, Kind},
    diagnostics::{Diagnostics, alternatives, nearest},
    rmcp,
    signature::{Function, unraw},
    template::{self, Segment},
};

/// What an attribute says.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) crate_path: Option<Path>,
    pub(crate) governor: Option<Expr>,
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    /// The text, or the expression that makes it from doc attributes.
    pub(crate) description: TokenStream,
    pub(crate) namespace: String,
    pub(crate) verb: Verb,
    /// What a parser finds in the arguments, beside a verb that is a word.
    pub(crate) facts: Option<Expr>,
    pub(crate) resource: Template,
    pub(crate) summary: Option<Template>,
    pub(crate) risk_level: Option<RiskLevel>,
    pub(crate) require_human_approval: bool,
    /// In seconds.
    pub(crate) approval_timeout: Option<u64>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) read_only: Option<bool>,
    pub(crate) destructive: Option<bool>,
    pub(crate) idempotent: Option<bool>,
    pub(crate) open_world: Option<bool>,
}

/// What the tool does.
#[derive(Debug)]
pub(crate) enum Verb {
    /// Always this.
    Word(String),
    /// What the expression says, from the arguments.
    Computed(Box<Expr>),
}

/// A text with placeholders, and where it stands.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
    pub(crate) span: Span,
}

/// The levels, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RiskLevel {
    Low,
    Medium,
    High,
    Critical,
}

impl RiskLevel {
    const ALL: [(&'static str, Self); 4] = [
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("critical", Self::Critical),
    ];
}

/// What a placeholder may and may not name.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// The arguments: name in Rust, whether sensitive.
    pub(crate) arguments: Vec<(String, bool)>,
    /// Parameters that no caller gives: name, and the attribute that says so.
    pub(crate) others: Vec<(String, &'static str)>,
    /// Whether there are fields that only the compiler knows.
    pub(crate) open: bool,
}

impl Action {
    /// The model; `None` when something is wrong.
    pub(crate) fn new(
        arguments: &Arguments,
        function: &Function,
        scope: &Scope,
        out: &mut Diagnostics,
    ) -> Option<Self> {
        let is_method = function.is_method();
        if is_method {
            refuse_what_rmcp_says(arguments, out);
        }
        let high_risk = arguments.kind == Kind::HighRisk;
        let (namespace, verb) = action_type(arguments, function, out);
        if let (Some(Verb::Computed(_)), true) = (&verb, arguments.is_given("facts")) {
            out.at_span(
                arguments.key_span("facts"),
                "an expression for `verb` brings its facts along; remove `facts`, or give the verb as a word",
            );
        }
        for key in ["verb", "facts"] {
            if let Some(expression) = arguments.expression(key) {
                refuse_unfit(key, &expression.to_token_stream(), scope, out);
            }
        }
        let resource = template(arguments, "resource", scope, out);
        if !arguments.is_given("resource") {
            let example = match (scope.arguments.first(), &namespace) {
                (Some((name, false)), Some(namespace)) => format!("{namespace}://{{{name}}}"),
                (_, Some(namespace)) => format!("{namespace}://main"),
                _ => "database://main".to_owned(),
            };
            out.at_span(
                Span::call_site(),
                format!("missing `resource`; write `resource = \"{example}\"`"),
            );
        }
        let summary = template(arguments, "summary", scope, out);
        let risk_level = risk_level(arguments, out);
        if high_risk && arguments.flag("require_human_approval") == Some(false) {
            out.at_span(
                arguments.key_span("require_human_approval"),
                "`#[high_risk_action]` always asks a person; remove this, or use `#[mcp_governance]`",
            );
        }
        let approval_timeout = arguments
            .text("approval_timeout")
            .and_then(|text| seconds(&text.value()).map_err(|message| out.at(text, message)).ok());
        hints_agree(arguments, function, verb.as_ref(), out);
        let name = tool_name(arguments, function, is_method, out);
        let description = match arguments.text("description") {
            Some(text) if text.value().trim().is_empty() => {
                out.at(text, "describe the tool for its callers");
                None
            }
            Some(text) => Some(text_tokens(text.value().trim())),
            None => match rmcp::text(&function.attrs, "description") {
                Some(text) => Some(text_tokens(&text)),
                // Text that rmcp computes is not known here.
                None if rmcp::has(&function.attrs, "description") => Some(quote!("")),
                // No tool, so that nobody chooses it by what is said of it.
                None if is_method && !function.is_tool() => {
                    Some(described(&function.attrs).unwrap_or_else(|| quote!("")))
                }
                None => described(&function.attrs),
            },
        };
        if description.is_none() && !arguments.is_given("description") {
            out.at(&function.sig.ident, "describe the tool for its callers: add a doc comment");
        }
        if !out.is_empty() {
            return None;
        }
        Some(Self {
            crate_path: arguments.path("crate").cloned(),
            governor: arguments.expression("governor").cloned(),
            name,
            title: arguments.text("title").map(LitStr::value),
            description: description?,
            namespace: namespace?,
            verb: verb?,
            facts: arguments.expression("facts").cloned(),
            resource: resource?,
            summary,
            risk_level: risk_level.or(high_risk.then_some(RiskLevel::High)),
            require_human_approval: high_risk
                || arguments.flag("require_human_approval") == Some(true),
            approval_timeout,
            metadata: arguments
                .pairs("metadata")
                .iter()
                .map(|(key, value)| (key.to_string(), value.value()))
                .collect(),
            read_only: arguments.flag("read_only"),
            destructive: arguments.flag("destructive"),
            idempotent: arguments.flag("idempotent"),
            open_world: arguments.flag("open_world"),
        })
    }
}

fn refuse_what_rmcp_says(arguments: &Arguments, out: &mut Diagnostics) {
    for (name, there) in [
        ("name", "name = \"…\""),
        ("title", "title = \"…\""),
        ("description", "description = \"…\""),
        ("read_only", "annotations(read_only_hint = true)"),
        ("destructive", "annotations(destructive_hint = true)"),
        ("idempotent", "annotations(idempotent_hint = true)"),
        ("open_world", "annotations(open_world_hint = true)"),
    ] {
        if arguments.is_given(name) {
            out.at_span(
                arguments.key_span(name),
                format!("`{name}` of a method is rmcp's to say: write `#[tool({there})]`"),
            );
        }
    }
}

fn action_type(
    arguments: &Arguments,
    function: &Function,
    out: &mut Diagnostics,
) -> (Option<String>, Option<Verb>) {
    for other in ["namespace", "verb"] {
        if arguments.is_given("action_type") && arguments.is_given(other) {
            // `action_type` names a namespace and one verb; an expression
            // beside it would say the verb again.
            out.at_span(
                arguments.key_span(other),
                format!("`action_type` already gives the {other}; remove one of them"),
            );
        }
    }
    if let Some(text) = arguments.text("action_type") {
        let value = text.value();
        let Some((namespace, verb)) = value.split_once('.').filter(|(_, verb)| !verb.contains('.'))
        else {
            out.at(text, "an action type is a namespace and a verb, as in `database.query`");
            return (None, None);
        };
        let namespace = word("a namespace", namespace, text, out);
        let verb = word("a verb", verb, text, out);
        return (namespace, verb.map(Verb::Word));
    }
    let name = function.name();
    let (given_type, given_namespace, given_verb) = (
        arguments.is_given("action_type"),
        arguments.is_given("namespace"),
        arguments.is_given("verb"),
    );
    let missing = |out: &mut Diagnostics, key: &str, example: &str| {
        out.at_span(Span::call_site(), format!("missing `{key}`; write `{example}`"));
    };
    match (given_type, given_namespace, given_verb) {
        (false, false, false) => {
            missing(out, "action_type", Arguments::example("action_type"));
        }
        (false, false, true) => missing(out, "namespace", Arguments::example("namespace")),
        (false, true, false) => missing(out, "verb", &format!("verb = \"{name}\"")),
        _ => {}
    }
    let namespace =
        arguments.text("namespace").and_then(|text| word("a namespace", &text.value(), text, out));
    let verb = match arguments.text("verb") {
        Some(text) => word("a verb", &text.value(), text, out).map(Verb::Word),
        None => arguments.expression("verb").map(|expr| Verb::Computed(Box::new(expr.clone()))),
    };
    (namespace, verb)
}

fn word(what: &str, value: &str, text: &LitStr, out: &mut Diagnostics) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if value.is_empty() || !value.chars().all(allowed) {
        out.at(text, format!("{what} uses lower-case letters, digits and `_`"));
        None
    } else if !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.at(text, format!("{what} starts with a lower-case letter"));
        None
    } else if value.len() > 64 {
        out.at(text, format!("{what} has at most 64 characters"));
        None
    } else {
        Some(value.to_owned())
    }
}

fn template(
    arguments: &Arguments,
    key: &str,
    scope: &Scope,
    out: &mut Diagnostics,
) -> Option<Template> {
    let text = arguments.text(key)?;
    let segments = template::parse(key, text, out);
    let mut reported: Vec<&str> = Vec::new();
    for name in segments.iter().filter_map(Segment::parameter) {
        if reported.contains(&name) {
            continue;
        }
        reported.push(name);
        if let Some((_, sensitive)) = scope.arguments.iter().find(|(other, _)| other == name) {
            if *sensitive {
                out.at(text, format!("`{name}` is sensitive: it must not appear in the `{key}`"));
            }
        } else if let Some((_, role)) = scope.others.iter().find(|(other, _)| other == name) {
            out.at(text, format!("`{name}` is `#[{role}]`: no caller gives it"));
        } else if !scope.open {
            let names = || scope.arguments.iter().map(|(name, _)| name.as_str());
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if scope.arguments.is_empty() => "there is none".to_owned(),
                None => format!("expected {}", alternatives(names())),
            };
            out.at(text, format!("no parameter `{name}`; {hint}"));
        }
    }
    Some(Template { segments, span: text.span() })
}

/// What an expression yields goes to the authority as it is, so nothing
/// sensitive may be in it, nor what no caller gives.
fn refuse_unfit(key: &str, tokens: &TokenStream, scope: &Scope, out: &mut Diagnostics) {
    for (name, _) in scope.arguments.iter().filter(|(_, sensitive)| *sensitive) {
        for span in mentions(name, tokens.clone()) {
            let message = format!(
                "`{name}` is sensitive: what `{key}` yields goes to the authority readable"
            );
            out.at_span(span, message);
        }
    }
    for (name, role) in &scope.others {
        for span in uses(name, tokens.clone()) {
            let message =
                format!("`{name}` is `#[{role}]`: `{key}` follows from the arguments alone");
            out.at_span(span, message);
        }
    }
}

/// Where tokens have a name: as a word, or captured by a format string.
pub(crate) fn mentions(name: &str, tokens: TokenStream) -> Vec<Span> {
    let mut found = Vec::new();
    for token in tokens {
        match &token {
            TokenTree::Ident(ident) if unraw(ident) == name => found.push(token.span()),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if text.contains(&format!("{{{name}}}")) || text.contains(&format!("{{{name}:")) {
                    found.push(token.span());
                }
            }
            TokenTree::Group(group) => found.extend(mentions(name, group.stream())),
            _ => {}
        }
    }
    found
}

/// Where tokens use a variable of this name: not a field, nor a part of a path.
fn uses(name: &str, tokens: TokenStream) -> Vec<Span> {
    let mut found = Vec::new();
    let mut is_part = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Ident(ident) if unraw(ident) == name && !is_part => {
                let is_colon =
                    |next: &TokenTree| matches!(next, TokenTree::Punct(it) if it.as_char() == ':');
                if !tokens.peek().is_some_and(is_colon) {
                    found.push(token.span());
                }
            }
            TokenTree::Group(group) => found.extend(uses(name, group.stream())),
            _ => {}
        }
        is_part = matches!(&token, TokenTree::Punct(it) if matches!(it.as_char(), '.' | ':'));
    }
    found
}

fn risk_level(arguments: &Arguments, out: &mut Diagnostics) -> Option<RiskLevel> {
    let text = arguments.text("risk_level")?;
    let value = text.value();
    let high_risk = arguments.kind == Kind::HighRisk;
    let known = RiskLevel::ALL.iter().find(|(word, _)| *word == value);
    let allowed = RiskLevel::ALL
        .iter()
        .filter(|&&(_, level)| !high_risk || level >= RiskLevel::High)
        .map(|&(word, _)| word);
    match known {
        None => {
            out.at(text, format!("unknown risk `{value}`; expected {}", alternatives(allowed)));
            None
        }
        Some((_, level)) if high_risk && *level < RiskLevel::High => {
            out.at(
                text,
                "the risk of `#[high_risk_action]` is at least `high`; write `high` or `critical`, or use `#[mcp_governance]`",
            );
            None
        }
        Some((_, level)) => Some(*level),
    }
}

/// Reads `1h30m`.
fn seconds(text: &str) -> Result<u64, &'static str> {
    const EXAMPLE: &str = "a timeout is hours, minutes and seconds, as in `10m`, `90s` or `1h30m`";
    const DAY: u64 = 24 * 60 * 60;
    let mut total: u64 = 0;
    let mut rest = text;
    for (unit, seconds) in [('h', 3600), ('m', 60), ('s', 1)] {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let Some(after) = after.strip_prefix(unit) else { continue };
        let number: u64 = number.parse().map_err(|_| EXAMPLE)?;
        total = total.saturating_add(number.saturating_mul(seconds));
        rest = after;
    }
    match total {
        _ if !rest.is_empty() || text.is_empty() => Err(EXAMPLE),
        0 => Err("a timeout is more than nothing: write `10m`"),
        _ if total > DAY => Err("a timeout is at most a day: write `24h`"),
        _ => Ok(total),
    }
}

fn hints_agree(
    arguments: &Arguments,
    function: &Function,
    verb: Option<&Verb>,
    out: &mut Diagnostics,
) {
    const DELETING: [&str; 9] =
        ["delete", "drop", "truncate", "remove", "purge", "erase", "destroy", "wipe", "overwrite"];
    // Of a method, rmcp's attribute has the hints.
    let hint = rmcp::hint(&function.attrs, "read_only_hint");
    let (word, span) = match &hint {
        _ if arguments.flag("read_only") == Some(true) => {
            ("read_only", arguments.key_span("read_only"))
        }
        Some(hint) => ("read_only_hint", hint.path().span()),
        None => return,
    };
    if arguments.kind == Kind::HighRisk {
        out.at_span(
            span,
            format!(
                "`#[high_risk_action]` is not `{word}`; remove this, or use `#[mcp_governance]`"
            ),
        );
    } else if let Some(Verb::Word(verb)) = verb
        && verb.split('_').any(|part| DELETING.contains(&part))
    {
        out.at_span(span, format!("a tool that does `{verb}` is not `{word}`"));
    } else if arguments.flag("destructive") == Some(true) {
        out.at_span(
            arguments.key_span("destructive"),
            "a `read_only` tool is not `destructive`; remove one of them",
        );
    }
}

fn tool_name(
    arguments: &Arguments,
    function: &Function,
    is_method: bool,
    out: &mut Diagnostics,
) -> String {
    let fits = |name: &str| {
        (1..=64).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    if is_method {
        return rmcp::text(&function.attrs, "name").unwrap_or_else(|| function.name());
    }
    let rule = "a tool's name has 1 to 64 ASCII letters, digits, `_`, `-` and `.`";
    match arguments.text("name") {
        Some(text) => {
            let name = text.value();
            if !fits(&name) {
                out.at(text, rule);
            }
            name
        }
        None => {
            let name = function.name();
            if !fits(&name) && !arguments.is_given("name") {
                out.at(&function.sig.ident, format!("{rule}; give one: `name = \"…\"`"));
            }
            name
        }
    }
}

/// The description in doc attributes, up to the first section that speaks to
/// Rust's callers alone; `None` when there is none.
fn described(attrs: &[Attribute]) -> Option<TokenStream> {
    let mut lines: Vec<String> = Vec::new();
    let mut pieces: Vec<Expr> = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("doc")) {
        let Meta::NameValue(pair) = &attr.meta else { continue };
        match &pair.value {
            Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
                lines.extend(doc_lines(&text.value()));
            }
            // `#[doc = include_str!("…")]`
            other => pieces.push(other.clone()),
        }
    }
    let text = for_callers(&lines);
    match (text.is_empty(), pieces.is_empty()) {
        (true, true) => None,
        (false, true) => Some(text_tokens(&text)),
        (true, false) => Some(quote!(::core::concat!(#(#pieces),*))),
        (false, false) => Some(quote!(::core::concat!(#text #(, "\n", #pieces)*))),
    }
}

/// The lines of one doc comment; the stars of a block comment are not text.
fn doc_lines(text: &str) -> Vec<String> {
    let starred = |line: &&str| line.trim_start().starts_with('*') || line.trim().is_empty();
    let is_block = text.contains('\n') && text.lines().skip(1).all(|line| starred(&line));
    let without_star = |line: &str| match line.trim_start().strip_prefix('*') {
        Some(rest) if is_block => rest.to_owned(),
        _ => line.to_owned(),
    };
    if text.is_empty() { vec![String::new()] } else { text.lines().map(without_star).collect() }
}

fn for_callers(lines: &[String]) -> String {
    let indent = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or_default();
    let mut fenced = false;
    let kept: Vec<_> = lines
        .iter()
        .map(|line| line.get(indent..).unwrap_or_default().trim_end())
        .take_while(|line| {
            fenced ^= line.starts_with("```");
            let heading = line.trim_start_matches('#').trim();
            let is_rust = ["Errors", "Panics", "Safety", "Example", "Examples"].contains(&heading);
            fenced || !line.starts_with('#') || !is_rust
        })
        .collect();
    kept.join("\n").trim().to_owned()
}

fn text_tokens(text: &str) -> TokenStream {
    quote!(#text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read() {
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("24h"), Ok(86_400));
        for wrong in ["", "0s", "10", "m", "25h", "1m1h", "-1s", "1.5h", "99999999999999999999h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_description_ends_where_rust_begins() {
        let attrs: syn::ItemFn = syn::parse_quote! {
            /// Deletes rows.
            ///
            /// All of them.
            ///
            /// # Errors
            ///
            /// When the database is away.
            fn f() {}
        };
        assert_eq!(description(&attrs), r#""Deletes rows.\n\nAll of them.""#);
    }

    fn description(function: &syn::ItemFn) -> String {
        described(&function.attrs).map(|tokens| tokens.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_description_is_read_from_block_comments_and_files() {
        let block = syn::parse_quote! {
            /** Deletes rows.
             *
             * - all of them
             */
            fn f() {}
        };
        assert_eq!(description(&block), r#""Deletes rows.\n\n- all of them""#);
        let file = syn::parse_quote! {
            /// Deletes rows.
            #[doc = include_str!("rows.md")]
            fn f() {}
        };
        assert_eq!(
            description(&file),
            r#":: core :: concat ! ("Deletes rows." , "\n" , include_str ! ("rows.md"))"#
        );
    }
}
