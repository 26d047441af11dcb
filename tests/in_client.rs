//! Approval by the user of a client, who is asked there: a convenience that the
//! server and the policies must both allow.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ascend_center::{ActionState, Center, CenterConfig, Record, ServeConfig};
use ascend_sdk::{
    Action, ActionId, Approval, Authority, AuthorityError, BoxFuture, Claim, ClientAnswer,
    Confirmation, Decision, Digest, Evaluation, Governor, Outcome, Refusal, RefusalKind, Rejection,
    Review, RiskLevel, SessionContext, authority::Ascend, high_risk_action, mcp_governance,
    server::GovernedServer, tools,
};
use ascend_tests::{
    Scripted,
    client::{Client, Server, call, program},
    evaluation, fixture,
    modern::{self, Retry},
    raw_client::RawClient,
};
use serde_json::{Value, json};

/// How long a request is held, in milliseconds: short, since most are held in vain.
const HOLD: u64 = 100;

/// How many notes were written.
#[derive(Clone, Default)]
struct Notes(Arc<AtomicUsize>);

impl Notes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn add(&self) -> String {
        format!("note {}", self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

/// Writes a note.
#[mcp_governance(
    action_type = "notes.write",
    resource = "notes://{name}",
    summary = "Write the note {name}"
)]
async fn write_note(
    #[state] notes: Notes,
    name: String,
    text: String,
    #[sensitive] token: Option<String>,
) -> Result<ascend_sdk::Content, Refusal> {
    let _ = (name, text, token);
    Ok(ascend_sdk::Content::text(notes.add()))
}

/// Deletes all notes.
#[high_risk_action(action_type = "notes.write", resource = "notes")]
async fn delete_notes(#[state] notes: Notes) -> Result<ascend_sdk::Content, Refusal> {
    Ok(ascend_sdk::Content::text(notes.add()))
}

/// Writes a note that matters.
#[mcp_governance(action_type = "notes.write", resource = "notes", risk_level = "high")]
async fn write_important_note(#[state] notes: Notes) -> Result<ascend_sdk::Content, Refusal> {
    Ok(ascend_sdk::Content::text(notes.add()))
}

const POLICIES: &str = r#"
@id("all")
permit (principal, action, resource);

@id("writes")
@risk("45")
@decision("require_approval")
@in_client_approval("allow")
@reason("writing needs somebody's word")
forbid (principal, action in Action::"write", resource);

@id("secrets")
@decision("require_approval")
@reason("secrets are the approvers' own")
forbid (principal, action, resource)
when { resource.words.contains("secret") };

@id("grave")
@risk("70")
permit (principal, action, resource)
when { resource.words.contains("grave") };
"#;

struct Host {
    directory: tempfile::TempDir,
    center: Center,
    notes: Notes,
}

impl Host {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let policies = directory.path().join("policies");
        std::fs::create_dir(&policies).unwrap();
        std::fs::write(policies.join("notes.cedar"), POLICIES).unwrap();
        let config = CenterConfig::new(directory.path().join("center")).policies(policies);
        let center = Center::open(config).await.unwrap();
        Self { directory, center, notes: Notes::default() }
    }

    fn server_under(&self, governor: Governor) -> GovernedServer {
        GovernedServer::new("notes-001", governor).state(self.notes.clone()).tools(tools![
            write_note,
            delete_notes,
            write_important_note
        ])
    }

    fn client(&self) -> RawClient {
        let server = self.server_under(Governor::new(self.center.clone()));
        let server = server.in_client_approval(RiskLevel::Medium);
        RawClient::in_memory(server.hold_calls_for(Duration::from_millis(HOLD))).0
    }

    async fn record(&self, id: i64) -> Record {
        self.center.action(id).await.unwrap().unwrap()
    }

    async fn approve(&self, id: i64) {
        let approver = self.center.local_approver().await.unwrap();
        self.center.approve(id, &approver, None).await.unwrap();
    }
}

fn note(name: &str) -> Value {
    json!({ "name": name, "text": "hello", "token": "hunter2" })
}

async fn write(client: &mut RawClient, id: u32, name: &str, retry: Retry<'_>) -> Value {
    modern::call(client, id, "write_note", note(name), retry).await
}

/// The result once the call waits no more, however many requests that takes.
async fn settled(client: &mut RawClient, name: &str, retry: Retry<'_>) -> Value {
    let mut result = write(client, 100, name, retry).await;
    for id in 101.. {
        if result["resultType"] == "complete" {
            break;
        }
        let state = unasked(&result);
        result = write(client, id, name, Retry::of(Some(&state))).await;
    }
    result
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text: {result}"))
}

fn governance(result: &Value) -> &Value {
    &result["_meta"]["governance"]
}

/// The state of an answer that asks the user, and what it asks.
fn asked(result: &Value) -> (String, Value) {
    assert_eq!(result["resultType"], "input_required", "{result}");
    let question = &result["inputRequests"]["approval"];
    assert_eq!(question["method"], "elicitation/create", "{result}");
    let state = result["requestState"].as_str().unwrap().to_owned();
    (state, question["params"].clone())
}

/// The state of an answer that asks nobody anything.
fn unasked(result: &Value) -> String {
    assert_eq!(result["resultType"], "input_required", "{result}");
    assert!(result.get("inputRequests").is_none(), "{result}");
    result["requestState"].as_str().unwrap().to_owned()
}

fn answer(action: &str, decision: Option<&str>) -> Value {
    let mut answer = json!({ "action": action });
    if let Some(decision) = decision {
        answer["content"] = json!({ "decision": decision });
    }
    answer
}

fn with<'a>(state: &'a str, answer: Value) -> Retry<'a> {
    Retry { state: Some(state), answers: Some(json!({ "approval": answer })) }
}

/// A person needs a while. The server holds the answer against the clock on the
/// wall, which no test can stop.
async fn as_a_person_would() {
    tokio::time::sleep(Duration::from_millis(1_020)).await;
}

#[tokio::test]
async fn the_user_of_a_client_approves_by_its_next_request() {
    let host = Host::new().await;
    let mut client = host.client();
    let (state, question) = asked(&write(&mut client, 1, "plans", Retry::default()).await);
    assert_eq!(question["mode"], "form");
    assert_eq!(question["requestedSchema"]["required"], json!(["decision"]));
    assert_eq!(
        question["requestedSchema"]["properties"]["decision"]["enum"],
        json!(["approve", "reject"])
    );
    let card = question["message"].as_str().unwrap();
    for line in [
        "action     1, risk 45 (MEDIUM)",
        "what       Write the note `plans`",
        "tool       write_note (notes.write)",
        "resource   notes://plans",
        "arguments  \"name\": \"plans\"",
        "           \"token\": \"[sensitive]\"",
        "why        writing needs somebody's word (policy `writes`)",
    ] {
        assert!(card.lines().any(|found| found == line), "{line} is not in {card}");
    }
    assert!(!card.contains("hunter2"), "{card}");
    let record = host.record(1).await;
    assert!(record.promised && record.state == ActionState::Pending, "{record:?}");

    as_a_person_would().await;
    let approve = answer("accept", Some("approve"));
    let result = settled(&mut client, "plans", with(&state, approve.clone())).await;
    assert_eq!(text(&result), "note 1");
    assert_eq!(governance(&result)["reviewed_by"], "the user of modern 3 (in client)");
    let record = host.record(1).await;
    assert_eq!(record.reviewed_by.as_deref(), Some("the user of modern 3 (in client)"));
    let comments = record.comments.unwrap();
    assert!(comments.starts_with("told by `embedded`, session mcp-"), "{comments}");

    // Not again, by the same state and answer.
    let result = settled(&mut client, "plans", with(&state, approve)).await;
    assert_eq!(governance(&result)["refusal"], "already_executed", "{result}");
    assert_eq!(host.notes.count(), 1);
    assert_eq!(host.center.actions(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_user_of_a_client_rejects() {
    let host = Host::new().await;
    let mut client = host.client();
    let (state, _) = asked(&write(&mut client, 1, "plans", Retry::default()).await);
    as_a_person_would().await;
    let reject = answer("accept", Some("reject"));
    let result = settled(&mut client, "plans", with(&state, reject)).await;
    assert_eq!(governance(&result)["refusal"], "rejected", "{result}");
    assert_eq!(governance(&result)["reviewed_by"], "the user of modern 3 (in client)");
    // The same state again opens nothing.
    let result = write(&mut client, 2, "plans", Retry::of(Some(&state))).await;
    assert_eq!(result["isError"], true);
    assert!(text(&result).starts_with("the action that the call waited for is over"), "{result}");
    assert_eq!(host.center.actions(None, 10).await.unwrap().len(), 1);
    assert_eq!(host.notes.count(), 0);
}

#[tokio::test]
async fn what_is_no_approval_leaves_it_to_the_approvers_and_nobody_is_asked_again() {
    let host = Host::new().await;
    let mut client = host.client();
    let mut open = Vec::new();
    for number in 0..7 {
        let name = format!("plan{number}");
        open.push(asked(&write(&mut client, 1, &name, Retry::default()).await).0);
    }
    // At once: nobody could have read it.
    let result =
        write(&mut client, 2, "plan0", with(&open[0], answer("accept", Some("approve")))).await;
    let mut states = vec![unasked(&result)];
    as_a_person_would().await;
    for (number, said) in [
        (1, Some(answer("decline", Some("approve")))),
        (2, Some(answer("cancel", None))),
        (3, Some(answer("accept", None))),
        (4, Some(answer("accept", Some("yes")))),
        (5, Some(json!("accept"))),
        (6, None),
    ] {
        let retry = match said {
            Some(said) => with(&open[number], said),
            None => Retry::of(Some(&open[number])),
        };
        let name = format!("plan{number}");
        states.push(unasked(&write(&mut client, 2, &name, retry).await));
    }
    assert_eq!(host.notes.count(), 0);
    for (number, state) in states.iter().enumerate() {
        let name = format!("plan{number}");
        // An answer to a later leg is to nothing.
        let retry = with(state, answer("accept", Some("approve")));
        unasked(&write(&mut client, 3, &name, retry).await);
        // A call anew joins the action, whose user was asked.
        unasked(&write(&mut client, 4, &name, Retry::default()).await);
        let id = i64::try_from(number).unwrap() + 1;
        assert_eq!(host.record(id).await.state, ActionState::Pending);
        host.approve(id).await;
        let result = settled(&mut client, &name, Retry::of(Some(state))).await;
        assert_eq!(governance(&result)["status"], "approved", "{result}");
    }
    assert_eq!(host.notes.count(), 7);
    assert_eq!(host.center.actions(None, 100).await.unwrap().len(), 7, "seven actions in all");
}

#[tokio::test]
async fn an_approver_can_decide_while_the_user_is_asked() {
    let host = Host::new().await;
    let mut client = host.client();
    let (state, _) = asked(&write(&mut client, 1, "plans", Retry::default()).await);
    host.approve(1).await;
    as_a_person_would().await;
    // Too late: it is approved, and stays so, by whom it was.
    let reject = answer("accept", Some("reject"));
    let result = settled(&mut client, "plans", with(&state, reject)).await;
    assert_eq!(text(&result), "note 1");
    let reviewer = governance(&result)["reviewed_by"].as_str().unwrap();
    assert!(!reviewer.contains("in client"), "{reviewer}");
}

#[tokio::test]
async fn what_is_reserved_is_not_asked() {
    let host = Host::new().await;
    let mut client = host.client();
    // The tool wants a person; its risk is above the limit; a policy reserves it;
    // policy puts its risk above the limit.
    for (tool, arguments) in [
        ("delete_notes", json!({})),
        ("write_important_note", json!({})),
        ("write_note", note("secret")),
        ("write_note", note("grave")),
        // What nobody can survey.
        ("write_note", json!({ "name": "long", "text": "x".repeat(20_000) })),
    ] {
        unasked(&modern::call(&mut client, 1, tool, arguments, Retry::default()).await);
    }
    // A client that cannot show forms.
    for capabilities in [json!({}), json!({ "elicitation": { "url": {} } })] {
        let mut params = modern::params("write_note", note("quiet"), Retry::default());
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
        unasked(&client.request(2, "tools/call", params).await["result"]);
    }
    // A server that does not ask.
    let server = host.server_under(Governor::new(host.center.clone()));
    let server = server.hold_calls_for(Duration::from_millis(HOLD));
    let (mut client, _serving) = RawClient::in_memory(server);
    unasked(&write(&mut client, 1, "plans", Retry::default()).await);
}

#[tokio::test]
async fn a_question_is_of_one_call_alone() {
    let host = Host::new().await;
    let mut client = host.client();
    let (state, _) = asked(&write(&mut client, 1, "plans", Retry::default()).await);
    as_a_person_would().await;
    let retry = with(&state, answer("accept", Some("approve")));
    modern::begin(&mut client, 2, "write_note", note("other"), retry).await;
    let refused = client.answer(2).await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert_eq!(host.record(1).await.state, ActionState::Pending);
    assert_eq!(host.center.actions(None, 10).await.unwrap().len(), 1);
    assert_eq!(host.notes.count(), 0);
}

fn confirmation(answer: ClientAnswer) -> Confirmation {
    Confirmation { answer, session: SessionContext::default() }
}

#[tokio::test]
async fn the_center_takes_no_word_for_what_it_reserves_or_what_is_over() {
    let host = Host::new().await;
    let mut client = host.client();
    let retry = Retry::default;
    asked(&write(&mut client, 1, "plans", retry()).await);
    unasked(&write(&mut client, 1, "secret", retry()).await);
    unasked(&modern::call(&mut client, 1, "delete_notes", json!({}), retry()).await);
    let confirm = async |id: &str, answer| {
        let id = ActionId::new(id).unwrap();
        host.center.confirm(&id, &confirmation(answer)).await
    };
    for reserved in ["2", "3"] {
        for said in [ClientAnswer::Approved, ClientAnswer::Rejected] {
            let error = confirm(reserved, said).await.unwrap_err();
            assert!(error.to_string().contains("reserved to the center's approvers"), "{error}");
        }
    }
    let approver = host.center.local_approver().await.unwrap();
    host.center.kill("stop", &approver).await.unwrap();
    let error = confirm("1", ClientAnswer::Approved).await.unwrap_err();
    assert!(error.to_string().contains("kill switch"), "{error}");
    host.center.release(&approver).await.unwrap();
    host.center.reject(1, &approver, None).await.unwrap();
    let error = confirm("1", ClientAnswer::Approved).await.unwrap_err();
    assert!(error.to_string().contains("action 1 is not pending any more"), "{error}");
    let error = confirm("99", ClientAnswer::Approved).await.unwrap_err();
    assert!(error.to_string().contains("there is no action 99"), "{error}");
    for (id, state) in
        [(1, ActionState::Rejected), (2, ActionState::Pending), (3, ActionState::Pending)]
    {
        assert_eq!(host.record(id).await.state, state);
    }
}

#[tokio::test]
async fn over_http_the_agents_key_tells_it_of_the_agents_own_actions() {
    let host = Host::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let center = host.center.clone();
    tokio::spawn(async move {
        center.serve(listener, ServeConfig::new(), std::future::pending()).await.unwrap();
    });
    let ascend = Ascend::builder(host.center.agent_key().unwrap()).base_url(&url).build().unwrap();
    let server = host.server_under(Governor::new(ascend)).in_client_approval(RiskLevel::Medium);
    let (mut client, _serving) =
        RawClient::in_memory(server.hold_calls_for(Duration::from_millis(HOLD)));
    let (state, _) = asked(&write(&mut client, 1, "plans", Retry::default()).await);
    unasked(&write(&mut client, 1, "secret", Retry::default()).await);
    as_a_person_would().await;
    let retry = with(&state, answer("accept", Some("approve")));
    let result = settled(&mut client, "plans", retry).await;
    assert_eq!(text(&result), "note 1");
    assert_eq!(governance(&result)["reviewed_by"], "the user of modern 3 (in client)");

    // The route itself.
    let token = |name: &str| {
        let path = host.directory.path().join("center").join(name);
        let credential: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        credential["token"].as_str().unwrap().to_owned()
    };
    let confirm = async |id: &str, token: &str, body: Value| {
        let request = reqwest::Client::new()
            .post(format!("{url}/api/v1/actions/{id}/confirm"))
            .bearer_auth(token)
            .json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    let approve = || json!({ "decision": "approve" });
    let (agent, approver) = (token("agent.key"), token("approver.key"));
    assert_eq!(confirm("1", &agent, approve()).await, 409, "it ran");
    assert_eq!(confirm("2", &agent, approve()).await, 409, "it is reserved");
    assert_eq!(confirm("2", &approver, approve()).await, 403);
    assert_eq!(confirm("2", "ascend_unknown", approve()).await, 401);
    assert_eq!(confirm("99", &agent, approve()).await, 404);
    assert_eq!(confirm("2", &agent, json!({ "decision": "yes" })).await, 422);
    // An action of another agent is none.
    let id = {
        let mut client = host.client();
        asked(&write(&mut client, 1, "embedded", Retry::default()).await);
        host.center.actions(None, 10).await.unwrap().last().unwrap().id
    };
    assert_eq!(confirm(&id.to_string(), &agent, approve()).await, 404);
    assert_eq!(host.record(id).await.state, ActionState::Pending);
}

/// An authority that takes every word of a client's user.
#[derive(Clone)]
struct Believing {
    scripted: Scripted,
    /// Where it should take a word.
    panics: bool,
}

impl Believing {
    fn new() -> Self {
        let asks = evaluation(Decision::RequireApproval);
        let scripted = Scripted::always(Ok(Evaluation { in_client_approval: true, ..asks }));
        Self { scripted, panics: false }
    }
}

impl Authority for Believing {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        self.scripted.evaluate(action)
    }

    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        self.scripted.await_review(id)
    }

    fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        self.scripted.claim(id, digest)
    }

    fn report<'a>(
        &'a self,
        id: &'a ActionId,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        self.scripted.report(id, outcome)
    }

    fn confirm<'a>(
        &'a self,
        _: &'a ActionId,
        confirmation: &'a Confirmation,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        assert!(!self.panics, "as it was told to");
        let reviewed_by = Some(confirmation.reviewer());
        self.scripted.review(Ok(match confirmation.answer {
            ClientAnswer::Approved => Review::Approved(Approval { reviewed_by, comments: None }),
            ClientAnswer::Rejected => Review::Rejected(Rejection {
                kind: RefusalKind::Rejected,
                reason: None,
                reviewed_by,
            }),
        }));
        Box::pin(async { Ok(()) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        self.scripted.health()
    }

    fn describe(&self) -> String {
        self.scripted.describe()
    }
}

/// A client of an earlier version that can show forms, and its server.
async fn earlier(authority: &Believing, capabilities: Value) -> (RawClient, Notes) {
    let notes = Notes::default();
    let server = GovernedServer::new("notes-001", Governor::new(authority.clone()))
        .state(notes.clone())
        .tools(tools![write_note, delete_notes, write_important_note])
        .in_client_approval(RiskLevel::Medium);
    let (mut client, _serving) = RawClient::in_memory(server);
    client.patience = Duration::from_secs(3600);
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": capabilities,
        "clientInfo": { "name": "raw", "version": "9" },
    });
    client.request("initialize", "initialize", params).await;
    client.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    (client, notes)
}

async fn question(client: &mut RawClient) -> Value {
    client.receive_where(|message| message["method"] == "elicitation/create").await
}

async fn reply(client: &mut RawClient, question: &Value, answer: Value) {
    client.send(json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer })).await;
}

#[tokio::test(start_paused = true)]
async fn an_earlier_client_is_asked_while_its_call_is_held() {
    for (decision, status) in [("approve", "approved"), ("reject", "rejected")] {
        let authority = Believing::new();
        let (mut client, notes) = earlier(&authority, json!({ "elicitation": {} })).await;
        client.begin(1, "write_note", note("plans")).await;
        let question = question(&mut client).await;
        let card = question["params"]["message"].as_str().unwrap();
        assert!(card.contains("\nwhat       Write the note `plans`\n"), "{card}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        reply(&mut client, &question, answer("accept", Some(decision))).await;
        let result = client.answer(1).await["result"].take();
        assert_eq!(governance(&result)["status"], status, "{result}");
        assert_eq!(governance(&result)["reviewed_by"], "the user of raw 9 (in client)");
        assert_eq!(notes.count(), usize::from(decision == "approve"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_panics_leaves_no_call_without_an_answer() {
    let authority = Believing { panics: true, ..Believing::new() };
    let (mut client, notes) = earlier(&authority, json!({ "elicitation": {} })).await;
    client.begin(1, "write_note", note("plans")).await;
    let question = question(&mut client).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    reply(&mut client, &question, answer("accept", Some("approve"))).await;
    let answer = client.answer(1).await;
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    assert_eq!(notes.count(), 0);
    // The action is withdrawn, and the server goes on.
    let is_withdrawn = |record: &ascend_tests::Record| {
        matches!(record.reported[..], [(_, Outcome::Withdrawn { .. })])
    };
    authority.scripted.until(is_withdrawn).await;
    let pong = client.request(2, "ping", json!({})).await;
    assert_eq!(pong["result"], json!({}), "{pong}");
}

#[tokio::test(start_paused = true)]
async fn the_question_is_withdrawn_when_the_authority_decides() {
    let authority = Believing::new();
    let (mut client, notes) = earlier(&authority, json!({ "elicitation": { "form": {} } })).await;
    client.begin(1, "write_note", note("plans")).await;
    let question = question(&mut client).await;
    authority.scripted.review(Ok(ascend_tests::approved()));
    let result = client.answer(1).await["result"].take();
    assert_eq!(governance(&result)["reviewed_by"], "alice@example.com", "{result}");
    let withdrawn = |message: &Value| message["method"] == "notifications/cancelled";
    let cancelled = client.receive_where(withdrawn).await;
    assert_eq!(cancelled["params"]["requestId"], question["id"], "{cancelled}");
    // Whatever comes now is to nothing.
    reply(&mut client, &question, answer("accept", Some("reject"))).await;
    assert_eq!(notes.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_client_that_does_not_approve_waits_on_and_is_asked_once() {
    for said in [
        Some(answer("decline", None)),
        Some(answer("cancel", None)),
        Some(answer("accept", None)),
        None,
    ] {
        let authority = Believing::new();
        let (mut client, notes) = earlier(&authority, json!({ "elicitation": {} })).await;
        client.begin(1, "write_note", note("plans")).await;
        let question = question(&mut client).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        match said {
            Some(said) => reply(&mut client, &question, said).await,
            None => {
                let error = json!({ "code": -32601, "message": "no forms here" });
                client
                    .send(json!({ "jsonrpc": "2.0", "id": question["id"], "error": error }))
                    .await;
            }
        }
        let result = client.answer(1).await["result"].take();
        assert_eq!(governance(&result)["status"], "pending", "{result}");
        let result = client.call(2, "write_note", note("plans")).await;
        assert_eq!(governance(&result)["status"], "pending", "{result}");
        assert_eq!((client.kept(), notes.count()), (0, 0), "asked once, and nothing ran");
    }
}

#[tokio::test(start_paused = true)]
async fn an_approval_at_once_is_no_persons() {
    let authority = Believing::new();
    let (mut client, notes) = earlier(&authority, json!({ "elicitation": {} })).await;
    client.begin(1, "write_note", note("plans")).await;
    let question = question(&mut client).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    reply(&mut client, &question, answer("accept", Some("approve"))).await;
    let result = client.answer(1).await["result"].take();
    assert_eq!(governance(&result)["status"], "pending", "{result}");
    assert_eq!(notes.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn earlier_clients_are_not_asked_what_is_reserved() {
    let authority = Believing::new();
    for capabilities in [json!({ "elicitation": {} }), json!({})] {
        let can = capabilities != json!({});
        let (mut client, _) = earlier(&authority, capabilities).await;
        for (tool, arguments) in [
            ("delete_notes", json!({})),
            ("write_important_note", json!({})),
            ("write_note", note("plans")),
        ] {
            if can && tool == "write_note" {
                continue;
            }
            let result = client.call(1, tool, arguments).await;
            assert_eq!(governance(&result)["status"], "pending", "{result}");
        }
        assert_eq!(client.kept(), 0, "nobody was asked");
    }
}

#[derive(Debug, Clone, Copy)]
enum Over {
    Stdio,
    Http,
}

/// What an official client's user is asked, and what comes of the answer.
async fn with_client(client: Client, over: Over, options: &Value) -> (Value, Record, usize) {
    let directory = tempfile::tempdir().unwrap();
    let policies = directory.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(policies.join("notes.cedar"), POLICIES.replace("\"write\"", "\"read\""))
        .unwrap();
    let center = directory.path().join("center");
    let mut http = None;
    let server = match over {
        Over::Stdio => Server::at(&program("governed_fixture"))
            .env("CENTER", center.to_str().unwrap())
            .env("POLICIES", policies.to_str().unwrap())
            .env("IN_CLIENT", "yes")
            .env("HOLD", "4000"),
        Over::Http => {
            let config = CenterConfig::new(&center).policies(policies);
            let governor = Governor::new(Center::open(config).await.unwrap());
            let server = fixture::server_under(governor, fixture::Script::new(false))
                .in_client_approval(RiskLevel::Medium)
                .hold_calls_for(Duration::from_secs(4));
            let http = http.insert(server.serve_http(([127, 0, 0, 1], 0)).await.unwrap());
            Server::listening(&http.url())
        }
    };
    let calls = [call("length", json!({ "text": "four" }))];
    let mut session = client.start_with(&server, &calls, options);
    let mut questions = 0;
    let result = loop {
        let mut seen = session.next().await;
        if let Some(question) = seen.get("asked") {
            let card = question["message"].as_str().unwrap();
            assert!(card.contains("\narguments  \"text\": \"four\"\n"), "{card}");
            questions += 1;
        } else if seen.get("call").is_some() {
            break seen["result"].take();
        }
        if options["elicit"]["action"] == "decline" && questions == 1 {
            // The approvers are still there.
            let center = Center::open(CenterConfig::new(&center)).await.unwrap();
            let approver = center.local_approver().await.unwrap();
            center.approve(1, &approver, None).await.unwrap();
        }
    };
    session.finished().await;
    let center = Center::open(CenterConfig::new(&center)).await.unwrap();
    let record = center.action(1).await.unwrap().unwrap();
    (result, record, questions)
}

async fn approves_and_declines(client: Client, over: Over, modern: bool) {
    let approve = json!({ "action": "accept", "content": { "decision": "approve" }, "after": 1.2 });
    let options = json!({ "modern": modern, "elicit": approve });
    let (result, record, questions) = with_client(client, over, &options).await;
    assert_eq!((text(&result), questions), ("4", 1), "{result}");
    assert_eq!(record.state, ActionState::Completed);
    let reviewer = record.reviewed_by.unwrap();
    assert!(reviewer.starts_with("the user of "), "{reviewer}");
    assert!(reviewer.ends_with(" (in client)"), "{reviewer}");

    let options = json!({ "modern": modern, "elicit": { "action": "decline", "after": 1.2 } });
    let (result, record, questions) = with_client(client, over, &options).await;
    assert_eq!((text(&result), questions), ("4", 1), "{result}");
    let reviewer = record.reviewed_by.unwrap();
    assert!(!reviewer.contains("in client"), "{reviewer}");
}

#[tokio::test]
async fn the_users_of_the_typescript_client_2_approve() {
    approves_and_declines(Client::TypeScript2, Over::Stdio, true).await;
    approves_and_declines(Client::TypeScript2, Over::Http, true).await;
}

#[tokio::test]
async fn the_users_of_the_python_client_2_approve() {
    approves_and_declines(Client::Python2, Over::Stdio, true).await;
    approves_and_declines(Client::Python2, Over::Http, true).await;
}

#[tokio::test]
async fn the_users_of_the_typescript_client_1_approve() {
    approves_and_declines(Client::TypeScript1, Over::Stdio, false).await;
    approves_and_declines(Client::TypeScript1, Over::Http, false).await;
}

#[tokio::test]
async fn the_users_of_the_python_client_1_approve() {
    approves_and_declines(Client::Python1, Over::Stdio, false).await;
    approves_and_declines(Client::Python1, Over::Http, false).await;
}
