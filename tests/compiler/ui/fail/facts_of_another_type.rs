use ascend_sdk::{Refusal, mcp_governance};

/// Runs a statement.
#[mcp_governance(
    action_type = "database.query",
    facts = sql.len(),
    resource = "analytics_db"
)]
async fn query(sql: String) -> Result<(), Refusal> {
    let _ = sql;
    Ok(())
}

fn main() {
    let _ = ascend_sdk::tools![query];
}
