//! One checked policy set, and how it decides.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use ascend_sdk::{Decision, RiskLevel};
use cedar_policy::{
    ActionConstraint, Authorizer, Decision as CedarDecision, Entities, EntityUid, PolicySet,
    Request, Validator,
};

use super::{
    annotations::About,
    asked::Asked,
    load::{Checked, CheckedPolicy, Files},
    problem::{Place, Problem},
    recent::Needs,
    request::{self, Types, Unfit, action_id, plain_word},
    tools::ToolTypes,
    verbs::Class,
};
use crate::{
    audit::EntryHash,
    quorum::Rule,
    record::{Effect, Matched},
    store::Verdict,
};

mod explain;
mod review;
pub use explain::{Explanation, Finding, Held, Part, Pass, RiskSource};
pub use review::{Match, Outcome, PolicyReview, Review, ToolReview};

/// A policy set in use.
#[derive(Debug)]
pub(crate) struct Engine {
    policies: Vec<CheckedPolicy>,
    by_id: HashMap<String, About>,
    by_action: ByAction,
    /// The declared actions, with all that they are in.
    actions: HashMap<String, HashSet<EntityUid>>,
    types: Types,
    pub(super) tools: ToolTypes,
    pub(super) validator: Option<Validator>,
    pub(super) authorizer: Authorizer,
    /// Made when first asked for. There are only as many as the schema has
    /// actions, and one for each pair of verb class and declared namespace.
    slices: RwLock<HashMap<SliceKey, Arc<Slice>>>,
    hash: EntryHash,
    pub(super) warnings: Vec<Problem>,
}

/// A policy, to be shown.
#[cfg(feature = "page")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed<'a> {
    pub(crate) id: &'a str,
    pub(crate) effect: Effect,
    pub(crate) reason: Option<&'a str>,
    pub(crate) risk: Option<u8>,
    pub(crate) place: &'a Place,
    /// As it is written, annotations included.
    pub(crate) text: &'a str,
}

/// Policies by what their scope says of the action.
#[derive(Debug, Default)]
struct ByAction {
    any: Vec<usize>,
    equal: HashMap<EntityUid, Vec<usize>>,
    within: HashMap<EntityUid, Vec<usize>>,
}

/// The policies that can match one action.
#[derive(Debug)]
struct Slice {
    all: PolicySet,
    /// Without those that ask for an approval.
    without_approval: PolicySet,
    /// Only those that allow: for the risk of what is denied.
    permits: PolicySet,
    needs: Needs,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum SliceKey {
    Declared(String),
    Undeclared(Class, Option<String>),
}

/// What a call does, in the schema's terms.
pub(super) struct Doing {
    id: String,
    class: Class,
    ancestors: HashSet<EntityUid>,
    key: SliceKey,
}

/// What the passes found.
struct Found {
    decision: Decision,
    passes: Vec<Pass>,
    matched: BTreeSet<String>,
    errors: Vec<String>,
}

/// Where a risk comes from.
#[derive(Debug, Clone, Copy)]
enum RiskFrom<'a> {
    Verb,
    Floor,
    Facts,
    Policy(&'a str),
}

impl Engine {
    pub(super) fn new(checked: Checked) -> Option<Self> {
        let mut by_action = ByAction::default();
        for (index, checked) in checked.policies.iter().enumerate() {
            match checked.policy.action_constraint() {
                ActionConstraint::Any => by_action.any.push(index),
                ActionConstraint::Eq(uid) => by_action.equal.entry(uid).or_default().push(index),
                ActionConstraint::In(uids) => {
                    for uid in uids {
                        by_action.within.entry(uid).or_default().push(index);
                    }
                }
            }
        }
        let by_id = checked
            .policies
            .iter()
            .map(|checked| (checked.about.id.clone(), checked.about.clone()))
            .collect();
        Some(Self {
            policies: checked.policies,
            by_id,
            by_action,
            actions: checked.actions,
            types: Types::new()?,
            tools: checked.tools,
            validator: checked.validator,
            authorizer: Authorizer::new(),
            slices: RwLock::default(),
            hash: checked.hash,
            warnings: checked.warnings,
        })
    }

    /// No policies, which denies everything.
    pub(super) fn empty() -> Option<Self> {
        Self::new(Checked {
            policies: Vec::new(),
            actions: HashMap::new(),
            tools: ToolTypes::default(),
            validator: None,
            warnings: Vec::new(),
            hash: Files::hash_of_none(),
        })
    }

    /// What policies ask of approvals, each with where it is written.
    pub(crate) fn asked_rules(&self) -> impl Iterator<Item = (&Rule, &Place)> {
        let asking = self.policies.iter().map(|checked| &checked.about);
        asking
            .filter(|about| about.effect == Effect::RequireApproval)
            .map(|about| (&about.rule, &about.place))
    }

    /// How many policies there are.
    pub(crate) fn len(&self) -> usize {
        self.policies.len()
    }

    /// Which policies they are: a hash of their files.
    pub(crate) fn hash(&self) -> EntryHash {
        self.hash
    }

    /// Each policy as it is written, in the order of the files.
    #[cfg(feature = "page")]
    pub(crate) fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        self.policies.iter().map(|checked| Listed {
            id: &checked.about.id,
            effect: checked.about.effect,
            reason: checked.about.reason.as_deref(),
            risk: checked.about.risk,
            place: &checked.about.place,
            text: &checked.text,
        })
    }

    /// What policy and floor say. Whatever cannot be evaluated is denied.
    pub(crate) fn evaluate(&self, asked: &Asked<'_>) -> Verdict {
        let doing = self.doing(asked);
        let slice = self.slice(&doing);
        self.evaluate_with(asked, &doing, &slice).0
    }

    /// Whether any policy counts what was called before.
    pub(crate) fn counts(&self) -> bool {
        self.policies.iter().any(|checked| !checked.needs.counts_nothing())
    }

    /// What the policies that can match read beside the call.
    pub(crate) fn needs(&self, asked: &Asked<'_>) -> Needs {
        self.slice(&self.doing(asked)).needs.clone()
    }

    /// What any of the policies reads beside the call.
    pub(crate) fn all_needs(&self) -> Needs {
        let mut needs = Needs::default();
        self.policies.iter().for_each(|checked| needs.add(&checked.needs));
        needs
    }

    fn evaluate_with(
        &self,
        asked: &Asked<'_>,
        doing: &Doing,
        slice: &Slice,
    ) -> (Verdict, Vec<Pass>) {
        let found = match self.request(asked, doing, &slice.needs) {
            Ok((request, entities)) => self.decide(&request, &entities, slice),
            Err(error) => unfit(&error),
        };
        let matched: Vec<Matched> = found
            .matched
            .iter()
            .filter_map(|id| self.by_id.get(id))
            .map(|about| Matched {
                policy: about.id.clone(),
                effect: about.effect,
                reason: about.reason.clone(),
                risk: about.risk,
            })
            .collect();

        let mut decision = found.decision;
        let mut reason = if found.errors.is_empty() {
            reason(decision, &matched, &doing.id, asked.resource)
        } else {
            found.errors.join("; ")
        };
        if asked.floor.require_human_approval && decision == Decision::Allow {
            decision = Decision::RequireApproval;
            reason = "the tool itself requires a person's approval".to_owned();
        }
        let risk_score = risks(asked, doing, &matched).map(|(risk, _)| risk).max().unwrap_or(100);
        let risk_level = RiskLevel::of_score(risk_score);
        let in_client = decision == Decision::RequireApproval
            && !asked.floor.require_human_approval
            && self.all_take_word_of_client(&matched);
        let rules = match decision {
            Decision::RequireApproval => self.rules(&matched),
            Decision::Allow | Decision::Deny => Vec::new(),
        };
        let verdict =
            Verdict { decision, risk_score, risk_level, reason, matched, in_client, rules };
        (verdict, found.passes)
    }

    /// What the policies that ask for an approval take, each way once; where none
    /// does, the tool asks.
    fn rules(&self, matched: &[Matched]) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        let asking = matched.iter().filter(|matched| matched.effect == Effect::RequireApproval);
        for about in asking.filter_map(|matched| self.by_id.get(&matched.policy)) {
            let same =
                |rule: &&mut Rule| rule.asks_same(&about.rule) && rule.grants == about.rule.grants;
            match rules.iter_mut().find(same) {
                Some(rule) => rule.policies.push(about.id.clone()),
                None => rules.push(about.rule.clone()),
            }
        }
        if rules.is_empty() {
            rules.push(Rule::default());
        }
        rules
    }

    /// Whether all of the policies that ask for an approval, and there are some,
    /// take the word of the client's user.
    fn all_take_word_of_client(&self, matched: &[Matched]) -> bool {
        let mut asking = matched
            .iter()
            .filter(|matched| matched.effect == Effect::RequireApproval)
            .map(|matched| self.by_id.get(&matched.policy).is_some_and(|about| about.in_client))
            .peekable();
        asking.peek().is_some() && asking.all(|takes| takes)
    }

    pub(super) fn request(
        &self,
        asked: &Asked<'_>,
        doing: &Doing,
        needs: &Needs,
    ) -> Result<(Request, Entities), Unfit> {
        let action = self.types.action(&doing.id);
        let ancestors = doing.ancestors.clone();
        request::request(&self.types, asked, action, ancestors, &self.tools, needs)
    }

    /// Two passes: deny, over approval, over allow, over the default, which is
    /// to deny. An error in any policy denies: Cedar would skip it.
    fn decide(&self, request: &Request, entities: &Entities, slice: &Slice) -> Found {
        let mut found = Found {
            decision: Decision::Deny,
            passes: Vec::with_capacity(2),
            matched: BTreeSet::new(),
            errors: Vec::new(),
        };
        let first = self.pass(request, entities, &slice.all, &mut found);
        found.passes.push(Pass::of_all(first));
        if first == CedarDecision::Allow {
            found.decision = Decision::Allow;
        } else if found.all_matched_ask(&self.by_id) {
            let second = self.pass(request, entities, &slice.without_approval, &mut found);
            found.passes.push(Pass::without_approval(second));
            if second == CedarDecision::Allow {
                found.decision = Decision::RequireApproval;
            }
        } else {
            // Decided; but what else matches tells the risk.
            self.pass(request, entities, &slice.permits, &mut found);
        }
        if !found.errors.is_empty() {
            found.decision = Decision::Deny;
        }
        found
    }

    fn pass(
        &self,
        request: &Request,
        entities: &Entities,
        policies: &PolicySet,
        found: &mut Found,
    ) -> CedarDecision {
        let response = self.authorizer.is_authorized(request, policies, entities);
        let diagnostics = response.diagnostics();
        found.matched.extend(diagnostics.reason().map(ToString::to_string));
        for error in diagnostics.errors() {
            let error = format!("a policy could not be evaluated: {error}");
            if !found.errors.contains(&error) {
                found.errors.push(error);
            }
        }
        response.decision()
    }

    pub(super) fn doing(&self, asked: &Asked<'_>) -> Doing {
        self.doing_of(asked.namespace, asked.verb)
    }

    fn doing_of(&self, namespace: &str, verb: &str) -> Doing {
        let (namespace, verb) = (plain_word(namespace), plain_word(verb));
        let id = action_id(&namespace, &verb);
        let declared = self.actions.get(&id).filter(|_| !verb.contains('.'));
        let Some(ancestors) = declared else {
            return self.undeclared(&namespace, id, Class::of(&verb));
        };
        let class = ancestors
            .iter()
            .filter_map(|uid| Class::named(uid.id().unescaped()))
            .max_by_key(|class| class.risk(&namespace))
            .unwrap_or(Class::Other);
        let key = SliceKey::Declared(id.clone());
        Doing { id, class, ancestors: ancestors.clone(), key }
    }

    /// An action that the schema does not declare, in a namespace in lower case.
    fn undeclared(&self, namespace: &str, id: String, class: Class) -> Doing {
        let mut ancestors = HashSet::from([self.types.action(class.as_str())]);
        // A namespace named like a class must not lend that class's permits.
        let area = Some(namespace.to_owned())
            .filter(|name| Class::named(name).is_none() && self.actions.contains_key(name));
        if let Some(area) = &area {
            ancestors.insert(self.types.action(area));
            ancestors.extend(self.actions.get(area).into_iter().flatten().cloned());
        }
        let key = SliceKey::Undeclared(class, area);
        Doing { id, class, ancestors, key }
    }

    fn slice(&self, doing: &Doing) -> Arc<Slice> {
        let known = self.slices.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = known.get(&doing.key) {
            return slice.clone();
        }
        drop(known);
        let action = self.types.action(&doing.id);
        let mut indices: BTreeSet<usize> = self.by_action.any.iter().copied().collect();
        indices.extend(self.by_action.equal.get(&action).into_iter().flatten());
        for uid in doing.ancestors.iter().chain([&action]) {
            indices.extend(self.by_action.within.get(uid).into_iter().flatten());
        }
        let slice = Arc::new(self.set_of(indices));
        self.slices
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(doing.key.clone(), slice.clone());
        slice
    }

    fn set_of(&self, indices: impl IntoIterator<Item = usize>) -> Slice {
        let chosen: Vec<_> =
            indices.into_iter().filter_map(|index| self.policies.get(index)).collect();
        let set = |keep: fn(Effect) -> bool| {
            let mut set = PolicySet::new();
            for checked in chosen.iter().filter(|checked| keep(checked.about.effect)) {
                // INVARIANT: loading refused ids that are given twice, the only error here.
                if let Err(error) = set.add(checked.policy.clone()) {
                    tracing::error!(%error, "a policy was left out");
                }
            }
            set
        };
        let mut needs = Needs::default();
        chosen.iter().for_each(|checked| needs.add(&checked.needs));
        Slice {
            needs,
            all: set(|_| true),
            without_approval: set(|effect| effect != Effect::RequireApproval),
            permits: set(|effect| effect == Effect::Allow),
        }
    }
}

impl Found {
    /// Whether something matched, and all of it asks for an approval.
    fn all_matched_ask(&self, by_id: &HashMap<String, About>) -> bool {
        !self.matched.is_empty()
            && self.matched.iter().all(|id| {
                by_id.get(id).is_some_and(|about| about.effect == Effect::RequireApproval)
            })
    }
}

fn unfit(error: &Unfit) -> Found {
    Found {
        decision: Decision::Deny,
        passes: Vec::new(),
        matched: BTreeSet::new(),
        errors: vec![format!("the call cannot be evaluated: {error}")],
    }
}

/// The risks of which the highest counts.
fn risks<'a>(
    asked: &Asked<'_>,
    doing: &Doing,
    matched: &'a [Matched],
) -> impl Iterator<Item = (u8, RiskFrom<'a>)> {
    let verb = doing.class.risk(&asked.namespace.to_ascii_lowercase());
    let floor = asked.floor.risk_level.map(lowest_score);
    let facts = asked.facts.risk_level.map(lowest_score);
    [
        Some((verb, RiskFrom::Verb)),
        floor.map(|risk| (risk, RiskFrom::Floor)),
        facts.map(|risk| (risk, RiskFrom::Facts)),
    ]
    .into_iter()
    .flatten()
    .chain(
        matched.iter().filter_map(|matched| {
            matched.risk.map(|risk| (risk, RiskFrom::Policy(&matched.policy)))
        }),
    )
}

/// The lowest risk score of a level.
const fn lowest_score(level: RiskLevel) -> u8 {
    match level {
        RiskLevel::Low => 0,
        RiskLevel::Medium => 31,
        RiskLevel::High => 61,
        RiskLevel::Critical => 86,
    }
}

fn reason(decision: Decision, matched: &[Matched], action: &str, resource: &str) -> String {
    let effect = Effect::from(decision);
    let mut deciding = matched.iter().filter(|matched| matched.effect == effect).peekable();
    if deciding.peek().is_none() {
        return format!("no policy allows `{action}` on `{resource}`");
    }
    let said: Vec<String> = deciding
        .map(|matched| match &matched.reason {
            Some(reason) => format!("{reason} (policy `{}`)", matched.policy),
            None => format!("policy `{}`", matched.policy),
        })
        .collect();
    said.join("; ")
}

#[cfg(test)]
mod tests;
