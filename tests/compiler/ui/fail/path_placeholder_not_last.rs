use ascend_sdk::{Refusal, mcp_governance, tools};

/// Reads a file.
#[mcp_governance(action_type = "file.read", resource = "file://{+folder}/{file}")]
async fn read(folder: String, file: String) -> Result<String, Refusal> {
    Ok(folder + &file)
}

fn main() {
    let _ = tools![read];
}
