use ascend_sdk::{Refusal, high_risk_action, tools};

/// Counts rows.
#[high_risk_action(
    action_type = "database.count",
    resource = "database://{table}",
    risk_level = "low"
)]
async fn count(table: String) -> Result<u32, Refusal> {
    Ok(table.len() as u32)
}

fn main() {
    let _ = tools![count];
}
