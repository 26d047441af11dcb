//! Test cases of policies: calls, and what is expected of each.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use ascend_sdk::Decision;
use serde::{Deserialize, Serialize};

use super::{
    approval,
    call::CallDescription,
    engine::{Engine, Explanation, Held},
    problem::{Place, PolicyError, Problem, Source},
};
use crate::quorum::Rule;

/// How the names of files with test cases end.
const SUFFIX: &str = ".test.toml";
/// The test cases of the built-in policies.
pub(super) const DEFAULT_CASES: &str = include_str!("../../policies/default.test.toml");
/// Their name in a folder of policies.
pub(super) const DEFAULT_CASES_FILE: &str = "default.test.toml";

/// Test cases, as they were read from files.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCases(Vec<(Place, Case)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    case: Vec<toml::Spanned<Case>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    call: CallDescription,
    expect: Expected,
}

/// Each optional; one at least.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default, deserialize_with = "decision")]
    decision: Option<Decision>,
    risk: Option<u8>,
    /// A part of it.
    reason: Option<String>,
    /// Policies that match, among others.
    #[serde(default)]
    matched: Vec<String>,
    /// The groups whose approval it takes, all of them.
    approvers: Option<Vec<String>>,
    /// The largest quorum of its rules.
    quorum: Option<u32>,
    /// The time for its approval, as policies write it.
    #[serde(default, deserialize_with = "time")]
    within: Option<Duration>,
    /// The groups to which it is escalated, all of them.
    escalate_to: Option<Vec<String>>,
}

fn time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    approval::time(&text).map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!("`{text}` is no time; write it as in `15m`"))
    })
}

/// In either case, as people write and as ASCEND does.
fn decision<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Decision>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = [Decision::Allow, Decision::RequireApproval, Decision::Deny];
    known.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(&text)).map(Some).ok_or_else(
        || {
            serde::de::Error::custom(format!(
                "unknown decision `{text}`; expected `allow`, `require_approval` or `deny`"
            ))
        },
    )
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TestOutcome {
    /// The case's name.
    pub name: String,
    /// Where it is written.
    pub place: Place,
    /// What was expected and is not so; empty when the case passes.
    pub failures: Vec<String>,
    /// What the policies say.
    pub explanation: Explanation,
}

impl TestOutcome {
    /// Whether all is as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl TestCases {
    /// Those of the built-in policies.
    ///
    /// # Errors
    ///
    /// Never, as they are.
    pub fn built_in() -> Result<Self, PolicyError> {
        let file = PathBuf::from("<built in>").join(DEFAULT_CASES_FILE);
        read(vec![Source { file, text: DEFAULT_CASES.to_owned() }])
    }

    /// Those in `path`: one file, or all files of a folder whose names end in
    /// `.test.toml`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, is no such file, or there is no case at all.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let unreadable = |error| Problem::unreadable(path.to_owned(), &error);
        let mut files = Vec::new();
        if path.metadata().map_err(unreadable)?.is_dir() {
            for entry in std::fs::read_dir(path).map_err(unreadable)? {
                let file = entry.map_err(unreadable)?.path();
                if file.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX)) {
                    files.push(file);
                }
            }
            files.sort();
        } else {
            files.push(path.to_owned());
        }
        let cases = read(files.into_iter().map(Source::read).collect::<Result<_, _>>()?)?;
        if cases.is_empty() {
            let place = Source { file: path.to_owned(), text: String::new() };
            let help = format!("write `[[case]]` tables in files that end in `{SUFFIX}`");
            return Err(place.problem_of_all("there is no test case").with_help(help).into());
        }
        Ok(cases)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn read(sources: Vec<Source>) -> Result<TestCases, PolicyError> {
    let mut cases = Vec::new();
    let mut problems = Vec::new();
    for source in sources {
        let file: File = match toml::from_str(&source.text) {
            Ok(file) => file,
            Err(error) => {
                problems.push(source.in_toml(&error));
                continue;
            }
        };
        for case in file.case {
            let at = case.span().start;
            let case = case.into_inner();
            if case.expect.is_nothing() {
                let message = format!("the case `{}` expects nothing", case.name);
                let help = "write `expect.decision`, `expect.risk`, `expect.reason`, \
                            `expect.matched`, `expect.approvers`, `expect.quorum`, \
                            `expect.within` or `expect.escalate_to`";
                problems.push(source.problem(at, message).with_help(help));
            }
            cases.push((source.place(at), case));
        }
    }
    if problems.is_empty() { Ok(TestCases(cases)) } else { Err(PolicyError { problems }) }
}

impl Expected {
    fn is_nothing(&self) -> bool {
        let Self { decision, risk, reason, matched, approvers, quorum, within, escalate_to } = self;
        let none = decision.is_none() && risk.is_none() && reason.is_none() && matched.is_empty();
        let no_rule = approvers.is_none() && quorum.is_none() && within.is_none();
        none && no_rule && escalate_to.is_none()
    }

    fn failures(&self, found: &Explanation) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(decision) = self.decision.filter(|decision| *decision != found.decision) {
            failures.push(format!("the decision is {}, not {decision}", found.decision));
        }
        if let Some(risk) = self.risk.filter(|risk| *risk != found.risk_score) {
            failures.push(format!("the risk is {}, not {risk}", found.risk_score));
        }
        if let Some(reason) = self.reason.as_ref().filter(|part| !found.reason.contains(*part)) {
            failures.push(format!("the reason is {:?}, without {reason:?}", found.reason));
        }
        for policy in &self.matched {
            match found.policies.iter().find(|finding| finding.policy == *policy) {
                Some(finding) if finding.held == Held::Yes => {}
                Some(_) => failures.push(format!("policy `{policy}` does not match")),
                None => failures.push(format!("there is no policy `{policy}`")),
            }
        }
        self.rule_failures(found, &mut failures);
        failures
    }

    fn rule_failures(&self, found: &Explanation, failures: &mut Vec<String>) {
        let rules = &found.rules;
        let told = match &rules[..] {
            [] => "it takes no approval".to_owned(),
            rules => {
                let rules: Vec<String> = rules.iter().map(|rule| format!("{rule}")).collect();
                format!("its approval takes {}", rules.join(", and "))
            }
        };
        let mut groups = |expected: &Option<Vec<String>>, group: fn(&Rule) -> Option<&String>| {
            let Some(expected) = expected else { return };
            let found: BTreeSet<&String> = rules.iter().filter_map(group).collect();
            if found != expected.iter().collect() {
                failures.push(format!("{told}, not of {expected:?}"));
            }
        };
        groups(&self.approvers, |rule| rule.approvers.as_ref());
        groups(&self.escalate_to, |rule| rule.escalate_to.as_ref());
        let largest = rules.iter().map(|rule| rule.quorum).max();
        if let Some(quorum) = self.quorum.filter(|quorum| Some(*quorum) != largest) {
            failures.push(format!("{told}, not by {quorum}"));
        }
        let shortest = rules.iter().filter_map(|rule| rule.within).min();
        if self.within.is_some() && self.within != shortest {
            let within = self.within.unwrap_or_default();
            failures.push(format!("{told}, not within {} s", within.as_secs()));
        }
    }
}

pub(super) fn run(engine: &Engine, TestCases(cases): &TestCases) -> Vec<TestOutcome> {
    cases
        .iter()
        .map(|(place, case)| {
            let explanation = engine.explain(&case.call.asked());
            let failures = case.expect.failures(&explanation);
            TestOutcome { name: case.name.clone(), place: place.clone(), failures, explanation }
        })
        .collect()
}
