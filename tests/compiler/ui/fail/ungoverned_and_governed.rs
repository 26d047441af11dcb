use ascend_sdk::ungoverned;
use rmcp::{tool, tool_router};

struct Clock;

#[tool_router]
impl Clock {
    /// Tells the time.
    #[ungoverned(reason = "it changes nothing")]
    #[ascend_sdk::mcp_governance(action_type = "clock.read", resource = "clock")]
    #[tool]
    async fn time(&self) -> Result<String, String> {
        Ok("noon".to_owned())
    }
}

fn main() {
    let _ = Clock::tool_router();
}
