//! `ascend-center keys`

use anyhow::Context as _;
use ascend_center::{AgentKey, Center, NewKey};
use clap::Subcommand;
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::{
    card::{self, shown},
    say,
    table::{Table, day, lifetime},
};

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make an API key for an agent, and show it this one time
    Create {
        /// The agent that asks with it; what it asks stays its own with every key of it
        agent: String,
        /// What the key is called
        #[arg(long, default_value = "default")]
        name: String,
        /// The user whose key it is: they cannot approve what is asked with it
        #[arg(long, value_name = "USER")]
        owner: Option<String>,
        /// After what time it ends by itself, such as 90d [default: never]
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<std::time::Duration>,
    },
    /// Show all keys, without their secrets
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a key at once
    Revoke {
        /// The key's number
        id: i64,
    },
    /// Make a key in the place of another, which stays good for a while
    Rotate {
        /// The key's number
        id: i64,
        /// How long the old one stays good, such as 24h; 0s ends it at once
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lifetime)]
        grace: std::time::Duration,
    },
}

pub(crate) async fn run(center: &Center, command: KeysCommand) -> anyhow::Result<()> {
    let owner = center.local_approver().await?;
    match command {
        KeysCommand::Create { agent, name, owner: user, expires } => {
            let mut key = NewKey::of(&agent).named(name);
            if let Some(user) = user {
                key = key.owned_by(user);
            }
            if let Some(expires) = expires {
                key = key.lasting(expires);
            }
            let issued = center.create_key(&owner, key).await?;
            eprintln!("key {} of agent {agent}; it is shown this one time:", issued.id);
            say(issued.token.expose_secret())?;
        }
        KeysCommand::List { json: true } => {
            let keys = serde_json::to_string_pretty(&center.keys().await?)?;
            say(&card::ascii_json(&keys))?;
        }
        KeysCommand::List { json: false } => list(&center.keys().await?)?,
        KeysCommand::Revoke { id } => {
            if center.revoke_key(&owner, id).await? {
                say(&format!("key {id} is revoked"))?;
            } else {
                say(&format!("key {id} was not active any more"))?;
            }
        }
        KeysCommand::Rotate { id, grace } => {
            let issued = center.rotate_key(&owner, id, grace).await?;
            let keys = center.keys().await?;
            let old = keys.iter().find(|key| key.id == id).context("the key is gone")?;
            let until = old.expires_at.map_or_else(String::new, card::moment);
            eprintln!(
                "key {} of agent {} in the place of key {id}, which is good until {until}; it is \
                 shown this one time:",
                issued.id, old.agent
            );
            say(issued.token.expose_secret())?;
        }
    }
    Ok(())
}

fn list(keys: &[AgentKey]) -> anyhow::Result<()> {
    let mut table =
        Table::new(["KEY", "AGENT", "NAME", "OWNER", "STANDING", "CREATED", "LAST USED"]);
    for key in keys {
        let standing = key.standing(Timestamp::now()).as_str();
        let standing = match (standing, key.expires_at) {
            ("active", Some(at)) => format!("active until {}", card::moment(at)),
            (standing, _) => standing.to_owned(),
        };
        table.row([
            key.id.to_string(),
            shown(&key.agent),
            shown(&key.name),
            shown(key.owner.as_deref().unwrap_or("-")),
            standing,
            day(Some(key.created_at)),
            key.last_used_at.map_or_else(|| "never".to_owned(), card::moment),
        ]);
    }
    table.print()?;
    Ok(())
}
