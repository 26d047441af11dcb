//! `ascend-center users`

use std::io::{IsTerminal, Read};

use anyhow::Context as _;
use ascend_center::{Center, Role};
use clap::Subcommand;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    card::{self, shown},
    desk::Desk,
    say,
    table::{Table, day, lifetime},
};

#[derive(Subcommand)]
pub(crate) enum UsersCommand {
    /// Make an account, with a random password that is shown this one time
    Create {
        /// Their name, as the record will have it
        name: String,
        /// viewer: sees actions; approver: decides; admin: also manages keys and users
        #[arg(long)]
        role: Role,
        /// A group of theirs, which policies ask for approvals; can be repeated
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        password: PasswordArguments,
        /// Without a password: they use tokens alone
        #[arg(long, conflicts_with = "ask_password")]
        no_password: bool,
    },
    /// Show all accounts
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a person another role
    Role {
        /// Their name
        name: String,
        /// viewer, approver or admin
        role: Role,
    },
    /// Put people into groups, which policies ask for approvals
    #[command(subcommand)]
    Group(GroupCommand),
    /// Give a person another password; their sessions end
    Password {
        /// Their name
        name: String,
        #[command(flatten)]
        password: PasswordArguments,
    },
    /// Disable an account: its sessions and tokens end
    Disable {
        /// Their name
        name: String,
    },
    /// Enable an account again; its tokens stay ended
    Enable {
        /// Their name
        name: String,
    },
    /// Work on people's tokens for the command line
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Subcommand)]
pub(crate) enum GroupCommand {
    /// Put a person into groups
    Add {
        /// Their name
        name: String,
        /// The groups
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Take a person out of groups; approvals they gave as members count no more
    Remove {
        /// Their name
        name: String,
        /// The groups
        #[arg(required = true)]
        groups: Vec<String>,
    },
}

#[derive(clap::Args)]
pub(crate) struct PasswordArguments {
    /// Ask for the password, or read it from standard input
    #[arg(long)]
    ask_password: bool,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and show it this one time
    Create {
        /// Whose it is
        user: String,
        /// What it is called
        #[arg(long, default_value = "cli")]
        name: String,
        /// After what time it ends
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = lifetime)]
        expires: std::time::Duration,
    },
    /// Show all tokens, without their secrets
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a token at once
    Revoke {
        /// The token's number
        id: i64,
    },
}

pub(crate) async fn run(desk: &Desk, command: UsersCommand) -> anyhow::Result<()> {
    match command {
        UsersCommand::Create { name, role, groups, password, no_password } => {
            let chosen = if no_password { None } else { Some(password.choose()?) };
            let password = chosen.as_ref().map(|chosen| chosen.password.clone());
            desk.create_user(&name, role, password).await?;
            eprintln!("{name} is {role}");
            for group in groups {
                desk.set_member(&name, &group, true).await?;
                eprintln!("{name} is in {group}");
            }
            chosen.map_or(Ok(()), |chosen| chosen.show())?;
        }
        UsersCommand::List { json: true } => {
            let users = serde_json::to_string_pretty(&desk.users().await?)?;
            say(&card::ascii_json(&users))?;
        }
        UsersCommand::List { json: false } => {
            let mut table =
                Table::new(["NAME", "ROLE", "GROUPS", "PASSWORD", "CREATED", "DISABLED"]);
            for user in desk.users().await? {
                table.row([
                    shown(&user.name),
                    user.role.to_string(),
                    shown(&user.groups.join(", ")),
                    if user.has_password { "yes" } else { "no" }.to_owned(),
                    day(Some(user.created_at)),
                    day(user.disabled_at),
                ]);
            }
            table.print()?;
            if let Desk::Here(center) = desk {
                let owner = center.local_approver().await?;
                let owner = shown(owner.name());
                eprintln!("{owner} owns the center's directory: an admin without an account");
            }
        }
        UsersCommand::Role { name, role } => {
            desk.set_role(&name, role).await?;
            say(&format!("{name} is {role}"))?;
        }
        UsersCommand::Group(GroupCommand::Add { name, groups }) => {
            for group in groups {
                let joined = desk.set_member(&name, &group, true).await?;
                say(&format!("{name} is{} in {group}", if joined { "" } else { " already" }))?;
            }
        }
        UsersCommand::Group(GroupCommand::Remove { name, groups }) => {
            for group in groups {
                let left = desk.set_member(&name, &group, false).await?;
                let word = if left { "is no longer" } else { "was not" };
                say(&format!("{name} {word} in {group}"))?;
            }
        }
        UsersCommand::Password { name, password } => {
            let chosen = password.choose()?;
            desk.set_password(&name, chosen.password.clone()).await?;
            eprintln!("{name} has another password, and no sessions");
            chosen.show()?;
        }
        UsersCommand::Disable { name } => {
            desk.set_disabled(&name, true).await?;
            say(&format!("{name} is disabled"))?;
            let now = Timestamp::now();
            for key in desk.keys().await? {
                let active = key.standing(now) == ascend_center::CredentialStanding::Active;
                if active && key.owner.as_deref() == Some(name.as_str()) {
                    say(&format!(
                        "key {} of agent {} is theirs, and still good",
                        key.id, key.agent
                    ))?;
                }
            }
        }
        UsersCommand::Enable { name } => {
            desk.set_disabled(&name, false).await?;
            say(&format!("{name} is enabled"))?;
        }
        UsersCommand::Token(TokenCommand::Create { user, name, expires }) => {
            let issued = desk.create_token(&user, &name, expires).await?;
            eprintln!("token {} of {user}; it is shown this one time:", issued.id);
            issued.show()?;
        }
        UsersCommand::Token(TokenCommand::List { json: true }) => {
            let tokens = serde_json::to_string_pretty(&desk.tokens().await?)?;
            say(&card::ascii_json(&tokens))?;
        }
        UsersCommand::Token(TokenCommand::List { json: false }) => {
            let mut table =
                Table::new(["TOKEN", "USER", "NAME", "STANDING", "EXPIRES", "LAST USED"]);
            for token in desk.tokens().await? {
                table.row([
                    token.id.to_string(),
                    shown(&token.user),
                    shown(&token.name),
                    token.standing(Timestamp::now()).as_str().to_owned(),
                    day(Some(token.expires_at)),
                    token.last_used_at.map_or_else(|| "never".to_owned(), card::moment),
                ]);
            }
            table.print()?;
        }
        UsersCommand::Token(TokenCommand::Revoke { id }) => {
            if desk.revoke_token(id).await? {
                say(&format!("token {id} is revoked"))?;
            } else {
                say(&format!("token {id} was not active any more"))?;
            }
        }
    }
    Ok(())
}

/// A password, and whether anybody knows it yet.
struct Chosen {
    password: SecretString,
    made: bool,
}

impl PasswordArguments {
    fn choose(&self) -> anyhow::Result<Chosen> {
        if !self.ask_password {
            return Ok(Chosen { password: Center::random_password()?, made: true });
        }
        let mut input = std::io::stdin();
        let password = if input.is_terminal() {
            asked_password("password: ")?
        } else {
            let mut text = String::new();
            input.read_to_string(&mut text).context("no password on standard input")?;
            text.trim_end_matches(['\r', '\n']).to_owned().into()
        };
        Ok(Chosen { password, made: false })
    }
}

/// Asks on the terminal, twice.
pub(crate) fn asked_password(prompt: &str) -> anyhow::Result<SecretString> {
    let password: SecretString = rpassword::prompt_password(prompt)?.into();
    let again: SecretString = rpassword::prompt_password("again: ")?.into();
    anyhow::ensure!(password.expose_secret() == again.expose_secret(), "the two are not the same");
    Ok(password)
}

impl Chosen {
    fn show(&self) -> std::io::Result<()> {
        if self.made {
            eprintln!("their password; it is shown this one time:");
            say(self.password.expose_secret())?;
        }
        Ok(())
    }
}
