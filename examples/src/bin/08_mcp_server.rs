//! ASCEND's example 08: an analytics query with automatic governance, and a
//! delete with required approval, on real SQLite databases.

use ascend_examples::{
    database::{Database, DatabaseError, Rows},
    host::{Host, Options, log_and_export},
    samples::Sample,
    scenarios::{self, Expected, Scenario},
};
use ascend_sdk::{
    GovernedServer,
    classify::{Dialect, Sql},
    high_risk_action, mcp_governance, tools,
};
use serde_json::json;

const SQLITE: Sql = Sql::new(Dialect::Sqlite);

/// What the two tools work on.
#[derive(Clone)]
struct Databases {
    analytics: Database,
    production: Database,
}

/// What a delete did.
#[derive(serde::Serialize, schemars::JsonSchema)]
struct Deleted {
    /// How many rows are gone.
    rows_affected: u64,
}

/// Query with automatic governance
#[mcp_governance(
    action_type = "database.query",
    resource = "analytics_db",
    facts = SQLITE.classify(sql)
)]
async fn query_analytics(
    #[state] databases: Databases,
    /// One SELECT statement over the tables `events` and `customers`
    sql: String,
) -> Result<Rows, DatabaseError> {
    databases.analytics.query(&sql).await
}

/// Delete with required approval
#[high_risk_action(
    action_type = "database.delete",
    resource = "production_db",
    summary = "Delete rows of {table} where {where_clause}"
)]
async fn delete_records(
    #[state] databases: Databases,
    /// The table
    table: String,
    /// Which rows, as a SQL expression: `last_login < '2025-01-01'`
    where_clause: String,
) -> Result<Deleted, DatabaseError> {
    let rows_affected = databases.production.delete(&table, &where_clause).await?;
    Ok(Deleted { rows_affected })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse_for(
        "An MCP server with a governed query and a delete that needs approval, on SQLite databases",
    );
    let _telemetry = log_and_export("08_mcp_server")?;
    if options.test {
        return scenarios::run(&TOOLS, &scenarios()).await;
    }
    let host = Host::start("08_mcp_server", &options).await?;
    let databases = Databases {
        analytics: Database::open(host.data(), Sample::Analytics).await?,
        production: Database::open(host.data(), Sample::Production).await?,
    };
    let server = GovernedServer::new("mcp-server-001", host.governor())
        .title("Analytics and production, governed")
        .state(databases)
        .tools(tools![query_analytics, delete_records]);
    host.serve(server).await
}

const TOOLS: [(&str, &str); 2] = [("query_analytics", "LOW"), ("delete_records", "HIGH")];

fn scenarios() -> [Scenario; 3] {
    [
        Scenario {
            title: "Low risk: a SELECT runs",
            tool: "query_analytics",
            arguments: json!({ "sql": "SELECT kind, count(*) AS events FROM events GROUP BY kind" }),
            expected: Expected::Runs,
        },
        Scenario {
            title: "High risk: a DELETE waits for a person, then runs",
            tool: "delete_records",
            arguments: json!({ "table": "users", "where_clause": "last_login < '2025-01-01'" }),
            expected: Expected::RunsOnceApproved,
        },
        Scenario {
            title: "Never: a DROP is blocked",
            tool: "query_analytics",
            arguments: json!({ "sql": "DROP TABLE events" }),
            expected: Expected::Blocked,
        },
    ]
}
