#![deny(warnings)]

use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://{table}")]
async fn count(table: String, mut limit: u32) -> Result<u32, Refusal> {
    let rows = 0;
    Ok(limit)
}

fn main() {
    let _ = tools![count];
}
