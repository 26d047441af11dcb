//! Recorded actions, put to the policies again.

use ascend_sdk::{Decision, RiskLevel};
use serde::Serialize;

use crate::{
    Center, Explanation, Matched, PolicySet, Record, StoreError,
    policy::{Engine, Needs, Recent},
    quorum::{Rule, ask_same},
    store::{Recorded, ShadowDecision},
};

/// The most actions that are held in memory at once.
const PAGE: u32 = 500;

/// A recorded action, and what policies say of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ActionExplanation {
    /// As it was decided, and as it stands.
    pub record: Record,
    /// What the policies say of it, at the time when it was asked.
    pub explanation: Explanation,
    /// What the shadow policies said, where there were any.
    pub shadow: Option<ShadowDecision>,
}

/// What a policy set would have said of recorded actions.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Simulation {
    /// How many actions were put to it.
    pub replayed: usize,
    /// How many were left out, since the kill switch or a register had denied them.
    pub left_out: usize,
    /// Those that it decides otherwise, gives another risk, or has approved by
    /// others, the newest first.
    pub differences: Vec<Difference>,
}

/// An action of which a policy set says something else than was decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// As it was decided.
    pub record: Record,
    /// What it would be now.
    pub decision: Decision,
    /// From 0 to 100.
    pub risk_score: u8,
    /// The score's level.
    pub risk_level: RiskLevel,
    /// Why.
    pub reason: String,
    /// The policies that match.
    pub matched: Vec<Matched>,
    /// What its approval would take, where a person must decide.
    pub rules: Vec<Rule>,
}

impl Difference {
    /// Whether its approval would take something else.
    #[must_use]
    pub fn is_of_rules(&self) -> bool {
        self.decision == self.record.decision && !ask_same(&self.rules, &self.record.rules)
    }
}

impl Simulation {
    /// How many would be decided more strictly.
    #[must_use]
    pub fn stricter(&self) -> usize {
        self.count(|difference| difference.decision > difference.record.decision)
    }

    /// How many would be decided more mildly.
    #[must_use]
    pub fn milder(&self) -> usize {
        self.count(|difference| difference.decision < difference.record.decision)
    }

    /// Of how many that stay as they are the approval would take something else.
    #[must_use]
    pub fn otherwise(&self) -> usize {
        self.count(Difference::is_of_rules)
    }

    fn count(&self, which: impl Fn(&Difference) -> bool) -> usize {
        self.differences.iter().filter(|difference| which(difference)).count()
    }
}

impl Center {
    /// What `set` says of the recorded action `id`, policy by policy; `None` when
    /// there is no such action.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn explain(
        &self,
        id: i64,
        set: &PolicySet,
    ) -> Result<Option<ActionExplanation>, StoreError> {
        let found = self.store().recorded(id.saturating_add(1), 1).await?.pop();
        let Some(recorded) = found.filter(|recorded| recorded.record.id == id) else {
            return Ok(None);
        };
        let recent = self.recent(&recorded, &set.engine.all_needs()).await?;
        let explanation = set.engine.explain(&recorded.asked(&recent));
        let shadow = self.store().shadow_decision(id).await?;
        Ok(Some(ActionExplanation { record: recorded.record, explanation, shadow }))
    }

    /// Puts the newest `last` recorded actions to `set`, each as of its time,
    /// and tells every difference. Nothing is decided by it.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn simulate(&self, set: &PolicySet, last: u32) -> Result<Simulation, StoreError> {
        let mut simulation = Simulation { replayed: 0, left_out: 0, differences: Vec::new() };
        let mut left = last;
        let mut before = i64::MAX;
        while left > 0 {
            let page = self.store().recorded(before, left.min(PAGE)).await?;
            let Some(oldest) = page.last() else { break };
            before = oldest.record.id;
            left -= u32::try_from(page.len()).unwrap_or(left).min(left);
            for recorded in page {
                if recorded.record.is_overruled() {
                    simulation.left_out += 1;
                    continue;
                }
                simulation.replayed += 1;
                simulation.differences.extend(self.differing(&set.engine, recorded).await?);
            }
            tokio::task::yield_now().await;
        }
        Ok(simulation)
    }

    async fn differing(
        &self,
        engine: &Engine,
        recorded: Recorded,
    ) -> Result<Option<Difference>, StoreError> {
        let nothing = Recent::default();
        let needs = engine.needs(&recorded.asked(&nothing));
        let recent = self.recent(&recorded, &needs).await?;
        let verdict = engine.evaluate(&recorded.asked(&recent));
        let record = recorded.record;
        let same = (verdict.decision, verdict.risk_score) == (record.decision, record.risk_score)
            && ask_same(&verdict.rules, &record.rules);
        Ok((!same).then(|| Difference {
            record,
            decision: verdict.decision,
            risk_score: verdict.risk_score,
            risk_level: verdict.risk_level,
            reason: verdict.reason,
            matched: verdict.matched,
            rules: verdict.rules,
        }))
    }

    /// What was counted when it was asked; what was not is counted now, as of then.
    async fn recent(&self, recorded: &Recorded, needs: &Needs) -> Result<Recent, StoreError> {
        if needs.counts_nothing() {
            return Ok(Recent::default());
        }
        let nothing = Recent::default();
        let asked = recorded.asked(&nothing);
        let mut recent = self.store().recent_before(recorded.record.id, &asked, needs).await?;
        if let Some(counted) = &recorded.input.recent {
            recent.overlay(counted);
        }
        Ok(recent)
    }
}
