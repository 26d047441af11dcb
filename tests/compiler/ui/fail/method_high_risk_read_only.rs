use ascend_sdk::high_risk_action;
use rmcp::{ErrorData, tool, tool_router};

struct Server;

#[tool_router]
impl Server {
    /// Wipes everything.
    #[high_risk_action(action_type = "disk.wipe", resource = "disk")]
    #[tool(annotations(read_only_hint = true))]
    async fn wipe(&self) -> Result<String, ErrorData> {
        Ok(String::new())
    }
}

fn main() {
    let _ = Server::tool_router();
}
