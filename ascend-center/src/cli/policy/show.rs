//! What the policies found, for people.

use std::io::{self, Write};

use ascend_center::{Effect, Explanation, Finding, Held, Part, Record, Rule};

use ascend_sdk::Decision;

use crate::card::shown;

/// A policy: whether it matched, and the part that says why not.
pub(super) fn finding(out: &mut impl Write, finding: &Finding, indent: &str) -> io::Result<()> {
    let matched = match &finding.held {
        Held::Yes => "matched   ",
        Held::No => "no match  ",
        Held::Error(_) => "ERROR     ",
    };
    let policy = shown(&format!("{} `{}`", finding.effect.keyword(), finding.policy));
    writeln!(out, "{indent}{matched}{policy}  {}", shown(&finding.place.to_string()))?;
    match &finding.held {
        Held::Yes => {}
        Held::No => {
            for part in finding.parts.iter().filter(|part| part.decides) {
                self::part(out, part, indent)?;
            }
        }
        Held::Error(error) => writeln!(out, "{indent}            {}", shown(error))?,
    }
    Ok(())
}

fn part(out: &mut impl Write, part: &Part, indent: &str) -> io::Result<()> {
    let unless = if part.unless { "unless: " } else { "" };
    let (line, column) = (part.place.line, part.place.column);
    writeln!(
        out,
        "{indent}            {line}:{column} {unless}{} is {}",
        shown(&part.text),
        shown(&part.held.to_string())
    )
}

pub(super) fn explanation(out: &mut impl Write, found: &Explanation, all: bool) -> io::Result<()> {
    let call = format!("{} on {} by {}", found.action, found.resource, found.agent);
    writeln!(out, "{}", shown(&call))?;
    writeln!(
        out,
        "  {}, risk {} {}: {}",
        found.decision,
        found.risk_score,
        found.risk_level,
        shown(&found.reason)
    )?;
    writeln!(out)?;
    for line in passes(found) {
        writeln!(out, "{line}")?;
    }
    if !is_plain(&found.rules) {
        writeln!(out)?;
        writeln!(out, "Approval: all of")?;
        for rule in &found.rules {
            let policies = rule.policies.join(", ");
            writeln!(out, "  {}", shown(&format!("{rule} (policy `{policies}`)")))?;
        }
    }
    writeln!(out)?;
    writeln!(out, "Risk: the highest of")?;
    for source in &found.risks {
        writeln!(out, "  {:>3}  {}", source.risk, shown(&source.source))?;
    }
    writeln!(out)?;
    let about = found.policies.iter().filter(|finding| all || finding.in_scope);
    let left_out = found.policies.len() - about.clone().count();
    writeln!(out, "Policies")?;
    for found in about {
        finding(out, found, "  ")?;
    }
    if left_out > 0 {
        writeln!(out, "  {left_out} more are not about this action; --all shows them")?;
    }
    Ok(())
}

/// Whether any one approver will do.
fn is_plain(rules: &[Rule]) -> bool {
    rules.iter().all(|rule| rule.to_string() == Rule::default().to_string())
}

fn passes(found: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, pass) in (1..).zip(&found.passes) {
        let over = if pass.without_approval {
            "without those that a person may overrule"
        } else {
            "all policies"
        };
        let said = if pass.allowed { "allowed" } else { "denied" };
        lines.push(format!("Pass {number}, {over}: {said}"));
    }
    if found.passes.is_empty() {
        lines.push("The call cannot be put to the policies, which denies it".to_owned());
    } else if found.raised_by_the_tool {
        lines.push("The tool itself requires a person's approval".to_owned());
    } else if let [_] = found.passes[..]
        && found.decision == Decision::Deny
    {
        let denies =
            |finding: &Finding| finding.effect == Effect::Deny && finding.held == Held::Yes;
        lines.push(if found.policies.iter().any(denies) {
            "A policy that no person may overrule matches, so there is no second pass".to_owned()
        } else if found.policies.iter().any(|finding| matches!(finding.held, Held::Error(_))) {
            "A policy that cannot be evaluated denies".to_owned()
        } else {
            "Nothing permits it, so there is no second pass".to_owned()
        });
    }
    lines
}

/// What some policies said.
pub(super) struct Said<'a> {
    pub(super) decision: Decision,
    pub(super) risk_score: u8,
    pub(super) reason: &'a str,
    pub(super) rules: &'a [Rule],
}

/// What was decided of an action, and what others say.
pub(super) fn difference(
    out: &mut impl Write,
    record: &Record,
    other: &str,
    said: Said<'_>,
) -> io::Result<()> {
    let Record { id, namespace, verb, resource, server_id, .. } = record;
    let call = format!("{namespace}.{verb} on {resource} by {server_id}");
    writeln!(out, "Action {id}, {}: {}", record.created_at, shown(&call))?;
    let decided = Said {
        decision: record.decision,
        risk_score: record.risk_score,
        reason: &record.reason,
        rules: &record.rules,
    };
    let plain = is_plain(decided.rules) && is_plain(said.rules);
    for (who, Said { decision, risk_score, reason, rules }) in [("was", decided), (other, said)] {
        writeln!(out, "  {who:<8}  {decision}, risk {risk_score}: {}", shown(reason))?;
        for rule in rules.iter().filter(|_| !plain) {
            writeln!(out, "            approved by {}", shown(&rule.to_string()))?;
        }
    }
    writeln!(out)
}
