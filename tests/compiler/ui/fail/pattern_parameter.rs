use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count((table, limit): (String, u32)) -> Result<u32, Refusal> {
    Ok(limit + table.len() as u32)
}

fn main() {
    let _ = tools![count];
}
