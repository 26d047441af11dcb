//! The configuration file: TOML, a key for each setting. Every mistake is told
//! with its line and column.

use std::{
    any::TypeId,
    ffi::OsString,
    fmt, fs,
    io::ErrorKind,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, Command, error::ContextKind, error::ContextValue};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::settings::SECRETS;

/// The file in a center's directory.
pub(crate) const NAME: &str = "ascend-center.toml";
/// Where the center is, in a file that is elsewhere.
const DIRECTORY: &str = "directory";

/// A configuration file that was read.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) directory: Option<(PathBuf, usize)>,
    /// The database, where it is not in the directory.
    #[cfg(feature = "postgres")]
    pub(super) database: Option<(String, usize)>,
    pub(super) entries: Vec<Entry>,
}

/// A setting in the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// As the flag would be given it.
    pub(super) values: Vec<OsString>,
    pub(super) line: usize,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub(crate) struct FileError(Vec<String>);

/// A kind of value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Path,
    Number,
    Bool,
}

impl Kind {
    pub(super) fn of(argument: &Arg) -> Self {
        let is = |id: TypeId| argument.get_value_parser().type_id() == id;
        if is(TypeId::of::<u32>()) || is(TypeId::of::<NonZeroU32>()) {
            Self::Number
        } else if is(TypeId::of::<bool>()) {
            Self::Bool
        } else if is(TypeId::of::<PathBuf>()) {
            Self::Path
        } else {
            Self::Text
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text in quotes",
            Self::Path => "a path in quotes",
            Self::Number => "a whole number",
            Self::Bool => "true or false",
        })
    }
}

/// What a value is, in words.
fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl File {
    /// Reads the file; `None` where there is none, unless it `must_be` there.
    pub(super) fn read(
        path: &Path,
        must_be: bool,
        command: &Command,
    ) -> Result<Option<Self>, FileError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text, must_be, command).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound && !must_be => Ok(None),
            Err(error) => Err(FileError(vec![format!("{}: {error}", path.display())])),
        }
    }

    /// `elsewhere`: the file is not in the center's directory, and can say where
    /// that is.
    fn parse(
        path: &Path,
        text: &str,
        elsewhere: bool,
        command: &Command,
    ) -> Result<Self, FileError> {
        let at = |offset: usize, message: &str| {
            let (line, column) = place(text, offset);
            format!("{}:{line}:{column}: {message}", path.display())
        };
        let table = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            FileError(vec![at(offset, error.message().trim())])
        })?;
        let mut file = Self {
            path: path.to_owned(),
            directory: None,
            #[cfg(feature = "postgres")]
            database: None,
            entries: Vec::new(),
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut mistakes = Vec::new();
        let mut settings: Vec<_> = table.into_inner().into_iter().collect();
        settings.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in settings {
            let (start, name) = (key.span().start, key.into_inner().into_owned());
            let line = place(text, start).0;
            if name == DIRECTORY {
                match value.get_ref() {
                    DeValue::String(directory) if elsewhere => {
                        file.directory = Some((folder.join(&**directory), line));
                    }
                    DeValue::String(_) => mistakes.push(at(
                        start,
                        "`directory` stands only in a file that is named with --config; this one \
                         lies in the center's directory",
                    )),
                    other => mistakes.push(wrong(&name, Kind::Path, other, |message| {
                        at(value.span().start, message)
                    })),
                }
                continue;
            }
            #[cfg(feature = "postgres")]
            if name == "database" {
                match value.get_ref() {
                    DeValue::String(url) => file.database = Some((url.to_string(), line)),
                    other => mistakes.push(wrong(&name, Kind::Text, other, |message| {
                        at(value.span().start, message)
                    })),
                }
                continue;
            }
            if SECRETS.contains(&name.as_str()) {
                mistakes.push(at(
                    start,
                    &format!(
                        "`{name}` is a secret and does not stand here; name a file that holds it \
                         with `{name}_file`, or give it in ASCEND_CENTER_{}",
                        name.to_uppercase()
                    ),
                ));
                continue;
            }
            let Some(argument) = command.get_arguments().find(|it| it.get_id() == name.as_str())
            else {
                mistakes.push(at(start, &unknown(&name, command)));
                continue;
            };
            match read(argument, folder, &value, command) {
                Ok(values) => file.entries.push(Entry { key: name, values, line }),
                Err((offset, message)) => mistakes.push(at(offset, &message)),
            }
        }
        if mistakes.is_empty() { Ok(file) } else { Err(FileError(mistakes)) }
    }
}

fn wrong(name: &str, kind: Kind, value: &DeValue<'_>, at: impl Fn(&str) -> String) -> String {
    at(&format!("`{name}` takes {kind}, and this is {}", described(value)))
}

fn unknown(name: &str, command: &Command) -> String {
    let known = command.get_arguments().map(|argument| argument.get_id().as_str());
    let closest = known
        .chain([DIRECTORY])
        .map(|known| (strsim::osa_distance(&name.replace('-', "_"), known), known))
        .min();
    match closest {
        Some((distance, known)) if distance <= 1 + name.len() / 4 => {
            format!("there is no setting `{name}`; did you mean `{known}`?")
        }
        _ => format!("there is no setting `{name}`; `ascend-center doctor` lists all"),
    }
}

/// The setting's values, or where and why they do not fit.
fn read(
    argument: &Arg,
    folder: &Path,
    value: &Spanned<DeValue<'_>>,
    command: &Command,
) -> Result<Vec<OsString>, (usize, String)> {
    let (name, kind) = (argument.get_id().as_str(), Kind::of(argument));
    let is_list = matches!(argument.get_action(), ArgAction::Append);
    let one = |value: &Spanned<DeValue<'_>>| {
        let text = match (value.get_ref(), kind) {
            (DeValue::String(text), Kind::Text) => text.to_string().into(),
            (DeValue::String(text), Kind::Path) => folder.join(&**text).into_os_string(),
            (DeValue::Integer(number), Kind::Number) => number.to_string().replace('_', "").into(),
            (DeValue::Boolean(flag), Kind::Bool) => flag.to_string().into(),
            (other, kind) => {
                return Err((value.span().start, wrong(name, kind, other, str::to_owned)));
            }
        };
        check(name, &text, command).map_err(|message| (value.span().start, message))?;
        Ok(text)
    };
    match value.get_ref() {
        DeValue::Array(values) if is_list => values.iter().map(one).collect(),
        other if is_list => Err((
            value.span().start,
            format!(
                "`{name}` takes a list, as in `{name} = [\"…\"]`, and this is {}",
                described(other)
            ),
        )),
        _ => one(value).map(|value| vec![value]),
    }
}

/// Whether the setting can have this value.
fn check(name: &str, value: &OsString, command: &Command) -> Result<(), String> {
    let error = match command.clone().try_get_matches_from([super::flag(name, value)]) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    if let Some(cause) = std::error::Error::source(&error) {
        return Err(format!("`{name}` cannot be {value:?}: {cause}"));
    }
    Err(match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => {
            let valid: Vec<_> = valid.iter().map(|word| format!("{word:?}")).collect();
            format!("`{name}` cannot be {value:?}; expected {}", valid.join(" or "))
        }
        _ => format!("`{name}` cannot be {value:?}"),
    })
}

/// Line and column, from 1, of a byte.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let last = before.rsplit('\n').next().unwrap_or(before);
    (before.matches('\n').count() + 1, last.chars().count() + 1)
}
