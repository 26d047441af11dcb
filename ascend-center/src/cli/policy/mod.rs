//! `ascend-center policy`

mod check;
mod explain;
mod shadow;
mod show;
mod simulate;
mod test;

use std::path::{Path, PathBuf};

use ascend_center::{PolicyError, PolicySet};
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check policies: syntax, annotations, and types by the schema
    Check {
        /// A folder of policies, or one file [default: the built-in policies]
        path: Option<PathBuf>,
    },
    /// Test policies: ask them the cases in files that end in `.test.toml`
    ///
    /// Exits with 5 when a case fails. How cases are written stands in
    /// docs/policies.md of the center.
    Test {
        /// A folder of policies, or one file [default: the built-in policies]
        path: Option<PathBuf>,
        /// A file of cases, or a folder of them [default: those beside the policies]
        #[arg(long)]
        cases: Option<PathBuf>,
        /// Show passing cases too
        #[arg(long, short)]
        verbose: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain what the policies say of an action, policy by policy
    Explain {
        /// The number of a recorded action, or a TOML or JSON file that describes a call
        action: String,
        #[command(flatten)]
        set: Set,
        /// Show also the policies that are about other actions
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Put recorded actions to changed policies, and show what would differ
    ///
    /// Exits with 5 when a decision or a risk would.
    Simulate {
        /// A folder of policies, or one file
        path: PathBuf,
        /// How many of the newest actions to replay
        #[arg(long, default_value_t = 1000)]
        last: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show where the shadow policies say otherwise than was decided
    Shadow {
        /// How many of the newest differences to show
        #[arg(long, default_value_t = 50)]
        last: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// The policies that a command is about.
#[derive(Args)]
pub(crate) struct Set {
    /// A folder of policies, or one file [default: the built-in policies]
    #[arg(long, env = "ASCEND_CENTER_POLICIES")]
    policies: Option<PathBuf>,
}

impl Set {
    fn read(&self) -> Result<PolicySet, PolicyError> {
        read(self.policies.as_deref())
    }
}

/// The policies do otherwise than was expected of them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Otherwise(String);

pub(crate) async fn run(command: PolicyCommand, directory: Option<PathBuf>) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Check { path } => check::check(&read(path.as_deref())?),
        PolicyCommand::Test { path, cases, verbose, json } => {
            test::test(path.as_deref(), cases.as_deref(), verbose, json)
        }
        PolicyCommand::Explain { action, set, all, json } => {
            explain::explain(directory, &action, &set.read()?, all, json).await
        }
        PolicyCommand::Simulate { path, last, json } => {
            simulate::simulate(directory, &PolicySet::read(&path)?, last, json).await
        }
        PolicyCommand::Shadow { last, json } => shadow::shadow(directory, last, json).await,
    }
}

fn read(path: Option<&Path>) -> Result<PolicySet, PolicyError> {
    path.map_or_else(PolicySet::built_in, PolicySet::read)
}
