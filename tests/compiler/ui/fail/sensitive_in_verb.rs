use ascend_sdk::{Refusal, mcp_governance, tools};

/// Signs in.
#[mcp_governance(
    namespace = "account",
    verb = if token.is_empty() { "read" } else { "write" },
    resource = "account"
)]
async fn sign_in(#[sensitive] token: String) -> Result<bool, Refusal> {
    Ok(token.is_empty())
}

fn main() {
    let _ = tools![sign_in];
}
