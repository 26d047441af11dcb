//! Why a call is decided as it is: each policy by itself, and where it does not
//! match, the part of it that does not hold.

use std::fmt;

use ascend_sdk::{Decision, RiskLevel};
use cedar_policy::{Decision as CedarDecision, Entities, Policy, PolicyId, PolicySet, Request};
use serde::Serialize;

use super::{Engine, RiskFrom, lowest_score, risks};
use crate::{
    policy::{
        asked::Asked,
        clauses::{self, Clauses, Condition},
        load::CheckedPolicy,
        problem::Place,
    },
    quorum::Rule,
    record::{Effect, Matched},
};

/// What the policies say of one call, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// Namespace and verb.
    pub action: String,
    /// What it acts on.
    pub resource: String,
    /// The server that asks.
    pub agent: String,
    /// The decision.
    pub decision: Decision,
    /// Why.
    pub reason: String,
    /// From 0 to 100.
    pub risk_score: u8,
    /// The score's level.
    pub risk_level: RiskLevel,
    /// The passes, in order.
    pub passes: Vec<Pass>,
    /// Whether the tool itself raised an allowing decision to an approval.
    pub raised_by_the_tool: bool,
    /// The risks of which the highest counts, the highest first.
    pub risks: Vec<RiskSource>,
    /// What its approval takes, where a person must decide: all of these.
    pub rules: Vec<Rule>,
    /// Each policy, in the order in which they are written.
    pub policies: Vec<Finding>,
}

/// One pass over policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pass {
    /// Whether the policies that ask for an approval were left out.
    pub without_approval: bool,
    /// What came of it.
    pub allowed: bool,
}

impl Pass {
    pub(super) fn of_all(decision: CedarDecision) -> Self {
        Self { without_approval: false, allowed: decision == CedarDecision::Allow }
    }

    pub(super) fn without_approval(decision: CedarDecision) -> Self {
        Self { without_approval: true, allowed: decision == CedarDecision::Allow }
    }
}

/// A risk, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RiskSource {
    /// From 0 to 100.
    pub risk: u8,
    /// In words.
    pub source: String,
}

/// One policy and one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The policy's `@id`.
    pub policy: String,
    /// What it asks for.
    pub effect: Effect,
    /// Where it is written.
    pub place: Place,
    /// Whether it matched; an error of it where that cannot be told.
    pub held: Held,
    /// Whether it is about this action at all, by its scope.
    pub in_scope: bool,
    /// Its parts, up to the one that decided that it does not match.
    pub parts: Vec<Part>,
}

/// A part of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Part {
    /// As it is written, on one line.
    pub text: String,
    /// Where it is written.
    pub place: Place,
    /// Whether it stands under `unless`, and must not hold.
    pub unless: bool,
    /// Whether it holds.
    pub held: Held,
    /// Whether the policy does not match for it.
    pub decides: bool,
}

/// Whether something holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It cannot be evaluated, which denies.
    Error(String),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("true"),
            Self::No => f.write_str("false"),
            Self::Error(error) => write!(f, "an error: {error}"),
        }
    }
}

/// A call in Cedar's terms.
struct Posed<'a> {
    engine: &'a Engine,
    request: Request,
    entities: Entities,
}

impl Engine {
    /// What [`evaluate`](Self::evaluate) says, and why.
    pub(crate) fn explain(&self, asked: &Asked<'_>) -> Explanation {
        let doing = self.doing(asked);
        let slice = self.slice(&doing);
        let (verdict, passes) = self.evaluate_with(asked, &doing, &slice);
        // With all that any policy reads; where that does not fit, as an argument of another
        // type, with what decided.
        let posed = self
            .request(asked, &doing, &self.all_needs())
            .or_else(|_| self.request(asked, &doing, &slice.needs));
        let policies = match posed {
            Ok((request, entities)) => {
                let posed = Posed { engine: self, request, entities };
                self.policies.iter().map(|checked| posed.finding(checked)).collect()
            }
            Err(_) => Vec::new(),
        };
        let mut risks: Vec<RiskSource> = risks(asked, &doing, &verdict.matched)
            .map(|(risk, from)| RiskSource {
                risk,
                source: in_words(from, asked, &verdict.matched),
            })
            .collect();
        // Stable: of equals the more general one comes first.
        risks.sort_by_key(|source| std::cmp::Reverse(source.risk));
        let permitted = passes.first().is_some_and(|pass| pass.allowed);
        Explanation {
            action: doing.id,
            resource: asked.resource.to_owned(),
            agent: asked.server_id.to_owned(),
            raised_by_the_tool: permitted && verdict.decision == Decision::RequireApproval,
            decision: verdict.decision,
            reason: verdict.reason,
            risk_score: verdict.risk_score,
            risk_level: verdict.risk_level,
            passes,
            risks,
            rules: verdict.rules,
            policies,
        }
    }
}

fn in_words(from: RiskFrom<'_>, asked: &Asked<'_>, matched: &[Matched]) -> String {
    let level = |level: Option<RiskLevel>| {
        level.map_or_else(String::new, |level| {
            format!(": {level} starts at {}", lowest_score(level))
        })
    };
    match from {
        RiskFrom::Verb => format!("the verb `{}`", asked.verb),
        RiskFrom::Floor => format!("the tool itself{}", level(asked.floor.risk_level)),
        RiskFrom::Facts => format!("what a parser found{}", level(asked.facts.risk_level)),
        RiskFrom::Policy(id) => {
            let effect = matched.iter().find(|matched| matched.policy == id);
            let effect = effect.map_or("", |matched| matched.effect.keyword());
            format!("policy `{id}` ({effect})")
        }
    }
}

impl Posed<'_> {
    fn finding(&self, checked: &CheckedPolicy) -> Finding {
        let about = &checked.about;
        let held = self.holds(checked.policy.clone());
        let mut parts = Vec::new();
        let mut in_scope = true;
        match clauses::clauses(&checked.text) {
            Some(Clauses { scope, conditions }) => {
                for part in scope.iter().filter(|part| part.text.contains([' ', '='])) {
                    let mut found = self.part(checked, part, false, &scope_of(&part.text));
                    found.decides = found.held == Held::No;
                    in_scope &= !found.decides;
                    parts.push(found);
                }
                if in_scope {
                    self.conditions(checked, &conditions, &mut parts);
                }
            }
            None => in_scope = held != Held::No,
        }
        Finding {
            policy: about.id.clone(),
            effect: about.effect,
            place: about.place.clone(),
            held,
            in_scope,
            parts,
        }
    }

    /// As Cedar does: each in turn, until one decides.
    fn conditions(&self, checked: &CheckedPolicy, conditions: &[Condition], parts: &mut Vec<Part>) {
        for Condition { unless, alternatives } in conditions {
            let mut found = Vec::new();
            let held = self.condition(checked, *unless, alternatives, &mut found);
            let ends = held != if *unless { Held::No } else { Held::Yes };
            if ends {
                // Of a `when` what is false, of an `unless` what is true.
                let against = if *unless { Held::Yes } else { Held::No };
                found.iter_mut().for_each(|part| part.decides = part.held == against);
            }
            parts.append(&mut found);
            if ends {
                return;
            }
        }
    }

    fn condition(
        &self,
        checked: &CheckedPolicy,
        unless: bool,
        alternatives: &[Vec<clauses::Part>],
        found: &mut Vec<Part>,
    ) -> Held {
        for alternative in alternatives {
            let mut all = Held::Yes;
            for part in alternative {
                let text = format!("(principal, action, resource) when {{ {} }}", part.text);
                let part = self.part(checked, part, unless, &text);
                all = part.held.clone();
                found.push(part);
                if all != Held::Yes {
                    break;
                }
            }
            if all != Held::No {
                return all;
            }
        }
        Held::No
    }

    fn part(
        &self,
        checked: &CheckedPolicy,
        part: &clauses::Part,
        unless: bool,
        rest: &str,
    ) -> Part {
        let held = match Policy::parse(Some(PolicyId::new("part")), format!("permit {rest};")) {
            Ok(policy) => self.holds(policy),
            Err(error) => Held::Error(error.to_string()),
        };
        let place = checked.about.place.after(&checked.text, part.at);
        Part { text: part.text.clone(), place, unless, held, decides: false }
    }

    /// Whether this policy matches.
    fn holds(&self, policy: Policy) -> Held {
        let mut set = PolicySet::new();
        if let Err(error) = set.add(policy) {
            return Held::Error(error.to_string());
        }
        let response = self.engine.authorizer.is_authorized(&self.request, &set, &self.entities);
        if let Some(error) = response.diagnostics().errors().next() {
            let text = error.to_string();
            // Before it stands the policy's id, which here is known.
            let told = text.split_once("`: ").map_or(text.as_str(), |(_, told)| told);
            return Held::Error(told.to_owned());
        }
        if response.diagnostics().reason().next().is_some() { Held::Yes } else { Held::No }
    }
}

/// One part of a scope, the others left open.
fn scope_of(part: &str) -> String {
    match part.split([' ', '=']).next() {
        Some("principal") => format!("({part}, action, resource)"),
        Some("action") => format!("(principal, {part}, resource)"),
        _ => format!("(principal, action, {part})"),
    }
}
