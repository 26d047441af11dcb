use ascend_sdk::ungoverned;
use rmcp::{tool, tool_router};

struct Clock;

#[tool_router]
impl Clock {
    /// Tells the time.
    #[tool]
    #[ungoverned(reason = "it changes nothing")]
    async fn time(&self) -> Result<String, String> {
        Ok("noon".to_owned())
    }
}

fn main() {
    let _ = Clock::tool_router();
}
