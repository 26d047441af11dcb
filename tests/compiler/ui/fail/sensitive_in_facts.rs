use ascend_sdk::{Facts, Refusal, ShellFacts, mcp_governance, tools};

fn facts(text: String) -> Facts {
    ShellFacts { program: text, ..ShellFacts::default() }.into()
}

/// Runs a command.
#[mcp_governance(
    action_type = "system.execute",
    facts = facts(format!("mysql -p{token}")),
    resource = "command"
)]
async fn run(#[sensitive] token: String) -> Result<bool, Refusal> {
    Ok(token.is_empty())
}

fn main() {
    let _ = facts(String::new());
    let _ = tools![run];
}
