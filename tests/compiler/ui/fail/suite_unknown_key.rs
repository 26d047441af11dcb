use ascend_sdk::{Refusal, mcp_governance, testing::governance_tests};

/// Tells the time.
#[mcp_governance(action_type = "clock.read", resource = "clock")]
async fn time() -> Result<u64, Refusal> {
    Ok(0)
}

governance_tests!(time, example = serde_json::json!({}));

fn main() {}
