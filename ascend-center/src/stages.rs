//! The policies by themselves, for the project's benches. Not for anyone else:
//! what is here changes with what it measures.

use std::path::PathBuf;

use ascend_sdk::{Action, Decision};
use jiff::Timestamp;

use crate::{
    policy::{Origin, Policies, PolicyError, Recent},
    submission::Submission,
};

/// A policy set that is asked directly: nothing is recorded.
#[derive(Debug)]
pub struct Evaluator(Policies);

impl Evaluator {
    /// The policies of a folder, or the built-in ones.
    ///
    /// # Errors
    ///
    /// When a policy has a mistake.
    pub fn open(folder: Option<PathBuf>) -> Result<Self, PolicyError> {
        Policies::open(Origin { path: folder, ..Origin::default() }).map(Self)
    }

    /// What policy and floor say; `None` for an action that JSON cannot hold.
    #[must_use]
    pub fn evaluate(&self, action: &Action) -> Option<Decision> {
        let submission = Submission::of(action, "bench").ok()?;
        let recent = Recent::default();
        Some(self.0.engine().evaluate(&submission.asked(Timestamp::now(), &recent)).decision)
    }
}
