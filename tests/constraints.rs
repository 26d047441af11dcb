//! With the feature `validate`, a server holds callers to all that a schema
//! says, and quotes no sensitive value.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use ascend_sdk::{GovernedServer, Governor, Refusal, mcp_governance, tools};
use ascend_tests::Scripted;
use rmcp::{ServiceExt as _, model::CallToolRequestParams};
use serde_json::{Value, json};

/// Signs in.
#[mcp_governance(action_type = "account.read", resource = "account")]
async fn sign_in(
    #[schemars(length(min = 1, max = 8), regex(pattern = r"^[a-z]+$"))] user: String,
    #[sensitive]
    #[schemars(length(min = 12))]
    password: String,
    #[serde(default, alias = "mins")]
    #[schemars(range(max = 60))]
    minutes: u32,
    #[sensitive]
    #[serde(default, rename = "door.pin")]
    #[schemars(length(min = 4))]
    pin: Option<String>,
    #[sensitive]
    #[serde(default, rename = "door/pin")]
    #[schemars(length(min = 4))]
    other_pin: Option<String>,
) -> Result<u32, Refusal> {
    let _ = (user, password, pin, other_pin);
    Ok(minutes)
}

async fn answer(arguments: Value) -> (bool, String) {
    let authority = Scripted::allow();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(theirs);
    let server = GovernedServer::new("test", Governor::new(authority.clone()))
        .tools(tools![sign_in])
        .serve(reader, writer);
    let server = tokio::spawn(server);
    let client = ().serve(ours).await.unwrap();
    let request = CallToolRequestParams::new("sign_in")
        .with_arguments(arguments.as_object().unwrap().clone());
    let result = client.call_tool(request).await.unwrap();
    client.cancel().await.unwrap();
    server.await.unwrap().unwrap();
    let refused = result.is_error == Some(true);
    assert_eq!(authority.record().evaluated.is_empty(), refused, "nobody is asked for nonsense");
    (refused, result.content[0].as_text().unwrap().text.clone())
}

#[tokio::test]
async fn what_fits_runs() {
    let (refused, text) =
        answer(json!({ "user": "ada", "password": "correct horse", "minutes": 60 })).await;
    assert_eq!((refused, text.as_str()), (false, "60"));
}

#[tokio::test]
async fn a_range_a_length_and_a_pattern_are_checked() {
    for (field, value) in [
        ("minutes", json!(61)),
        ("user", json!("")),
        ("user", json!("someone else")),
        ("user", json!("Ada")),
    ] {
        let mut arguments = json!({ "user": "ada", "password": "correct horse" });
        arguments[field] = value;
        let (refused, text) = answer(arguments).await;
        assert!(refused, "{text}");
        assert!(
            text.starts_with(&format!("invalid arguments for `sign_in`: `{field}`: ")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_sensitive_value_is_not_quoted() {
    for password in [json!("hunter2"), json!(["hunter2"])] {
        let (refused, text) = answer(json!({ "user": "ada", "password": password })).await;
        assert!(refused);
        assert!(text.contains("`password`") && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_sensitive_value_is_not_quoted_whatever_its_name() {
    for name in ["door.pin", "door/pin"] {
        let mut arguments = json!({ "user": "ada", "password": "correct horse" });
        arguments[name] = json!("h2t");
        let (refused, text) = answer(arguments).await;
        assert!(refused && text.contains("pin`") && !text.contains("h2t"), "{text}");
    }
}

#[tokio::test]
async fn another_name_gets_around_no_constraint() {
    for minutes in [9, 9_999] {
        let arguments = json!({ "user": "ada", "password": "correct horse", "mins": minutes });
        let (refused, text) = answer(arguments).await;
        assert!(refused && text.contains("mins"), "{text}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let (refused, text) = answer(json!({ "user": "ada" })).await;
    assert!(refused);
    assert_eq!(text, "invalid arguments for `sign_in`: missing field `password`");
}
