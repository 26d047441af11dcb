use ascend_sdk::{Refusal, mcp_governance};

trait Counter {
    /// Counts rows.
    #[mcp_governance(action_type = "database.count", resource = "database://main")]
    async fn count(&self) -> Result<u32, Refusal>;
}

fn main() {}
