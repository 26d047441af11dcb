use ascend_sdk::mcp_governance;
use rmcp::{
    ErrorData,
    handler::server::wrapper::Parameters,
    model::{CallToolResult, ContentBlock},
    tool, tool_router,
};

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
    fn count(&self, Parameters(count): Parameters<Count>) -> Result<CallToolResult, ErrorData> {
        Ok(CallToolResult::success(vec![ContentBlock::text(count.table)]))
    }
}

fn main() {
    let _ = Server::tool_router();
}
