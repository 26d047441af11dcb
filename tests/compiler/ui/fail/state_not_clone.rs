use ascend_sdk::{Refusal, mcp_governance, tools};

struct Pool(u32);

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count(#[state] pool: Pool) -> Result<u32, Refusal> {
    Ok(pool.0)
}

fn main() {
    let _ = tools![count];
}
