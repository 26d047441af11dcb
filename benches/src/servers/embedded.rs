//! Ours with the center inside, over the directory in the first argument.
//! `relaxed` as the second: decisions do not wait for the disk.

use anyhow::Context as _;
use ascend_benches::{governed_tools, now};
use ascend_center::{ActionState, Center, CenterConfig, Durability};
use ascend_sdk::{Governor, Refusal, mcp_governance, server::GovernedServer, tools};

#[derive(Debug, thiserror::Error)]
enum ApproveError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Failed(String),
}

/// Approves what waits, one after another; returns when each approval was asked for.
#[mcp_governance(action_type = "bench.read", resource = "bench")]
async fn approve(
    #[state] center: Center,
    /// Their ids.
    actions: Vec<i64>,
) -> Result<Vec<u64>, ApproveError> {
    let failed = |error: &dyn std::fmt::Display| ApproveError::Failed(error.to_string());
    let approver = center.local_approver().await.map_err(|error| failed(&error))?;
    let mut asked = Vec::with_capacity(actions.len());
    for id in actions {
        asked.push(now());
        center.approve(id, &approver, None).await.map_err(|error| failed(&error))?;
        // Until its body is done, so that each approval finds an idle server.
        let changes = center.changes();
        loop {
            let changed = changes.next();
            let record = center.action(id).await.map_err(|error| failed(&error))?;
            if record.is_none_or(|record| record.state == ActionState::Completed) {
                break;
            }
            changed.await;
        }
    }
    Ok(asked)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().context("the center's directory is missing")?;
    let durability = match arguments.next().as_deref() {
        Some("relaxed") => Durability::System,
        _ => Durability::Disk,
    };
    let center = Center::open(CenterConfig::new(directory).durability(durability)).await?;
    GovernedServer::new("bench", Governor::new(center.clone()))
        .state(center)
        .tools(governed_tools())
        .tools(tools![approve])
        .hold_calls_for(None)
        .serve_stdio()
        .await?;
    Ok(())
}
