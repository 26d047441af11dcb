use ascend_sdk::{Refusal, mcp_governance};

/// Runs a statement.
#[mcp_governance(
    namespace = "database",
    verb = if sql.is_empty() { "read" } else { "write" },
    facts = ascend_sdk::SqlFacts::default(),
    resource = "analytics_db"
)]
async fn query(sql: String) -> Result<(), Refusal> {
    let _ = sql;
    Ok(())
}

fn main() {
    let _ = ascend_sdk::tools![query];
}
