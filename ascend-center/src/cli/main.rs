//! `ascend-center`: for the people who approve, and for serving over HTTP.
//!
//! Text for people goes to stdout, logs go to stderr. Exit codes: 0 done,
//! 1 failed, 2 bad usage, 3 there is no such action, grant, key, user or token,
//! 4 it is otherwise by now, as an action that is not pending any more, 5 the audit
//! log does not stand as it was written, the policies decide otherwise than expected,
//! or two manifests differ.

mod audit;
mod card;
mod config;
mod desk;
mod doctor;
mod grants;
mod init;
mod keys;
mod logging;
mod manifest;
mod pending;
mod policy;
mod remote;
mod serve;
mod table;
mod users;
mod watch;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use ascend_center::{AuditError, CenterConfig, DecideError, GrantError, IdentityError};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use config::{Config, Settings};
use desk::Desk;
use remote::{Remote, RemoteError};

/// The authorization center: who may do what, and who approved it
#[derive(Parser)]
#[command(name = "ascend-center", version, max_term_width = 100)]
struct Arguments {
    /// The center's directory [default: ascend-center in the user's data folder]
    #[arg(long, short = 'd', global = true, env = "ASCEND_CENTER_DIR")]
    directory: Option<PathBuf>,

    /// The configuration file [default: ascend-center.toml in the center's directory]
    #[arg(long, global = true, env = "ASCEND_CENTER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The center's PostgreSQL database, as postgres://user@host/database, where it
    /// is not SQLite in the directory; a password is better in PGPASSWORD or the
    /// password file, since others can see arguments
    #[cfg(feature = "postgres")]
    #[arg(
        long,
        global = true,
        env = "ASCEND_CENTER_DATABASE",
        hide_env_values = true,
        value_name = "URL"
    )]
    database: Option<String>,

    #[command(flatten)]
    elsewhere: Elsewhere,

    #[command(subcommand)]
    command: Command,
}

/// For all but serve, init, doctor, policy and audit.
#[derive(clap::Args)]
struct Elsewhere {
    /// A center elsewhere, instead of a directory here
    #[arg(long, global = true, env = "ASCEND_CENTER_URL", value_name = "URL")]
    url: Option<String>,
    /// A personal token for it; better in the variable, since others can see arguments
    #[arg(long, global = true, env = "ASCEND_CENTER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A further certificate authority to trust, as PEM
    #[arg(long, global = true, env = "ASCEND_CENTER_CA", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the center over HTTP, with ASCEND's API
    Serve(Box<Settings>),
    /// Make a center ready: its directory, keys, policies, first account and configuration
    ///
    /// What is there already is left as it is, and said.
    Init(init::InitArguments),
    /// Look a center over: what is set and by what, and whether all is well
    ///
    /// Takes the flags of `serve` too. Exits with 1 when something is wrong.
    Doctor(Box<doctor::DoctorArguments>),
    /// Show what waits for a person, and from then on everything that happens
    Watch(watch::WatchArguments),
    /// Show the actions that wait for a person
    Pending {
        /// As JSON: one list
        #[arg(long)]
        json: bool,
    },
    /// Let a pending action run, or be one of those who let it
    Approve {
        /// The action's number
        id: i64,
        /// Why, for the record and the agent
        #[arg(long, short)]
        comment: Option<String>,
        /// Take your approval back, while the action is pending
        #[arg(long, conflicts_with_all = ["comment", "also_for", "calls", "when"])]
        take_back: bool,
        #[command(flatten)]
        also: grants::Also,
    },
    /// Keep a pending action from running
    Reject {
        /// The action's number
        id: i64,
        /// Why, for the record and the agent
        #[arg(long, short)]
        comment: Option<String>,
    },
    /// Work on grants: calls that you need not be asked about for a while
    #[command(subcommand)]
    Grants(grants::GrantsCommand),
    /// Work on the API keys of agents
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Work on the accounts of people
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// Work on policies: check, test, explain and try them
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Review what a server's tools may do
    #[command(subcommand)]
    Manifest(manifest::ManifestCommand),
    /// Prove, export and prune the audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Raise the kill switch: nothing more is allowed, and nothing approved runs
    Kill {
        /// Why, for the record and the agents
        reason: String,
    },
    /// Release the kill switch
    Release,
}

const NO_SUCH: u8 = 3;
const BY_NOW_OTHERWISE: u8 = 4;
/// The audit log is damaged, policies decide otherwise than expected, or manifests differ.
const OTHERWISE: u8 = 5;

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let flags = match matches.subcommand() {
        Some(("serve" | "doctor", flags)) => Some(flags),
        _ => None,
    };
    let started = Config::load(&matches, flags).and_then(|config| {
        // Of one command the terminal tells already.
        let level = if matches.subcommand_name() == Some("serve") { "info" } else { "warn" };
        let level = config.settings.log_level.as_deref().unwrap_or(level);
        let log = logging::start(config.settings.log_format, level)?;
        Ok((config, log))
    });
    // What is exported is sent when the log ends.
    let (config, _log) = match started {
        Ok(started) => started,
        Err(error) => return told(&error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments, &config)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => told(&error),
    }
}

fn told(error: &anyhow::Error) -> ExitCode {
    // Errors can quote what agents and approvers wrote.
    let text = format!("{error:#}");
    for (index, line) in text.lines().enumerate() {
        let line = card::shown(line);
        eprintln!("{}{line}", if index == 0 { "error: " } else { "" });
    }
    exit_code(error)
}

/// Something is wrong with the center.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unwell(String);

fn exit_code(error: &anyhow::Error) -> ExitCode {
    let decided = match error.downcast_ref::<DecideError>() {
        Some(DecideError::Unknown(_)) => Some(NO_SUCH),
        Some(DecideError::NotPending(_)) => Some(BY_NOW_OTHERWISE),
        _ => None,
    };
    let managed = match error.downcast_ref::<IdentityError>() {
        Some(
            IdentityError::UnknownUser(_)
            | IdentityError::UnknownKey(_)
            | IdentityError::UnknownToken(_),
        ) => Some(NO_SUCH),
        Some(
            IdentityError::UserExists(_)
            | IdentityError::KeyExists { .. }
            | IdentityError::KeyEnded(_),
        ) => Some(BY_NOW_OTHERWISE),
        _ => None,
    };
    let granted = match error.downcast_ref::<GrantError>() {
        Some(GrantError::Unknown(_)) => Some(NO_SUCH),
        _ => None,
    };
    let elsewhere = match error.downcast_ref::<RemoteError>() {
        Some(RemoteError::NotFound(_)) => Some(NO_SUCH),
        Some(RemoteError::Conflict(_)) => Some(BY_NOW_OTHERWISE),
        _ => None,
    };
    let broken = matches!(error.downcast_ref(), Some(AuditError::Broken(_)));
    let otherwise = (broken || error.is::<policy::Otherwise>()).then_some(OTHERWISE);
    let code = decided.or(managed).or(granted).or(elsewhere).or(otherwise);
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Unlike `println!`, which panics where nobody reads.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let json = error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    kind.or(json) == Some(io::ErrorKind::BrokenPipe)
}

async fn run(
    Arguments { elsewhere, command, .. }: Arguments,
    config: &Config,
) -> anyhow::Result<()> {
    let command = match command {
        Command::Policy(command) => return policy::run(command, config).await,
        Command::Manifest(command) => return manifest::run(command),
        Command::Audit(ref command) if command.run_alone()? => return Ok(()),
        Command::Serve(_) => return serve::serve(config).await,
        Command::Init(arguments) => return init::init(config, arguments).await,
        Command::Doctor(arguments) => {
            return doctor::doctor(config, &arguments, elsewhere.ca_cert.as_deref()).await;
        }
        command => command,
    };
    let desk = match elsewhere.url {
        Some(url) => {
            let token = elsewhere.token.map(Into::into);
            Desk::There(Remote::new(&url, token, elsewhere.ca_cert.as_deref())?)
        }
        None => Desk::Here(config.existing(command.configuration(config)).await?),
    };
    let result = act(&desk, command).await;
    desk.close().await;
    result
}

async fn act(desk: &Desk, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Watch(arguments) => watch::watch(desk, arguments).await?,
        Command::Pending { json } => pending::show(desk, json).await?,
        Command::Approve { id, take_back: true, .. } => {
            let missing = desk.take_back(id).await?.approvals;
            say(&format!("action {id} has {}", card::shown(&missing)))?;
        }
        Command::Approve { id, comment, also, .. } => {
            let decided = desk.approve(id, comment, also.grant()).await?;
            say(&card::shown(&decided.sentence(id)))?;
            if let Some(grant) = &decided.grant {
                say(&card::shown(&grants::sentence(grant)))?;
            }
        }
        Command::Reject { id, comment } => {
            let name = desk.reject(id, comment).await?;
            say(&format!("action {id} rejected by {}", card::shown(&name)))?;
        }
        Command::Grants(command) => grants::run(desk, command).await?,
        Command::Kill { reason } => {
            desk.kill(reason).await?;
            say("the kill switch is raised; `ascend-center release` lets actions run again")?;
        }
        Command::Release => {
            if desk.release().await? {
                say("the kill switch is released")?;
            } else {
                say("the kill switch was not raised")?;
            }
        }
        Command::Audit(command) => match desk {
            Desk::Here(center) => command.run(center).await?,
            Desk::There(_) => anyhow::bail!(
                "the audit log is worked on at the center's directory: leave out --url and \
                 ASCEND_CENTER_URL"
            ),
        },
        Command::Keys(command) => keys::run(desk, command).await?,
        Command::Users(command) => users::run(desk, command).await?,
        Command::Serve(_)
        | Command::Init(_)
        | Command::Doctor(_)
        | Command::Policy(_)
        | Command::Manifest(_) => {}
    }
    Ok(())
}

impl Command {
    /// What of the center a command needs: grants are checked by the policies and
    /// tools in use.
    fn configuration(&self, config: &Config) -> impl FnOnce(CenterConfig) -> CenterConfig + use<> {
        let in_use = config.settings.policies.clone();
        let policies = match self {
            Self::Approve { also, .. } if also.is_given() => Some(also.policies.clone()),
            Self::Grants(grants::GrantsCommand::Add(add)) => Some(add.policies.clone()),
            _ => None,
        };
        move |config| match policies {
            Some(policies) => policies.or(&in_use).configure(config),
            None => config,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_fit_together() {
        super::Arguments::command().debug_assert();
    }
}
