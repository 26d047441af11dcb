use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count(#[traced(64)] user: String) -> Result<u32, Refusal> {
    Ok(user.len() as u32)
}

fn main() {
    let _ = tools![count];
}
