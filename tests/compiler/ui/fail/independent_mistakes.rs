use ascend_sdk::{Refusal, mcp_governance, tools};

#[mcp_governance(namespce = "Database", vreb = "count", risk_level = "hihg")]
fn count(table: &str, (limit, offset): (u32, u32)) -> Result<u32, Refusal> {
    Ok(limit + offset + table.len() as u32)
}

fn main() {
    let _ = tools![count];
}
