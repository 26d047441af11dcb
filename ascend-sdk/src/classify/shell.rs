//! What a shell command is.

use super::{Classification, Effect};
use crate::{Facts, RiskLevel, ShellFacts};

mod programs;

/// The longest command that is read, in bytes.
const COMMAND_LIMIT: usize = 16 * 1024;

/// One literal command: a program and its words, to be run without a shell.
///
/// ```
/// use ascend_sdk::classify::{Command, NotLiteral};
/// let command = Command::parse("grep -n 'two words' notes.txt")?;
/// assert_eq!(command.argv(), ["grep", "-n", "two words", "notes.txt"]);
/// assert_eq!(Command::parse("cat $HOME/x"), Err(NotLiteral::Expansion('$')));
/// # Ok::<(), NotLiteral>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    argv: Vec<String>,
}

/// Why a text is not one literal command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotLiteral {
    /// There is no word in it.
    #[error("the command is empty; name a program")]
    Empty,
    /// It is longer than 16 KiB.
    #[error("the command is over 16 KiB")]
    TooLong,
    /// Control characters hide what a command is.
    #[error("the command has the control character {}; write one line", .0.escape_unicode())]
    Control(char),
    /// A quote or a backslash has no end.
    #[error("a quote or a backslash has no end")]
    Unterminated,
    /// `;`, `&`, `|`, parentheses: more than one command.
    #[error("`{0}` joins commands, and only one can run; call once for each, or quote it")]
    List(char),
    /// `<` or `>`.
    #[error("`{0}` redirects, and there is no shell; use the file tools, or quote it")]
    Redirection(char),
    /// `$`, a backtick, `*`, `?`, `[`, `{`, a leading `~`.
    #[error(
        "`{0}` is expanded by a shell, and there is none; write the value, or quote it with '…'"
    )]
    Expansion(char),
    /// A word that starts with `#`, or a first word `!`.
    #[error("`{0}` has a meaning to a shell here; quote it")]
    Special(char),
    /// `NAME=value` before the program.
    #[error("a variable is set before the program; environment variables cannot be set")]
    Assignment,
}

impl Command {
    /// Reads one literal command, quotes and backslashes as in POSIX shells.
    ///
    /// # Errors
    ///
    /// When a shell would do more with the text than split it into words.
    pub fn parse(text: impl AsRef<str>) -> Result<Self, NotLiteral> {
        let text = text.as_ref();
        if text.len() > COMMAND_LIMIT {
            return Err(NotLiteral::TooLong);
        }
        check_literal(text)?;
        let argv = shlex::split(text).ok_or(NotLiteral::Unterminated)?;
        match argv.first() {
            None => Err(NotLiteral::Empty),
            Some(program) if program.is_empty() => Err(NotLiteral::Empty),
            Some(program) if program.contains('=') => Err(NotLiteral::Assignment),
            Some(_) => Ok(Self { argv }),
        }
    }

    /// The program and its arguments.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The program as written.
    #[must_use]
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// The words behind the program.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        self.argv.get(1..).unwrap_or_default()
    }

    /// Whether the program runs another one, or code, that its arguments name.
    #[must_use]
    pub fn is_wrapper(&self) -> bool {
        programs::is_wrapper(name(self.program()), self.arguments())
    }

    fn risk(&self) -> RiskLevel {
        let program = self.program();
        let bare = name(program);
        if self.is_wrapper() || programs::is_destructive(bare, self.arguments()) {
            RiskLevel::Critical
        } else if !program.contains('/') && programs::is_reader(bare, self.arguments()) {
            RiskLevel::Medium
        } else {
            RiskLevel::High
        }
    }
}

/// Classifies a shell command: always `execute`, with what was found as facts.
///
/// ```
/// use ascend_sdk::{RiskLevel, classify};
/// assert_eq!(classify::shell("ls -l").risk_level, RiskLevel::Medium);
/// assert_eq!(classify::shell("ls -l | sh").risk_level, RiskLevel::Critical);
/// assert!(classify::shell("env X=1 ls").facts.shell.unwrap().wrapper);
/// ```
pub fn shell(command: impl AsRef<str>) -> Classification {
    let (risk_level, why, facts) = match Command::parse(command) {
        Ok(command) => {
            let facts = ShellFacts {
                program: name(command.program()).to_owned(),
                literal: true,
                wrapper: command.is_wrapper(),
                cwd: None,
                argv: Vec::new(),
            };
            (command.risk(), None, ShellFacts { argv: command.argv, ..facts })
        }
        Err(error) => (RiskLevel::Critical, Some(error.to_string()), ShellFacts::default()),
    };
    Classification {
        effect: Effect::Execute,
        risk_level,
        facts: Facts { shell: Some(facts), ..Facts::default() },
        why,
    }
}

impl Classification {
    /// Adds the directory that a command is to run in, for policies to read.
    pub fn in_directory(mut self, directory: Option<impl AsRef<str>>) -> Self {
        if let Some(shell) = &mut self.facts.shell {
            shell.cwd = directory.map(|directory| directory.as_ref().to_owned());
        }
        self
    }
}

/// The last part of a program's path.
fn name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn check_literal(text: &str) -> Result<(), NotLiteral> {
    #[derive(PartialEq)]
    enum Quote {
        None,
        Single,
        Double,
    }
    let mut quote = Quote::None;
    let mut at_word_start = true;
    let mut is_first_word = true;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character.is_control() && character != '\t' {
            return Err(NotLiteral::Control(character));
        }
        let starts_word = at_word_start;
        at_word_start = false;
        match (&quote, character) {
            (Quote::Single, '\'') | (Quote::Double, '"') => quote = Quote::None,
            (Quote::Single, _) => {}
            (_, '$' | '`') => return Err(NotLiteral::Expansion(character)),
            (_, '\\') => match characters.next() {
                None => return Err(NotLiteral::Unterminated),
                Some(escaped) if escaped.is_control() => return Err(NotLiteral::Control(escaped)),
                Some(_) => {}
            },
            (Quote::Double, _) => {}
            (Quote::None, '\'') => quote = Quote::Single,
            (Quote::None, '"') => quote = Quote::Double,
            (Quote::None, ' ' | '\t') => {
                at_word_start = true;
                is_first_word &= starts_word;
            }
            (Quote::None, ';' | '&' | '|' | '(' | ')') => return Err(NotLiteral::List(character)),
            (Quote::None, '<' | '>') => return Err(NotLiteral::Redirection(character)),
            (Quote::None, '*' | '?' | '[' | '{') => return Err(NotLiteral::Expansion(character)),
            // A shell also expands it after `=` and `:` in some words.
            (Quote::None, '~') if starts_word => return Err(NotLiteral::Expansion('~')),
            (Quote::None, '#') if starts_word => return Err(NotLiteral::Special('#')),
            (Quote::None, '!') if starts_word && is_first_word => {
                return Err(NotLiteral::Special('!'));
            }
            (Quote::None, _) => {}
        }
    }
    if quote == Quote::None { Ok(()) } else { Err(NotLiteral::Unterminated) }
}
