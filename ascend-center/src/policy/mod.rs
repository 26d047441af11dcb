//! Policies in Cedar: read from files, checked, sliced by action, explained and
//! tested.

mod annotations;
mod approval;
mod asked;
mod call;
mod cases;
mod changes;
mod clauses;
mod engine;
mod grants;
mod live;
mod load;
mod manifest;
mod parts;
mod problem;
mod reads;
mod recent;
mod request;
mod set;
mod tools;
mod verbs;

use std::path::Path;

pub(crate) use asked::Asked;
pub use call::CallDescription;
use cases::{DEFAULT_CASES, DEFAULT_CASES_FILE};
pub use cases::{TestCases, TestOutcome};
pub use changes::{Change, ChangeEffect};
pub(crate) use engine::Engine;
#[cfg(feature = "page")]
pub(crate) use engine::Listed;
pub use engine::{
    Explanation, Finding, Held, Match, Outcome, Part, Pass, PolicyReview, Review, RiskSource,
    ToolReview,
};
pub use live::PolicyStatus;
pub(crate) use live::{Origin, Policies};
use load::{DEFAULT_POLICIES, DEFAULT_SCHEMA, SCHEMA_FILE};
pub use manifest::Manifest;
pub use problem::{Place, PolicyError, Problem};
pub use recent::{Counts, Recent};
pub(crate) use recent::{Needs, Scope, Window};
pub(crate) use request::{action_id, numbers};
pub use set::PolicySet;
pub use tools::ToolSchema;

use crate::directory;

/// A checked policy set, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicySummary {
    /// How many policies there are.
    pub policies: usize,
    /// What looks like a mistake but is not certainly one.
    pub warnings: Vec<Problem>,
}

/// Reads and checks the policies at `path`, a folder or one file; the built-in
/// ones for `None`.
///
/// ```
/// let summary = ascend_center::check_policies(None)?;
/// assert!(summary.policies > 10);
/// assert!(summary.warnings.is_empty());
/// # Ok::<(), ascend_center::PolicyError>(())
/// ```
///
/// # Errors
///
/// Every mistake that was found, each with file, line and column.
pub fn check_policies(path: Option<&Path>) -> Result<PolicySummary, PolicyError> {
    Ok(path.map_or_else(PolicySet::built_in, PolicySet::read)?.summary())
}

/// Copies the built-in policies and schema to `folder`, where there is nothing yet.
pub(crate) fn install(folder: &Path) -> std::io::Result<()> {
    if folder.is_file() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    if std::fs::read_dir(folder)?.next().is_some() {
        return Ok(());
    }
    // The schema first: a process that looks in between sees no policies yet,
    // and comes here too.
    directory::create_once(&folder.join(SCHEMA_FILE), DEFAULT_SCHEMA.as_bytes(), 0o644)?;
    directory::create_once(&folder.join(DEFAULT_CASES_FILE), DEFAULT_CASES.as_bytes(), 0o644)?;
    directory::create_once(&folder.join("default.cedar"), DEFAULT_POLICIES.as_bytes(), 0o644)
}
