//! The server that the official conformance suite is run against: the tools
//! that its scenarios call, by their names, over Streamable HTTP on a free port
//! of this machine. Its first line on stderr is its URL.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use ascend_sdk::{
    Action, ActionId, Authority, AuthorityError, BoxFuture, CallContext, Claim, Content,
    ContentBlock, Decision, Digest, Evaluation, Floor, Governor, Hints, Holder, Location,
    MissingState, Outcome, Permit, Refusal, ResourceContents, Review, RiskLevel, Segment, State,
    Template, Tool, ToolSpec, high_risk_action, mcp_governance,
    server::{GovernedServer, ServeError},
    tools,
};
use ascend_tests::{approved, evaluation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

/// The smallest PNG: one pixel.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

/// A WAV file without a sample.
const SILENCE: &[u8] =
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0";

#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("This tool intentionally returns an error for testing")]
    Intended,
}

/// Returns text.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_simple_text() -> Result<Content, Refusal> {
    Ok(Content::text("This is a simple text response for testing."))
}

/// Returns an image.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_image_content() -> Result<Content, Refusal> {
    Ok(Content::default().and_image(PIXEL.to_vec(), "image/png"))
}

/// Returns a sound.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_audio_content() -> Result<Content, Refusal> {
    let mime_type = "audio/wav".to_owned();
    Ok(Content::new([ContentBlock::Audio { data: SILENCE.to_vec(), mime_type }]))
}

/// Returns a resource with what it holds.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_embedded_resource() -> Result<Content, Refusal> {
    let text = "This is an embedded resource content.".to_owned();
    let contents = ResourceContents::Text(text);
    Ok(Content::default().and_resource("test://embedded-resource", "text/plain", contents))
}

/// Returns text, an image and two resources.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_multiple_content_types() -> Result<Content, Refusal> {
    let contents = ResourceContents::Text(json!({ "test": "data", "value": 123 }).to_string());
    Ok(Content::text("Multiple content types test:")
        .and_image(PIXEL.to_vec(), "image/png")
        .and_resource("test://mixed-content-resource", "application/json", contents)
        .and_resource("test://pixel", "image/png", ResourceContents::Blob(PIXEL.to_vec())))
}

/// Reports progress.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_tool_with_progress(#[context] call: CallContext) -> Result<Content, Refusal> {
    for progress in [0.0, 50.0, 100.0] {
        call.report_progress(progress, Some(100.0), None);
    }
    Ok(Content::text("done"))
}

/// Fails.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_error_handling() -> Result<Content, TestError> {
    Err(TestError::Intended)
}

/// Writes to the server's log, which no client is to see.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_logging_tool() -> Result<Content, Refusal> {
    tracing::error!("a line of the server's own log");
    Ok(Content::text("logged"))
}

/// Streams: its answer comes after a report. The suite looks for requests to
/// the client in the stream, of which this server makes none.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_streaming_elicitation(#[context] call: CallContext) -> Result<Content, Refusal> {
    call.report_progress(1.0, None, None);
    Ok(Content::text("done"))
}

/// Answers at once: this server does not end a stream before its answer.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_reconnection() -> Result<Content, Refusal> {
    Ok(Content::text("done"))
}

/// Needs an approval, for which the client's user is asked.
#[mcp_governance(action_type = "conformance.ask", resource = "conformance/state")]
async fn test_input_required_result_request_state() -> Result<Content, Refusal> {
    Ok(Content::text("state-ok"))
}

/// Needs an approval too.
#[mcp_governance(action_type = "conformance.ask", resource = "conformance/tampered")]
async fn test_input_required_result_tampered_state() -> Result<Content, Refusal> {
    Ok(Content::text("ran"))
}

/// Has an argument that clients repeat in a header.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn test_custom_headers(
    /// Where it runs.
    #[schemars(extend("x-mcp-header" = "Region"))]
    region: String,
) -> Result<String, Refusal> {
    Ok(region)
}

/// Greets, and waits for nobody.
#[mcp_governance(action_type = "conformance.read", resource = "conformance")]
async fn greet(name: String) -> Result<String, Refusal> {
    Ok(format!("Hello, {name}!"))
}

/// Takes as long as its approver.
#[high_risk_action(action_type = "conformance.read", resource = "conformance")]
async fn slow_compute(seconds: u32, label: Option<String>) -> Result<Content, Refusal> {
    Ok(Content::text(format!("{} after {seconds} s", label.unwrap_or_default())))
}

/// Fails, once it is approved.
#[high_risk_action(action_type = "conformance.read", resource = "conformance")]
async fn failing_job() -> Result<Content, TestError> {
    Err(TestError::Intended)
}

/// Panics, once it is approved.
#[high_risk_action(action_type = "conformance.read", resource = "conformance")]
async fn protocol_error_job() -> Result<Content, Refusal> {
    panic!("This tool intentionally panics for testing")
}

/// Deletes nothing, once it is approved: no client is asked to confirm.
#[high_risk_action(action_type = "conformance.delete", resource = "conformance")]
async fn confirm_delete(filename: String) -> Result<Content, Refusal> {
    Ok(Content::text(filename))
}

/// Asks for no input.
#[high_risk_action(action_type = "conformance.read", resource = "conformance")]
async fn multi_input() -> Result<Content, Refusal> {
    Ok(Content::text("done"))
}

/// Asks for no input.
#[high_risk_action(action_type = "conformance.read", resource = "conformance")]
async fn test_tool_with_task() -> Result<Content, Refusal> {
    Ok(Content::text("done"))
}

/// The arguments of a tool whose schema says more than Rust's types can. By
/// hand, as the attribute would write it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(
    extend("$schema" = "https://json-schema.org/draft/2020-12/schema"),
    extend("allOf" = [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }]),
    extend("if" = {
        "properties": { "contactMethod": { "const": "phone" } },
        "required": ["contactMethod"],
    }),
    extend("then" = { "required": ["phone"] }),
    extend("else" = { "required": ["email"] })
)]
struct Contact {
    name: Option<String>,
    address: Option<Address>,
    contact_method: Option<ContactMethod>,
    phone: Option<String>,
    email: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "address", extend("$anchor" = "addressDef"))]
struct Address {
    street: Option<String>,
    city: Option<String>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ContactMethod {
    Phone,
    Email,
}

impl Tool for Contact {
    type State = ();
    type Return = Result<Content, Refusal>;

    const SPEC: &'static ToolSpec = &ToolSpec {
        name: "json_schema_2020_12_tool",
        title: None,
        description: "Tool with JSON Schema 2020-12 features",
        namespace: "conformance",
        verb: Some("read"),
        resource: Template(&[Segment::Literal("conformance")]),
        summary: None,
        floor: Floor::NONE,
        approval_timeout: None,
        metadata: &[],
        parameters: &[],
        state: &[],
        hints: Hints { read_only: None, destructive: None, idempotent: None, open_world: None },
        location: Location { file: file!(), line: line!() },
    };

    fn state(_: &State) -> Result<(), MissingState> {
        Ok(())
    }

    async fn run(permit: Permit<Self>) -> Self::Return {
        let (contact, (), _) = permit.into_parts();
        Ok(Content::text(contact.name.unwrap_or_default()))
    }
}

/// A person who approves all that must be, after as many seconds as the call
/// says, or one. Of what asks, the word of a client's user is taken too, and it is
/// approved while the client asks. (The suite answers at once, which no person
/// does, so that its answers do not count.)
#[derive(Default)]
struct Approver {
    /// How long each action takes; `None` until the client asks.
    actions: Mutex<Vec<Option<Duration>>>,
    promised: watch::Sender<BTreeSet<ActionId>>,
}

impl Authority for Approver {
    fn evaluate<'a>(
        &'a self,
        action: &'a Action,
    ) -> BoxFuture<'a, Result<Evaluation, AuthorityError>> {
        let asks = action.verb == "ask";
        let seconds = action.parameters.get("seconds").and_then(serde_json::Value::as_u64);
        let mut actions = self.actions.lock().unwrap();
        actions.push((!asks).then(|| Duration::from_secs(seconds.unwrap_or(1))));
        let action_id = ActionId::new(actions.len().to_string()).unwrap();
        let waits = asks || action.floor.require_human_approval;
        Box::pin(async move {
            Ok(Evaluation {
                decision: if waits { Decision::RequireApproval } else { Decision::Allow },
                action_id,
                in_client_approval: asks,
                ..evaluation(Decision::Allow)
            })
        })
    }

    fn await_review<'a>(
        &'a self,
        id: &'a ActionId,
    ) -> BoxFuture<'a, Result<Review, AuthorityError>> {
        let number: usize = id.as_str().parse().unwrap();
        let delay = self.actions.lock().unwrap()[number - 1];
        Box::pin(async move {
            match delay {
                Some(delay) => tokio::time::sleep(delay).await,
                None => {
                    let mut promised = self.promised.subscribe();
                    drop(promised.wait_for(|promised| promised.contains(id)).await);
                }
            }
            Ok(approved())
        })
    }

    fn promise<'a>(
        &'a self,
        id: &'a ActionId,
        _: &'a Holder,
    ) -> BoxFuture<'a, Result<Option<Duration>, AuthorityError>> {
        self.promised.send_modify(|promised| {
            promised.insert(id.clone());
        });
        Box::pin(async { Ok(Some(Duration::from_secs(60))) })
    }

    fn claim<'a>(
        &'a self,
        _: &'a ActionId,
        _: &'a Digest,
    ) -> BoxFuture<'a, Result<Claim, AuthorityError>> {
        Box::pin(async { Ok(Claim::Granted) })
    }

    fn report<'a>(
        &'a self,
        _: &'a ActionId,
        _: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), AuthorityError>> {
        Box::pin(async { Ok(()) })
    }

    fn describe(&self) -> String {
        "an obliging person".to_owned()
    }
}

#[tokio::main]
async fn main() -> Result<(), ServeError> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::ERROR)
        .init();
    let server = GovernedServer::new("conformance-001", Governor::new(Approver::default()))
        .version("1.0.0")
        .in_client_approval(RiskLevel::Medium)
        .tools(tools![
            test_simple_text,
            test_image_content,
            test_audio_content,
            test_embedded_resource,
            test_multiple_content_types,
            test_tool_with_progress,
            test_error_handling,
            test_logging_tool,
            test_streaming_elicitation,
            test_reconnection,
            test_input_required_result_request_state,
            test_input_required_result_tampered_state,
            test_custom_headers,
            greet,
            slow_compute,
            failing_job,
            protocol_error_job,
            confirm_delete,
            multi_input,
            test_tool_with_task,
            Contact
        ])
        .serve_http(([127, 0, 0, 1], 0))
        .await?;
    eprintln!("{}", server.url());
    server.wait().await
}
