use ascend_sdk::mcp_governance;
use rmcp::{
    ErrorData,
    handler::server::wrapper::Parameters,
    model::{CallToolResult, ContentBlock},
    tool, tool_router,
};

#[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Door {
    code: String,
}

struct Server;

#[tool_router]
impl Server {
    /// Opens a door.
    #[mcp_governance(action_type = "door.open", resource = "door")]
    #[tool]
    #[tracing::instrument(skip_all, fields(door = ?door))]
    async fn open(
        &self,
        #[sensitive(code)] Parameters(door): Parameters<Door>,
    ) -> Result<CallToolResult, ErrorData> {
        Ok(CallToolResult::success(vec![ContentBlock::text(door.code)]))
    }
}

fn main() {}
