use ascend_sdk::{mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count() -> u32 {
    0
}

fn main() {
    let _ = tools![count];
}
