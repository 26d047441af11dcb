//! A policy set by itself, to be asked and tested.

use std::path::Path;

use super::{
    Engine, PolicyError, PolicySummary, TestCases, TestOutcome, call::CallDescription, cases,
    engine::Explanation, load::Files, tools::ToolSchema,
};

/// A checked policy set that decides nothing: to explain it, to test it, and to
/// try it on recorded actions.
///
/// ```
/// use ascend_center::{CallDescription, PolicySet};
/// use ascend_sdk::Decision;
///
/// let call: CallDescription = serde_json::from_value(serde_json::json!({
///     "action": "database.delete",
///     "resource": "database://staging",
/// }))?;
/// let explanation = PolicySet::built_in()?.explain(&call);
/// assert_eq!(explanation.decision, Decision::RequireApproval);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) engine: Engine,
}

impl PolicySet {
    /// The built-in policies.
    ///
    /// # Errors
    ///
    /// Never, as they are.
    pub fn built_in() -> Result<Self, PolicyError> {
        Self::built_in_with([])
    }

    /// The built-in policies, of a center that knows these tools.
    ///
    /// # Errors
    ///
    /// When two tools of one name take other arguments.
    pub fn built_in_with(tools: impl IntoIterator<Item = ToolSchema>) -> Result<Self, PolicyError> {
        Self::of(Files::built_in(), tools)
    }

    /// The policies at `path`, a folder or one file, with the tools in the
    /// `tools.json` beside them, where there is one.
    ///
    /// # Errors
    ///
    /// Every mistake that was found, each with file, line and column.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        Self::read_with(path, [])
    }

    /// As [`read`](Self::read), of a center that knows these tools as well.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub fn read_with(
        path: &Path,
        tools: impl IntoIterator<Item = ToolSchema>,
    ) -> Result<Self, PolicyError> {
        Self::of(Files::read(path)?, tools)
    }

    fn of(
        mut files: Files,
        tools: impl IntoIterator<Item = ToolSchema>,
    ) -> Result<Self, PolicyError> {
        files.add_tools(tools);
        let engine = Engine::new(files.check()?);
        Ok(Self { engine: engine.ok_or_else(|| PolicyError { problems: Vec::new() })? })
    }

    /// How many policies there are, and what looks like a mistake.
    #[must_use]
    pub fn summary(&self) -> PolicySummary {
        PolicySummary { policies: self.engine.len(), warnings: self.engine.warnings.clone() }
    }

    /// Whether any policy names a group of approvers.
    #[must_use]
    pub fn names_groups(&self) -> bool {
        self.engine.asked_rules().any(|(rule, _)| rule.approvers.is_some())
    }

    /// What the policies say of a call, and why.
    #[must_use]
    pub fn explain(&self, call: &CallDescription) -> Explanation {
        self.engine.explain(&call.asked())
    }

    /// Asks the policies each case.
    #[must_use]
    pub fn test(&self, cases: &TestCases) -> Vec<TestOutcome> {
        cases::run(&self.engine, cases)
    }
}
