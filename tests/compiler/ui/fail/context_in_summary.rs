use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(
    action_type = "database.count",
    resource = "database://main",
    summary = "For {call}"
)]
async fn count(#[context] call: ascend_sdk::CallContext) -> Result<u32, Refusal> {
    Ok(u32::from(call.is_cancelled()))
}

fn main() {
    let _ = tools![count];
}
