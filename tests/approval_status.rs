//! How an action stands: asked of an authority, and by an agent of its server.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ascend_center::{Center, CenterConfig, ServeConfig};
use ascend_sdk::{
    Action, ActionId, Approval, Authority, AuthorityError, BoxFuture, Claim, Decision, Digest,
    Evaluation, Governor, Outcome, RefusalKind, Rejection, Review, Standing, Status,
    authority::Ascend,
    server::{GovernedServer, Mistake, ServeError},
};
use ascend_tests::{
    Scripted, evaluation,
    fixture::{self, Script},
    raw_client::RawClient,
};
use serde_json::{Value, json};

struct Host {
    _directory: tempfile::TempDir,
    center: Center,
}

impl Host {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = CenterConfig::new(directory.path()).approver("alice");
        let center = Center::open(config).await.unwrap();
        Self { _directory: directory, center }
    }

    /// The center over HTTP.
    async fn over_http(&self) -> Ascend {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let center = self.center.clone();
        tokio::spawn(async move {
            center.serve(listener, ServeConfig::new(), std::future::pending()).await.unwrap();
        });
        Ascend::builder(self.center.agent_key().unwrap()).base_url(url).build().unwrap()
    }

    async fn decide(&self, id: &str, approve: bool, comment: Option<&str>) {
        let approver = self.center.local_approver().await.unwrap();
        let comment = comment.map(str::to_owned);
        let id = id.parse().unwrap();
        if approve {
            self.center.approve(id, &approver, comment).await.unwrap();
        } else {
            self.center.reject(id, &approver, comment).await.unwrap();
        }
    }

    fn patient_server(&self, server_id: &str) -> GovernedServer {
        let governor = Governor::new(self.center.clone());
        fixture::server_named(server_id, governor, Script::new(false)).offer_approval_status()
    }

    /// A server whose calls are answered as pending at once.
    fn server(&self, server_id: &str) -> GovernedServer {
        self.patient_server(server_id).hold_calls_for(Duration::from_millis(1))
    }
}

fn action(verb: &str, digest: u8) -> Action {
    serde_json::from_value(json!({
        "server_id": "server-a",
        "tool": "tool",
        "description": "A tool.",
        "namespace": "database",
        "verb": verb,
        "resource": "database://production",
        "parameters": {},
        "summary": null,
        "floor": { "require_human_approval": false },
        "facts": {},
        "metadata": {},
        "user_context": {},
        "session_context": { "session_id": "s" },
        "digest": format!("{digest:02x}").repeat(32),
        "idempotency_key": format!("key-{verb}-{digest}"),
        "approval_timeout": { "secs": 300, "nanos": 0 },
    }))
    .unwrap()
}

async fn status(authority: &dyn Authority, id: &ActionId) -> Status {
    let standing = authority.status(id).await.unwrap().unwrap();
    if standing.status != Status::Unknown {
        assert_eq!(standing.server_id.as_deref(), Some("server-a"));
    }
    standing.status
}

fn left(status: &Status) -> u64 {
    match status {
        Status::Pending { left } | Status::Approved { left, .. } => left.unwrap().as_secs(),
        other => panic!("it is open: {other:?}"),
    }
}

#[tokio::test]
async fn a_center_tells_every_status_in_process_and_over_http() {
    let host = Host::new().await;
    let over_http = host.over_http().await;
    let authorities: [&dyn Authority; 2] = [&host.center, &over_http];
    for (authority, number) in authorities.into_iter().zip(0..) {
        let open = async |verb: &str, extra: u8| {
            let action = action(verb, 2 * extra + number);
            (authority.evaluate(&action).await.unwrap().action_id, action.digest)
        };
        let (id, digest_of_first) = open("delete", 1).await;
        let pending = status(authority, &id).await;
        assert!(matches!(pending, Status::Pending { .. }) && left(&pending) > 290, "{pending:?}");

        host.decide(id.as_str(), true, Some("fine")).await;
        let approved = status(authority, &id).await;
        let Status::Approved { approval: Some(approval), .. } = &approved else {
            panic!("{approved:?}")
        };
        let comments = Some("fine".to_owned());
        assert_eq!(*approval, Approval { reviewed_by: Some("alice".to_owned()), comments });
        assert!(left(&approved) > 290, "{approved:?}");

        assert_eq!(authority.claim(&id, &digest_of_first).await.unwrap(), Claim::Granted);
        assert_eq!(status(authority, &id).await, Status::Claimed);
        let duration = Duration::from_millis(1);
        authority.report(&id, &Outcome::Completed { duration }).await.unwrap();
        assert_eq!(status(authority, &id).await, Status::Completed);

        let (id, digest) = open("delete", 2).await;
        host.decide(id.as_str(), true, None).await;
        authority.claim(&id, &digest).await.unwrap();
        let outcome = Outcome::Failed { duration, error: "no".to_owned() };
        authority.report(&id, &outcome).await.unwrap();
        assert_eq!(status(authority, &id).await, Status::Failed);

        let (id, _) = open("delete", 3).await;
        host.decide(id.as_str(), false, Some("not today")).await;
        let rejection = Rejection {
            kind: RefusalKind::Rejected,
            reason: Some("not today".to_owned()),
            reviewed_by: Some("alice".to_owned()),
        };
        assert_eq!(status(authority, &id).await, Status::Refused(rejection));

        let refused = async |id: &ActionId| match status(authority, id).await {
            Status::Refused(rejection) => rejection.kind,
            other => panic!("{other:?}"),
        };
        let (id, _) = open("delete", 4).await;
        authority.report(&id, &Outcome::Withdrawn { reason: "gone".to_owned() }).await.unwrap();
        assert_eq!(refused(&id).await, RefusalKind::Cancelled);

        let mut short = action("delete", 2 * 5 + number);
        short.approval_timeout = Duration::from_secs(1);
        let id = authority.evaluate(&short).await.unwrap().action_id;
        let Review::Rejected(end) = authority.await_review(&id).await.unwrap() else {
            panic!("nobody decided")
        };
        assert_eq!(end.kind, RefusalKind::TimedOut);
        assert_eq!(refused(&id).await, RefusalKind::TimedOut);

        let (id, _) = open("drop", 6).await;
        assert_eq!(refused(&id).await, RefusalKind::Denied);

        let allowed = status(authority, &open("read", 7).await.0).await;
        assert!(matches!(allowed, Status::Approved { approval: None, .. }), "{allowed:?}");

        for unknown in ["4711", "no-number"] {
            let id = ActionId::new(unknown).unwrap();
            assert_eq!(status(authority, &id).await, Status::Unknown);
        }
    }
    // Through an `Arc` too.
    let shared = Arc::new(host.center.clone());
    let unknown = ActionId::new("4711").unwrap();
    assert_eq!(status(&shared, &unknown).await, Status::Unknown);
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text: {result}"))
}

fn governance(result: &Value) -> &Value {
    &result["_meta"]["governance"]
}

fn id_of(result: &Value) -> String {
    assert_eq!(governance(result)["status"], "pending", "{result}");
    governance(result)["action_id"].as_str().unwrap().to_owned()
}

async fn client_of(server: GovernedServer) -> RawClient {
    let (mut client, _serving) = RawClient::in_memory(server);
    client.initialize().await;
    client
}

async fn ask(client: &mut RawClient, id: impl Into<Value>) -> Value {
    client.call("ask", "approval_status", json!({ "action_id": id.into() })).await
}

const HINT: &str = "`approval_status` tells how it stands";

#[tokio::test]
async fn an_agent_learns_how_its_action_stands() {
    let host = Host::new().await;
    let mut client = client_of(host.server("server-a")).await;
    let pending = client.call(1, "guarded_plain", json!({ "text": "x" })).await;
    assert_eq!(pending["isError"], false);
    assert!(text(&pending).ends_with(&format!("The tool {HINT}")), "{pending}");
    let id = id_of(&pending);

    // However often it is asked, nothing is approved by it, and nothing runs.
    for _ in 0..3 {
        let result = ask(&mut client, id.as_str()).await;
        assert_eq!(result["isError"], false);
        let left = governance(&result)["expires_in_seconds"].as_u64().unwrap();
        assert!((200..=300).contains(&left), "{result}");
        assert_eq!(
            *governance(&result),
            json!({ "status": "pending", "action_id": id, "expires_in_seconds": left })
        );
        let told = text(&result);
        let beginning = format!(
            "Action {id} waits for a person's approval and was not executed yet: ask the user to \
             have it approved within "
        );
        assert!(told.starts_with(&beginning), "{told}");
        assert!(told.ends_with(", then call its tool again with the same arguments"), "{told}");
        assert!(!told.contains("ascend-center"), "an agent is not told how: {told}");
    }
    assert_eq!(host.center.action(id.parse().unwrap()).await.unwrap().unwrap().reviewed_by, None);

    host.decide(&id, true, None).await;
    // A number will do as well.
    let result = ask(&mut client, id.parse::<u64>().unwrap()).await;
    assert!(text(&result).contains("was approved by alice and was not executed yet"), "{result}");
    assert_eq!(governance(&result)["status"], "approved");
    assert_eq!(governance(&result)["reviewed_by"], "alice");
    assert_eq!(client.call(2, "runs", json!({})).await["content"][0]["text"], "0");

    let mut client = client_of(host.patient_server("server-a")).await;
    let result = client.call(3, "guarded_plain", json!({ "text": "x" })).await;
    assert_eq!((text(&result), &governance(&result)["action_id"]), ("x", &json!(id)));
    // The outcome is reported off the call's path.
    let done = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let result = ask(&mut client, id.as_str()).await;
            if governance(&result)["execution"] == "completed" {
                return result;
            }
        }
    });
    let done = done.await.unwrap();
    assert_eq!(text(&done), format!("Action {id} was executed"));
    assert_eq!(governance(&done)["status"], "executed");
    assert_eq!(client.call(4, "runs", json!({})).await["content"][0]["text"], "1");
}

/// Also where no answer said that it is pending: a task, and a sealed state.
#[tokio::test]
async fn an_agent_learns_how_the_action_of_a_task_or_a_state_stands() {
    let script = Script::new(false);
    let server = || fixture::server(script.clone()).offer_approval_status();
    let modern = |capabilities: Value| {
        json!({ "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "modern", "version": "3" },
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        } })
    };
    let call =
        async |client: &mut RawClient, id: u32, tool: &str, arguments: Value, mut params: Value| {
            params["name"] = tool.into();
            params["arguments"] = arguments;
            client.request(id, "tools/call", params).await["result"].take()
        };
    let tasks = modern(json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } }));
    let (mut client, _serving) = RawClient::in_memory(server());
    let task = call(&mut client, 1, "guarded", json!({ "text": "x" }), tasks).await;
    let message = task["statusMessage"].as_str().unwrap();
    assert!(message.ends_with(". The tool `approval_status` tells how it stands"), "{message}");
    // This authority cannot say it; that the action is of this server, it remembers.
    let plain = || modern(json!({}));
    let ask = json!({ "action_id": "act-1" });
    let told = call(&mut client, 2, "approval_status", ask, plain()).await;
    assert!(text(&told).contains("does not say how action act-1 stands"), "{told}");

    let (mut client, _serving) =
        RawClient::in_memory(server().hold_calls_for(Duration::from_millis(1)));
    let state = call(&mut client, 1, "guarded", json!({ "text": "y" }), plain()).await;
    assert_eq!(state["resultType"], "input_required", "{state}");
    let ask = json!({ "action_id": "act-2" });
    let told = call(&mut client, 2, "approval_status", ask, plain()).await;
    assert!(text(&told).contains("does not say how action act-2 stands"), "{told}");
    let ask = json!({ "action_id": "act-3" });
    let told = call(&mut client, 3, "approval_status", ask, plain()).await;
    assert!(text(&told).contains("knows no action act-3"), "{told}");
}

#[tokio::test]
async fn an_end_is_told_with_its_reason_and_not_used_up() {
    let host = Host::new().await;
    let mut client = client_of(host.server("server-a")).await;
    let id = id_of(&client.call(1, "guarded_plain", json!({ "text": "x" })).await);
    host.decide(&id, false, Some("not today")).await;
    for _ in 0..2 {
        let result = ask(&mut client, id.as_str()).await;
        assert_eq!(result["isError"], false, "the answer itself is sound: {result}");
        assert_eq!(
            text(&result),
            format!(
                "Action rejected by approver. It was not executed; do not retry it unchanged. \
                 Reason: not today. Reviewed by: alice (action {id})"
            )
        );
        assert_eq!(governance(&result)["refusal"], "rejected");
    }
    // Having asked, the agent still hears of the end by its call, once.
    let mut client = client_of(host.patient_server("server-a")).await;
    let told = client.call(2, "guarded_plain", json!({ "text": "x" })).await;
    assert_eq!(governance(&told)["action_id"], *id, "{told}");
    assert_eq!(governance(&told)["refusal"], "rejected", "{told}");
}

#[tokio::test]
async fn nothing_is_told_of_another_servers_actions() {
    let host = Host::new().await;
    let mut first = client_of(host.server("server-a")).await;
    let id = id_of(&first.call(1, "guarded_plain", json!({ "text": "x" })).await);
    let mut other = client_of(host.server("server-b")).await;
    let about = |id: &str| {
        format!(
            "this server knows no action {id}; give the id of an answer that said that an action \
             waits"
        )
    };
    for id in [&*id, "4711", "no-number"] {
        let result = ask(&mut other, id).await;
        assert_eq!((text(&result), &result["isError"]), (&*about(id), &json!(true)));
        assert_eq!(result["_meta"], Value::Null);
    }
    // The same server, started anew, knows what was promised before.
    let mut again = client_of(host.server("server-a")).await;
    assert_eq!(governance(&ask(&mut again, id.as_str()).await)["status"], "pending");
}

#[tokio::test]
async fn it_is_offered_only_where_it_was_asked_for() {
    let script = Script::new(false);
    let offered = async |client: &mut RawClient| {
        let list = client.request("list", "tools/list", json!({})).await;
        let tools = list["result"]["tools"].as_array().unwrap().clone();
        tools.into_iter().find(|tool| tool["name"] == "approval_status")
    };
    let mut without =
        client_of(fixture::server(script.clone()).hold_calls_for(Duration::from_millis(1))).await;
    assert!(offered(&mut without).await.is_none());
    let answer = without
        .request(1, "tools/call", json!({ "name": "approval_status", "arguments": {} }))
        .await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    let pending = without.call(2, "guarded_plain", json!({ "text": "x" })).await;
    assert!(!text(&pending).contains(HINT), "{pending}");

    let mut with = client_of(fixture::server(script.clone()).offer_approval_status()).await;
    let tool = offered(&mut with).await.unwrap();
    assert_eq!(tool["inputSchema"]["required"], json!(["action_id"]));
    assert_eq!(tool["annotations"]["readOnlyHint"], true);
    assert_eq!(tool["outputSchema"], Value::Null);
    assert!(!tool["description"].as_str().unwrap().contains("[Risk"));

    // The lists hold for it as for any tool.
    let blocked = fixture::server(script.clone())
        .offer_approval_status()
        .block_tools(["approval_status"])
        .hold_calls_for(Duration::from_millis(1));
    let outside = fixture::server(script)
        .offer_approval_status()
        .allow_tools(["guarded_plain"])
        .hold_calls_for(Duration::from_millis(1));
    for server in [blocked, outside] {
        let mut client = client_of(server).await;
        assert!(offered(&mut client).await.is_none());
        assert_eq!(governance(&ask(&mut client, "1").await)["refusal"], "blocked");
        let pending = client.call(2, "guarded_plain", json!({ "text": "x" })).await;
        assert!(!text(&pending).contains(HINT), "{pending}");
    }
}

/// Has the name of the server's own tool.
#[ascend_sdk::mcp_governance(action_type = "test.read", resource = "test")]
async fn approval_status() -> Result<(), ascend_sdk::Refusal> {
    Ok(())
}

#[tokio::test]
async fn a_tool_of_its_name_is_a_mistake() {
    let server = |on: bool| {
        let server = GovernedServer::new("s", Governor::new(Scripted::allow()))
            .tools(ascend_sdk::tools![approval_status]);
        if on { server.offer_approval_status() } else { server }
    };
    let error = server(true).serve(tokio::io::empty(), tokio::io::sink()).await.unwrap_err();
    let ServeError::Setup(mistakes) = error else { panic!("{error}") };
    let [Mistake::NameTaken { name: "approval_status", location }] = mistakes.as_slice() else {
        panic!("{mistakes}")
    };
    assert!(location.file.ends_with("approval_status.rs"), "{location}");
    assert!(mistakes.to_string().contains("leave out `.offer_approval_status()`"), "{mistakes}");
    server(false).serve(tokio::io::empty(), tokio::io::sink()).await.unwrap();

    // A slip in a list finds it.
    let slip = GovernedServer::new("s", Governor::new(Scripted::allow()))
        .offer_approval_status()
        .block_tools(["aproval_status"]);
    let error = slip.serve(tokio::io::empty(), tokio::io::sink()).await.unwrap_err();
    assert!(error.to_string().contains("did you mean `approval_status`?"), "{error}");
}

#[tokio::test]
async fn arguments_that_name_no_action_are_told_so() {
    let host = Host::new().await;
    let mut client = client_of(host.server("server-a")).await;
    for (arguments, says) in [
        (json!({}), "`action_id` is missing"),
        (json!({ "action_id": null }), "`action_id` is no action's id"),
        (json!({ "action_id": ["1"] }), "`action_id` is no action's id"),
        (json!({ "action_id": "../admin" }), "`action_id` is no action's id"),
        (json!({ "action_id": "1".repeat(200) }), "`action_id` is no action's id"),
        (json!({ "action_id": "1", "approve": true }), "unknown argument `approve`"),
    ] {
        let result = client.call("ask", "approval_status", arguments).await;
        assert_eq!(result["isError"], true, "{result}");
        assert!(text(&result).contains(says), "{result}");
    }
}

type Answer = Result<Option<Standing>, AuthorityError>;

/// Leaves everything pending, and answers questions by script; `None`: never.
#[derive(Clone)]
struct Silent {
    scripted: Scripted,
    status: Arc<Mutex<Option<Answer>>>,
}

impl Authority for Silent {
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

    fn status<'a>(&'a self, _: &'a ActionId) -> BoxFuture<'a, Answer> {
        let answer = self.status.lock().unwrap().clone();
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        self.scripted.health()
    }

    fn describe(&self) -> String {
        self.scripted.describe()
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_does_not_answer_costs_ten_seconds_and_no_more() {
    let authority = Silent {
        scripted: Scripted::always(Ok(evaluation(Decision::RequireApproval))),
        status: Arc::default(),
    };
    let server = fixture::server_under(Governor::new(authority.clone()), Script::new(false))
        .offer_approval_status();
    let mut client = client_of(server).await;
    client.patience = Duration::from_secs(3600);
    let id = id_of(&client.call(1, "guarded_plain", json!({ "text": "x" })).await);

    let began = tokio::time::Instant::now();
    let result = ask(&mut client, id.as_str()).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(text(&result).contains("did not answer within 10 s"), "{result}");

    for (answer, says) in [
        (Ok(None), "the authority does not say how action 1 stands"),
        (Err(AuthorityError::Failed("HTTP 500".to_owned())), "the authority failed: HTTP 500"),
        // One that says less than an embedded center is believed of what it was asked here.
        (Ok(Some(Status::Pending { left: None }.into())), "ask the user to have it approved, then"),
    ] {
        *authority.status.lock().unwrap() = Some(answer);
        let result = ask(&mut client, id.as_str()).await;
        assert!(text(&result).contains(says), "{result}");
        // What this process did not answer as pending is no business of its agents.
        let other = ask(&mut client, "77").await;
        assert_eq!(other["isError"], true);
        assert!(!text(&other).contains("waits for a person"), "{other}");
    }
}
