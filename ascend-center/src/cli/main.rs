//! `ascend-center`: for the people who approve, and for serving over HTTP.
//!
//! Text for people goes to stdout, logs go to stderr. Exit codes: 0 done,
//! 1 failed, 2 bad usage, 3 no such action, 4 the action is not pending any more.

mod card;
mod pending;
mod serve;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use ascend_center::{Center, CenterConfig, DecideError, ServeConfig};
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
        /// A folder of policies to use; created with the built-in ones when it is not there
        #[arg(long, env = "ASCEND_CENTER_POLICIES")]
        policies: Option<PathBuf>,
        /// A further host name by which the center may be addressed
        #[arg(long = "allow-host", value_name = "HOST")]
        hosts: Vec<String>,
        /// How often each agent may ask in a minute; 0 for as often as it likes
        #[arg(long, value_name = "N", default_value_t = 100, env = "ASCEND_CENTER_AGENT_RATE")]
        agent_rate: u32,
        /// How often all agents together may ask in a minute; 0 for as often as they like
        #[arg(long, value_name = "N", default_value_t = 1000, env = "ASCEND_CENTER_TENANT_RATE")]
        tenant_rate: u32,
        /// A host to which webhooks may lead, whatever its address is
        #[arg(long = "allow-webhook-host", value_name = "HOST")]
        webhook_hosts: Vec<String>,
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
    /// Work on policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Raise the kill switch: nothing more is allowed, and nothing approved runs
    Kill {
        /// Why, for the record and the agents
        reason: String,
    },
    /// Release the kill switch
    Release,
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// Check policies: syntax, annotations, and types by the schema
    Check {
        /// A folder of policies, or one file [default: the built-in policies]
        path: Option<PathBuf>,
    },
}

const NO_SUCH_ACTION: u8 = 3;
const NOT_PENDING: u8 = 4;

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
            match error.downcast_ref::<DecideError>() {
                Some(DecideError::Unknown(_)) => NO_SUCH_ACTION.into(),
                Some(DecideError::NotPending(_)) => NOT_PENDING.into(),
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
        Command::Policy(PolicyCommand::Check { path }) => return check(path),
        Command::Serve { listen, policies, hosts, agent_rate, tenant_rate, webhook_hosts } => {
            let serving = hosts
                .into_iter()
                .fold(ServeConfig::new(), ServeConfig::allow_host)
                .agent_rate(agent_rate)
                .tenant_rate(tenant_rate);
            let serving = webhook_hosts.into_iter().fold(serving, ServeConfig::allow_webhook_host);
            return serve::serve(chosen(directory)?, listen, policies, serving).await;
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
        Command::Serve { .. } | Command::Policy(_) => {}
    }
    Ok(())
}

fn check(path: Option<PathBuf>) -> anyhow::Result<()> {
    let summary = ascend_center::check_policies(path.as_deref())?;
    for warning in &summary.warnings {
        for line in warning.to_string().lines() {
            say(&format!("warning: {}", card::shown(line)))?;
        }
    }
    say(&format!("{} policies, no mistakes", summary.policies))?;
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
