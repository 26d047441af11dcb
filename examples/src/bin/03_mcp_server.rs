//! ASCEND's example 03: four tools on three SQLite databases, the files under
//! one root, and real commands, each call governed.

use std::sync::OnceLock;

use ascend_examples::{
    commands::CommandError,
    database::DatabaseError,
    enterprise_tools::{
        self, CommandResult, DatabaseName, Enterprise, QueryResult, ReadResult, WriteResult,
    },
    files::FileError,
    host::{Host, Options, log_to_stderr},
    scenarios::{self, Expected, Scenario},
};
use ascend_sdk::{
    FileFacts, GovernedServer,
    classify::{self, Dialect, Root, Sql},
    mcp_governance, tools,
};
use serde_json::json;

const SQLITE: Sql = Sql::new(Dialect::Sqlite);

/// The root of all files, for the facts that policies read. What keeps a path
/// inside it is the access itself.
static ROOT: OnceLock<Root> = OnceLock::new();

fn file_facts(path: &str) -> FileFacts {
    let unknown = FileFacts { escapes: true, ..FileFacts::default() };
    ROOT.get().map_or(unknown, |root| root.facts(path))
}

/// Execute SQL queries on the database
#[mcp_governance(
    namespace = "database",
    verb = SQLITE.classify(query),
    resource = "database://{database}",
    summary = "Run {query} on {database}"
)]
async fn query_database(
    #[state] enterprise: Enterprise,
    /// SQL query
    query: String,
    /// Which database
    database: DatabaseName,
) -> Result<QueryResult, DatabaseError> {
    enterprise_tools::query_database(query, database, &enterprise).await
}

/// Read contents of a file
#[mcp_governance(
    action_type = "filesystem.read",
    facts = file_facts(path),
    resource = "file://{+path}",
    summary = "Read the file {path}"
)]
async fn read_file(
    #[state] enterprise: Enterprise,
    /// File path
    path: String,
) -> Result<ReadResult, FileError> {
    enterprise_tools::read_file(path, &enterprise).await
}

/// Write content to a file
#[mcp_governance(
    action_type = "filesystem.write",
    facts = file_facts(path),
    resource = "file://{+path}",
    summary = "Write the file {path}"
)]
async fn write_file(
    #[state] enterprise: Enterprise,
    /// File path
    path: String,
    /// What the file is to contain
    content: String,
) -> Result<WriteResult, FileError> {
    enterprise_tools::write_file(path, content, &enterprise).await
}

/// Execute shell commands (use with caution)
#[mcp_governance(
    action_type = "system.execute",
    facts = classify::shell(command).in_directory(working_directory.as_deref()),
    resource = "command://{command}",
    summary = "Run {command} in {working_directory}",
    risk_level = "high"
)]
async fn run_command(
    #[state] enterprise: Enterprise,
    /// One program and its arguments; there is no shell
    command: String,
    /// A folder under the root
    working_directory: Option<String>,
) -> Result<CommandResult, CommandError> {
    enterprise_tools::run_command(command, working_directory, &enterprise).await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse_for("An MCP server with governed SQL, files and commands");
    log_to_stderr();
    if options.test {
        return scenarios::run(&TOOLS, &scenarios()).await;
    }
    let host = Host::start("03_mcp_server", &options).await?;
    let enterprise = Enterprise::open(host.data()).await?;
    ROOT.get_or_init(|| enterprise.root().clone());
    let server = GovernedServer::new("mcp-enterprise-tools", host.governor())
        .title("Enterprise Tools Server")
        .state(enterprise)
        .tools(tools![query_database, read_file, write_file, run_command]);
    host.serve(server).await
}

const TOOLS: [(&str, &str); 4] = [
    ("query_database", "varies"),
    ("read_file", "LOW"),
    ("write_file", "MEDIUM"),
    ("run_command", "HIGH"),
];

fn scenarios() -> [Scenario; 6] {
    [
        Scenario {
            title: "Low risk: a SELECT on staging runs",
            tool: "query_database",
            arguments: json!({
                "query": "SELECT * FROM users WHERE active = true",
                "database": "staging",
            }),
            expected: Expected::Runs,
        },
        Scenario {
            title: "High risk: a DELETE on production waits for a person, then runs",
            tool: "query_database",
            arguments: json!({
                "query": "DELETE FROM users WHERE last_login < '2025-01-01'",
                "database": "production",
            }),
            expected: Expected::RunsOnceApproved,
        },
        Scenario {
            title: "Medium risk: a file is written",
            tool: "write_file",
            arguments: json!({ "path": "notes/hello.txt", "content": "hello" }),
            expected: Expected::Runs,
        },
        Scenario {
            title: "Low risk: the file is read",
            tool: "read_file",
            arguments: json!({ "path": "notes/hello.txt" }),
            expected: Expected::Runs,
        },
        Scenario {
            title: "Never: a path out of the root is blocked",
            tool: "read_file",
            arguments: json!({ "path": "../../etc/passwd" }),
            expected: Expected::Blocked,
        },
        Scenario {
            title: "High risk: a command waits for a person, then runs",
            tool: "run_command",
            arguments: json!({ "command": "wc -c hello.txt", "working_directory": "notes" }),
            expected: Expected::RunsOnceApproved,
        },
    ]
}
