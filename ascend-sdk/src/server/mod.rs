//! The MCP server.
/// x
#[derive(Debug)]
pub struct GovernedServer;
