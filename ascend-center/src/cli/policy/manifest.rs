//! `ascend-center policy check --manifest`

use std::io::{self, Write};

use ascend_center::{Effect, Outcome, PolicySet, PolicySummary, Review, ToolReview};
use serde_json::json;

use super::Otherwise;
use crate::{
    card::{ascii_json, shown},
    say,
};

/// How `policy check --manifest` tells what it found.
pub(super) struct Telling {
    pub(super) deny_warnings: bool,
    pub(super) json: bool,
}

pub(super) fn check(set: &PolicySet, review: &Review, telling: &Telling) -> anyhow::Result<()> {
    let summary = set.summary();
    let found = warnings(&summary, review);
    if telling.json {
        let whole = json!({
            "policies": summary.policies,
            "warnings": found,
            "review": review,
        });
        say(&ascii_json(&serde_json::to_string_pretty(&whole)?))?;
    } else {
        let mut out = io::stdout().lock();
        for warning in &found {
            for line in warning.lines() {
                writeln!(out, "warning: {}", shown(line))?;
            }
        }
        if !found.is_empty() {
            writeln!(out)?;
        }
        writeln!(out, "Server {}", shown(&review.server))?;
        for review in &review.tools {
            tool(&mut out, review)?;
        }
        writeln!(out, "{}", summed_up(&summary, review))?;
        out.flush()?;
    }
    match found.len() {
        0 => Ok(()),
        _ if !telling.deny_warnings => Ok(()),
        count => Err(Otherwise::warnings(count).into()),
    }
}

fn warnings(summary: &PolicySummary, review: &Review) -> Vec<String> {
    let of_tools = review.tools.iter().filter_map(|tool| match tool.outcome {
        Outcome::Denied => Some(format!("no policy permits the tool `{}`", tool.tool)),
        Outcome::Ungoverned if tool.reason.is_none() => {
            Some(format!("the tool `{}` is ungoverned, and nothing says why", tool.tool))
        }
        _ => None,
    });
    let of_policies = review
        .idle()
        .map(|policy| format!("{}: policy `{}` matches no tool", policy.place, policy.policy));
    let of_text = summary.warnings.iter().map(ToString::to_string);
    of_text.chain(of_tools).chain(of_policies).collect()
}

fn tool(out: &mut impl Write, review: &ToolReview) -> io::Result<()> {
    let outcome = match review.outcome {
        Outcome::Denied => "denied, always",
        Outcome::Asks => "never without a person",
        Outcome::MayRun => "MAY RUN WITHOUT A PERSON",
        Outcome::Runs => "RUNS WITHOUT A PERSON, always",
        Outcome::Ungoverned => "RUNS WITHOUT A PERSON, ungoverned",
        _ => "of a kind that this program does not know",
    };
    writeln!(out, "  {}: {outcome}", shown(&review.tool))?;
    if let Some(reason) = &review.reason {
        writeln!(out, "      because: {}", shown(reason))?;
    }
    if review.requires_approval {
        writeln!(out, "      the tool itself requires a person's approval")?;
    }
    for found in &review.matches {
        let does = match found.effect {
            Effect::Allow => "permits",
            Effect::RequireApproval => "asks a person",
            Effect::Deny => "denies",
        };
        let when =
            found.condition.as_deref().map_or("always".to_owned(), |when| format!("when {when}"));
        writeln!(out, "      `{}` {does}, {}", shown(&found.policy), shown(&when))?;
    }
    Ok(())
}

fn summed_up(summary: &PolicySummary, review: &Review) -> String {
    let count =
        |is: fn(Outcome) -> bool| review.tools.iter().filter(|tool| is(tool.outcome)).count();
    format!(
        "{} policies, {} tools: {} may run without a person, {} never without one, {} denied; {} policies match no tool",
        summary.policies,
        review.tools.len(),
        count(Outcome::may_run_without_a_person),
        count(|outcome| outcome == Outcome::Asks),
        review.denied().count(),
        review.idle().count(),
    )
}
