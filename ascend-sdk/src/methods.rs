//! What governed methods of a plain rmcp server return and take.

use rmcp::{
    ErrorData, Json, RoleServer,
    model::{CallToolResult, ContentBlock, MetaObject},
    service::RequestContext,
};
use serde_json::Value;

use crate::{CallContext, Refusal, SessionContext, output::GovernedReturn};

/// The key of the governance object in a result's `_meta`.
pub(crate) const GOVERNANCE: &str = "governance";

/// The result that tells a client of a refusal: a sentence for the model, and
/// the governance object in `_meta`.
pub(crate) fn refused(refusal: &Refusal) -> CallToolResult {
    let mut meta = MetaObject::new();
    meta.insert(GOVERNANCE.to_owned(), refusal.to_json());
    CallToolResult::error(vec![ContentBlock::text(refusal.to_string())]).with_meta(Some(meta))
}

impl GovernedReturn for CallToolResult {
    fn from_refusal(refusal: Refusal) -> Self {
        refused(&refusal)
    }

    fn failure(&self) -> Option<String> {
        (self.is_error == Some(true)).then(|| "the tool answered with an error".to_owned())
    }
}

impl GovernedReturn for Result<CallToolResult, ErrorData> {
    fn from_refusal(refusal: Refusal) -> Self {
        Ok(refused(&refusal))
    }

    fn failure(&self) -> Option<String> {
        match self {
            Ok(result) => result.failure(),
            Err(error) => Some(error.message.to_string()),
        }
    }
}

/// There is no value of `T` that says so; the client gets a protocol error.
impl<T> GovernedReturn for Result<Json<T>, ErrorData> {
    fn from_refusal(refusal: Refusal) -> Self {
        let data =
            Value::Object([(GOVERNANCE.to_owned(), refusal.to_json())].into_iter().collect());
        Err(ErrorData::internal_error(refusal.to_string(), Some(data)))
    }

    fn failure(&self) -> Option<String> {
        self.as_ref().err().map(|error| error.message.to_string())
    }
}

/// The call's session and cancellation, for the waits of a governed method
/// that takes rmcp's context as `#[context]`.
impl From<&RequestContext<RoleServer>> for CallContext {
    fn from(context: &RequestContext<RoleServer>) -> Self {
        let client = context.client_info();
        let session = SessionContext {
            client_name: client.as_ref().map(|client| client.name.clone()),
            client_version: client.map(|client| client.version),
            ..SessionContext::default()
        };
        Self::new(session, context.ct.clone())
    }
}

/// A context that a governed method already has.
impl From<&CallContext> for CallContext {
    fn from(context: &CallContext) -> Self {
        context.clone()
    }
}
