//! Methods of a plain rmcp server.
#![deny(warnings, missing_docs, clippy::pedantic)]

use ascend_sdk::{Governor, Refusal, high_risk_action, mcp_governance};
use rmcp::{
    ErrorData, Json, RoleServer, ServerHandler,
    handler::server::wrapper::Parameters,
    model::{CallToolResult, ContentBlock},
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which rows.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rows {
    /// The table.
    pub table: String,
    /// The password.
    pub password: String,
}

/// A server.
#[derive(Debug, Clone)]
pub struct Server {
    governor: Option<Governor>,
}

#[tool_router]
impl Server {
    /// Deletes rows.
    #[high_risk_action(
        action_type = "database.delete",
        resource = "database://{table}",
        summary = "Delete all of {table}"
    )]
    #[tool(name = "delete_rows", annotations(destructive_hint = true))]
    async fn delete(
        &self,
        #[sensitive(password)] Parameters(mut rows): Parameters<Rows>,
        #[context] request: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        rows.table.push_str(&rows.password);
        if rows.table.is_empty() {
            return Err(ErrorData::internal_error(request.id.to_string(), None));
        }
        let length = u32::try_from(rows.table.len())
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(CallToolResult::success(vec![ContentBlock::text(length.to_string())]))
    }

    /// Shows rows.
    #[mcp_governance(
        self.governor.as_ref().unwrap_or(&Governor::current().expect("a governor")),
        namespace = "database",
        verb = if rows.table == "log" { "audit" } else { "read" },
        resource = "database://{table}"
    )]
    #[tool]
    async fn show(&self, Parameters(rows): Parameters<Rows>) -> Result<Json<Rows>, ErrorData> {
        Ok(Json(rows))
    }

    /// Counts rows, without `self`.
    #[mcp_governance(action_type = "database.count", resource = "database")]
    #[tool]
    async fn count() -> Result<String, String> {
        Ok("0".to_owned())
    }

    /// Lists tables.
    #[mcp_governance(action_type = "database.list", resource = "database")]
    #[tool]
    async fn list(&self) -> CallToolResult {
        CallToolResult::success(vec![])
    }
}

#[tool_handler]
impl ServerHandler for Server {}

struct Counter {
    count: u32,
}

impl Counter {
    /// Not a tool of rmcp's, and governed all the same.
    #[mcp_governance(action_type = "counter.add", resource = "counter://{by}")]
    async fn add(&mut self, by: u32, mut times: u32) -> Result<u32, Refusal> {
        while times > 0 {
            self.count += by;
            times -= 1;
        }
        Ok(self.count)
    }
}

/// Compiles.
///
/// # Panics
///
/// When something is not as it was written.
pub fn main() {
    assert_eq!(Server::tool_router().list_all().len(), 4);
    drop(Server { governor: None });
    drop(Counter { count: 0 }.add(1, 2));
}
