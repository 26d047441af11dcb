//! What the web page asks: without the arguments, which can be long.

use ascend_sdk::RiskLevel;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::{
    Store, StoreError,
    sql::{self, FromRow, QueryAs, Row, Value},
};
use crate::{
    life::ActionState,
    quorum::Vote,
    record::{Matched, json, risk_score, time, word},
};

/// An action that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) id: i64,
    pub(crate) risk_score: u8,
    /// Who has approved so far, as JSON.
    votes: String,
}

sql::from_row!(Waiting { id, risk_score, votes });

impl Waiting {
    pub(crate) fn votes(&self) -> Result<Vec<Vote>, StoreError> {
        Ok(serde_json::from_str(&self.votes)?)
    }
}

/// An action in a list.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) id: i64,
    /// Expired, where its time ran out unseen.
    pub(crate) state: ActionState,
    pub(crate) created_at: Timestamp,
    pub(crate) server_id: String,
    pub(crate) tool: String,
    pub(crate) namespace: String,
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) summary: Option<String>,
    pub(crate) risk_score: u8,
    pub(crate) risk_level: RiskLevel,
    pub(crate) reviewed_by: Option<String>,
}

/// Which actions to find.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// Somewhere in what it is, what it acts on, its arguments or who asked.
    pub(crate) text: Option<String>,
    pub(crate) state: Option<ActionState>,
    /// The server or agent.
    pub(crate) server_id: Option<String>,
    pub(crate) tool: Option<String>,
    pub(crate) least_risk: Option<u8>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    /// Only older ones than this action.
    pub(crate) before: Option<i64>,
}

/// When the policies matched last.
#[derive(Debug)]
pub(crate) struct Matches {
    pub(crate) action: i64,
    pub(crate) at: Timestamp,
    pub(crate) matched: Vec<Matched>,
}

impl FromRow for Past {
    fn from_row(row: &Row<'_>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.read("id")?,
            state: word(row, "state")?,
            created_at: time(row, "created_at")?,
            server_id: row.read("server_id")?,
            tool: row.read("tool")?,
            namespace: row.read("namespace")?,
            verb: row.read("verb")?,
            resource: row.read("resource")?,
            summary: row.read("summary")?,
            risk_score: risk_score(row)?,
            risk_level: word(row, "risk_level")?,
            reviewed_by: row.read("reviewed_by")?,
        })
    }
}

impl FromRow for Matches {
    fn from_row(row: &Row<'_>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            action: row.read("id")?,
            at: time(row, "created_at")?,
            matched: json(row, "matched")?,
        })
    }
}

impl Search {
    fn statement(&self, now: Timestamp, limit: u32) -> QueryAs<'_, Past> {
        const TEXTS: [&str; 7] = [
            "coalesce(summary, '')",
            "resource",
            "tool",
            "namespace || '.' || verb",
            "server_id",
            "requested_by",
            "parameters",
        ];
        let milliseconds = |time: Timestamp| Value::from(time.as_millisecond());
        let conditions: [(&str, Option<Value<'_>>); 7] = [
            ("state =", self.state.map(|state| state.as_str().into())),
            ("server_id =", self.server_id.as_ref().map(Value::from)),
            ("tool =", self.tool.as_ref().map(Value::from)),
            ("risk_score >=", self.least_risk.map(Value::from)),
            ("created_at >=", self.since.map(milliseconds)),
            ("created_at <", self.until.map(milliseconds)),
            ("id <", self.before.map(Value::from)),
        ];
        let mut text = "SELECT id, created_at, server_id, tool, namespace, verb, resource, \
                        summary, risk_score, risk_level, reviewed_by, state FROM (SELECT id, \
                        created_at, server_id, tool, namespace, verb, resource, summary, \
                        risk_score, risk_level, reviewed_by, requested_by, parameters, \
                        CASE WHEN state IN ('pending', 'allowed', 'approved') AND \
                        expires_at <= $1 THEN 'expired' ELSE state END AS state \
                        FROM actions) AS a WHERE true"
            .to_owned();
        let mut values = vec![milliseconds(now)];
        for (condition, value) in conditions {
            let Some(value) = value else { continue };
            values.push(value);
            text += &format!(" AND {condition} ${}", values.len());
        }
        if let Some(wanted) = &self.text {
            values.push(pattern(wanted).into());
            let place = values.len();
            let found = TEXTS.map(|text| format!("lower({text}) LIKE ${place} ESCAPE '!'"));
            text += &format!(" AND ({})", found.join(" OR "));
        }
        text += &format!(" ORDER BY id DESC LIMIT {limit}");
        values.into_iter().fold(sql::query_as(AssertSqlSafe(text)), QueryAs::bind)
    }
}

/// As a pattern of LIKE; letters beyond ASCII are found in their own case.
fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}

impl Store {
    /// What waits for a person now, oldest first, `limit` at most.
    pub(crate) async fn waiting(&self, limit: u32) -> Result<Vec<Waiting>, StoreError> {
        Ok(sql::query_as(
            "SELECT id, risk_score, votes FROM actions \
             WHERE state = 'pending' AND expires_at > $1 ORDER BY id LIMIT $2",
        )
        .bind(super::now())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?)
    }

    /// The newest actions that match, the newest first.
    pub(crate) async fn search(
        &self,
        search: &Search,
        limit: u32,
    ) -> Result<Vec<Past>, StoreError> {
        Ok(search.statement(Timestamp::now(), limit).fetch_all(&self.readers).await?)
    }

    /// What a server or agent asked before an action, the newest first.
    pub(crate) async fn before(
        &self,
        server_id: &str,
        at: Timestamp,
        action: i64,
        limit: u32,
    ) -> Result<Vec<Past>, StoreError> {
        // By the index on agents and times.
        Ok(sql::query_as(
            "SELECT id, created_at, server_id, tool, namespace, verb, resource, \
             summary, risk_score, risk_level, reviewed_by, \
             CASE WHEN state IN ('pending', 'allowed', 'approved') AND expires_at <= $1 \
             THEN 'expired' ELSE state END AS state FROM actions \
             WHERE server_id = $2 AND created_at <= $3 AND id < $4 \
             ORDER BY created_at DESC, id DESC LIMIT $5",
        )
        .bind(super::now())
        .bind(server_id)
        .bind(at.as_millisecond())
        .bind(action)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?)
    }

    /// Which policies matched the newest `limit` actions.
    pub(crate) async fn matches(&self, limit: u32) -> Result<Vec<Matches>, StoreError> {
        Ok(sql::query_as("SELECT id, created_at, matched FROM actions ORDER BY id DESC LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_like_takes_for_patterns_is_text() {
        assert_eq!(pattern("100%_Of!É"), "%100!%!_of!!É%");
    }
}
