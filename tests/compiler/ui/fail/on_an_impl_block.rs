use ascend_sdk::mcp_governance;

struct Server;

#[mcp_governance(action_type = "database.count", resource = "database://main")]
impl Server {}

fn main() {}
