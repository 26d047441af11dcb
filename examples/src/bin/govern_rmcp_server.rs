//! A plain rmcp server, governed by one line per tool: what stands between the
//! markers is all that was added.

use std::{io, path::PathBuf, sync::Arc};

use ascend_examples::{
    host::{Host, Options, log_to_stderr},
    scenarios::{self, Expected, Scenario},
};
use ascend_sdk::{high_risk_action, mcp_governance};
use cap_std::{ambient_authority, fs::Dir};
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    handler::server::{router::tool::ToolRouter, wrapper::Parameters},
    model::{CallToolResult, ContentBlock, ServerCapabilities, ServerConfig},
    service::RequestContext,
    tool, tool_handler, tool_router,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService, stdio,
        streamable_http_server::session::local::LocalSessionManager,
    },
};
use serde_json::json;

/// Notes in one folder, a file each.
#[derive(Clone)]
struct Notes {
    folder: Arc<Dir>,
    tool_router: ToolRouter<Self>,
}

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Note {
    /// The note's name
    name: String,
    /// What it says
    text: String,
}

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Named {
    /// The note's name
    name: String,
}

#[tool_router]
impl Notes {
    fn open(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let folder = Arc::new(Dir::open_ambient_dir(folder, ambient_authority())?);
        Ok(Self { folder, tool_router: Self::tool_router() })
    }

    // ▼ added
    #[mcp_governance(action_type = "notes.list", resource = "notes")]
    // ▲
    #[tool(description = "List the notes")]
    async fn list_notes(&self) -> Result<CallToolResult, ErrorData> {
        let mut names = Vec::new();
        for entry in self.folder.entries().map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(CallToolResult::success(vec![ContentBlock::text(names.join("\n"))]))
    }

    // ▼ added
    #[mcp_governance(action_type = "notes.write", resource = "notes/{name}")]
    // ▲
    #[tool(description = "Write a note")]
    async fn write_note(
        &self,
        Parameters(note): Parameters<Note>,
    ) -> Result<CallToolResult, ErrorData> {
        self.folder.write(&note.name, &note.text).map_err(failed)?;
        Ok(CallToolResult::success(vec![ContentBlock::text("written")]))
    }

    // ▼ added
    #[high_risk_action(
        action_type = "notes.delete",
        resource = "notes/{name}",
        summary = "Delete the note {name}"
    )]
    // ▲
    #[tool(description = "Delete a note")]
    async fn delete_note(
        &self,
        Parameters(Named { name }): Parameters<Named>,
        #[context] _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        self.folder.remove_file(&name).map_err(failed)?;
        Ok(CallToolResult::success(vec![ContentBlock::text("deleted")]))
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Notes {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

fn failed(error: io::Error) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse_for("A plain rmcp server of notes, governed by one line per tool");
    log_to_stderr();
    if options.test {
        return scenarios::run(&[], &scenarios()).await;
    }
    anyhow::ensure!(!options.manifest, "a plain rmcp server has no manifest; see example 08");
    let host = Host::start("govern_rmcp_server", &options).await?;
    // ▼ added: the governor of every governed method in this process
    host.governor().install();
    // ▲
    let notes = Notes::open(host.data().join("notes"))?;
    if let Some(address) = options.http {
        let service = StreamableHttpService::new(
            move || Ok(notes.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let listener = tokio::net::TcpListener::bind(address).await?;
        tracing::info!("connect a client to http://{}/mcp", listener.local_addr()?);
        axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await?;
        return Ok(());
    }
    notes.serve(stdio()).await?.waiting().await?;
    Ok(())
}

fn scenarios() -> [Scenario; 3] {
    [
        Scenario {
            title: "A write runs",
            tool: "write_note",
            arguments: json!({ "name": "todo", "text": "water the plants" }),
            expected: Expected::Runs,
        },
        Scenario {
            title: "Low risk: a list runs",
            tool: "list_notes",
            arguments: json!({}),
            expected: Expected::Runs,
        },
        Scenario {
            title: "High risk: a delete waits for a person, then runs",
            tool: "delete_note",
            arguments: json!({ "name": "todo" }),
            expected: Expected::RunsOnceApproved,
        },
    ]
}
