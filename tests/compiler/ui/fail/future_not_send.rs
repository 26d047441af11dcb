use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count() -> Result<u32, Refusal> {
    let rows = std::rc::Rc::new(0);
    tokio::task::yield_now().await;
    Ok(*rows)
}

fn main() {
    let _ = tools![count];
}
