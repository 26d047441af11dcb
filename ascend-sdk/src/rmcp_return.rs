//! What a governed method of a plain rmcp server may return, and what it learns
//! of its call.

use rmcp::{
    Json, RoleServer,
    model::{CallToolResult, ContentBlock, ErrorCode, ErrorData, MetaObject},
    service::RequestContext,
};
use serde_json::Value;

use crate::{__private::Told, CallContext, Refusal, output::GovernedReturn};

/// The key of the governance object in a result's `_meta`. MCP lets a key go
/// without a prefix, and the name is the one that ASCEND's MCP example gives it.
pub(crate) const GOVERNANCE: &str = "governance";

/// JSON-RPC leaves -32000 to -32099 to servers.
const REFUSED: ErrorCode = ErrorCode(-32000);

/// An rmcp result that can, in some way, say that the call was refused.
#[diagnostic::on_unimplemented(
    message = "`Result<{Self}, rmcp::ErrorData>` cannot say that a governed call was refused",
    label = "not a result of rmcp's that can",
    note = "return `Result<rmcp::model::CallToolResult, rmcp::ErrorData>`"
)]
pub trait RmcpResult: Sized {
    /// The refusal, as a result that the model reads where the type has room
    /// for one, else as an error of the protocol.
    ///
    /// # Errors
    ///
    /// The refusal, where the type has no room for it.
    fn refused(refusal: &Refusal) -> Result<Self, ErrorData> {
        Err(ErrorData::new(REFUSED, refusal.to_string(), Some(refusal.to_json())))
    }

    /// The result with the governance object of its call.
    #[must_use]
    fn governed(self, _governance: Value) -> Self {
        self
    }
}

impl RmcpResult for CallToolResult {
    fn refused(refusal: &Refusal) -> Result<Self, ErrorData> {
        let result = Self::error(vec![ContentBlock::text(refusal.to_string())]);
        Ok(result.governed(refusal.to_json()))
    }

    fn governed(mut self, governance: Value) -> Self {
        let meta = self.meta.get_or_insert_with(|| MetaObject(serde_json::Map::new()));
        meta.0.insert(GOVERNANCE.to_owned(), governance);
        self
    }
}

impl<T> RmcpResult for Json<T> {}
impl RmcpResult for String {}
impl RmcpResult for ContentBlock {}
impl RmcpResult for Vec<ContentBlock> {}
impl RmcpResult for () {}

impl<T: RmcpResult> GovernedReturn for Result<T, ErrorData> {
    fn from_refusal(refusal: Refusal) -> Self {
        T::refused(&refusal)
    }

    fn failure(&self) -> Option<String> {
        self.as_ref().err().map(|error| error.message.to_string())
    }

    fn with_governance(self, governance: impl FnOnce() -> Value) -> Self {
        self.map(|result| result.governed(governance()))
    }
}

impl GovernedReturn for CallToolResult {
    fn from_refusal(refusal: Refusal) -> Self {
        Self::error(vec![ContentBlock::text(refusal.to_string())]).governed(refusal.to_json())
    }

    fn failure(&self) -> Option<String> {
        let text = |block: &ContentBlock| block.as_text().map(|text| text.text.clone());
        (self.is_error == Some(true)).then(|| {
            self.content.iter().find_map(text).unwrap_or_else(|| "the tool failed".to_owned())
        })
    }

    fn with_governance(self, governance: impl FnOnce() -> Value) -> Self {
        self.governed(governance())
    }
}

impl Told<'_, RequestContext<RoleServer>> {
    /// The call's session, its cancellation, and how long its client waits.
    #[must_use]
    pub fn tell(&self, _: CallContext) -> CallContext {
        crate::server::method::context(self.0)
    }
}
