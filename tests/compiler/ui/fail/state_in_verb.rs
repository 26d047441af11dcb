use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(namespace = "database", verb = db.kind(), resource = "database://main")]
async fn count(#[state] db: String) -> Result<u32, Refusal> {
    Ok(db.len() as u32)
}

fn main() {
    let _ = tools![count];
}
