use ascend_sdk::ungoverned;
use rmcp::{tool, tool_router};

struct Clock;

#[tool_router]
impl Clock {
    /// Tells the time.
    #[ungoverned(reason = WHY)]
    #[tool]
    fn time(&self) -> String {
        "noon".to_owned()
    }
}

fn main() {
    let _ = Clock::tool_router();
}
