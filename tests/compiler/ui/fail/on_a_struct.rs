use ascend_sdk::mcp_governance;

#[mcp_governance(action_type = "database.count", resource = "database://main")]
struct Count;

fn main() {}
