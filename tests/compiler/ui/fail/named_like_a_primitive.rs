use ascend_sdk::{Refusal, mcp_governance};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn u32() -> Result<(), Refusal> {
    Ok(())
}

fn main() {}
