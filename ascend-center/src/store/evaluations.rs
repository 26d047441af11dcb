//! What policies saw of each action, and what the shadow policies said.

use std::collections::{BTreeMap, HashMap};

use ascend_sdk::{Decision, Facts, Floor, SessionContext};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    actions::select,
    sql::{self, FromRow, Row},
    writer::Transaction,
};
use crate::{
    policy::{Asked, Recent},
    quorum::Rule,
    record::{Matched, Record, json, json_word, risk_score, time},
    submission::Submission,
};

/// What policies see of an action that its row does not hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PolicyInput {
    floor: Floor,
    facts: Facts,
    metadata: BTreeMap<String, String>,
    /// By the name it has in requests.
    #[serde(rename = "session_context")]
    session: SessionContext,
    /// What was counted, where a policy asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recent: Option<Recent>,
}

/// An action, with all that policies saw of it.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) record: Record,
    pub(crate) input: PolicyInput,
}

impl Recorded {
    pub(crate) fn asked<'a>(&'a self, recent: &'a Recent) -> Asked<'a> {
        let Self { record, input } = self;
        Asked {
            server_id: &record.server_id,
            credential: &record.requested_by,
            tool: &record.tool,
            namespace: &record.namespace,
            verb: &record.verb,
            resource: &record.resource,
            parameters: &record.parameters,
            floor: input.floor,
            facts: &input.facts,
            metadata: &input.metadata,
            user_context: &record.user_context,
            session_id: &record.session_id,
            client_name: input.session.client_name.as_deref(),
            client_version: input.session.client_version.as_deref(),
            now: record.created_at,
            recent,
        }
    }
}

/// What the shadow policies said of an action. It decided nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ShadowDecision {
    /// The action.
    pub action_id: i64,
    /// When they were asked.
    pub at: Timestamp,
    /// What they would have decided.
    pub decision: Decision,
    /// From 0 to 100.
    pub risk_score: u8,
    /// Why; where they could not be evaluated, what was wrong.
    pub reason: String,
    /// The policies that matched.
    pub matched: Vec<Matched>,
    /// What its approval would take, where a person must decide.
    pub rules: Vec<Rule>,
    /// Whether the decision, the risk or the rules are others than was decided.
    pub differs: bool,
}

impl FromRow for ShadowDecision {
    fn from_row(row: &Row<'_>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            action_id: row.read("action_id")?,
            at: time(row, "at")?,
            decision: json_word(row, "decision")?,
            risk_score: risk_score(row)?,
            reason: row.read("reason")?,
            matched: json(row, "matched")?,
            rules: json(row, "rules")?,
            differs: row.flag("differs")?,
        })
    }
}

/// How often the shadow policies were asked, and what differed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ShadowReport {
    /// How many actions they were asked of.
    pub asked: u64,
    /// Of how many they said otherwise.
    pub differing: u64,
    /// The newest of those, the newest first, each with what was decided.
    pub differences: Vec<(Record, ShadowDecision)>,
}

/// Keeps what the policies saw of the new action `id`.
pub(super) async fn keep(
    transaction: &mut Transaction,
    id: i64,
    submission: &Submission,
    recent: Option<Recent>,
) -> Result<(), StoreError> {
    let input = PolicyInput {
        floor: submission.floor,
        facts: submission.facts.clone(),
        metadata: submission.metadata.clone(),
        session: submission.session.clone(),
        recent,
    };
    sql::query("INSERT INTO policy_inputs (action_id, input) VALUES ($1, $2)")
        .bind(id)
        .bind(serde_json::to_string(&input)?)
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}

impl Store {
    /// Keeps what the shadow policies said, unless that is known.
    pub(crate) async fn keep_shadow(&self, shadow: ShadowDecision) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                sql::query(
                    "INSERT INTO shadow_decisions (action_id, at, decision, risk_score, \
                     reason, matched, differs, rules) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                     ON CONFLICT DO NOTHING",
                )
                .bind(shadow.action_id)
                .bind(shadow.at.as_millisecond())
                .bind(shadow.decision.as_str())
                .bind(shadow.risk_score)
                .bind(&shadow.reason)
                .bind(serde_json::to_string(&shadow.matched)?)
                .bind(shadow.differs)
                .bind(serde_json::to_string(&shadow.rules)?)
                .execute(&mut transaction.connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    pub(crate) async fn shadow_decision(
        &self,
        id: i64,
    ) -> Result<Option<ShadowDecision>, StoreError> {
        Ok(sql::query_as("SELECT * FROM shadow_decisions WHERE action_id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The newest `limit` differences, and how many there are in all.
    pub(crate) async fn shadow_report(&self, limit: u32) -> Result<ShadowReport, StoreError> {
        let (asked, differing): (i64, i64) = sql::query_as(
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE differs = 1) FROM shadow_decisions",
        )
        .fetch_one(&self.readers)
        .await?;
        let found: Vec<ShadowDecision> = sql::query_as(
            "SELECT * FROM shadow_decisions WHERE differs = 1 ORDER BY action_id DESC LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        let mut differences = Vec::with_capacity(found.len());
        for shadow in found {
            if let Some(record) = self.action(shadow.action_id).await? {
                differences.push((record, shadow));
            }
        }
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok(ShadowReport { asked: count(asked), differing: count(differing), differences })
    }

    /// The newest `limit` actions before `before` whose arguments were not
    /// erased, the newest first.
    pub(crate) async fn recorded(
        &self,
        before: i64,
        limit: u32,
    ) -> Result<Vec<Recorded>, StoreError> {
        let now = Timestamp::now();
        let records: Vec<Record> =
            sql::query_as(select!("WHERE id < $1 AND erased_at IS NULL ORDER BY id DESC LIMIT $2"))
                .bind(before)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        let (Some(last), Some(first)) = (records.first(), records.last()) else {
            return Ok(Vec::new());
        };
        // What was kept before there were inputs has its request alone.
        let inputs: Vec<(i64, String)> = sql::query_as(
            "SELECT actions.id, COALESCE(policy_inputs.input, actions.request) FROM actions \
             LEFT JOIN policy_inputs ON policy_inputs.action_id = actions.id \
             WHERE actions.id BETWEEN $1 AND $2",
        )
        .bind(first.id)
        .bind(last.id)
        .fetch_all(&self.readers)
        .await?;
        let mut inputs: HashMap<i64, String> = inputs.into_iter().collect();
        Ok(records
            .into_iter()
            .map(|record| {
                let input = inputs.remove(&record.id).unwrap_or_default();
                let input = serde_json::from_str(&input).unwrap_or_default();
                Recorded { record: record.at(now), input }
            })
            .collect())
    }
}
