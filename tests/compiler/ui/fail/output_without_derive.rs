use ascend_sdk::{Refusal, mcp_governance, tools};

struct Count(u32);

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count() -> Result<Count, Refusal> {
    Ok(Count(0))
}

fn main() {
    let _ = tools![count];
}
