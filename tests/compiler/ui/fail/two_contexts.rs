use ascend_sdk::{CallContext, Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count(#[context] one: CallContext, #[context] other: CallContext) -> Result<u32, Refusal> {
    Ok(u32::from(one.is_cancelled() || other.is_cancelled()))
}

fn main() {
    let _ = tools![count];
}
