//! Policies in Cedar: read from files, checked, sliced by action, and swapped
//! without a gap.

mod asked;
mod call;
mod cases;
mod clauses;
mod engine;
mod load;
mod problem;
mod recent;
mod request;
mod set;
mod verbs;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

pub(crate) use asked::Asked;
pub use call::CallDescription;
use cases::{DEFAULT_CASES, DEFAULT_CASES_FILE};
pub use cases::{TestCases, TestOutcome};
pub(crate) use engine::Engine;
pub use engine::{Explanation, Finding, Held, Part, Pass, RiskSource};
use load::{DEFAULT_POLICIES, DEFAULT_SCHEMA, SCHEMA_FILE};
pub use problem::{Place, PolicyError, Problem};
pub use recent::{Counts, Recent};
pub(crate) use recent::{Needs, Scope, Window};
pub(crate) use request::numbers;
pub use set::PolicySet;

use crate::directory;

/// How often the files are looked at.
const WATCH: Duration = Duration::from_millis(500);

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
    Ok(load(path)?.summary())
}

fn load(path: Option<&Path>) -> Result<PolicySet, PolicyError> {
    path.map_or_else(PolicySet::built_in, PolicySet::read)
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

/// The policies in use, and where they come from.
#[derive(Debug)]
pub(crate) struct Policies {
    path: Option<PathBuf>,
    engine: ArcSwap<Engine>,
    /// What the files looked like when they were last read.
    seen: Mutex<Fingerprint>,
}

/// The files' names, times and sizes.
type Fingerprint = Vec<(PathBuf, Option<SystemTime>, u64)>;

impl Policies {
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, PolicyError> {
        let seen = path.as_deref().map(fingerprint).unwrap_or_default();
        let engine = load(path.as_deref())?.engine;
        for warning in &engine.warnings {
            tracing::warn!("{warning}");
        }
        Ok(Self { path, engine: ArcSwap::from_pointee(engine), seen: Mutex::new(seen) })
    }

    /// Whether there are files that can change.
    pub(crate) fn is_watched(&self) -> bool {
        self.path.is_some()
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.engine.load_full()
    }

    /// Reads the files again. A set with a mistake changes nothing.
    pub(crate) fn reload(&self) -> Result<PolicySummary, PolicyError> {
        let seen = self.path.as_deref().map(fingerprint).unwrap_or_default();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        let set = load(self.path.as_deref())?;
        let summary = set.summary();
        self.engine.store(Arc::new(set.engine));
        Ok(summary)
    }

    fn has_changed(&self) -> bool {
        let Some(path) = &self.path else { return false };
        fingerprint(path) != *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files again whenever they change, as long as somebody holds
    /// the policies.
    pub(crate) async fn watch(policies: Weak<Self>) {
        let mut ticks = tokio::time::interval(WATCH);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(policies) = policies.upgrade() else { return };
            let reloaded = tokio::task::spawn_blocking(move || {
                policies.has_changed().then(|| policies.reload())
            });
            match reloaded.await {
                Ok(None) => {}
                Ok(Some(Ok(summary))) => {
                    tracing::info!(policies = summary.policies, "policies reloaded");
                    for warning in &summary.warnings {
                        tracing::warn!("{warning}");
                    }
                }
                Ok(Some(Err(error))) => {
                    tracing::error!(
                        "the changed policies are not used, the earlier ones stay:\n{error}"
                    );
                }
                Err(error) => tracing::error!(%error, "the policies could not be looked at"),
            }
        }
    }
}

fn fingerprint(path: &Path) -> Fingerprint {
    let mut files = if path.is_dir() {
        load::policy_files(path).unwrap_or_default()
    } else {
        vec![path.to_owned()]
    };
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    files.extend(folder.map(|folder| folder.join(SCHEMA_FILE)));
    files
        .into_iter()
        .map(|file| {
            let about = file.metadata().ok();
            let modified = about.as_ref().and_then(|about| about.modified().ok());
            (file, modified, about.map_or(0, |about| about.len()))
        })
        .collect()
}
