//! ASCEND's example 08: an analytics query with automatic governance, and a
//! delete with required approval, on real SQLite databases.

use ascend_examples::{
    database::{AnalyticsAndProduction, DatabaseError, Deleted, Rows},
    host::{Host, Options, log_to_stderr},
    scenarios::{self, Expected, Scenario},
};
use ascend_sdk::{GovernedServer, classify, high_risk_action, mcp_governance, tools};
use clap::Parser as _;
use serde_json::json;

/// Query with automatic governance
#[mcp_governance(
    action_type = "database.query",
    resource = "analytics_db",
    facts = classify::sqlite(sql)
)]
async fn query_analytics(
    #[state] databases: AnalyticsAndProduction,
    /// One SELECT statement over the tables `events` and `customers`
    sql: String,
) -> Result<Rows, DatabaseError> {
    databases.query_analytics(&sql).await
}

/// Delete with required approval
#[high_risk_action(
    action_type = "database.delete",
    resource = "production_db",
    summary = "Delete rows of {table} where {where_clause}"
)]
async fn delete_records(
    #[state] databases: AnalyticsAndProduction,
    /// The table
    table: String,
    /// Which rows, as a SQL expression: `last_login < '2025-01-01'`
    where_clause: String,
) -> Result<Deleted, DatabaseError> {
    databases.delete_records(&table, &where_clause).await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    log_to_stderr();
    if options.test {
        return scenarios::run(&TOOLS, &scenarios()).await;
    }
    let host = Host::start("08_mcp_server", &options).await?;
    let server = GovernedServer::new("mcp-server-001", host.governor())
        .title("Analytics and production, governed")
        .state(AnalyticsAndProduction::open(host.data()).await?)
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
