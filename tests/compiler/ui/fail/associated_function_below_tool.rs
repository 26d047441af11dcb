use ascend_sdk::mcp_governance;
use rmcp::{ErrorData, handler::server::wrapper::Parameters, tool, tool_router};

struct Server;

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Sql {
    sql: String,
}

#[tool_router]
impl Server {
    /// Runs it.
    #[tool]
    #[mcp_governance(action_type = "database.query", resource = "analytics")]
    async fn query(Parameters(Sql { sql }): Parameters<Sql>) -> Result<String, ErrorData> {
        Ok(sql)
    }
}

fn main() {}
