//! What the words of a SQL text say before, and beside, its parse.
//!
//! The parser and the database may cut a text into different words; then what
//! the parser saw says nothing. Texts where that can happen are refused here.

use sqlparser::tokenizer::{Token, Whitespace, Word};

use super::{Dialect, JOIN_LIMIT, NESTING_LIMIT, TOKEN_LIMIT};

/// Refuses texts with characters that are shown as nothing or that databases
/// take for different things.
pub(super) fn check_text(dialect: Dialect, text: &str) -> Result<(), String> {
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\0' => return Err("the text has a NUL byte".to_owned()),
            '\t' | '\n' | ' ' => {}
            // Some databases end a comment at a lone carriage return, others do not.
            '\r' if characters.peek() == Some(&'\n') => {}
            // Escaping in some modes of MySQL and not in others, so the quote
            // may or may not end the string.
            '\\' if dialect == Dialect::MySql
                && matches!(characters.peek(), Some('\'' | '"' | '`')) =>
            {
                return Err("the text has a backslash before a quote".to_owned());
            }
            _ if crate::is_invisible(character) => {
                return Err(format!(
                    "the text has the invisible character {}",
                    character.escape_unicode()
                ));
            }
            _ => {}
        }
    }
    // MySQL and MariaDB run what stands in these comments; `/*+` gives hints
    // that can set variables.
    if ["/*!", "/*M!", "/*m!", "/*+"].iter().any(|opening| text.contains(opening)) {
        return Err("the text has a comment that a database may execute".to_owned());
    }
    Ok(())
}

/// Refuses words that databases cut differently, and texts that are too deep
/// for the parser.
pub(super) fn check_tokens(dialect: Dialect, tokens: &[Token]) -> Result<(), String> {
    let mut count = 0;
    let mut depth = 0_usize;
    let mut cases = 0_usize;
    let mut joins = 0_usize;
    let mut before = Before::Other;
    for token in tokens {
        let after = before;
        before = Before::of(token, after);
        match (dialect, after, token) {
            // SQLite's variables go on as Tcl's do: `$a::b(…)` is one, whatever stands
            // between the parentheses.
            (Dialect::Sqlite, _, Token::DoubleColon)
            | (Dialect::Sqlite, Before::Variable, Token::LParen | Token::Colon) => {
                return Err("the text has a variable in Tcl's form".to_owned());
            }
            // PostgreSQL reads the second one as the first one was.
            (Dialect::Postgres, Before::Text, token) if is_text(token) => {
                return Err("the text has two strings in a row".to_owned());
            }
            _ => {}
        }
        match token {
            Token::Whitespace(Whitespace::MultiLineComment(comment)) if comment.contains("/*") => {
                return Err("the text has a comment within a comment".to_owned());
            }
            Token::Whitespace(Whitespace::SingleLineComment { comment, prefix })
                if dialect == Dialect::MySql
                    && prefix == "--"
                    && !comment.starts_with([' ', '\t', '\n']) =>
            {
                return Err("`--` without a space after it is no comment in MySQL".to_owned());
            }
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Word(word) if is_bare(word, "join") || is_bare(word, "apply") => joins += 1,
            Token::Word(word) if is_bare(word, "case") => cases += 1,
            Token::Word(word) if is_bare(word, "end") => cases = cases.saturating_sub(1),
            Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
                if dialect != Dialect::Postgres =>
            {
                return Err("the text has a string in PostgreSQL's form".to_owned());
            }
            // `$1$` starts with a parameter.
            Token::DollarQuotedString(text)
                if text
                    .tag
                    .as_ref()
                    .is_some_and(|tag| tag.starts_with(|c: char| c.is_ascii_digit())) =>
            {
                return Err("the text has a dollar quote with a number".to_owned());
            }
            // Any other name begins a dollar quote, perhaps with letters that the parser
            // does not take for any.
            Token::Placeholder(name)
                if dialect == Dialect::Postgres
                    && !name.strip_prefix('$').is_some_and(is_number) =>
            {
                return Err(format!("`{name}` is no parameter in PostgreSQL"));
            }
            // To the parser a backslash escapes the quote there, to databases it is no
            // such literal.
            Token::HexStringLiteral(digits)
                if !digits.chars().all(|digit| digit.is_ascii_hexdigit()) =>
            {
                return Err("the text has `x'…'` with something else than digits".to_owned());
            }
            Token::Char(character) => {
                return Err(format!("the text has `{}`", character.escape_debug()));
            }
            _ => {}
        }
        count += 1;
        if count > TOKEN_LIMIT {
            return Err(format!("the text has over {TOKEN_LIMIT} words"));
        }
        if joins > JOIN_LIMIT {
            return Err(format!("the text has over {JOIN_LIMIT} joins"));
        }
        if depth + cases > NESTING_LIMIT {
            return Err(format!("the text nests deeper than {NESTING_LIMIT} levels"));
        }
    }
    Ok(())
}

/// What stands directly before a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A variable, or the sign that begins one.
    Variable,
    /// A string, with nothing but space and comments since.
    Text,
    Other,
}

impl Before {
    fn of(token: &Token, before: Self) -> Self {
        match token {
            Token::Placeholder(_) | Token::AtSign | Token::Colon | Token::Sharp => Self::Variable,
            Token::Word(_) if before == Self::Variable => Self::Variable,
            Token::Whitespace(_) if before == Self::Text => Self::Text,
            token if is_text(token) => Self::Text,
            _ => Self::Other,
        }
    }
}

fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DollarQuotedString(_)
    )
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether there is nothing but words, and none that begins a condition.
pub(super) fn is_words(tokens: &[Token]) -> bool {
    tokens.iter().all(|token| match token {
        Token::Word(word) => !is_bare(word, "where") && !is_bare(word, "like"),
        Token::Whitespace(_) | Token::Period | Token::SemiColon => true,
        _ => false,
    })
}

/// Whether the first word is `keyword`.
pub(super) fn starts_with(tokens: &[Token], keyword: &str) -> bool {
    let first = tokens.iter().find(|token| !matches!(token, Token::Whitespace(_)));
    matches!(first, Some(Token::Word(word)) if is_bare(word, keyword))
}

fn is_bare(word: &Word, keyword: &str) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword)
}

/// Words that start a statement with effects, and are reserved in enough
/// databases that nobody uses them as a bare name.
const LEADING: [&str; 20] = [
    "alter", "attach", "call", "create", "delete", "detach", "drop", "exec", "execute", "grant",
    "insert", "into", "merge", "replace", "revoke", "truncate", "update", "vacuum", "pragma",
    "reindex",
];

/// More of them, where a statement can follow another without a semicolon.
const LEADING_UNSEPARATED: [&str; 32] = [
    "add",
    "backup",
    "begin",
    "bulk",
    "checkpoint",
    "commit",
    "dbcc",
    "declare",
    "deny",
    "disable",
    "enable",
    "go",
    "goto",
    "if",
    "kill",
    "print",
    "raiserror",
    "readtext",
    "receive",
    "reconfigure",
    "restore",
    "return",
    "revert",
    "rollback",
    "save",
    "send",
    "set",
    "setuser",
    "shutdown",
    "updatetext",
    "use",
    "waitfor",
];

/// The bare words of the text that may start a statement, as kinds of
/// statement. Those in `SELECT … INTO` and the like are among them.
pub(super) fn leading_words(dialect: Dialect, tokens: &[Token]) -> Vec<&'static str> {
    let tokens: Vec<&Token> =
        tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let unseparated: &[&str] = if dialect == Dialect::MsSql { &LEADING_UNSEPARATED } else { &[] };
    let is_set_clause = tokens.iter().any(|token| {
        matches!(token, Token::Word(word) if is_bare(word, "update") || is_bare(word, "merge"))
    });
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        let Some(known) = LEADING.iter().chain(unseparated).find(|leading| is_bare(word, leading))
        else {
            continue;
        };
        let is_call = matches!(tokens.get(at + 1), Some(Token::LParen));
        let after_period = at > 0 && matches!(tokens[at - 1], Token::Period);
        match *known {
            // Functions of these names, in some databases.
            "replace" | "insert" | "truncate" | "if" if is_call => {}
            "set" if is_set_clause => {}
            // Part of statements that have a kind of their own.
            "into" => found.extend(missing_into(&tokens)),
            "exec" => found.push("execute"),
            _ if after_period => {}
            kind => found.push(kind),
        }
    }
    found
}

/// `INTO` belongs to an `INSERT`, `REPLACE` or `MERGE`; any other makes a
/// table or a file out of a query.
fn missing_into(tokens: &[&Token]) -> Option<&'static str> {
    let count = |keyword: &str| {
        tokens.iter().filter(|token| matches!(token, Token::Word(w) if is_bare(w, keyword))).count()
    };
    (count("into") > count("insert") + count("replace") + count("merge")).then_some("into")
}

/// Words that start a statement, for texts that were not understood.
const STATEMENTS: [&str; 46] = [
    "alter", "analyze", "attach", "backup", "begin", "call", "comment", "commit", "copy", "create",
    "declare", "delete", "deny", "detach", "do", "drop", "exec", "execute", "explain", "grant",
    "insert", "install", "kill", "load", "lock", "merge", "notify", "optimize", "pragma",
    "prepare", "purge", "reindex", "rename", "replace", "reset", "restore", "revoke", "rollback",
    "select", "set", "shutdown", "truncate", "unload", "update", "use", "vacuum",
];

/// All words of the text that start a statement somewhere, wherever they stand:
/// in strings and comments too.
pub(super) fn statement_words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter_map(|word| {
        // `/*!50000DROP` is how MySQL names the version that runs it.
        let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let found = STATEMENTS.iter().find(|known| known.eq_ignore_ascii_case(word))?;
        Some(if *found == "exec" { "execute" } else { found }.to_owned())
    })
}
