//! What is wrong with a policy file, and where.

use std::{fmt, path::PathBuf};

use miette::Diagnostic;
use serde::Serialize;

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Place {
    /// The file; for the built-in ones, its name.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Place {
    /// The place of the byte `offset` in the text that starts here.
    pub(super) fn after(&self, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let lines = before.matches('\n').count();
        let last = before.rsplit('\n').next().unwrap_or(before).chars().count();
        let column = if lines == 0 { self.column + last } else { last + 1 };
        Self { file: self.file.clone(), line: self.line + lines, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file; for the built-in ones, its name.
    pub file: PathBuf,
    /// From 1; 0 when the whole file is meant.
    pub line: usize,
    /// From 1, in characters; 0 when the whole file is meant.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write, or what was meant.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// A policy set that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", listed(.problems))]
#[non_exhaustive]
pub struct PolicyError {
    /// Every mistake that was found.
    pub problems: Vec<Problem>,
}

impl From<Problem> for PolicyError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A file's text, to find lines and columns in.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) text: String,
}

impl Source {
    pub(super) fn read(file: PathBuf) -> Result<Self, Problem> {
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Self { file, text }),
            Err(error) => Err(Problem::unreadable(file, &error)),
        }
    }

    /// Where a byte of the text stands.
    pub(super) fn place(&self, offset: usize) -> Place {
        let start = Place { file: self.file.clone(), line: 1, column: 1 };
        start.after(&self.text, offset)
    }

    /// A problem at a byte of the text.
    pub(super) fn problem(&self, offset: usize, message: impl Into<String>) -> Problem {
        let Place { file, line, column } = self.place(offset);
        Problem { file, line, column, message: message.into(), help: None }
    }

    /// A problem with the file as a whole.
    pub(super) fn problem_of_all(&self, message: impl Into<String>) -> Problem {
        let message = message.into();
        Problem { file: self.file.clone(), line: 0, column: 0, message, help: None }
    }

    /// A problem that the reader of TOML found.
    pub(super) fn in_toml(&self, error: &toml::de::Error) -> Problem {
        let message = error.message().trim().replace('\n', ", ");
        match error.span() {
            Some(span) => self.problem(span.start, message),
            None => self.problem_of_all(message),
        }
    }

    /// A problem that the reader of JSON found.
    pub(super) fn in_json(&self, error: &serde_json::Error) -> Problem {
        let whole = error.to_string();
        let message = whole.split(" at line ").next().unwrap_or(&whole);
        let (line, column) = (error.line(), error.column());
        Problem { line, column, ..self.problem_of_all(message) }
    }

    /// A problem that Cedar found, at its first label.
    pub(super) fn diagnosed(&self, diagnostic: &dyn Diagnostic) -> Problem {
        let label = diagnostic.labels().and_then(|mut labels| labels.next());
        let mut message = diagnostic.to_string();
        // Cedar's own text for what a label points at: `expected …`.
        if let Some(text) = label.as_ref().and_then(|label| label.label())
            && !message.contains(text)
        {
            message = format!("{message}: {text}");
        }
        let help = diagnostic.help().map(|help| help.to_string());
        match label {
            Some(label) => Problem { help, ..self.problem(label.offset(), message) },
            None => Problem { help, ..self.problem_of_all(message) },
        }
    }
}

impl Problem {
    pub(super) fn unreadable(file: PathBuf, error: &std::io::Error) -> Self {
        let message = format!("cannot be read: {error}");
        Self { file, line: 0, column: 0, message, help: None }
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The word of `known` that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}
