//! Bare rmcp, ungoverned: what governance is added to. `stdio` or `pipes` as the
//! first argument says on which of its transports.

use rmcp::{
    ServerHandler, ServiceExt as _,
    handler::server::wrapper::Parameters,
    model::{ServerCapabilities, ServerConfig},
    tool, tool_handler, tool_router,
    transport::{stdio, stdio_pipes},
};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Query {
    /// One SELECT statement.
    sql: String,
    /// Which database.
    database: String,
}

#[derive(Clone)]
struct Server;

#[tool_router]
impl Server {
    #[tool(description = "Runs a read-only query")]
    async fn query(&self, Parameters(Query { sql, database }): Parameters<Query>) -> String {
        format!("{} rows of {database}", sql.len())
    }
}

#[tool_handler]
impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("stdio") {
        Server.serve(stdio()).await?.waiting().await?;
    } else {
        Server.serve(stdio_pipes()).await?.waiting().await?;
    }
    Ok(())
}
