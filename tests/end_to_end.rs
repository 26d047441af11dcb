//! Example 08 as its users run it: the built program, started over stdio by an
//! official MCP client, its delete approved on the approver's command line.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use ascend_tests::client::{Approver, Client, RemoteCenter, Server, call, call_aside, program};
use serde_json::{Value, json};

const COUNT: &str = "SELECT count(*) AS n FROM events";

fn governance(result: &Value) -> &Value {
    &result["_meta"]["governance"]
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

/// The users in the production database, counted without the server.
async fn users(data: &Path) -> i64 {
    let url = format!("sqlite://{}?mode=ro", data.join("production.sqlite").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&pool).await.unwrap()
}

/// The embedded center decides.
async fn embedded(client: Client) {
    let data = tempfile::tempdir().unwrap();
    let approver = Approver::of(data.path().join("center"));
    let server = Server::example("08_mcp_server", data.path());
    example_08(client, data.path(), &server, &approver).await;
}

/// A center of its own decides, over ASCEND's HTTP API.
async fn over_http(client: Client) {
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().join("remote");
    let center = RemoteCenter::start(&directory).await;
    let server = center
        .environment()
        .iter()
        .fold(Server::example("08_mcp_server", data.path()), |server, (name, value)| {
            server.env(name, value)
        });
    example_08(client, data.path(), &server, &Approver::of(directory)).await;
    assert!(!data.path().join("center").exists(), "no center was embedded");
}

async fn example_08(client: Client, data: &Path, server: &Server, approver: &Approver) {
    let inactive = json!({ "table": "users", "where_clause": "active = 0" });
    let calls = [
        call("query_analytics", json!({ "sql": COUNT })),
        call("query_analytics", json!({ "sql": "DROP TABLE events" })),
        call_aside("delete_records", inactive),
        call("query_analytics", json!({ "sql": COUNT })),
        call("query_analytics", json!({ "query": COUNT })),
    ];
    let mut session = client.start(server, &calls);

    let opened = session.next().await;
    assert!(opened.get("protocol").is_some(), "{opened}");
    let listed = session.next().await;
    let tools = listed["tools"].as_array().unwrap();
    assert_eq!(tools[0]["name"], "query_analytics");
    assert_eq!(tools[0]["description"], "Query with automatic governance [Risk: LOW]");
    assert_eq!(tools[0]["annotations"]["readOnlyHint"], true);
    assert_eq!(tools[0]["inputSchema"]["required"], json!(["sql"]));
    assert_eq!(tools[1]["description"], "Delete with required approval [Risk: HIGH]");
    assert_eq!(tools[1]["annotations"]["destructiveHint"], true);
    assert_eq!(tools[1]["inputSchema"]["required"], json!(["table", "where_clause"]));

    let count = session.result(0).await;
    assert_eq!(governance(&count)["status"], "approved", "{count}");
    assert_eq!(governance(&count)["decision"], "ALLOW");
    let events = count["structuredContent"]["rows"][0][0].clone();
    assert!(events.as_i64().unwrap() > 0, "{count}");

    let dropped = session.result(1).await;
    assert_eq!(dropped["isError"], true, "{dropped}");
    assert!(text(&dropped).starts_with("Action blocked by ASCEND governance policy"), "{dropped}");
    assert_eq!(governance(&dropped)["status"], "blocked");
    assert!(governance(&dropped)["reason"].is_string(), "told why: {dropped}");

    // The delete waits, and delays nobody.
    let again = session.result(3).await;
    assert_eq!(again["structuredContent"]["rows"][0][0], events, "nothing was dropped");
    let mistaken = session.result(4).await;
    assert_eq!(mistaken["isError"], true);
    assert!(text(&mistaken).contains("query"), "names the field: {mistaken}");

    let before = users(data).await;
    let pending = approver.pending().await;
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0]["summary"], "Delete rows of `users` where `active = 0`");
    assert_eq!(pending[0]["parameters"]["where_clause"], "active = 0");
    assert_eq!(users(data).await, before, "nothing runs before the approval");

    let id = pending[0]["id"].to_string();
    approver.run(&["approve", &id, "--comment", "inactive for a year"]).await;
    let deleted = session.result(2).await;
    assert_eq!(governance(&deleted)["status"], "approved", "{deleted}");
    assert_eq!(governance(&deleted)["decision"], "REQUIRE_APPROVAL");
    assert_eq!(governance(&deleted)["action_id"], id);
    assert!(governance(&deleted)["reviewed_by"].is_string(), "{deleted}");
    let rows = deleted["structuredContent"]["rows_affected"].as_i64().unwrap();
    assert!(rows > 0, "{deleted}");
    assert_eq!(users(data).await, before - rows, "it ran once");
    session.finished().await;
}

#[tokio::test]
async fn example_08_with_the_python_client_1() {
    embedded(Client::Python1).await;
}

#[tokio::test]
async fn example_08_with_the_python_client_2() {
    embedded(Client::Python2).await;
}

#[tokio::test]
async fn example_08_with_the_typescript_client_1() {
    embedded(Client::TypeScript1).await;
}

#[tokio::test]
async fn example_08_with_the_typescript_client_2() {
    embedded(Client::TypeScript2).await;
}

#[tokio::test]
async fn example_08_over_http_with_the_python_client() {
    over_http(Client::Python2).await;
}

#[tokio::test]
async fn example_08_over_http_with_the_typescript_client() {
    over_http(Client::TypeScript1).await;
}

/// A call is answered as pending, approved, and made again. What a tool with an
/// output schema says of that must not be thrown away by the client.
async fn pending_and_called_again(client: Client) {
    let center = tempfile::tempdir().unwrap();
    let approver = Approver::of(center.path());
    let server = Server::at(Path::new(env!("CARGO_BIN_EXE_governed_fixture")))
        .env("CENTER", &center.path().display().to_string())
        .env("HOLD", "3000");
    let x = json!({ "text": "x" });
    let calls = [
        call("guarded_plain", x.clone()),
        call("guarded_plain", x.clone()),
        call("guarded", x.clone()),
        call("guarded", x),
    ];
    let mut session = client.start(&server, &calls);
    session.next().await;
    session.next().await;
    for (first, is_error) in [(0, false), (2, true)] {
        let pending = session.result(first).await;
        assert_eq!(governance(&pending)["status"], "pending", "{pending}");
        assert_eq!(pending["isError"], is_error);
        let id = governance(&pending)["action_id"].as_str().unwrap().to_owned();
        approver.run(&["approve", &id]).await;
        let ran = session.result(first + 1).await;
        assert_eq!(governance(&ran)["status"], "approved", "{ran}");
        assert_eq!(governance(&ran)["action_id"], id);
    }
    session.finished().await;
}

#[tokio::test]
async fn pending_and_called_again_with_the_python_clients() {
    pending_and_called_again(Client::Python1).await;
    pending_and_called_again(Client::Python2).await;
}

#[tokio::test]
async fn pending_and_called_again_with_the_typescript_clients() {
    pending_and_called_again(Client::TypeScript1).await;
    pending_and_called_again(Client::TypeScript2).await;
}

/// Some clients start a server twice, and several may share the files.
#[tokio::test]
async fn two_servers_start_at_once_over_the_same_files() {
    let data = tempfile::tempdir().unwrap();
    let approver = Approver::of(data.path().join("center"));
    let server = Server::example("08_mcp_server", data.path());
    let delete = |active| {
        call(
            "delete_records",
            json!({ "table": "users", "where_clause": format!("active = {active}") }),
        )
    };
    let count = call("query_analytics", json!({ "sql": COUNT }));
    let mut sessions = [
        Client::Python2.start(&server, &[count.clone(), delete(0)]),
        Client::TypeScript1.start(&server, &[count.clone(), delete(1)]),
    ];
    let mut counts = Vec::new();
    for session in &mut sessions {
        session.next().await;
        session.next().await;
        counts.push(session.result(0).await["structuredContent"]["rows"][0][0].clone());
    }
    assert_eq!(counts[0], counts[1], "both saw the data, made once");

    // Each hears the decision that the command line wrote to the shared file.
    let pending = loop {
        let pending = approver.pending().await;
        if pending.len() == 2 {
            break pending;
        }
    };
    for action in &pending {
        approver.run(&["approve", &action["id"].to_string()]).await;
    }
    let mut deleted = 0;
    for mut session in sessions {
        let result = session.result(1).await;
        assert_eq!(governance(&result)["status"], "approved", "{result}");
        deleted += result["structuredContent"]["rows_affected"].as_i64().unwrap();
        session.finished().await;
    }
    assert_eq!(deleted, 120, "each delete ran, and none twice");
    assert_eq!(users(data.path()).await, 0);
}

/// A call whose client is gone is withdrawn, and can be approved no more.
#[tokio::test]
async fn a_client_that_goes_away_takes_its_call_along() {
    let data = tempfile::tempdir().unwrap();
    let approver = Approver::of(data.path().join("center"));
    let server = Server::example("08_mcp_server", data.path());
    let delete = json!({ "table": "users", "where_clause": "active = 0" });
    let mut session = Client::Python2.start(&server, &[call("delete_records", delete)]);
    session.next().await;
    session.next().await;
    let pending = approver.pending().await;
    drop(session);
    let id = pending[0]["id"].to_string();
    let refused = approver.fails(&["approve", &id]).await;
    assert!(refused.contains("withdrew"), "{refused}");
    assert_eq!(users(data.path()).await, 120);
}

/// A changed risk is a changed line in review: when this fails, read the
/// difference, and write the file anew if it is meant.
#[tokio::test]
async fn the_manifest_of_example_08_is_the_committed_one() {
    let data = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(program("08_mcp_server"))
        .args(["--manifest", "--data"])
        .arg(data.path())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let committed = include_str!("../examples/manifests/08_mcp_server.json");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), committed);
}
