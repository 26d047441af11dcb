use ascend_sdk::{mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count() -> Result<u32, std::fmt::Error> {
    Err(std::fmt::Error)
}

fn main() {
    let _ = tools![count];
}
