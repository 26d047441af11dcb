//! The policies in use: read again when their files change, and swapped without
//! a gap.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use ascend_sdk::BoxFuture;
use jiff::Timestamp;
use prometheus_client::metrics::{counter::Counter, family::Family};

use super::{
    Engine, PolicyError, PolicySet, PolicySummary,
    load::{self, SCHEMA_FILE, TOOLS_FILE},
    tools::ToolSchema,
};
use crate::metrics::ResultLabels;

/// How often the files are looked at. A change is used when they have stood
/// still for as long.
const WATCH: Duration = Duration::from_millis(250);

/// Where policies come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// A folder or a file; `None` for the built-in ones.
    pub(crate) path: Option<PathBuf>,
    /// The tools that the process knows of itself.
    pub(crate) tools: Vec<ToolSchema>,
    /// A file of further tools.
    pub(crate) tools_file: Option<PathBuf>,
}

/// The policies in use, and where they come from.
#[derive(Debug)]
pub(crate) struct Policies {
    origin: Origin,
    engine: ArcSwap<Engine>,
    files: Mutex<Seen>,
    /// How often changed files were used or refused.
    reloads: Family<ResultLabels, Counter>,
}

#[derive(Debug)]
struct Seen {
    /// What the files looked like when they were last read.
    read: Fingerprint,
    status: PolicyStatus,
}

/// The files' names, times and sizes.
type Fingerprint = Vec<(PathBuf, Option<SystemTime>, u64)>;

/// Which policies are in use, and whether newer ones were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyStatus {
    /// How many policies are in use.
    pub policies: usize,
    /// Since when; `None` where none ever could be.
    pub loaded_at: Option<Timestamp>,
    /// Why the files as they are now are not used; the earlier set stays.
    pub refused: Option<PolicyError>,
}

impl Origin {
    fn load(&self) -> Result<PolicySet, PolicyError> {
        let mut tools = self.tools.clone();
        if let Some(file) = &self.tools_file {
            tools.extend(ToolSchema::read(file)?);
        }
        match &self.path {
            Some(path) => PolicySet::read_with(path, tools),
            None => PolicySet::built_in_with(tools),
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        let path = self.path.as_deref();
        let folder = path.map(|path| if path.is_dir() { path } else { parent(path) });
        let mut files = match path {
            Some(path) if path.is_dir() => load::policy_files(path).unwrap_or_default(),
            Some(path) => vec![path.to_owned()],
            None => Vec::new(),
        };
        files.extend(folder.map(|folder| folder.join(SCHEMA_FILE)));
        files.extend(folder.map(|folder| folder.join(TOOLS_FILE)));
        files.extend(self.tools_file.clone());
        files
            .into_iter()
            .map(|file| {
                let about = file.metadata().ok();
                let modified = about.as_ref().and_then(|about| about.modified().ok());
                (file, modified, about.map_or(0, |about| about.len()))
            })
            .collect()
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

impl Policies {
    pub(crate) fn open(origin: Origin) -> Result<Self, PolicyError> {
        let read = origin.fingerprint();
        let set = origin.load()?;
        for warning in &set.engine.warnings {
            tracing::warn!("{warning}");
        }
        let status = PolicyStatus {
            policies: set.engine.len(),
            loaded_at: Some(Timestamp::now()),
            refused: None,
        };
        let files = Mutex::new(Seen { read, status });
        Ok(Self {
            origin,
            engine: ArcSwap::from_pointee(set.engine),
            files,
            reloads: Family::default(),
        })
    }

    /// As [`open`](Self::open); where that fails, there are no policies until
    /// the files are in order.
    pub(crate) fn open_anyway(origin: Origin) -> Option<Self> {
        let refused = match Self::open(origin.clone()) {
            Ok(policies) => return Some(policies),
            Err(error) => error,
        };
        let status = PolicyStatus { policies: 0, loaded_at: None, refused: Some(refused) };
        let read = origin.fingerprint();
        let files = Mutex::new(Seen { read, status });
        let engine = ArcSwap::from_pointee(Engine::empty()?);
        Some(Self { origin, engine, files, reloads: Family::default() })
    }

    /// Counts what becomes of changed files.
    pub(crate) fn counted(self, reloads: Family<ResultLabels, Counter>) -> Self {
        Self { reloads, ..self }
    }

    /// Whether there are files that can change.
    pub(crate) fn is_watched(&self) -> bool {
        self.origin.path.is_some() || self.origin.tools_file.is_some()
    }

    /// Where the policies come from, for the record.
    pub(crate) fn source(&self) -> String {
        let path = self.origin.path.as_ref();
        path.map_or_else(|| "built in".to_owned(), |path| path.display().to_string())
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.engine.load_full()
    }

    pub(crate) fn status(&self) -> PolicyStatus {
        self.files().status.clone()
    }

    fn files(&self) -> MutexGuard<'_, Seen> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files again. A set with a mistake changes nothing.
    pub(crate) fn reload(&self) -> Result<PolicySummary, PolicyError> {
        // Held to the end: of two reloads the later one counts.
        let mut files = self.files();
        files.read = self.origin.fingerprint();
        match self.origin.load() {
            Ok(set) => {
                let summary = set.summary();
                files.status = PolicyStatus {
                    policies: summary.policies,
                    loaded_at: Some(Timestamp::now()),
                    refused: None,
                };
                self.engine.store(Arc::new(set.engine));
                self.reloads.get_or_create(&ResultLabels::OK).inc();
                Ok(summary)
            }
            Err(error) => {
                files.status.refused = Some(error.clone());
                self.reloads.get_or_create(&ResultLabels::FAILED).inc();
                Err(error)
            }
        }
    }

    /// Reads the files again whenever they change, as long as somebody holds
    /// the policies. `name` is how the log calls them; `used` has a look at each
    /// new set that comes into use.
    pub(crate) async fn watch(
        policies: Weak<Self>,
        name: &'static str,
        used: impl Fn(Arc<Engine>) -> BoxFuture<'static, ()> + Send,
    ) {
        let mut ticks = tokio::time::interval(WATCH);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before = None;
        loop {
            ticks.tick().await;
            let Some(policies) = policies.upgrade() else { return };
            let earlier = before.take();
            let looking = policies.clone();
            let looked = tokio::task::spawn_blocking(move || looking.look(earlier));
            let result = match looked.await {
                Ok(Look::Unchanged) => continue,
                Ok(Look::Changing(now)) => {
                    before = Some(now);
                    continue;
                }
                Ok(Look::Reloaded(result)) => result,
                Err(error) => {
                    tracing::error!(%error, "the {name} could not be looked at");
                    continue;
                }
            };
            match result {
                Ok(summary) => {
                    tracing::info!(policies = summary.policies, "the {name} are reloaded");
                    for warning in &summary.warnings {
                        tracing::warn!("{warning}");
                    }
                    used(policies.engine()).await;
                }
                Err(error) => tracing::error!(
                    "the changed {name} are not used, the earlier ones stay:\n{error}"
                ),
            }
        }
    }

    /// `before` is what the files looked like when a change was seen. A file
    /// that is being written could lack the policy that forbids.
    fn look(&self, before: Option<Fingerprint>) -> Look {
        let now = self.origin.fingerprint();
        if now == self.files().read {
            Look::Unchanged
        } else if before.as_ref() == Some(&now) {
            Look::Reloaded(self.reload())
        } else {
            Look::Changing(now)
        }
    }
}

#[derive(Debug)]
enum Look {
    Unchanged,
    Changing(Fingerprint),
    Reloaded(Result<PolicySummary, PolicyError>),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn files_are_read_when_they_stand_still() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.cedar");
        let policy = |id: &str| format!("@id(\"{id}\") permit (principal, action, resource);\n");
        std::fs::write(&file, policy("a")).unwrap();
        let path = Some(folder.path().to_owned());
        let policies = Policies::open(Origin { path, ..Origin::default() }).unwrap();
        assert!(matches!(policies.look(None), Look::Unchanged));

        // Half of it is written, which by itself could be used.
        std::fs::write(&file, policy("a") + &policy("b")).unwrap();
        let Look::Changing(half) = policies.look(None) else { panic!("changing") };
        std::fs::write(&file, policy("a") + &policy("b") + &policy("c")).unwrap();
        let Look::Changing(whole) = policies.look(Some(half)) else { panic!("still changing") };
        assert_eq!(policies.engine().len(), 1);
        let Look::Reloaded(Ok(summary)) = policies.look(Some(whole)) else { panic!("reloaded") };
        assert_eq!((summary.policies, policies.engine().len()), (3, 3));
        assert!(matches!(policies.look(None), Look::Unchanged));
    }
}
