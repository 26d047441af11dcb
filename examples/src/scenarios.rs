//! ASCEND's scenarios, run by a real MCP client against the real program.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail, ensure};
use ascend_center::{ActionState, Center, CenterConfig};
use rmcp::{
    ServiceExt as _,
    model::{CallToolRequestParams, CallToolResult},
    transport::TokioChildProcess,
};
use serde_json::{Map, Value, json};

use crate::host::center_folder;

/// A call, and how it should end.
pub struct Scenario {
    /// What it shows.
    pub title: &'static str,
    /// The tool that is called.
    pub tool: &'static str,
    /// With these arguments.
    pub arguments: Value,
    /// How it should end.
    pub expected: Expected,
}

/// How a call should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Allowed, and run.
    Runs,
    /// Blocked by policy.
    Blocked,
    /// Held for a person, and run after the approval.
    RunsOnceApproved,
}

/// Starts this program as a server over data of its own, lists its tools and
/// makes the calls, printing what a client sees. The embedded center is asked
/// to approve what waits, as `ascend-center approve` would; with ASCEND in the
/// environment a person must.
///
/// # Errors
///
/// When something does not behave.
pub async fn run(tools: &[(&str, &str)], scenarios: &[Scenario]) -> anyhow::Result<()> {
    let data = tempfile::tempdir().context("a folder for the test's data")?;
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg("--data").arg(data.path()).stderr(Stdio::inherit());
    let client = ().serve(TokioChildProcess::new(command)?).await?;

    let listed = client.list_all_tools().await?;
    println!("Tools: {}", serde_json::to_string_pretty(&listed)?);
    for (name, risk) in tools {
        let tool = listed.iter().find(|tool| tool.name == *name);
        let description = tool.and_then(|tool| tool.description.as_deref()).unwrap_or_default();
        ensure!(
            description.ends_with(&format!("[Risk: {risk}]")),
            "`{name}` should be listed with `[Risk: {risk}]`"
        );
    }

    let remote = ["ASCEND_API_KEY", "OWKAI_API_KEY"].iter().any(|key| std::env::var(key).is_ok());
    for (number, scenario) in (1..).zip(scenarios) {
        println!("\n{number}. {}", scenario.title);
        let Value::Object(arguments) = scenario.arguments.clone() else {
            bail!("the arguments of a scenario are an object");
        };
        let request = CallToolRequestParams::new(scenario.tool).with_arguments(arguments);
        let held = scenario.expected == Expected::RunsOnceApproved;
        let (result, ()) =
            tokio::try_join!(async { anyhow::Ok(client.call_tool(request).await?) }, async {
                match (held, remote) {
                    (true, true) => println!("Approve it in ASCEND; the call waits up to 300 s."),
                    (true, false) => approve(data.path()).await?,
                    (false, _) => {}
                }
                anyhow::Ok(())
            })?;
        println!("Result: {}", serde_json::to_string_pretty(&result)?);
        check(&result, scenario.expected)?;
    }
    client.cancel().await?;
    println!("\nAll {} scenarios behave.", scenarios.len());
    Ok(())
}

/// Approves what waits, from outside the server's process.
async fn approve(data: &Path) -> anyhow::Result<()> {
    let center = Center::open(CenterConfig::new(center_folder(data))).await?;
    let approver = center.local_approver().await?;
    let waiting = async {
        let changes = center.changes();
        loop {
            let changed = changes.next();
            if let Some(record) = center.actions(Some(ActionState::Pending), 1).await?.pop() {
                return anyhow::Ok(record);
            }
            changed.await;
        }
    };
    let record = tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .context("nothing waits for approval")??;
    println!("Waiting for approval (action {}): {}", record.id, record.summary.unwrap_or_default());
    let record =
        center.approve(record.id, &approver, Some("approved by --test".to_owned())).await?;
    println!("Approved by: {}", record.reviewed_by.unwrap_or_default());
    center.close().await;
    Ok(())
}

fn check(result: &CallToolResult, expected: Expected) -> anyhow::Result<()> {
    let nothing = Map::new();
    let meta = result.meta.as_ref().map_or(&nothing, |meta| &meta.0);
    let governance = meta.get("governance").cloned().unwrap_or_default();
    let is_error = result.is_error == Some(true);
    let (status, wanted_error) = match expected {
        Expected::Runs | Expected::RunsOnceApproved => ("approved", false),
        Expected::Blocked => ("blocked", true),
    };
    ensure!(governance["status"] == json!(status), "the status should be `{status}`: {governance}");
    ensure!(is_error == wanted_error, "isError should be {wanted_error}");
    if expected == Expected::RunsOnceApproved {
        ensure!(
            governance["decision"] == "REQUIRE_APPROVAL",
            "it should have waited for approval: {governance}"
        );
    }
    Ok(())
}
