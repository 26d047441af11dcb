//! `ascend-center init`

use std::{
    fs::{self, OpenOptions},
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use ascend_center::{Center, IdentityError, NewKey, Role};
use clap::{Args, CommandFactory as _};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    card::shown,
    config::{self, Config, FILE_NAME},
    say, serve,
    users::asked_password,
};

#[derive(Args)]
pub(crate) struct InitArguments {
    /// The name of the first admin's account
    #[arg(long, value_name = "NAME", default_value = "admin")]
    admin: String,
    /// Make no account: the owner of the directory is an admin without one
    #[arg(long, conflicts_with_all = ["admin", "password_file"])]
    no_admin: bool,
    /// A file that holds the admin's password, or `-` for standard input
    /// [default: asked on the terminal, twice]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make an API key for this agent, and show it this one time
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
}

/// What there was already is left as it is, and said.
const THERE: &str = "there already, left as it is";

pub(crate) async fn init(config: &Config, arguments: InitArguments) -> anyhow::Result<()> {
    config.check()?;
    let directory = config.directory()?;
    // Asked before anything is made, so that a typing mistake leaves nothing half done.
    let password = match arguments.no_admin {
        true => None,
        false if has_account(config, &arguments.admin).await? => None,
        false => Some(password(arguments.password_file.as_deref())?),
    };
    let own_policies = config.is_default("policies");
    let set = config.settings.policies.folder();
    let policies = set.map_or_else(|| directory.join("policies"), Path::to_owned);
    let had = |path: &Path| if path.exists() { THERE } else { "made" };
    let database = if config.is_there() { THERE } else { "made" };
    let policies_were = had(&policies);
    let mut center = config.center()?;
    if own_policies {
        center = center.policies(&policies);
    }
    let center = Center::open(center).await?;
    let directory = center.directory().to_owned();
    let result = make(&center, config, &arguments, password).await;
    let made = match result {
        Ok(made) => made,
        Err(error) => {
            center.close().await;
            return Err(error);
        }
    };
    let file = config.file.clone().unwrap_or_else(|| directory.join(FILE_NAME));
    let file_was = if write_once(&file, &template(own_policies))? { "made" } else { THERE };
    say(&format!("the center in {}:", shown(&directory.display().to_string())))?;
    let part = |name: &str, text: &str| say(&format!("  {name:<14} {}", shown(text)));
    part("database", database)?;
    part("configuration", &format!("{}: {file_was}", file.display()))?;
    part("policies", &format!("{}: {policies_were}", policies.display()))?;
    part("signing key", &format!("audit.key, for {}", center.audit_key()))?;
    if !arguments.no_admin {
        part("admin", &format!("{}: {}", arguments.admin, made.admin))?;
    }
    if let Some(agent) = &arguments.agent {
        let was = if made.key.is_some() { "key made" } else { THERE };
        part("agent", &format!("{agent}: {was}"))?;
    }
    let url = serve::reached(&config.settings, config.settings.listen);
    say("")?;
    say(&format!("Serve it:       {} serve", shown(&center.command())))?;
    say(&format!("See what waits: {} watch", shown(&center.command())))?;
    say(&format!("Look it over:   {} doctor", shown(&center.command())))?;
    say("For the agent's server:")?;
    say(&format!("  ASCEND_BASE_URL={}", shown(&url)))?;
    match made.key {
        Some(key) => {
            eprintln!("the key is shown this one time:");
            say(&format!("  ASCEND_API_KEY={}", key.expose_secret()))?;
        }
        None => say(&format!(
            "  ASCEND_API_KEY=… on this machine the `token` in {}; elsewhere from `ascend-center \
             keys create AGENT`",
            shown(&directory.join("agent.key").display().to_string())
        ))?,
    }
    center.close().await;
    Ok(())
}

struct Made {
    admin: &'static str,
    key: Option<SecretString>,
}

async fn make(
    center: &Center,
    config: &Config,
    arguments: &InitArguments,
    password: Option<SecretString>,
) -> anyhow::Result<Made> {
    let owner = center.local_approver().await?;
    let mut made = Made { admin: THERE, key: None };
    if let Some(password) = password {
        let created = center.create_user(&owner, &arguments.admin, Role::Admin, Some(password));
        match created.await {
            Ok(()) => made.admin = "made",
            Err(IdentityError::UserExists(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(agent) = &arguments.agent {
        match center.create_key(&owner, NewKey::of(agent)).await {
            Ok(issued) => made.key = Some(issued.token),
            Err(IdentityError::KeyExists { .. }) => {}
            Err(error) => return Err(error).with_context(|| format!("agent {agent:?}")),
        }
    }
    tracing::debug!(directory = ?config.directory().ok(), "a center was made ready");
    Ok(made)
}

/// Whether the account is there, which only a center that is there can have.
async fn has_account(config: &Config, name: &str) -> anyhow::Result<bool> {
    if !config.is_there() {
        return Ok(false);
    }
    let center = Center::open(config.store()?).await?;
    let users = center.users().await;
    center.close().await;
    Ok(users?.iter().any(|user| user.name == name))
}

fn password(file: Option<&Path>) -> anyhow::Result<SecretString> {
    let text = match file {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("no password on standard input")?;
            text
        }
        Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None if io::stdin().is_terminal() => return asked_password("the admin's password: "),
        None => anyhow::bail!(
            "there is no terminal to ask for the admin's password: name a file with \
             --password-file, `-` for standard input, or make no account with --no-admin"
        ),
    };
    Ok(text.trim_end_matches(['\r', '\n']).to_owned().into())
}

/// Writes a file for its owner to change, unless it is there; whether it was not.
fn write_once(path: &Path, text: &str) -> anyhow::Result<bool> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(mut file) => {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// A configuration file in which every setting stands as a comment.
pub(crate) fn template(own_policies: bool) -> String {
    let program = crate::Arguments::command();
    let mut text = format!(
        "# The configuration of {}. A flag counts before the environment, that before\n\
         # this file, and that before the default. Paths are relative to this file.\n\
         # `ascend-center doctor` shows what is set, and by what.\n",
        program.get_name()
    );
    for setting in config::documented() {
        text.push('\n');
        text.push_str(&comment(&setting.help));
        if setting.is_secret {
            text.push_str(&format!(
                "# Not to stand here: name a file with `{}_file`, or use {}.\n",
                setting.name, setting.variable
            ));
        } else if setting.name == "policies" && own_policies {
            text.push_str("policies = \"policies\"\n");
        } else {
            text.push_str(&format!("#{} = {}\n", setting.name, setting.example));
        }
    }
    text
}

/// The text as lines of comments.
fn comment(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        if lines.last().is_some_and(|line| line.len() + word.len() > 80) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.iter().map(|line| format!("#{line}\n")).collect()
}
