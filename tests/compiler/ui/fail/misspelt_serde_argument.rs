use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count(#[serde(defualt)] limit: u32) -> Result<u32, Refusal> {
    Ok(limit)
}

fn main() {
    let _ = tools![count];
}
