use ascend_sdk::{Refusal, mcp_governance, tools};

#[mcp_governance(
    action_type = "database.count",
    resource = "database://{table}",
    description = " "
)]
async fn count(table: String) -> Result<u32, Refusal> {
    Ok(table.len() as u32)
}

fn main() {
    let _ = tools![count];
}
