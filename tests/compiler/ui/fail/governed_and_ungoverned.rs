use ascend_sdk::high_risk_action;
use rmcp::{tool, tool_router};

struct Clock;

#[tool_router]
impl Clock {
    /// Tells the time.
    #[high_risk_action(action_type = "clock.set", resource = "clock")]
    #[ascend_sdk::ungoverned(reason = "it changes nothing")]
    #[tool]
    async fn time(&self) -> Result<String, String> {
        Ok("noon".to_owned())
    }
}

fn main() {
    let _ = Clock::tool_router();
}
