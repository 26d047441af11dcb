//! What a parser found in the arguments, typed, for policies to read.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::RiskLevel;

/// What a call does, and what was found out about it.
///
/// The `verb = …` expression of an attribute yields anything that converts to
/// one: a word, or a classification (feature `classify`), whose facts travel
/// along to the policy. Beside a verb that is a word, `facts = …` brings them.
///
/// ```
/// use ascend_sdk::Verb;
/// assert_eq!(Verb::from("read").name, "read");
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verb {
    /// The verb: lower-case letters, digits and `_`.
    pub name: Cow<'static, str>,
    /// What a parser found.
    pub facts: Facts,
}

impl Verb {
    /// The verb with what a parser found.
    ///
    /// ```
    /// use ascend_sdk::{FileFacts, Verb};
    /// let facts = FileFacts { escapes: true, ..FileFacts::default() };
    /// assert!(Verb::from("read").with_facts(facts).facts.file.unwrap().escapes);
    /// ```
    #[must_use]
    pub fn with_facts(self, facts: impl Into<Facts>) -> Self {
        Self { facts: facts.into(), ..self }
    }
}

impl From<&'static str> for Verb {
    fn from(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), facts: Facts::default() }
    }
}

impl From<String> for Verb {
    fn from(name: String) -> Self {
        Self { name: Cow::Owned(name), facts: Facts::default() }
    }
}

/// Typed facts about a call. Absent parts were not looked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The risk that the classifier saw, a hint for policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk_level: Option<RiskLevel>,
    /// About a SQL text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlFacts>,
    /// About a shell command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<ShellFacts>,
    /// About a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileFacts>,
}

impl From<SqlFacts> for Facts {
    fn from(facts: SqlFacts) -> Self {
        Self { sql: Some(facts), ..Self::default() }
    }
}

impl From<ShellFacts> for Facts {
    fn from(facts: ShellFacts) -> Self {
        Self { shell: Some(facts), ..Self::default() }
    }
}

impl From<FileFacts> for Facts {
    fn from(facts: FileFacts) -> Self {
        Self { file: Some(facts), ..Self::default() }
    }
}

/// What a SQL text holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SqlFacts {
    /// The kinds of statement, lower case and sorted: `select`, `delete`, `drop` … Of a text that
    /// could not be read, all words in it that can start a statement.
    pub kinds: Vec<String>,
    /// The tables named, sorted: lower case, without quotes; a qualified one also by its last part.
    pub tables: Vec<String>,
    /// How many statements there are; 0 when the text could not be read.
    pub statements: u32,
    /// Whether the whole text was understood.
    pub parsed: bool,
    /// Whether a `DELETE` or `UPDATE` has no `WHERE`, or one that names no column.
    pub unbounded: bool,
}

/// What a shell command is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShellFacts {
    /// The program's name; empty when the text is not one literal command.
    pub program: String,
    /// The words of the command, the program first.
    pub argv: Vec<String>,
    /// The working directory, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Whether the text is one literal command: no expansion, redirection, pipe or list.
    pub literal: bool,
    /// Whether the program runs another one that its arguments name (`env`, `find -exec`, `git -c` …).
    pub wrapper: bool,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FileFacts {
    /// The path relative to the root, symbolic links resolved; empty when it escapes.
    pub path: String,
    /// Whether it leads out of the root.
    pub escapes: bool,
    /// Whether something is there.
    pub exists: bool,
}
