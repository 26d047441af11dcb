use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://main")]
async fn count(
    #[sensitive]
    #[traced]
    table: String,
) -> Result<u32, Refusal> {
    Ok(table.len() as u32)
}

fn main() {
    let _ = tools![count];
}
