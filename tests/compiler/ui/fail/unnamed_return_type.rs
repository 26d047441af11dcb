use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count() -> Result<impl std::fmt::Display, Refusal> {
    Ok(0)
}

fn main() {
    let _ = tools![count];
}
