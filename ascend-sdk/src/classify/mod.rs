//! Verb and risk of SQL texts, shell commands and paths.
//!
//! A classification says what a call would do, so that policy can tell a read
//! from a delete. It converts to a [`Verb`], whose facts travel to the policy:
//!
//! ```
//! use ascend_sdk::{Verb, classify};
//!
//! let verb = Verb::from(classify::sql("DELETE FROM users WHERE id = 7"));
//! assert_eq!(verb.name, "delete");
//! let sql = verb.facts.sql.unwrap();
//! assert_eq!((sql.kinds, sql.tables), (vec!["delete".into()], vec!["users".into()]));
//! ```
//!
//! In an attribute: `verb = classify::sql(query)`, or, where the database is known,
//! `verb = classify::Sql::new(Dialect::Sqlite).classify(query)`.
//!
//! | verb | SQL | risk |
//! |---|---|---|
//! | `read` | one statement that was understood as a whole and only reads: a query, `VALUES`, `EXPLAIN` of a read, a few `SHOW`s and `PRAGMA`s; every function, operator and clause in it is on a list of harmless ones | `LOW` |
//! | `write` | one `INSERT`, `UPDATE`, or `MERGE` that does not delete | `MEDIUM`; `HIGH` for an `UPDATE` of all rows |
//! | `delete` | one `DELETE`, deleting `MERGE`, `TRUNCATE`, `DROP` | `HIGH`; `CRITICAL` for `TRUNCATE`, `DROP` and a `DELETE` of all rows |
//! | `execute` | all else: several statements, texts that cannot be read as a whole or are over 16 KiB, unknown functions and operators, `CREATE`, `CALL`, `SET`, `COPY`, `ATTACH`, `SELECT … INTO`, `FOR UPDATE` … | `HIGH`; `CRITICAL` where it may change a schema, rights or files |
//!
//! A shell command is always `execute`: `MEDIUM` for a short list of programs that only
//! read, `HIGH` for others, `CRITICAL` for those known to destroy, for wrappers that run what
//! their arguments name, and for whatever is not one literal command.
//! A path has no verb of its own; [`Root::verb`] adds what it finds to one.
//!
//! **A verb is a hint for policy, not the wall.** No parser knows what a view, a
//! trigger or a user-defined operator does, that PostgreSQL calls a function for `t.name` when
//! there is no such column, nor what a program does with its arguments.
//! Enforce as well: run a `read` on a read-only connection, run
//! [`Command::argv`] without a shell, open files through `cap-std`. Everything here fails
//! safe: what is not understood is `execute`, not literal, or escapes.

use std::fmt;

use crate::{Facts, RiskLevel, Verb};

mod path;
mod shell;
mod sql;

pub use path::Root;
pub use shell::{Command, NotLiteral, shell};
pub use sql::{Dialect, NotACondition, SQL_LIMIT, Sql, sql};

/// What a call does, from the mildest to the strictest, so that `max` is the
/// stricter of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing changes.
    Read,
    /// Something is added or changed.
    Write,
    /// Something is removed.
    Delete,
    /// Anything may happen.
    Execute,
}

impl Effect {
    /// The effect as a verb.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Execute => "execute",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a classifier found.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a classification is only a hint: hand it to a policy, and enforce it"]
pub struct Classification {
    /// What the call does.
    pub effect: Effect,
    /// How much harm it can do.
    pub risk_level: RiskLevel,
    /// What was found in the arguments.
    pub facts: Facts,
    /// Why the effect is `execute` although the text looks like less; for people and models.
    pub why: Option<String>,
}

impl From<Classification> for Verb {
    fn from(found: Classification) -> Self {
        Self { name: found.effect.as_str().into(), facts: found.into() }
    }
}

impl From<Classification> for Facts {
    fn from(found: Classification) -> Self {
        Self { risk_level: Some(found.risk_level), ..found.facts }
    }
}
