//! The configuration: one struct of settings, and one precedence. A flag counts
//! before the environment, that before the file, and that before the default.

mod documented;
mod file;
#[cfg(feature = "oidc")]
mod oidc;
mod settings;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use anyhow::Context as _;
use ascend_center::{Center, CenterConfig};
use clap::{ArgMatches, Args as _, Command, FromArgMatches as _, parser::ValueSource};

#[cfg(test)]
use documented::Documented;
pub(crate) use documented::documented;
use file::File;
pub(crate) use file::NAME as FILE_NAME;
use settings::SECRETS;
pub(crate) use settings::Settings;

/// What is set, and by what.
#[derive(Debug)]
pub(crate) struct Config {
    directory: Option<PathBuf>,
    /// The database, where it is not in the directory.
    database: Option<String>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    pub(crate) settings: Settings,
    /// Every setting, in the order of the help.
    pub(crate) told: Vec<Told>,
}

/// A setting as it is shown.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Told {
    pub(crate) name: String,
    /// `None` where it is not set.
    pub(crate) value: Option<String>,
    #[serde(serialize_with = "as_text")]
    pub(crate) from: From,
}

fn as_text<S: serde::Serializer>(from: &From, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(from)
}

/// What set a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    Flag(String),
    Environment(String),
    File(PathBuf, usize),
    Default,
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Environment(variable) => f.write_str(variable),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The settings as flags of a command of their own.
pub(crate) fn command() -> Command {
    Settings::augment_args(Command::new("settings").no_binary_name(true))
}

fn flag(name: &str, value: &OsStr) -> OsString {
    let mut flag = OsString::from(format!("--{}=", name.replace('_', "-")));
    flag.push(value);
    flag
}

/// Where the command line or its environment say the center is, and which file
/// they name.
fn named(matches: &ArgMatches, name: &str) -> Option<(PathBuf, From)> {
    let path: &PathBuf = matches.get_one(name)?;
    let from = match matches.value_source(name) {
        Some(ValueSource::EnvVariable) if name == "directory" => "ASCEND_CENTER_DIR".to_owned(),
        Some(ValueSource::EnvVariable) => format!("ASCEND_CENTER_{}", name.to_uppercase()),
        _ => return Some((path.clone(), From::Flag(format!("--{name}")))),
    };
    Some((path.clone(), From::Environment(from)))
}

impl Config {
    /// Reads everything. `matches` is the whole command line; where its command
    /// takes settings as flags, those are `flags`.
    pub(crate) fn load(matches: &ArgMatches, flags: Option<&ArgMatches>) -> anyhow::Result<Self> {
        let command = command();
        let config_file = named(matches, "config");
        let directory = named(matches, "directory");
        let (file, directory) = match &config_file {
            Some((path, _)) => {
                let file = File::read(path, true, &command)?;
                let by_file = file.as_ref().and_then(|file| {
                    let (directory, line) = file.directory.clone()?;
                    Some((directory, From::File(file.path.clone(), line)))
                });
                (file, directory.or(by_file))
            }
            None => (None, directory),
        };
        let directory = directory
            .or_else(|| CenterConfig::default_directory().map(|path| (path, From::Default)));
        let file = match (file, &directory) {
            (None, Some((directory, _))) => {
                File::read(&directory.join(FILE_NAME), false, &command)?
            }
            (file, _) => file,
        };
        let mut config = Self::resolve(command, flags, file.as_ref(), directory)?;
        #[cfg(feature = "postgres")]
        config.name_database(matches, &file);
        if let (Some((path, from)), Some(_)) = (config_file, &file) {
            let value = Some(path.display().to_string());
            config.told.insert(1, Told { name: "config".to_owned(), value, from });
        }
        Ok(config)
    }

    /// A flag or a variable names the database, or the file.
    #[cfg(feature = "postgres")]
    fn name_database(&mut self, matches: &ArgMatches, file: &Option<File>) {
        let named = matches.get_one::<String>("database").cloned().map(|url| {
            let by_variable = matches.value_source("database") == Some(ValueSource::EnvVariable);
            let from = if by_variable {
                From::Environment("ASCEND_CENTER_DATABASE".to_owned())
            } else {
                From::Flag("--database".to_owned())
            };
            (url, from)
        });
        let in_file = file.as_ref().and_then(|file| {
            let (url, line) = file.database.clone()?;
            Some((url, From::File(file.path.clone(), line)))
        });
        let (database, from) = named.or(in_file).unzip();
        // A password can be in it.
        let value = database.as_ref().map(|_| "(set)".to_owned());
        let from = from.unwrap_or(From::Default);
        self.told.insert(1, Told { name: "database".to_owned(), value, from });
        self.database = database;
    }

    fn resolve(
        command: Command,
        flags: Option<&ArgMatches>,
        file: Option<&File>,
        directory: Option<(PathBuf, From)>,
    ) -> anyhow::Result<Self> {
        // The environment alone counts where there are no flags.
        let environment;
        let given = match flags {
            Some(flags) => flags,
            None => {
                environment = command.clone().try_get_matches_from([] as [OsString; 0])?;
                &environment
            }
        };
        let (directory, from) = directory.unzip();
        let value = directory.as_ref().map(|directory| directory.display().to_string());
        let from = from.unwrap_or(From::Default);
        let mut told = vec![Told { name: "directory".to_owned(), value, from }];
        let mut all = Vec::new();
        for argument in command.get_arguments() {
            let name = argument.get_id().as_str();
            let raw = || -> Vec<OsString> {
                given.get_raw(name).into_iter().flatten().map(OsStr::to_owned).collect()
            };
            let in_file = file.and_then(|file| {
                let entry = file.entries.iter().find(|entry| entry.key == name)?;
                Some((entry.values.clone(), From::File(file.path.clone(), entry.line)))
            });
            let (values, from) = match (given.value_source(name), in_file) {
                (Some(ValueSource::CommandLine), _) => {
                    (raw(), From::Flag(format!("--{}", name.replace('_', "-"))))
                }
                (Some(ValueSource::EnvVariable), _) => {
                    let variable = argument.get_env().unwrap_or_default().to_string_lossy();
                    (raw(), From::Environment(variable.into_owned()))
                }
                (_, Some(in_file)) => in_file,
                _ => (raw(), From::Default),
            };
            let shown = values.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>();
            let shown = match values.is_empty() {
                true => None,
                false if SECRETS.contains(&name) => Some("(a secret)".to_owned()),
                false => Some(shown.join(", ")),
            };
            all.extend(values.iter().map(|value| flag(name, value)));
            told.push(Told { name: name.to_owned(), value: shown, from });
        }
        let settings = Settings::from_arg_matches(&command.try_get_matches_from(all)?)?;
        let file = file.map(|file| file.path.clone());
        Ok(Self { directory, database: None, file, settings, told })
    }

    /// An error that names every way in which the settings do not fit together.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let mistakes = self.mistakes();
        anyhow::ensure!(mistakes.is_empty(), "{}", mistakes.join("\n"));
        Ok(())
    }

    pub(crate) fn mistakes(&self) -> Vec<String> {
        self.settings.mistakes()
    }

    /// Whether nothing sets this setting.
    pub(crate) fn is_default(&self, name: &str) -> bool {
        self.told.iter().all(|told| told.name != name || told.from == From::Default)
    }

    /// The center, for what needs no policies.
    pub(crate) fn store(&self) -> anyhow::Result<CenterConfig> {
        let config = self.settings.store(self.directory()?);
        #[cfg(feature = "postgres")]
        let config = self.database.iter().cloned().fold(config, CenterConfig::database);
        Ok(config)
    }

    /// The center, with the policies that it is to use.
    pub(crate) fn center(&self) -> anyhow::Result<CenterConfig> {
        Ok(self.settings.policies.clone().configure(self.store()?))
    }

    /// Whether a center is there.
    pub(crate) fn is_there(&self) -> bool {
        let sign = if self.database.is_some() { "audit.key" } else { "center.db" };
        self.directory.as_ref().is_some_and(|directory| directory.join(sign).exists())
    }

    /// For all but `serve` and `init`, a new center would only hide that the
    /// directory is wrong.
    pub(crate) async fn existing(
        &self,
        configure: impl FnOnce(CenterConfig) -> CenterConfig,
    ) -> anyhow::Result<Center> {
        let directory = self.directory()?;
        anyhow::ensure!(
            self.is_there(),
            "there is no center in {}; make one with `ascend-center init`, start a server that \
             uses it, or name another with --directory",
            directory.display()
        );
        Ok(Center::open(configure(self.store()?)).await?)
    }

    /// The center's directory.
    pub(crate) fn directory(&self) -> anyhow::Result<PathBuf> {
        self.directory
            .clone()
            .context("there is no data folder for this user; name one with --directory")
    }
}

#[cfg(test)]
mod tests;
