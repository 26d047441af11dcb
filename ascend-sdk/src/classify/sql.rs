//! Verb and risk of a SQL text, by a real parser.

use std::collections::BTreeSet;

use sqlparser::{
    ast::Visit as _,
    dialect::{self, Dialect as ParserDialect},
    parser::Parser,
    tokenizer::{Token, Tokenizer, Whitespace},
};

use super::{Classification, Effect};
use crate::{Facts, RiskLevel, SqlFacts};

mod functions;
mod lexical;
mod plain;
mod survey;

use survey::Survey;

/// The longest SQL text that is read, in bytes. A longer one is `execute`.
pub const SQL_LIMIT: usize = 16 * 1024;

/// The most tokens of a text that is parsed. Each can add a level to the syntax
/// tree, which is walked and dropped recursively.
const TOKEN_LIMIT: usize = 4096;

/// The most brackets within brackets of a text that is parsed: where the parser tries several
/// readings, each level can multiply its time.
const NESTING_LIMIT: usize = 16;

/// The most joins of a text that is parsed, since the parser reads one join within another.
const JOIN_LIMIT: usize = 64;

/// Room for the walk over the deepest tree that `TOKEN_LIMIT` admits: reserved,
/// not used up. The caller's stack may be small, as in an async runtime's threads.
const STACK: usize = 64 * 1024 * 1024;

/// The language of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// Unknown: the strictest verdict of all the others counts.
    #[default]
    Any,
    /// SQLite.
    Sqlite,
    /// PostgreSQL, with `standard_conforming_strings` on, as it is by default.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// Microsoft SQL Server.
    MsSql,
}

impl Dialect {
    const ALL: [Self; 4] = [Self::Sqlite, Self::Postgres, Self::MySql, Self::MsSql];

    fn parser(self) -> &'static dyn ParserDialect {
        match self {
            Self::Any => &dialect::GenericDialect {},
            Self::Sqlite => &dialect::SQLiteDialect {},
            Self::Postgres => &dialect::PostgreSqlDialect {},
            Self::MySql => &dialect::MySqlDialect {},
            Self::MsSql => &dialect::MsSqlDialect {},
        }
    }
}

/// Classifies a SQL text of an unknown dialect: the strictest verdict of all counts.
///
/// ```
/// use ascend_sdk::classify::{self, Effect};
/// assert_eq!(classify::sql("SELECT * FROM users WHERE active = true").effect, Effect::Read);
/// assert_eq!(classify::sql("SELECT 1; DROP TABLE users").effect, Effect::Execute);
/// ```
pub fn sql(text: impl AsRef<str>) -> Classification {
    Sql::new(Dialect::Any).classify(text)
}

/// A classifier of SQL texts in one dialect.
///
/// ```
/// use ascend_sdk::classify::{Dialect, Effect, Sql};
/// let sqlite = Sql::new(Dialect::Sqlite);
/// assert_eq!(sqlite.classify("SELECT * FROM [order details]").effect, Effect::Read);
/// assert_eq!(sqlite.classify("SELECT load_extension('x')").effect, Effect::Execute);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sql {
    dialect: Dialect,
}

impl Sql {
    /// A classifier for `dialect`.
    #[must_use]
    pub const fn new(dialect: Dialect) -> Self {
        Self { dialect }
    }

    /// Classifies `text`. Never fails: what cannot be read is `execute`.
    pub fn classify(&self, text: impl AsRef<str>) -> Classification {
        let text = text.as_ref();
        if text.len() > SQL_LIMIT {
            return unread(text, &format!("the text is over {} KiB", SQL_LIMIT / 1024));
        }
        let found = on_own_stack(|| match self.dialect {
            Dialect::Any => Dialect::ALL
                .map(|dialect| classify(dialect, text))
                .into_iter()
                .reduce(stricter)
                .unwrap_or_else(|| unread(text, "no dialect")),
            dialect => classify(dialect, text),
        });
        found.unwrap_or_else(|| unread(text, "the parser failed"))
    }

    /// Checks that `text` is one condition that can stand in a `WHERE` between
    /// parentheses: a single expression, as harmless as a read, without comments or
    /// anything behind it.
    ///
    /// ```
    /// use ascend_sdk::classify::{Dialect, Sql};
    /// let sqlite = Sql::new(Dialect::Sqlite);
    /// assert!(sqlite.check_condition("last_login < '2025-01-01'").is_ok());
    /// assert!(sqlite.check_condition("1 = 1; DROP TABLE users").is_err());
    /// assert!(sqlite.check_condition("1 = 1) OR (1 = 1").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// When it is not; the message says why.
    pub fn check_condition(&self, text: &str) -> Result<(), NotACondition> {
        // Balanced as one expression, it cannot leave the parentheses; then the
        // whole must be a read as well.
        let is_one = |text: &str| {
            let dialect = self.dialect.parser();
            let tokens = Tokenizer::new(dialect, text).tokenize().ok()?;
            lexical::check_tokens(self.dialect, &tokens).ok()?;
            let has_comment = tokens.iter().any(|token| {
                matches!(
                    token,
                    Token::Whitespace(
                        Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)
                    )
                )
            });
            let mut parser = Parser::new(dialect).with_tokens(tokens);
            parser.parse_expr().ok()?;
            (!has_comment && parser.peek_token().token == Token::EOF).then_some(())
        };
        let on_own_stack = on_own_stack(|| text.len() <= SQL_LIMIT && is_one(text).is_some());
        if on_own_stack != Some(true) {
            return Err(NotACondition("it is not a single expression".to_owned()));
        }
        let whole = self.classify(format!("SELECT 1 FROM t WHERE ({text})"));
        match whole.effect {
            Effect::Read => Ok(()),
            _ => Err(NotACondition(whole.why.unwrap_or_else(|| "it has effects".to_owned()))),
        }
    }
}

/// A text that is not one harmless condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotACondition(String);

/// Runs `work` on a stack of known size, with no panic leaving it: `None` when there was one.
fn on_own_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("classify-sql".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .ok()
            .and_then(|thread| thread.join().ok())
    })
}

fn classify(dialect: Dialect, text: &str) -> Classification {
    match read(dialect, text) {
        Ok(found) => found,
        Err(why) => unread(text, &why),
    }
}

fn read(dialect: Dialect, text: &str) -> Result<Classification, String> {
    lexical::check_text(dialect, text)?;
    let tokens = Tokenizer::new(dialect.parser(), text)
        .tokenize()
        .map_err(|error| format!("the text is not SQL: {error}"))?;
    lexical::check_tokens(dialect, &tokens)?;
    let mut survey = Survey::new(dialect);
    if dialect == Dialect::Sqlite && lexical::starts_with(&tokens, "pragma") {
        survey.pragma(&tokens);
        return Ok(survey.finish(1));
    }
    let leading = lexical::leading_words(dialect, &tokens);
    survey.shows_names = lexical::is_words(&tokens);
    let mut parser = Parser::new(dialect.parser()).with_tokens(tokens);
    let statements =
        parser.parse_statements().map_err(|error| format!("the text is not SQL: {error}"))?;
    // At an `END`, which databases take for a name, it stops as if that were all.
    let rest = parser.peek_token().token;
    if rest != Token::EOF {
        return Err(format!("the text is not understood from `{rest}` on"));
    }
    let _ = statements.visit(&mut survey);
    match statements.len() {
        0 => return Err("there is no statement".to_owned()),
        1 => {}
        _ => survey.object("there are several statements"),
    }
    // A database may read a word as the start of a statement where the parser
    // saw a name.
    if let Some(word) = leading.iter().find(|word| !survey.kinds.contains(**word)) {
        return Err(format!("`{word}` stands where its meaning is not certain"));
    }
    if survey.kinds.iter().any(|kind| RUNS_TEXT.contains(&kind.as_str())) {
        survey.kinds.extend(lexical::statement_words(text));
    }
    let system = survey.tables.iter().find(|table| is_of_the_system(table));
    if survey.effect != Effect::Read
        && let Some(table) = system
    {
        let why = format!("`{table}` belongs to the database system");
        survey.object(why);
    }
    Ok(survey.finish(u32::try_from(statements.len()).unwrap_or(u32::MAX)))
}

/// Kinds of statement that can hold others in a form that is not parsed.
const RUNS_TEXT: [&str; 7] = ["call", "create", "declare", "do", "execute", "prepare", "if"];

/// Kinds of statement that change a schema, rights, files or the server.
const CRITICAL: [&str; 18] = [
    "alter", "attach", "backup", "copy", "deny", "detach", "drop", "grant", "install", "kill",
    "load", "purge", "rename", "restore", "revoke", "shutdown", "truncate", "vacuum",
];

/// Tables in which a plain `UPDATE` changes schema or rights.
fn is_of_the_system(table: &str) -> bool {
    ["sqlite_", "pg_", "information_schema.", "mysql.", "sys."]
        .iter()
        .any(|prefix| table.starts_with(prefix))
}

fn risk(effect: Effect, kinds: &BTreeSet<String>, unbounded: bool) -> RiskLevel {
    let critical = kinds.iter().any(|kind| CRITICAL.contains(&kind.as_str()));
    match effect {
        _ if critical => RiskLevel::Critical,
        Effect::Read => RiskLevel::Low,
        Effect::Write if !unbounded => RiskLevel::Medium,
        Effect::Delete | Effect::Execute if unbounded => RiskLevel::Critical,
        _ => RiskLevel::High,
    }
}

/// A text that was not understood. Its kinds are all that it may hold, so that
/// a policy which forbids one is not passed by making the text unreadable.
fn unread(text: &str, why: &str) -> Classification {
    let kinds: BTreeSet<String> = lexical::statement_words(text).collect();
    let effect = Effect::Execute;
    Classification {
        effect,
        risk_level: risk(effect, &kinds, false),
        why: Some(why.to_owned()),
        facts: Facts {
            sql: Some(SqlFacts { kinds: kinds.into_iter().collect(), ..SqlFacts::default() }),
            ..Facts::default()
        },
    }
}

impl Survey {
    fn finish(self, statements: u32) -> Classification {
        let risk_level = risk(self.effect, &self.kinds, self.unbounded);
        let sql = SqlFacts {
            kinds: self.kinds.into_iter().collect(),
            tables: self.tables.into_iter().collect(),
            statements,
            parsed: true,
            unbounded: self.unbounded,
        };
        Classification {
            effect: self.effect,
            risk_level,
            why: self.why,
            facts: Facts { sql: Some(sql), ..Facts::default() },
        }
    }
}

fn stricter(one: Classification, other: Classification) -> Classification {
    let (strict, mild) = if other.effect > one.effect { (other, one) } else { (one, other) };
    let sql = strict.facts.sql.zip(mild.facts.sql).map(|(one, other)| SqlFacts {
        kinds: union(one.kinds, other.kinds),
        tables: union(one.tables, other.tables),
        statements: one.statements.max(other.statements),
        parsed: one.parsed && other.parsed,
        unbounded: one.unbounded || other.unbounded,
    });
    Classification {
        effect: strict.effect,
        risk_level: strict.risk_level.max(mild.risk_level),
        why: strict.why.or(mild.why),
        facts: Facts { sql, ..Facts::default() },
    }
}

fn union(one: Vec<String>, other: Vec<String>) -> Vec<String> {
    one.into_iter().chain(other).collect::<BTreeSet<_>>().into_iter().collect()
}
