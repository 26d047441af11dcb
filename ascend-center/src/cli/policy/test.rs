//! `ascend-center policy test`

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use ascend_center::{Finding, Held, PolicyError, PolicySet, TestCases, TestOutcome};
use serde_json::json;

use super::{Otherwise, show};
use crate::{
    card::{ascii_json, shown},
    say,
};

/// The cases that are named, else those beside the policies.
pub(super) fn cases(cases: Option<&Path>, path: Option<&Path>) -> Result<TestCases, PolicyError> {
    match (cases, path) {
        (Some(cases), _) => TestCases::read(cases),
        (None, Some(path)) => TestCases::read(&beside(path)),
        (None, None) => TestCases::built_in(),
    }
}

pub(super) fn test(
    set: &PolicySet,
    cases: &TestCases,
    verbose: bool,
    json: bool,
) -> anyhow::Result<()> {
    let outcomes = set.test(cases);
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    if json {
        let whole = json!({
            "passed": outcomes.len() - failed,
            "failed": failed,
            "cases": outcomes,
        });
        say(&ascii_json(&serde_json::to_string_pretty(&whole)?))?;
    } else {
        let mut out = io::stdout().lock();
        for outcome in &outcomes {
            if !outcome.passed() {
                failing(&mut out, outcome)?;
            } else if verbose {
                writeln!(out, "ok    {}", shown(&outcome.name))?;
            }
        }
        writeln!(out, "{} passed, {failed} failed", outcomes.len() - failed)?;
        out.flush()?;
    }
    match failed {
        0 => Ok(()),
        1 => Err(Otherwise("1 test case of the policies failed".to_owned()).into()),
        failed => Err(Otherwise(format!("{failed} test cases of the policies failed")).into()),
    }
}

/// The folder of the policies.
fn beside(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_owned();
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What failed, the policies that matched, and of those that could have, the
/// part that did not hold.
fn failing(out: &mut impl Write, outcome: &TestOutcome) -> io::Result<()> {
    let found = &outcome.explanation;
    writeln!(out, "FAIL  {}", shown(&outcome.name))?;
    writeln!(out, "      at {}", shown(&outcome.place.to_string()))?;
    for failure in &outcome.failures {
        writeln!(out, "      {}", shown(failure))?;
    }
    writeln!(out, "      the policies say: {}", shown(&found.reason))?;
    if let Some(source) = found.risks.first() {
        writeln!(out, "      risk {} from {}", source.risk, shown(&source.source))?;
    }
    let in_scope = |held: bool| {
        let wanted =
            move |finding: &&Finding| finding.in_scope && (finding.held == Held::No) != held;
        found.policies.iter().filter(wanted)
    };
    if in_scope(true).next().is_none() {
        writeln!(out, "      no policy matches")?;
    }
    for finding in in_scope(true).chain(in_scope(false)) {
        show::finding(out, finding, "      ")?;
    }
    writeln!(out)
}
