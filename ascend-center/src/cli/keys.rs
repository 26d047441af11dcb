//! `ascend-center keys`

use std::time::Duration;

use anyhow::Context as _;
use ascend_center::{AgentKey, NewKey};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    card::{self, shown},
    desk::Desk,
    say,
    table::{Table, day, lifetime},
};

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make an API key for an agent, and show it this one time
    Create(Terms),
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
        grace: Duration,
    },
}

/// The key to be.
#[derive(clap::Args)]
pub(crate) struct Terms {
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
    expires: Option<Duration>,
}

impl Terms {
    pub(crate) fn to_key(&self) -> NewKey {
        let mut key = NewKey::of(&self.agent).named(&self.name);
        if let Some(owner) = &self.owner {
            key = key.owned_by(owner);
        }
        match self.expires {
            Some(expires) => key.lasting(expires),
            None => key,
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "agent": self.agent,
            "name": self.name,
            "owner": self.owner,
            "lifetime_seconds": self.expires.map(|expires| expires.as_secs_f64()),
        })
    }
}

pub(crate) async fn run(desk: &Desk, command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create(terms) => {
            let issued = desk.create_key(&terms).await?;
            let agent = shown(&terms.agent);
            eprintln!("key {} of agent {agent}; it is shown this one time:", issued.id);
            issued.show()?;
        }
        KeysCommand::List { json: true } => {
            let keys = serde_json::to_string_pretty(&desk.keys().await?)?;
            say(&card::ascii_json(&keys))?;
        }
        KeysCommand::List { json: false } => list(&desk.keys().await?)?,
        KeysCommand::Revoke { id } => {
            if desk.revoke_key(id).await? {
                say(&format!("key {id} is revoked"))?;
            } else {
                say(&format!("key {id} was not active any more"))?;
            }
        }
        KeysCommand::Rotate { id, grace } => {
            let issued = desk.rotate_key(id, grace).await?;
            let keys = desk.keys().await?;
            let old = keys.iter().find(|key| key.id == id).context("the key is gone")?;
            let until = old.expires_at.map_or_else(String::new, card::moment);
            eprintln!(
                "key {} of agent {} in the place of key {id}, which is good until {until}; it is \
                 shown this one time:",
                issued.id,
                shown(&old.agent)
            );
            issued.show()?;
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
