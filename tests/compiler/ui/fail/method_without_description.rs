use ascend_sdk::high_risk_action;
use rmcp::{ErrorData, tool, tool_router};

struct Server;

#[tool_router]
impl Server {
    #[high_risk_action(action_type = "disk.wipe", resource = "disk")]
    #[tool]
    async fn wipe(&self) -> Result<String, ErrorData> {
        Ok(String::new())
    }
}

fn main() {
    let _ = Server::tool_router();
}
