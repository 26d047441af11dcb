use ascend_sdk::{Refusal, mcp_governance, tools};

struct OrderId(u32);

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count(order: OrderId) -> Result<u32, Refusal> {
    Ok(order.0)
}

fn main() {
    let _ = tools![count];
}
