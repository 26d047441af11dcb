use ascend_sdk::{Refusal, mcp_governance, tools};

/// Counts rows.
#[mcp_governance(action_type = "database.count", resource = "database://{table}")]
async fn count(table: String) -> Result<u32, Refusal> {
    Ok(table.len() as u32)
}

async fn around() {
    let arguments = count { table: String::new() };
    let permit = ascend_sdk::Permit { arguments, state: (), context: Default::default() };
    let _ = <count as ascend_sdk::Tool>::run(permit).await;
}

fn main() {
    let _ = around();
    let _ = tools![count];
}
