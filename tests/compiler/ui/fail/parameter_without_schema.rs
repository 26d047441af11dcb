use ascend_sdk::{Refusal, mcp_governance, tools};

#[derive(serde::Serialize, serde::Deserialize)]
struct OrderId(u32);

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count(order: OrderId, limit: u32) -> Result<u32, Refusal> {
    Ok(order.0.min(limit))
}

fn main() {
    let _ = tools![count];
}
