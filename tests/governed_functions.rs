//! Governed functions and methods, called directly, under a scripted authority.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![deny(missing_docs, clippy::pedantic)]

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ascend_sdk::{
    Action, ActionId, Approval, Arguments as _, Authority, AuthorityError, BoxFuture, CallContext,
    Claim, Content, Decision, Digest, Evaluation, Governor, Outcome, Refusal, RefusalKind,
    Rejection, Review, RiskLevel, SessionContext, high_risk_action, mcp_governance, tools,
};
use rmcp::{
    ErrorData,
    handler::server::wrapper::Parameters,
    model::{CallToolResult, ContentBlock},
    tool, tool_router,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Notify, mpsc};

/// What the authority answers to one evaluation.
enum Answer {
    Allow,
    AllowApprovedBy(&'static str),
    Deny(&'static str),
    AskPerson,
}

/// An authority that answers from a script, and remembers what it was asked.
#[derive(Clone)]
struct Script(Arc<Inner>);

struct Inner {
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Action>>,
    claimed: Mutex<Vec<Digest>>,
    asked: Notify,
    review: Mutex<Option<Review>>,
    reviewed: Notify,
    outcomes: Mutex<mpsc::UnboundedReceiver<(ActionId, Outcome)>>,
    report: mpsc::UnboundedSender<(ActionId, Outcome)>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let (report, outcomes) = mpsc::unbounded_channel();
        Self(Arc::new(Inner {
            answers: Mutex::new(answers.into_iter().collect()),
            seen: Mutex::default(),
            claimed: Mutex::default(),
            asked: Notify::new(),
            review: Mutex::default(),
            reviewed: Notify::new(),
            outcomes: Mutex::new(outcomes),
            report,
        }))
    }

    /// A person decides.
    fn decide(&self, review: Review) {
        *self.0.review.lock().unwrap() = Some(review);
        self.0.reviewed.notify_one();
    }

    fn seen(&self) -> Vec<Action> {
        self.0.seen.lock().unwrap().clone()
    }

    fn only(&self) -> Action {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "one evaluation");
        seen[0].clone()
    }

    /// The next report.
    async fn outcome(&self) -> Outcome {
        std::future::poll_fn(|context| self.0.outcomes.lock().unwrap().poll_recv(context))
            .await
            .unwrap()
            .1
    }

    /// Runs `call` under a governor over this authority.
    async fn under<F: Future>(&self, call: F) -> F::Output {
        Governor::new(self.clone()).scope(call).await
    }
}

impl Authority for Script {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        Box::pin(async move {
            let number = {
                let mut seen = self.0.seen.lock().unwrap();
                seen.push(action.clone());
                seen.len()
            };
            let answer = self.0.answers.lock().unwrap().pop_front().unwrap();
            let mut evaluation = Evaluation {
                decision: Decision::Allow,
                action_id: ActionId::new(number.to_string()).unwrap(),
                risk_score: 20,
                risk_level: RiskLevel::Low,
                reason: None,
                refusal: None,
                approval: None,
                estimated_approval_time: None,
                expires_in: None,
                in_client_approval: false,
            };
            match answer {
                Answer::Allow => {}
                Answer::AllowApprovedBy(person) => evaluation.approval = Some(approval(person)),
                Answer::Deny(reason) => {
                    evaluation.decision = Decision::Deny;
                    evaluation.reason = Some(reason.to_owned());
                }
                Answer::AskPerson => evaluation.decision = Decision::RequireApproval,
            }
            Ok(evaluation)
        })
    }

    fn await_review<'a>(
        &'a self,
        _: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        Box::pin(async {
            self.0.asked.notify_one();
            self.0.reviewed.notified().await;
            Ok(self.0.review.lock().unwrap().take().unwrap())
        })
    }

    fn claim<'a>(
        &'a self,
        _: &'a ActionId,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        self.0.claimed.lock().unwrap().push(*digest);
        Box::pin(async { Ok(Claim::Granted) })
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        self.0.report.send((id.clone(), outcome.clone())).unwrap();
        Box::pin(async { Ok(()) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "a script".to_owned()
    }
}

fn approval(person: &str) -> Approval {
    Approval { reviewed_by: Some(person.to_owned()), comments: None }
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum DbError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no table for {0:?}")]
    NoTable(String),
}

fn kind<T>(result: Result<T, DbError>) -> RefusalKind {
    match result {
        Err(DbError::Refused(refusal)) => refusal.kind(),
        Err(error) => panic!("not refused: {error}"),
        Ok(_) => panic!("it ran"),
    }
}

/// How often a body ran.
#[derive(Debug, Clone, Default)]
struct Runs(Arc<AtomicU32>);

impl Runs {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
struct Rows {
    table: String,
    limit: Option<u32>,
}

/// Queries a table.
#[mcp_governance(
    action_type = "database.query",
    resource = "database://main/{table}",
    summary = "Read {limit} rows of {table}",
    metadata(team = "data")
)]
async fn query(#[state] runs: Runs, table: String, limit: Option<u32>) -> Result<Rows, DbError> {
    runs.add();
    Ok(Rows { table, limit })
}

/// What a body saw of its call.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
struct Seen {
    action: Option<String>,
    reviewer: Option<String>,
    session: String,
}

/// Deletes a table.
#[high_risk_action(
    action_type = "database.delete",
    resource = "database://main/{table}",
    approval_timeout = "90s"
)]
async fn delete(
    #[context] call: CallContext,
    #[state] runs: Runs,
    table: String,
) -> Result<Seen, DbError> {
    runs.add();
    drop(table);
    Ok(Seen {
        action: call.action_id().map(ToString::to_string),
        reviewer: call.reviewed_by().map(str::to_owned),
        session: call.session().session_id.clone(),
    })
}

/// Counts down, by calling itself.
#[mcp_governance(action_type = "counter.down", resource = "counter://{from}")]
async fn count_down(#[state] runs: Runs, from: u32) -> Result<u32, DbError> {
    runs.add();
    if from == 0 { Ok(0) } else { count_down(runs, from - 1).await }
}

/// Signs in.
#[mcp_governance(action_type = "account.sign_in", resource = "account://{user}")]
async fn sign_in(
    user: String,
    #[sensitive] password: String,
    #[sensitive] codes: Vec<u32>,
) -> Result<String, DbError> {
    Err(DbError::NoTable(format!("{user}/{password}/{codes:?}")))
}

/// Runs SQL.
#[mcp_governance(
    namespace = "database",
    verb = if sql.starts_with("SELECT") { "read" } else { "write" },
    resource = "database://{+path}"
)]
async fn run(sql: String, path: String) -> Result<Content, DbError> {
    Ok(Content::text(sql + &path))
}

static BOUND: LazyLock<Script> = LazyLock::new(|| Script::new([Answer::Deny("bound")]));
static GOVERNOR: LazyLock<Governor> = LazyLock::new(|| Governor::new(BOUND.clone()));

/// Bound to a governor of its own.
#[mcp_governance(GOVERNOR, action_type = "bound.run", resource = "bound")]
async fn bound() -> Result<(), DbError> {
    Ok(())
}

#[tokio::test]
async fn an_allowed_call_runs_once_and_is_reported() {
    let script = Script::new([Answer::Allow]);
    let runs = Runs::default();
    let rows = script.under(query(runs.clone(), "log".to_owned(), Some(3))).await;
    assert_eq!(rows, Ok(Rows { table: "log".to_owned(), limit: Some(3) }));
    assert_eq!(runs.count(), 1);
    assert!(matches!(script.outcome().await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn the_authority_sees_what_the_attribute_says() {
    let script = Script::new([Answer::Allow]);
    script.under(query(Runs::default(), "a/b `c`\u{202e}".to_owned(), None)).await.unwrap();
    let action = script.only();
    assert_eq!(action.tool, "query");
    assert_eq!(action.description, "Queries a table.");
    assert_eq!(action.action_type(), "database.query");
    assert_eq!(action.resource, "database://main/a%2Fb%20%60c%60%E2%80%AE");
    assert_eq!(action.summary.as_deref(), Some("Read `null` rows of `a/b \\`c\\`\\u{202e}`"));
    assert_eq!(action.metadata.get("team").map(String::as_str), Some("data"));
    assert_eq!(
        serde_json::Value::Object(action.parameters),
        json!({ "table": "a/b `c`\u{202e}", "limit": null })
    );
}

#[tokio::test]
async fn a_denied_call_does_not_run() {
    let script = Script::new([Answer::Deny("not on Sundays")]);
    let runs = Runs::default();
    let result = script.under(query(runs.clone(), "log".to_owned(), None)).await;
    let Err(DbError::Refused(refusal)) = result else { panic!("refused: {result:?}") };
    assert_eq!(refusal.kind(), RefusalKind::Denied);
    assert_eq!(refusal.reason(), Some("not on Sundays"));
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn without_a_governor_nothing_runs() {
    let runs = Runs::default();
    let result = query(runs.clone(), "log".to_owned(), None).await;
    assert_eq!(kind(result), RefusalKind::NoGovernor);
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_person_approves_and_the_body_knows_who() {
    let script = Script::new([Answer::AskPerson]);
    let runs = Runs::default();
    let session =
        SessionContext { session_id: "session-7".to_owned(), ..SessionContext::default() };
    let cancellation = CallContext::default().cancellation().clone();
    let context = CallContext::new(session, cancellation);
    let call = tokio::spawn({
        let (script, runs) = (script.clone(), runs.clone());
        async move { script.under(delete(context, runs, "log".to_owned())).await }
    });
    script.0.asked.notified().await;
    assert_eq!(runs.count(), 0, "it waits");
    script.decide(Review::Approved(approval("ada")));
    assert_eq!(
        call.await.unwrap(),
        Ok(Seen {
            action: Some("1".to_owned()),
            reviewer: Some("ada".to_owned()),
            session: "session-7".to_owned()
        })
    );
    assert_eq!(runs.count(), 1);
    assert_eq!(script.only().session_context.session_id, "session-7");
}

#[tokio::test]
async fn a_person_rejects() {
    let script = Script::new([Answer::AskPerson]);
    let runs = Runs::default();
    script.decide(Review::Rejected(Rejection {
        kind: RefusalKind::Rejected,
        reason: Some("no".to_owned()),
        reviewed_by: Some("ada".to_owned()),
    }));
    let result = script.under(delete(CallContext::default(), runs.clone(), "log".to_owned())).await;
    let Err(DbError::Refused(refusal)) = result else { panic!("refused: {result:?}") };
    assert_eq!(refusal.kind(), RefusalKind::Rejected);
    assert_eq!(refusal.reviewed_by(), Some("ada"));
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_floor_is_not_lowered_by_the_authority() {
    let delete = |runs: &Runs| delete(CallContext::default(), runs.clone(), "log".to_owned());
    let runs = Runs::default();

    let script = Script::new([Answer::Allow]);
    assert_eq!(kind(script.under(delete(&runs)).await), RefusalKind::ApprovalMissing);

    let script = Script::new([Answer::AskPerson]);
    script.decide(Review::AutoApproved);
    assert_eq!(kind(script.under(delete(&runs)).await), RefusalKind::ApprovalMissing);
    assert!(matches!(script.outcome().await, Outcome::Withdrawn { .. }));
    assert_eq!(runs.count(), 0);

    let script = Script::new([Answer::AllowApprovedBy("ada")]);
    let seen = script.under(delete(&runs)).await.unwrap();
    assert_eq!(seen.reviewer.as_deref(), Some("ada"));
    assert_eq!(runs.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_when_the_attribute_says_so() {
    let script = Script::new([Answer::AskPerson]);
    let runs = Runs::default();
    let start = tokio::time::Instant::now();
    let result = script.under(delete(CallContext::default(), runs.clone(), "log".to_owned())).await;
    assert_eq!(kind(result), RefusalKind::TimedOut);
    assert_eq!(start.elapsed().as_secs(), 90);
    assert_eq!(runs.count(), 0);
    assert!(matches!(script.outcome().await, Outcome::Withdrawn { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_never_runs() {
    let script = Script::new([Answer::AskPerson]);
    let runs = Runs::default();
    let call = script.under(delete(CallContext::default(), runs.clone(), "log".to_owned()));
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    script.decide(Review::Approved(approval("ada")));
    assert!(matches!(script.outcome().await, Outcome::Withdrawn { .. }));
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_call_from_inside_a_body_is_governed_again() {
    let script = Script::new([Answer::Allow, Answer::Allow, Answer::Deny("enough")]);
    let runs = Runs::default();
    let result = script.under(count_down(runs.clone(), 5)).await;
    assert_eq!(kind(result), RefusalKind::Denied);
    assert_eq!(runs.count(), 2);
    let resources: Vec<_> = script.seen().into_iter().map(|action| action.resource).collect();
    assert_eq!(resources, ["counter://5", "counter://4", "counter://3"]);
}

#[tokio::test]
async fn a_sensitive_value_stays_in_the_process() {
    let script = Script::new([Answer::Allow]);
    let call = sign_in("ada".to_owned(), "hunter\"2".to_owned(), vec![73_501]);
    let result = script.under(call).await;
    let Err(DbError::NoTable(text)) = result else { panic!("it ran: {result:?}") };
    assert!(text.contains("hunter\"2"), "a direct caller is inside");

    let action = script.only();
    assert_eq!(
        serde_json::Value::Object(action.parameters.clone()),
        json!({ "user": "ada", "password": "[sensitive]", "codes": "[sensitive]" })
    );
    assert!(!serde_json::to_string(&action).unwrap().contains("hunter"));
    let Outcome::Failed { error, .. } = script.outcome().await else { panic!("it failed") };
    assert!(error.contains("ada"), "{error}");
    assert!(!error.contains("hunter") && !error.contains("73501"), "{error}");
}

#[tokio::test]
async fn the_claim_is_for_exactly_what_was_evaluated() {
    let digest = |table: &'static str, limit| async move {
        let script = Script::new([Answer::Allow]);
        script.under(query(Runs::default(), table.to_owned(), limit)).await.unwrap();
        let claimed = script.0.claimed.lock().unwrap().clone();
        assert_eq!(claimed, [script.only().digest]);
        claimed[0]
    };
    let first = digest("log", Some(1)).await;
    assert_eq!(first, digest("log", Some(1)).await);
    assert_ne!(first, digest("log", Some(2)).await);
    assert_ne!(first, digest("logs", Some(1)).await);
    assert_ne!(first, digest("log", None).await);
}

#[tokio::test]
async fn a_sensitive_value_cannot_be_guessed_from_the_digest() {
    let script = Script::new([Answer::Allow, Answer::Allow]);
    for _ in 0..2 {
        let call = sign_in("ada".to_owned(), "1".to_owned(), vec![]);
        script.under(call).await.unwrap_err();
    }
    let seen = script.seen();
    assert_ne!(seen[0].digest, seen[1].digest, "each action has a salt of its own");
}

#[tokio::test]
async fn the_verb_follows_from_the_arguments() {
    let script = Script::new([Answer::Allow, Answer::Allow]);
    for sql in ["SELECT 1", "DELETE FROM log"] {
        script.under(run(sql.to_owned(), "main".to_owned())).await.unwrap();
    }
    let verbs: Vec<_> = script.seen().into_iter().map(|action| action.verb).collect();
    assert_eq!(verbs, ["read", "write"]);
}

#[tokio::test]
async fn a_path_keeps_its_slashes_and_shows_its_dots() {
    let script = Script::new([Answer::Allow]);
    script.under(run("SELECT 1".to_owned(), "a b/../c?d#e".to_owned())).await.unwrap();
    assert_eq!(script.only().resource, "database://a%20b/%2E%2E/c%3Fd%23e");
}

#[tokio::test]
async fn a_bound_governor_goes_before_the_current_one() {
    let script = Script::new([Answer::Allow]);
    assert_eq!(kind(script.under(bound()).await), RefusalKind::Denied);
    assert!(script.seen().is_empty());
    assert_eq!(BOUND.seen().len(), 1);
}

#[tokio::test]
async fn a_body_that_panics_is_reported_as_failed() {
    /// Panics.
    #[mcp_governance(action_type = "panic.run", resource = "panic")]
    async fn panics(number: u32) -> Result<u32, DbError> {
        assert_eq!(number, 0, "on purpose");
        Ok(number)
    }

    let script = Script::new([Answer::Allow]);
    let call = tokio::spawn({
        let script = script.clone();
        async move { script.under(panics(1)).await }
    });
    assert!(call.await.unwrap_err().is_panic());
    assert!(matches!(script.outcome().await, Outcome::Failed { .. }));
}

#[test]
fn arguments_are_read_as_the_schema_says() {
    /// Reads a page.
    #[mcp_governance(action_type = "page.read", resource = "page://{number}")]
    async fn page(
        #[serde(rename = "page")] number: u32,
        #[serde(default)] size: u32,
        filter: Option<String>,
        flags: Vec<bool>,
    ) -> Result<u32, DbError> {
        drop((filter, flags));
        Ok(number + size)
    }

    let read = |value: serde_json::Value| page::read(value.as_object().unwrap().clone());
    let written = read(json!({ "page": 1, "flags": [] })).unwrap().write().unwrap();
    assert_eq!(written, json!({ "page": 1, "size": 0, "filter": null, "flags": [] }));
    for wrong in [
        json!({ "flags": [] }),
        json!({ "page": 1 }),
        json!({ "number": 1, "flags": [] }),
        json!({ "page": 1, "flags": [], "more": 1 }),
        json!({ "page": -1, "flags": [] }),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
    let tools = tools![page];
    let route = &tools.routes()[0];
    let schema = serde_json::Value::Object(route.input_schema());
    assert_eq!(schema["required"], json!(["page", "flags"]));
    assert_eq!(route.spec().parameters[0].name, "page");
}

#[test]
fn calls_can_be_spawned() {
    fn spawnable<T: Send + 'static>(_: T) {}
    spawnable(query(Runs::default(), String::new(), None));
    spawnable(count_down(Runs::default(), 1));
}

#[test]
fn a_tool_knows_where_it_is_written() {
    let tools = tools![query];
    let location = tools.routes()[0].spec().location;
    assert!(location.file.ends_with("governed_functions.rs"), "{location}");
    assert!(location.line > 100, "{location}");
}

/// A plain rmcp server.
struct Server {
    runs: Runs,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Deletion {
    table: String,
    password: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Renamed {
    pass_word: String,
}

#[tool_router]
impl Server {
    /// Deletes a table.
    #[high_risk_action(
        action_type = "database.delete",
        resource = "database://{table}",
        summary = "Delete {table}"
    )]
    #[tool(name = "delete_table")]
    async fn delete(
        &self,
        #[sensitive(password)] Parameters(deletion): Parameters<Deletion>,
    ) -> Result<CallToolResult, ErrorData> {
        self.runs.add();
        if deletion.table.is_empty() {
            return Err(ErrorData::internal_error(format!("with {}", deletion.password), None));
        }
        Ok(CallToolResult::success(vec![ContentBlock::text(deletion.table)]))
    }

    /// Counts tables.
    #[mcp_governance(action_type = "database.count", resource = "database")]
    #[tool]
    async fn count(&self) -> Result<String, ErrorData> {
        self.runs.add();
        Ok("0".to_owned())
    }

    /// Signs in.
    #[mcp_governance(action_type = "account.sign_in", resource = "account")]
    #[tool]
    async fn sign_in(
        &self,
        #[sensitive(pass_word)] Parameters(renamed): Parameters<Renamed>,
    ) -> Result<String, String> {
        self.runs.add();
        Ok(renamed.pass_word)
    }
}

fn deletion(table: &str) -> Parameters<Deletion> {
    Parameters(Deletion { table: table.to_owned(), password: "hunter2".to_owned() })
}

#[tokio::test]
async fn a_method_is_shown_with_its_fields() {
    let server = Server { runs: Runs::default() };
    let script = Script::new([Answer::AllowApprovedBy("ada")]);
    let result = script.under(server.delete(deletion("a/b"))).await.unwrap();
    assert_eq!(server.runs.count(), 1);
    assert_eq!(result.is_error, Some(false));
    let meta = serde_json::to_value(&result).unwrap()["_meta"]["governance"].clone();
    assert_eq!(meta["status"], "approved");
    assert_eq!(meta["reviewed_by"], "ada");

    let action = script.only();
    assert_eq!(action.tool, "delete_table");
    assert_eq!(action.resource, "database://a%2Fb");
    assert_eq!(action.summary.as_deref(), Some("Delete `a/b`"));
    assert!(action.floor.require_human_approval);
    assert_eq!(
        serde_json::Value::Object(action.parameters),
        json!({ "table": "a/b", "password": "[sensitive]" })
    );
    assert!(matches!(script.outcome().await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn a_refused_method_says_so_in_its_result() {
    let server = Server { runs: Runs::default() };
    let script = Script::new([Answer::Deny("no"), Answer::Deny("no")]);
    let result = script.under(server.delete(deletion("log"))).await.unwrap();
    assert_eq!(result.is_error, Some(true));
    let json = serde_json::to_value(&result).unwrap();
    assert_eq!(json["_meta"]["governance"]["refusal"], "denied");
    assert!(json["content"][0]["text"].as_str().unwrap().contains("It was not executed"));

    let error = script.under(server.count()).await.unwrap_err();
    assert_eq!(error.data.unwrap()["refusal"], "denied");
    assert_eq!(server.runs.count(), 0);
}

#[tokio::test]
async fn what_a_method_reports_holds_no_sensitive_value() {
    let server = Server { runs: Runs::default() };
    let script = Script::new([Answer::AllowApprovedBy("ada")]);
    script.under(server.delete(deletion(""))).await.unwrap_err();
    let Outcome::Failed { error, .. } = script.outcome().await else { panic!("it failed") };
    assert_eq!(error, "with [sensitive]");
}

#[tokio::test]
async fn a_method_without_a_governor_does_not_run() {
    let server = Server { runs: Runs::default() };
    let result = server.delete(deletion("log")).await.unwrap();
    assert_eq!(result.is_error, Some(true));
    assert_eq!(server.runs.count(), 0);
}

#[tokio::test]
async fn a_sensitive_field_that_cannot_be_masked_stops_the_call() {
    let server = Server { runs: Runs::default() };
    let script = Script::new([]);
    let call = server.sign_in(Parameters(Renamed { pass_word: "hunter2".to_owned() }));
    let error = script.under(call).await.unwrap_err();
    assert!(error.contains("`pass_word` goes by another name in JSON"), "{error}");
    assert!(script.seen().is_empty());
    assert_eq!(server.runs.count(), 0);
}

#[test]
fn a_governed_server_is_still_a_server_of_rmcp() {
    let names: Vec<_> =
        Server::tool_router().list_all().into_iter().map(|tool| tool.name.to_string()).collect();
    assert_eq!(names, ["count", "delete_table", "sign_in"]);
}
