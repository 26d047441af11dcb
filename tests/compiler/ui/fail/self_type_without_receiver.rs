use ascend_sdk::{Refusal, mcp_governance};

struct Server;

impl Server {
    /// Counts servers.
    #[mcp_governance(action_type = "server.count", resource = "servers")]
    async fn count(servers: Vec<Self>) -> Result<usize, Refusal> {
        Ok(servers.len())
    }
}

fn main() {}
