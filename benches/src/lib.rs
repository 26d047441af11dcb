//! The tools of the governed servers.

use std::time::{SystemTime, UNIX_EPOCH};

use ascend_sdk::{Refusal, Tools, high_risk_action, mcp_governance, tools};

/// Runs a read-only query.
#[mcp_governance(action_type = "database.query", resource = "database://{database}")]
pub async fn query(
    /// One SELECT statement.
    sql: String,
    /// Which database.
    database: String,
) -> Result<String, Refusal> {
    Ok(format!("{} rows of {database}", sql.len()))
}

/// Deletes records, once a person has approved; returns when it began.
#[high_risk_action(action_type = "database.delete", resource = "database://{database}")]
pub async fn delete(
    /// Which records.
    filter: String,
    /// Which database.
    database: String,
) -> Result<String, Refusal> {
    let _ = (filter, database);
    Ok(now().to_string())
}

/// Nanoseconds since 1970 by the clock that all processes share.
#[must_use]
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// The tools of every governed server.
#[must_use]
pub fn governed_tools() -> Tools {
    tools![query, delete]
}
