//! The test kit: its suite on tools of all kinds, and that it finds what is wrong.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use ascend_sdk::{
    AuthorityError, GovernedServer, Governor, Outcome, Refusal, RefusalKind, high_risk_action,
    mcp_governance,
    testing::{Answer, Client, Script, governance_tests, suite},
    tools,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, thiserror::Error)]
enum DbError {
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Never called: the suite puts its own body in the place of this one.
fn never() -> DbError {
    panic!("the body of a tool ran in the suite")
}

/// Queries.
#[mcp_governance(action_type = "database.query", resource = "analytics_db")]
async fn query_analytics(sql: String) -> Result<String, DbError> {
    let _ = sql;
    Err(never())
}

/// Deletes.
#[high_risk_action(
    action_type = "database.delete",
    resource = "databases/{table}",
    summary = "Delete rows of {table} where {where_clause}"
)]
async fn delete_records(table: String, where_clause: String) -> Result<u64, DbError> {
    let _ = (table, where_clause);
    Err(never())
}

/// Pings.
#[mcp_governance(action_type = "host.read", resource = "host")]
async fn ping() -> Result<(), DbError> {
    Err(never())
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Card {
    number: String,
    owner: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
enum Currency {
    Eur,
}

mod payments {
    use super::*;

    /// Pays.
    #[high_risk_action(action_type = "payment.create", resource = "payments/{currency}")]
    pub(crate) async fn pay(
        #[sensitive] card: Card,
        currency: String,
        unit: Currency,
        cents: Vec<u64>,
        #[state] _ledger: std::sync::Arc<()>,
    ) -> Result<(), DbError> {
        let _ = (card, currency, unit, cents);
        Err(never())
    }
}

governance_tests!(query_analytics, sample = json!({ "sql": "SELECT 1" }));
governance_tests!(
    delete_records,
    sample = json!({ "table": "users", "where_clause": "active = 0" }),
);
governance_tests!(ping, sample = json!({}));
governance_tests!(
    payments::pay,
    sample = json!({
        "card": { "number": "4111111111111111" },
        "currency": "EUR",
        "unit": "Eur",
        "cents": [100],
    })
);

#[test]
#[should_panic = "the sample does not fit: invalid arguments for `delete_records`: missing field `where_clause`"]
fn a_sample_must_fit() {
    suite::denied::<delete_records>(json!({ "table": "users" }));
}

#[test]
#[should_panic = "the sample of `ping` is no JSON object"]
fn a_sample_must_be_an_object() {
    suite::denied::<ping>(json!(["a"]));
}

/// Opens.
#[mcp_governance(action_type = "vault.open", resource = "vaults/{vault}")]
async fn open_vault(vault: String, #[sensitive] code: String) -> Result<(), DbError> {
    let _ = (vault, code);
    Err(never())
}

#[test]
#[should_panic = "a sensitive value of `open_vault` left the process"]
fn a_leak_is_found() {
    suite::secrets::<open_vault>(json!({ "vault": "hunter2", "code": "hunter2" }));
}

#[test]
#[should_panic = "make it at least four characters long"]
fn a_secret_that_stands_anywhere_is_no_test() {
    suite::secrets::<open_vault>(json!({ "vault": "north", "code": "123" }));
}

#[test]
#[should_panic(expected = "left the process")]
fn a_secret_that_is_written_otherwise_is_found() {
    suite::secrets::<open_vault>(json!({ "vault": "pa\"ss\n1", "code": "pa\"ss\n1" }));
}

#[test]
#[should_panic(expected = "has no text and no number")]
fn a_secret_that_is_nothing_proves_nothing() {
    suite::secrets::<open_vault>(json!({ "vault": "north", "code": null }));
}

/// Says hello.
#[mcp_governance(action_type = "greeting.read", resource = "greeting")]
async fn greet(name: String) -> Result<String, DbError> {
    Ok(format!("hello {name}"))
}

/// Greets everybody.
#[high_risk_action(action_type = "greeting.send", resource = "greeting")]
async fn greet_all() -> Result<String, DbError> {
    Ok("hello all".to_owned())
}

fn server(script: &Script) -> GovernedServer {
    GovernedServer::new("test", Governor::new(script.clone())).tools(tools![greet, greet_all])
}

#[tokio::test(start_paused = true)]
async fn a_script_answers_in_order_and_a_client_sees_what_clients_see() {
    let script = Script::new(Answer::Allow)
        .next(Answer::Deny { reason: "too early".to_owned() })
        .next(Answer::Error(AuthorityError::Unreachable("no route".to_owned())))
        .next(Answer::Approve { after: Duration::from_secs(200), by: "mara".to_owned() });
    let client = Client::of(server(&script)).await;
    let ada = json!({ "name": "ada" });

    let denied = client.call("greet", ada.clone()).await;
    assert!(denied.is_error);
    assert_eq!(denied.governance["refusal"], RefusalKind::Denied.as_str());
    assert!(denied.text.contains("too early"), "{denied:?}");
    let unreachable = client.call("greet", ada.clone()).await;
    assert_eq!(unreachable.governance["refusal"], RefusalKind::Unreachable.as_str());
    let began = tokio::time::Instant::now();
    let approved = client.call("greet", ada.clone()).await;
    assert_eq!(began.elapsed().as_secs(), 200);
    assert_eq!(approved.governance["reviewed_by"], "mara");
    let allowed = client.call("greet", ada).await;
    assert_eq!(allowed.text, "hello ada");

    let asked = script.asked();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[0].action_type(), "greeting.read");
    let outcomes = script.outcomes(2).await;
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Completed { .. })));
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_test_decides_itself() {
    let script = Script::new(Answer::Hold);
    let client = Client::of(server(&script)).await;
    let first = client.begin("greet_all", json!({})).await;
    let second = client.begin("greet", json!({ "name": "bob" })).await;
    let waiting = script.waiting(2).await;
    let id = |tool: &str| {
        let at = script.asked().iter().position(|action| action.tool == tool).unwrap();
        waiting.iter().find(|id| id.as_str() == (at + 1).to_string()).unwrap().clone()
    };
    script.reject(&id("greet_all"), "mara", "nobody wants that");
    script.approve(&id("greet"), "mara");
    let first = first.answer().await;
    assert_eq!(first.governance["refusal"], RefusalKind::Rejected.as_str());
    assert!(first.text.contains("nobody wants that"), "{first:?}");
    assert_eq!(second.answer().await.text, "hello bob");
    client.close().await;
}
