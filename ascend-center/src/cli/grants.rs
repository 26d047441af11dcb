//! `ascend-center grants`, and `approve --also-for`

use std::time::Duration;

use ascend_center::{Grant, GrantStanding, NewGrant};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    card::{self, shown},
    desk::Desk,
    policy::CheckedBy,
    say,
    table::{Table, lifetime},
};

#[derive(Subcommand)]
pub(crate) enum GrantsCommand {
    /// Let calls pass for a while, as if you approved each of them
    ///
    /// Where a policy asks for several people, yours is one of their approvals.
    Add(Add),
    /// Show the grants that are good
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a grant at once
    Revoke {
        /// The grant's number
        id: i64,
    },
}

/// What to let pass.
#[derive(clap::Args)]
pub(crate) struct Add {
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    pub(crate) policies: CheckedBy,
}

#[derive(clap::Args)]
pub(crate) struct Terms {
    /// The tool
    #[arg(long, required_unless_present = "action")]
    tool: Option<String>,
    /// What it does, as in `database.delete`
    #[arg(long)]
    action: Option<String>,
    /// The resource; `*` stands for anything, `\*` for itself
    #[arg(long)]
    resource: String,
    /// The agent that asks, by the name of its key [default: any]
    #[arg(long)]
    agent: Option<String>,
    /// For how long, as in 30m [default: as long as the center allows]
    #[arg(long = "for", value_name = "TIME", value_parser = lifetime, required_unless_present = "calls")]
    time: Option<Duration>,
    /// For how many calls [default: as many as the center allows]
    #[arg(long)]
    calls: Option<u32>,
    /// What must hold of the call, in Cedar: `context.arguments.refund.cents <= 5000`
    #[arg(long, value_name = "CONDITION")]
    when: Option<String>,
    /// Why, for the record
    #[arg(long, short)]
    comment: Option<String>,
}

/// `approve --also-for`: with the approval, a grant for calls like it.
#[derive(clap::Args)]
pub(crate) struct Also {
    /// Also let the same tool on the same resource pass for so long, as in 30m
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    also_for: Option<Duration>,
    /// The same for so many calls
    #[arg(long)]
    calls: Option<u32>,
    /// The same only when this holds, in Cedar: `context.arguments.refund.cents <= 5000`
    #[arg(long, value_name = "CONDITION")]
    when: Option<String>,
    #[command(flatten)]
    pub(crate) policies: CheckedBy,
}

/// How much calls like one are let pass.
pub(crate) struct Bounds {
    time: Option<Duration>,
    calls: Option<u32>,
    when: Option<String>,
}

impl Also {
    pub(crate) fn is_given(&self) -> bool {
        self.also_for.is_some() || self.calls.is_some() || self.when.is_some()
    }

    pub(crate) fn grant(self) -> Option<Bounds> {
        let is_given = self.is_given();
        let Self { also_for: time, calls, when, .. } = self;
        is_given.then_some(Bounds { time, calls, when })
    }
}

impl Bounds {
    pub(crate) fn to_grant(&self) -> NewGrant {
        bounded(NewGrant::of_the_same(), self.time, self.calls, self.when.as_ref())
    }

    pub(crate) fn to_json(&self) -> Value {
        let seconds = self.time.map(|time| time.as_secs());
        json!({ "seconds": seconds, "calls": self.calls, "when": self.when })
    }
}

impl Terms {
    pub(crate) fn to_grant(&self) -> NewGrant {
        let mut grant = match (&self.tool, &self.action) {
            (Some(tool), Some(action)) => NewGrant::of_tool(tool, &self.resource).doing(action),
            (Some(tool), None) => NewGrant::of_tool(tool, &self.resource),
            (None, action) => {
                NewGrant::of_action(action.as_deref().unwrap_or_default(), &self.resource)
            }
        };
        if let Some(agent) = &self.agent {
            grant = grant.by_agent(agent);
        }
        if let Some(comment) = &self.comment {
            grant = grant.because(comment);
        }
        bounded(grant, self.time, self.calls, self.when.as_ref())
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "tool": self.tool,
            "action": self.action,
            "resource": self.resource,
            "agent": self.agent,
            "seconds": self.time.map(|time| time.as_secs()),
            "calls": self.calls,
            "when": self.when,
            "comment": self.comment,
        })
    }
}

fn bounded(
    mut grant: NewGrant,
    time: Option<Duration>,
    calls: Option<u32>,
    when: Option<&String>,
) -> NewGrant {
    if let Some(time) = time {
        grant = grant.lasting(time);
    }
    if let Some(calls) = calls {
        grant = grant.calls(calls);
    }
    match when {
        Some(condition) => grant.when(condition),
        None => grant,
    }
}

pub(crate) async fn run(desk: &Desk, command: GrantsCommand) -> anyhow::Result<()> {
    match command {
        GrantsCommand::Add(Add { terms, .. }) => {
            say(&shown(&sentence(&desk.grant(terms).await?)))?;
        }
        GrantsCommand::List { all, json } => {
            let now = Timestamp::now();
            let good = |grant: &Grant| all || grant.standing(now) == GrantStanding::Live;
            let grants: Vec<Grant> = desk.grants().await?.into_iter().filter(good).collect();
            if json {
                say(&card::ascii_json(&serde_json::to_string_pretty(&grants)?))?;
            } else {
                list(&grants, now)?;
            }
        }
        GrantsCommand::Revoke { id } => {
            if desk.revoke_grant(id).await? {
                say(&format!("grant {id} is revoked"))?;
            } else {
                say(&format!("grant {id} was not good any more"))?;
            }
        }
    }
    Ok(())
}

fn list(grants: &[Grant], now: Timestamp) -> std::io::Result<()> {
    let heading = ["GRANT", "BY", "FOR", "ON", "AGENT", "WHEN", "CALLS", "UNTIL", "STANDING"];
    let mut table = Table::new(heading);
    for grant in grants {
        table.row([
            grant.id.to_string(),
            shown(&grant.granter),
            shown(&what(grant)),
            shown(&grant.resource),
            shown(grant.agent.as_deref().unwrap_or("any")),
            shown(grant.condition.as_deref().unwrap_or("always")),
            format!("{} of {}", grant.used, grant.calls),
            card::moment(grant.expires_at),
            grant.standing(now).as_str().to_owned(),
        ]);
    }
    table.print()
}

fn what(grant: &Grant) -> String {
    match (&grant.tool, &grant.action) {
        (Some(tool), Some(action)) => format!("{tool} ({action})"),
        (Some(name), None) | (None, Some(name)) => name.clone(),
        (None, None) => "anything".to_owned(),
    }
}

/// What a grant lets pass.
pub(crate) fn sentence(grant: &Grant) -> String {
    let agent = grant.agent.as_ref().map_or_else(String::new, |agent| format!(" by {agent}"));
    let when = match &grant.condition {
        Some(condition) => format!("when {condition}"),
        None => "whatever the arguments".to_owned(),
    };
    let plural = if grant.calls == 1 { "" } else { "s" };
    format!(
        "grant {} of {}: {} on {}{agent}, {when}, {} call{plural} until {}",
        grant.id,
        grant.granter,
        what(grant),
        grant.resource,
        grant.calls,
        card::moment(grant.expires_at)
    )
}
