//! `ascend-center policy`

mod check;
mod explain;
mod manifest;
mod shadow;
mod show;
mod simulate;
mod test;

use std::path::{Path, PathBuf};

use ascend_center::{CenterConfig, Manifest, PolicyError, PolicySet, ToolSchema};
use clap::{Args, Subcommand};

use crate::config::Config;

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check policies: syntax, annotations, and types by the schema
    ///
    /// With a manifest also: which tools no policy permits, which policies match no
    /// tool, and which tools may run without a person, and when.
    Check {
        /// A folder of policies, or one file [default: those of the center, or the built-in ones]
        path: Option<PathBuf>,
        #[command(flatten)]
        tools: Tools,
        /// What a server prints with `--manifest`: what its tools do
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
        /// Exit with 5 when there is a warning
        #[arg(long)]
        deny_warnings: bool,
        /// As JSON
        #[arg(long, requires = "manifest")]
        json: bool,
    },
    /// Test policies: ask them the cases in files that end in `.test.toml`
    ///
    /// Exits with 5 when a case fails. How cases are written stands in
    /// docs/policies.md of the center.
    Test {
        /// A folder of policies, or one file [default: those of the center, or the built-in ones]
        path: Option<PathBuf>,
        /// A file of cases, or a folder of them [default: those beside the policies]
        #[arg(long)]
        cases: Option<PathBuf>,
        #[command(flatten)]
        tools: Tools,
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
        /// A folder of policies, or one file [default: those of the center, or the built-in ones]
        #[arg(long, env = "ASCEND_CENTER_POLICIES")]
        policies: Option<PathBuf>,
        #[command(flatten)]
        tools: Tools,
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
        #[command(flatten)]
        tools: Tools,
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

/// The tools whose arguments policies can name.
#[derive(Debug, Clone, Args)]
pub(crate) struct Tools {
    /// A JSON file of the tools, as a server lists them, beside any `tools.json` of the policies
    #[arg(long, env = "ASCEND_CENTER_TOOLS", value_name = "FILE")]
    tools: Option<PathBuf>,
}

impl Tools {
    /// Where none are named, those of the center.
    fn or(self, in_use: &InUse) -> Self {
        Self { tools: self.tools.or_else(|| in_use.tools.tools.clone()) }
    }

    /// The policies at `path`, or the built-in ones.
    fn read(&self, path: Option<&Path>) -> Result<PolicySet, PolicyError> {
        self.read_with(path, Vec::new())
    }

    /// The same, where these tools are known as well.
    fn read_with(
        &self,
        path: Option<&Path>,
        others: Vec<ToolSchema>,
    ) -> Result<PolicySet, PolicyError> {
        let mut tools =
            self.tools.as_deref().map(ToolSchema::read).transpose()?.unwrap_or_default();
        tools.extend(others);
        match path {
            Some(path) => PolicySet::read_with(path, tools),
            None => PolicySet::built_in_with(tools),
        }
    }
}

/// The policies that a center uses, to check a grant by.
#[derive(Args, Clone)]
pub(crate) struct CheckedBy {
    /// The policies in use, by which a condition is checked [default: those of
    /// the center, or the built-in ones]
    #[arg(long, env = "ASCEND_CENTER_POLICIES", value_name = "FOLDER")]
    policies: Option<PathBuf>,
    #[command(flatten)]
    tools: Tools,
}

impl CheckedBy {
    /// Where nothing else is named, what the center uses.
    pub(crate) fn or(self, in_use: &InUse) -> Self {
        Self {
            policies: self.policies.or_else(|| in_use.policies.clone()),
            tools: self.tools.or(in_use),
        }
    }

    pub(crate) fn configure(self, mut config: CenterConfig) -> CenterConfig {
        // Where it is misspelt, there is nothing to be made.
        if let Some(folder) = self.policies.filter(|folder| folder.exists()) {
            config = config.policies(folder);
        }
        match self.tools.tools {
            Some(file) => config.tools_file(file),
            None => config,
        }
    }
}

/// The policies that a center is to use.
#[derive(Debug, Clone, Args)]
pub(crate) struct InUse {
    /// A folder of policies to use; created with the built-in ones when it is not there
    #[arg(long, env = "ASCEND_CENTER_POLICIES")]
    policies: Option<PathBuf>,
    /// Policies to ask as well, and to record what they say, but not to obey
    #[arg(long, env = "ASCEND_CENTER_SHADOW_POLICIES", value_name = "PATH")]
    shadow_policies: Option<PathBuf>,
    #[command(flatten)]
    tools: Tools,
}

impl InUse {
    /// Where the policies that are obeyed lie; `None` for the built-in ones.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.policies.as_deref()
    }

    /// The same, once it is there: it is made when the center is first served.
    fn made(&self) -> Option<PathBuf> {
        self.policies.clone().filter(|folder| folder.exists())
    }

    /// The policies that are obeyed.
    pub(crate) fn enforced(&self) -> Result<PolicySet, PolicyError> {
        self.tools.read(self.policies.as_deref())
    }

    /// The policies that are only asked.
    pub(crate) fn shadow(&self) -> Option<Result<PolicySet, PolicyError>> {
        self.shadow_policies.as_deref().map(|path| self.tools.read(Some(path)))
    }

    pub(crate) fn configure(self, mut config: CenterConfig) -> CenterConfig {
        let Self { policies, shadow_policies, tools: Tools { tools } } = self;
        if let Some(folder) = policies {
            config = config.policies(folder);
        }
        if let Some(path) = shadow_policies {
            config = config.shadow_policies(path);
        }
        if let Some(file) = tools {
            config = config.tools_file(file);
        }
        config
    }
}

/// The policies do otherwise than was expected of them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Otherwise(String);

impl Otherwise {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    fn warnings(count: usize) -> Self {
        Self(if count == 1 {
            "there is 1 warning".to_owned()
        } else {
            format!("there are {count} warnings")
        })
    }
}

pub(crate) async fn run(command: PolicyCommand, config: &Config) -> anyhow::Result<()> {
    let in_use = &config.settings.policies;
    let named_or_used = |named: Option<PathBuf>| named.or_else(|| in_use.made());
    match command {
        PolicyCommand::Check { path, tools, manifest: None, deny_warnings, json: _ } => {
            let path = named_or_used(path);
            check::check(&tools.or(in_use).read(path.as_deref())?, config, deny_warnings).await
        }
        PolicyCommand::Check { path, tools, manifest: Some(file), deny_warnings, json } => {
            let manifest = Manifest::read(&file)?;
            let path = named_or_used(path);
            let set = tools.or(in_use).read_with(path.as_deref(), manifest.schemas())?;
            let telling = manifest::Telling { deny_warnings, json };
            manifest::check(&set, &set.review(&manifest), &telling)
        }
        PolicyCommand::Test { path, cases, tools, verbose, json } => {
            let path = named_or_used(path);
            let (path, set) = (path.as_deref(), tools.or(in_use).read(path.as_deref())?);
            test::test(&set, &test::cases(cases.as_deref(), path)?, verbose, json)
        }
        PolicyCommand::Explain { action, policies, tools, all, json } => {
            let policies = named_or_used(policies);
            let set = tools.or(in_use).read(policies.as_deref())?;
            explain::explain(config, &action, &set, all, json).await
        }
        PolicyCommand::Simulate { path, tools, last, json } => {
            simulate::simulate(config, &tools.or(in_use).read(Some(&path))?, last, json).await
        }
        PolicyCommand::Shadow { last, json } => shadow::shadow(config, last, json).await,
    }
}
