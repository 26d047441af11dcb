use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://{table}")]
async fn count(table: Option<&'static str>) -> Result<u32, Refusal> {
    Ok(table.map_or(0, |table| table.len() as u32))
}

fn main() {
    let _ = tools![count];
}
