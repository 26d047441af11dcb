//! `ascend-sdk` by another name.
#![deny(warnings, missing_docs, clippy::pedantic)]

mod governance {
    pub(super) use ascend_sdk::*;
}

use governance::{Refusal, mcp_governance};

/// Counts rows.
#[mcp_governance(
    action_type = "database.count",
    resource = "database://{table}",
    crate = "governance"
)]
async fn count(
    table: String,
    _unused: u32,
    #[state] _state: u32,
    #[context] _call: governance::CallContext,
) -> Result<u64, Refusal> {
    Ok(table.len() as u64)
}

#[cfg(test)]
governance::testing::governance_tests!(
    count,
    sample = serde_json::json!({ "table": "users", "_unused": 1 }),
    crate = "governance"
);

struct Server;

impl Server {
    #[mcp_governance(
        action_type = "database.count",
        resource = "database://{table}",
        crate = "governance"
    )]
    async fn count(&self, table: String) -> Result<u64, Refusal> {
        Ok(table.len() as u64)
    }
}

/// Compiles.
///
/// # Panics
///
/// When something is not as it was written.
pub fn main() {
    assert_eq!(governance::tools![count].routes()[0].spec().name, "count");
    drop(Server.count("table".to_owned()));
}
