//! Governance by hand, at its strongest: rmcp on its fast transport, and in the
//! tool one request to the authority over a client that keeps its connections.
//! It claims nothing, reports nothing and waits for nobody.

use std::sync::Arc;

use anyhow::Context as _;
use rmcp::{
    ErrorData, ServerHandler, ServiceExt as _,
    handler::server::wrapper::Parameters,
    model::{ServerCapabilities, ServerConfig},
    tool, tool_handler, tool_router,
    transport::stdio_pipes,
};
use serde_json::{Value, json};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Query {
    /// One SELECT statement.
    sql: String,
    /// Which database.
    database: String,
}

#[derive(Clone)]
struct Server {
    http: reqwest::Client,
    url: Arc<str>,
    key: Arc<str>,
}

#[tool_router]
impl Server {
    #[tool(description = "Runs a read-only query")]
    async fn query(
        &self,
        Parameters(Query { sql, database }): Parameters<Query>,
    ) -> Result<String, ErrorData> {
        self.evaluate(&sql, &database).await?;
        Ok(format!("{} rows of {database}", sql.len()))
    }

    async fn evaluate(&self, sql: &str, database: &str) -> Result<(), ErrorData> {
        let failed = |error: reqwest::Error| ErrorData::internal_error(error.to_string(), None);
        let question = json!({
            "server_id": "bench",
            "namespace": "database",
            "verb": "query",
            "resource": format!("database://{database}"),
            "tool_name": "query",
            "parameters": { "sql": sql, "database": database },
        });
        let answer: Value = self
            .http
            .post(&*self.url)
            .bearer_auth(&self.key)
            .json(&question)
            .send()
            .await
            .map_err(failed)?
            .error_for_status()
            .map_err(failed)?
            .json()
            .await
            .map_err(failed)?;
        match answer["decision"].as_str() {
            Some("ALLOW") => Ok(()),
            _ => Err(ErrorData::invalid_request(answer["reason"].to_string(), None)),
        }
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
    let base = std::env::var("ASCEND_BASE_URL").context("ASCEND_BASE_URL")?;
    let server = Server {
        http: reqwest::Client::builder().no_proxy().build()?,
        url: format!("{base}/mcp/governance/evaluate").into(),
        key: std::env::var("ASCEND_API_KEY").context("ASCEND_API_KEY")?.into(),
    };
    server.serve(stdio_pipes()).await?.waiting().await?;
    Ok(())
}
