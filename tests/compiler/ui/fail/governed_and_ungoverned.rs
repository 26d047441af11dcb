use ascend_sdk::{high_risk_action, ungoverned};
use rmcp::{tool, tool_router};

struct Clock;

#[tool_router]
impl Clock {
    /// Tells the time.
    #[high_risk_action(action_type = "clock.set", resource = "clock")]
    #[ungoverned(reason = "it changes nothing")]
    #[tool]
    async fn time(&self) -> Result<String, String> {
        Ok("noon".to_owned())
    }
}

fn main() {
    let _ = Clock::tool_router();
}
