//! `ascend-center`: for the people who approve, and for serving over HTTP.
//!
//! Text for people goes to stdout, logs go to stderr. Exit codes: 0 done,
//! 1 failed, 2 bad usage, 3 no such action, 4 the action is not pending any more,
//! 5 the audit log does not stand as it was written, or the policies decide
//! otherwise than expected.

mod audit;
mod card;
mod pending;
mod policy;
mod serve;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use ascend_center::{AuditError, Center, CenterConfig, DecideError};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// The authorization center: who may do what, and who approved it
#[derive(Parser)]
#[command(name = "ascend-center", version, max_term_width = 100)]
struct Arguments {
    /// The center's directory [default: ascend-center in the user's data folder]
    #[arg(long, short = 'd', global = true, env = "ASCEND_CENTER_DIR")]
    directory: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the center over HTTP, with ASCEND's API
    Serve {
        /// The address to listen on
        #[arg(long, default_value = "127.0.0.1:8787")]
        listen: SocketAddr,
        #[command(flatten)]
        policies: policy::InUse,
        /// A further host name by which the center may be addressed
        #[arg(long = "allow-host", value_name = "HOST")]
        hosts: Vec<String>,
    },
    /// Show the actions that wait for a person
    Pending {
        /// Go on showing what comes
        #[arg(long)]
        watch: bool,
        /// As JSON: one list, or with --watch one action a line
        #[arg(long)]
        json: bool,
    },
    /// Let a pending action run
    Approve {
        /// The action's number
        id: i64,
        /// Why, for the record and the agent
        #[arg(long, short)]
        comment: Option<String>,
    },
    /// Keep a pending action from running
    Reject {
        /// The action's number
        id: i64,
        /// Why, for the record and the agent
        #[arg(long, short)]
        comment: Option<String>,
    },
    /// Work on policies: check, test, explain and try them
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
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

const NO_SUCH_ACTION: u8 = 3;
const NOT_PENDING: u8 = 4;
/// The audit log is damaged, or policies decide otherwise than expected.
const OTHERWISE: u8 = 5;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Errors can quote what agents and approvers wrote.
            let text = format!("{error:#}");
            for (index, line) in text.lines().enumerate() {
                let line = card::shown(line);
                eprintln!("{}{line}", if index == 0 { "error: " } else { "" });
            }
            if let Some(AuditError::Broken(_)) = error.downcast_ref() {
                return OTHERWISE.into();
            }
            match error.downcast_ref::<DecideError>() {
                Some(DecideError::Unknown(_)) => NO_SUCH_ACTION.into(),
                Some(DecideError::NotPending(_)) => NOT_PENDING.into(),
                _ if error.is::<policy::Otherwise>() => OTHERWISE.into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
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

async fn run(Arguments { directory, command }: Arguments) -> anyhow::Result<()> {
    match command {
        Command::Policy(command) => return policy::run(command, directory).await,
        Command::Audit(ref command) if command.run_alone()? => return Ok(()),
        Command::Serve { listen, policies, hosts } => {
            return serve::serve(chosen(directory)?, listen, policies, hosts).await;
        }
        _ => {}
    }
    let center = existing(chosen(directory)?).await?;
    let result = act(&center, command).await;
    center.close().await;
    result
}

async fn act(center: &Center, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Pending { watch, json } => pending::show(center, watch, json).await?,
        Command::Approve { id, comment } => {
            let approver = center.local_approver().await?;
            let record = center.approve(id, &approver, comment).await?;
            say(&format!("action {} approved by {}", record.id, card::shown(approver.name())))?;
        }
        Command::Reject { id, comment } => {
            let approver = center.local_approver().await?;
            let record = center.reject(id, &approver, comment).await?;
            say(&format!("action {} rejected by {}", record.id, card::shown(approver.name())))?;
        }
        Command::Kill { reason } => {
            let approver = center.local_approver().await?;
            center.kill(reason, &approver).await?;
            say("the kill switch is raised; `ascend-center release` lets actions run again")?;
        }
        Command::Release => {
            let approver = center.local_approver().await?;
            if center.release(&approver).await? {
                say("the kill switch is released")?;
            } else {
                say("the kill switch was not raised")?;
            }
        }
        Command::Audit(command) => command.run(center).await?,
        Command::Serve { .. } | Command::Policy(_) => {}
    }
    Ok(())
}

fn chosen(directory: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    directory
        .or_else(CenterConfig::default_directory)
        .context("there is no data folder for this user; name one with --directory")
}

/// For all but `serve`, a new center would only hide that the directory is wrong.
async fn existing(directory: PathBuf) -> anyhow::Result<Center> {
    anyhow::ensure!(
        directory.join("center.db").exists(),
        "there is no center in {}; start a server that uses it, or name another with --directory",
        directory.display()
    );
    Ok(Center::open(CenterConfig::new(directory)).await?)
}
