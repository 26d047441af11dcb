use ascend_sdk::{Refusal, mcp_governance, tools};

macro_rules! counter {
    ($name:ident, $verb:literal) => {
        /// Counts rows.
        #[mcp_governance(namespace = "database", verb = $verb, resource = "database://main")]
        async fn $name() -> Result<u32, Refusal> {
            Ok(0)
        }
    };
}
counter!(count, "Count Rows");

fn main() {
    let _ = tools![count];
}
