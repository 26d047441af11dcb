use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count(
    #[state]
    #[serde(default)]
    base: u32,
) -> Result<u32, Refusal> {
    Ok(base)
}

fn main() {
    let _ = tools![count];
}
