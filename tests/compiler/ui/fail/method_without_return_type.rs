use ascend_sdk::high_risk_action;
use rmcp::{tool, tool_router};

struct Server;

#[tool_router]
impl Server {
    /// Wipes everything.
    #[high_risk_action(action_type = "disk.wipe", resource = "disk")]
    #[tool]
    async fn wipe(&self) {
    }
}

fn main() {
    let _ = Server::tool_router();
}
