//! What the policies let the tools of a manifest do, whatever they are called with:
//! by Cedar's partial evaluation, of requests in which only that is known which is
//! the same for every call.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::PolicyId;
use serde::Serialize;

use super::{Doing, Engine, Slice};
use crate::{
    policy::{
        manifest::{Governance, Governed, Manifest},
        problem::Place,
        reads::reads,
        request::{self, FACTS},
        verbs::Class,
    },
    record::Effect,
};

/// What becomes of a tool's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Every call is denied.
    Denied,
    /// No call runs without a person: it waits for one, or is denied.
    Asks,
    /// A call may run without a person. Where that depends on the call, and it cannot
    /// be ruled out, this is said as well.
    MayRun,
    /// Every call runs without a person.
    Runs,
    /// Every call runs, and no policy is asked.
    Ungoverned,
}

impl Outcome {
    /// Whether a call may run without a person.
    #[must_use]
    pub fn may_run_without_a_person(self) -> bool {
        matches!(self, Self::MayRun | Self::Runs | Self::Ungoverned)
    }
}

/// A policy that can match a tool's calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Match {
    /// The policy.
    pub policy: String,
    /// What it does.
    pub effect: Effect,
    /// The calls that it matches, in Cedar: what is left of its condition once all is
    /// known that is the same for every call. `None`: it matches every call.
    pub condition: Option<String>,
}

/// What becomes of one tool's calls, and by which policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ToolReview {
    /// The tool.
    pub tool: String,
    /// What becomes of its calls.
    pub outcome: Outcome,
    /// Whether the tool itself requires a person's approval.
    pub requires_approval: bool,
    /// Why it is ungoverned, if it is and somebody wrote that down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The policies that can match, in the order in which they are written.
    pub matches: Vec<Match>,
}

/// The tools that a policy can match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PolicyReview {
    /// The policy.
    pub policy: String,
    /// What it does.
    pub effect: Effect,
    /// Where it is written.
    pub place: Place,
    /// The tools; none is worth a warning.
    pub tools: Vec<String>,
}

/// What a policy set lets the tools of a server do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Review {
    /// The server.
    pub server: String,
    /// Its tools, as the manifest lists them.
    pub tools: Vec<ToolReview>,
    /// The policies, in the order in which they are written.
    pub policies: Vec<PolicyReview>,
}

impl Review {
    /// The tools that no policy permits.
    pub fn denied(&self) -> impl Iterator<Item = &ToolReview> {
        self.tools.iter().filter(|tool| tool.outcome == Outcome::Denied)
    }

    /// The policies that match no tool.
    pub fn idle(&self) -> impl Iterator<Item = &PolicyReview> {
        self.policies.iter().filter(|policy| policy.tools.is_empty())
    }
}

/// What a policy says of one case of a tool's calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Always,
    /// In Cedar, when.
    When(String),
    Error,
}

/// A case of a tool's calls: what it does, and which facts come along.
struct Case {
    verb: Option<String>,
    facts: [bool; FACTS.len()],
    held: BTreeMap<String, Held>,
}

/// The verbs that a tool's calls may have.
struct Verb {
    /// In Cedar, where there are others.
    condition: Option<String>,
    /// `None`: one that the schema does not declare.
    word: Option<String>,
    doing: Doing,
}

impl Engine {
    pub(crate) fn review(&self, manifest: &Manifest) -> Review {
        let tools: Vec<ToolReview> = manifest
            .tools
            .iter()
            .map(|tool| match &tool.governance {
                Governance::Governed(governed) => {
                    self.review_tool(&manifest.server, &tool.name, governed)
                }
                Governance::Ungoverned(reason) => ToolReview {
                    tool: tool.name.clone(),
                    outcome: Outcome::Ungoverned,
                    requires_approval: false,
                    reason: reason.clone(),
                    matches: Vec::new(),
                },
            })
            .collect();
        let policies = self.policies.iter().map(|checked| {
            let about = &checked.about;
            let matched = tools
                .iter()
                .filter(|tool| tool.matches.iter().any(|found| found.policy == about.id))
                .map(|tool| tool.tool.clone());
            PolicyReview {
                policy: about.id.clone(),
                effect: about.effect,
                place: about.place.clone(),
                tools: matched.collect(),
            }
        });
        let policies = policies.collect();
        Review { server: manifest.server.clone(), tools, policies }
    }

    fn review_tool(&self, server: &str, tool: &str, governed: &Governed) -> ToolReview {
        let mut cases = Vec::new();
        for verb in self.verbs(governed) {
            let slice = self.slice(&verb.doing);
            let read = self.facts_read(&slice);
            for facts in combinations(read) {
                let held = self.held(server, tool, governed, &verb, facts, &slice);
                cases.push(Case { verb: verb.condition.clone(), facts, held });
            }
        }
        let outcomes: BTreeSet<u8> =
            cases.iter().map(|case| self.outcome(case, governed) as u8).collect();
        let only = |outcome: Outcome| outcomes.iter().all(|found| *found == outcome as u8);
        let any = |outcome: Outcome| outcomes.contains(&(outcome as u8));
        let outcome = if only(Outcome::Denied) {
            Outcome::Denied
        } else if only(Outcome::Runs) {
            Outcome::Runs
        } else if any(Outcome::MayRun) || any(Outcome::Runs) {
            Outcome::MayRun
        } else {
            Outcome::Asks
        };
        let matches = self.policies.iter().filter_map(|checked| {
            let about = &checked.about;
            let read = facts_of(&checked.policy);
            Some(Match {
                policy: about.id.clone(),
                effect: about.effect,
                condition: condition(&about.id, &cases, read)?,
            })
        });
        ToolReview {
            tool: tool.to_owned(),
            outcome,
            requires_approval: governed.floor.require_human_approval,
            reason: None,
            matches: matches.collect(),
        }
    }

    /// What the tool's calls may do.
    fn verbs(&self, governed: &Governed) -> Vec<Verb> {
        if let Some(verb) = &governed.verb {
            let doing = self.doing_of(&governed.namespace, verb);
            return vec![Verb { condition: None, word: Some(verb.clone()), doing }];
        }
        let namespace = governed.namespace.trim().to_ascii_lowercase();
        let mut declared: Vec<&str> = self
            .actions
            .keys()
            .filter_map(|id| id.strip_prefix(&namespace)?.strip_prefix('.'))
            .filter(|verb| !verb.contains('.'))
            .collect();
        declared.sort_unstable();
        let declared = declared.into_iter().map(|verb| Verb {
            condition: Some(format!("context.verb == \"{verb}\"")),
            word: Some(verb.to_owned()),
            doing: self.doing_of(&namespace, verb),
        });
        let others = Class::ALL.into_iter().map(|class| Verb {
            condition: Some(format!("action in Action::\"{}\"", class.as_str())),
            word: None,
            // No verb that is declared has a dot.
            doing: self.undeclared(&namespace, format!("{namespace}..{}", class.as_str()), class),
        });
        declared.chain(others).collect()
    }

    /// The facts that any of the policies reads.
    fn facts_read(&self, slice: &Slice) -> [bool; FACTS.len()] {
        let mut read = [false; FACTS.len()];
        for policy in slice.all.policies() {
            for (read, of_this) in read.iter_mut().zip(facts_of(policy)) {
                *read |= of_this;
            }
        }
        read
    }

    /// The policies that hold, or may, in one case.
    fn held(
        &self,
        server: &str,
        tool: &str,
        governed: &Governed,
        verb: &Verb,
        facts: [bool; FACTS.len()],
        slice: &Slice,
    ) -> BTreeMap<String, Held> {
        let everything = |held: Held| {
            slice.all.policies().map(|policy| (policy.id().to_string(), held.clone())).collect()
        };
        let known = request::Known {
            server,
            tool,
            namespace: &governed.namespace,
            verb: verb.word.as_deref(),
            high_risk: governed.floor.require_human_approval,
            resource: governed.resource.as_deref(),
            metadata: &governed.metadata,
            facts,
        };
        let action = self.types.action(&verb.doing.id);
        let ancestors = verb.doing.ancestors.clone();
        let (request, entities) = match request::partial(&self.types, &known, action, ancestors) {
            Ok(partial) => partial,
            // What cannot be said stays open.
            Err(error) => return everything(Held::When(format!("/* unknown: {error} */"))),
        };
        let response = self.authorizer.is_authorized_partial(&request, &slice.all, &entities);
        let mut held: BTreeMap<String, Held> = BTreeMap::new();
        held.extend(response.definitely_satisfied().map(|it| (it.id().to_string(), Held::Always)));
        held.extend(
            response
                .nontrivial_residuals()
                .map(|policy| (policy.id().to_string(), Held::When(in_cedar(&policy.to_string())))),
        );
        let errors = response.definitely_errored().map(PolicyId::to_string);
        held.extend(errors.map(|id| (id, Held::Error)));
        held
    }

    fn outcome(&self, case: &Case, governed: &Governed) -> Outcome {
        let of = |effect: Effect| {
            case.held.iter().filter_map(move |(id, held)| {
                (self.by_id.get(id)?.effect == effect).then_some(held)
            })
        };
        let always = |effect| of(effect).any(|held| *held == Held::Always);
        let undecided = case.held.values().any(|held| matches!(held, Held::When(_)));
        let broken = case.held.values().any(|held| *held == Held::Error);
        if broken || always(Effect::Deny) || of(Effect::Allow).next().is_none() {
            Outcome::Denied
        } else if governed.floor.require_human_approval || always(Effect::RequireApproval) {
            Outcome::Asks
        } else if undecided {
            Outcome::MayRun
        } else {
            Outcome::Runs
        }
    }
}

/// The facts that a policy reads.
fn facts_of(policy: &cedar_policy::Policy) -> [bool; FACTS.len()] {
    let Ok(json) = policy.to_json() else { return [true; FACTS.len()] };
    let read = reads(&json);
    FACTS.map(|fact| {
        read.iter().any(|read| {
            read.names.first().is_none_or(|name| *name == fact)
                || !read.of_context && read.names.contains(&fact)
        })
    })
}

/// All ways in which the facts that are read can be there or not.
fn combinations(read: [bool; FACTS.len()]) -> impl Iterator<Item = [bool; FACTS.len()]> {
    (0..1_u32 << FACTS.len()).filter_map(move |bits| {
        let facts = std::array::from_fn(|index| bits & (1 << index) != 0);
        let there: [bool; FACTS.len()] = facts;
        there.iter().zip(read).all(|(there, read)| read || !there).then_some(facts)
    })
}

/// When the policy `id` matches, by the cases in which it does: `Some(None)` always,
/// `None` never.
fn condition(id: &str, cases: &[Case], read: [bool; FACTS.len()]) -> Option<Option<String>> {
    if cases.iter().all(|case| case.held.get(id) == Some(&Held::Always)) {
        return Some(None);
    }
    // What a verb adds to is the same for all verbs where it is not read.
    let mut by_verb: Vec<(Option<&str>, BTreeSet<String>)> = Vec::new();
    for case in cases {
        let facts = FACTS.iter().zip(case.facts).zip(read).filter(|(_, read)| *read);
        let facts = facts.map(|((fact, there), _)| {
            if there { format!("context has {fact}") } else { format!("!(context has {fact})") }
        });
        let verb = case.verb.as_deref();
        let at = match by_verb.iter().position(|(other, _)| *other == verb) {
            Some(at) => at,
            None => {
                by_verb.push((verb, BTreeSet::new()));
                by_verb.len() - 1
            }
        };
        let rest = match case.held.get(id) {
            None => continue,
            Some(Held::Always) => None,
            Some(Held::When(condition)) => Some(condition.clone()),
            Some(Held::Error) => Some("/* it cannot be evaluated, which denies */".to_owned()),
        };
        by_verb[at].1.insert(all_of(facts.chain(rest)));
    }
    let same = by_verb.windows(2).all(|pair| pair[0].1 == pair[1].1);
    let verbs = if same { &by_verb[..1.min(by_verb.len())] } else { &by_verb[..] };
    let alternatives: Vec<String> = verbs
        .iter()
        .filter(|(_, conditions)| !conditions.is_empty())
        .map(|(verb, conditions)| {
            let any = conditions.iter().cloned().collect::<Vec<_>>().join(" || ");
            let verb = verb.filter(|_| !same).map(str::to_owned);
            all_of(verb.into_iter().chain((any != "true").then_some(any)))
        })
        .collect();
    (!alternatives.is_empty()).then(|| Some(alternatives.join(" || ")))
}

/// The conditions, joined.
fn all_of(conditions: impl Iterator<Item = String>) -> String {
    let conditions: Vec<String> = conditions.collect();
    match &conditions[..] {
        [] => "true".to_owned(),
        [only] => only.clone(),
        several => {
            let closed = several.iter().map(|condition| {
                let open = condition.contains(" || ") || condition.starts_with("if ");
                if open { format!("({condition})") } else { condition.clone() }
            });
            closed.collect::<Vec<_>>().join(" && ")
        }
    }
}

/// The condition of what is left of a policy, with what is unknown by its name.
fn in_cedar(residual: &str) -> String {
    let condition = residual
        .split_once(" when {")
        .and_then(|(_, rest)| rest.rsplit_once('}'))
        .map_or(residual, |(condition, _)| condition);
    let mut text = String::new();
    let mut rest = condition.trim();
    while let Some((before, after)) = rest.split_once("unknown(\"") {
        let Some((name, after)) = after.split_once("\")") else { break };
        text.push_str(before);
        text.push_str(&name.replace("\\\"", "\""));
        rest = after;
    }
    text.push_str(rest);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The parts of the scope, which hold.
    let mut condition = text.as_str();
    loop {
        let rest = condition.strip_prefix("true && ").unwrap_or(condition);
        let inner = without_parentheses(rest);
        if inner == condition {
            return condition.to_owned();
        }
        condition = inner;
    }
}

/// The text without the parentheses that stand around all of it.
fn without_parentheses(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else {
        return text;
    };
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    for character in inner.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        // These two do not belong together.
        if depth < 0 {
            return text;
        }
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_depends_on_the_call_is_left() {
        let residual = |condition: &str| {
            in_cedar(&format!("permit(principal, action, resource) when {{ {condition} }};"))
        };
        assert_eq!(
            residual(r#"(true && (true && unknown("context.sql").parsed))"#),
            "context.sql.parsed"
        );
        assert_eq!(residual("true && ((a) || (b))"), "(a) || (b)");
        assert_eq!(residual(r#"true && ("(" == x)"#), r#""(" == x"#);
        assert_eq!(residual(r#"(x == "\")(") && (y)"#), r#"(x == "\")(") && (y)"#);
    }
}
