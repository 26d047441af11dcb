use ascend_sdk::mcp_governance;
use rmcp::{handler::server::wrapper::Parameters, tool, tool_router};

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Count {
    table: String,
}

struct Server;

#[tool_router]
impl Server {
    /// Counts rows.
    #[mcp_governance(action_type = "database.count", resource = "database://{table}")]
    #[tool]
    async fn count(&self, Parameters(count): Parameters<Count>) -> String {
        count.table
    }
}

fn main() {
    let _ = Server::tool_router();
}
