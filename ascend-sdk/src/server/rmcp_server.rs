//! An rmcp server's own tools, beside the governed functions.

use std::{borrow::Cow, sync::Arc};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{CallToolRequestParams, CallToolResponse, ContentBlock, Tool as Listing},
    service::RequestContext,
};

use super::{
    answer::failed,
    marks::{self, Mark, RmcpTools},
};
use crate::{BoxFuture, Governor, ToolSpec, tool::Secrets};

/// An rmcp server, and the tools that it had when the server was put together.
pub(crate) struct RmcpServer {
    pub(crate) handler: Arc<dyn Handles>,
    pub(crate) tools: Vec<(Listing, Option<Mark>)>,
}

impl RmcpServer {
    pub(crate) fn new<H: ServerHandler, T: RmcpTools>(
        handler: H,
        tools: impl FnOnce() -> T,
    ) -> Self {
        Self { handler: Arc::new(handler), tools: marks::read(tools) }
    }
}

impl std::fmt::Debug for RmcpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RmcpServer").field("tools", &self.tools).finish_non_exhaustive()
    }
}

/// A tool of an rmcp server, as it was when the server started.
pub(crate) struct RmcpTool {
    handler: Arc<dyn Handles>,
    listing: Listing,
    /// What is governed in it.
    spec: Option<&'static ToolSpec>,
}

impl std::fmt::Debug for RmcpTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RmcpTool").field("name", &self.listing.name).finish_non_exhaustive()
    }
}

impl RmcpTool {
    pub(crate) fn new(handler: Arc<dyn Handles>, listing: Listing, mark: Option<&Mark>) -> Self {
        let spec = match mark {
            Some(Mark::Governed(spec)) => Some(*spec),
            _ => None,
        };
        Self { handler, listing, spec }
    }

    /// Has the rmcp server answer the call: what is governed in it, under `governor`.
    pub(crate) async fn call(
        &self,
        governor: Governor,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if self.was_exchanged() {
            tracing::error!(tool = %request.name, "exchanged since the server started: refused");
            let text = "the tool was exchanged since the server started, so it did not run";
            return Ok(failed(text, None).into());
        }
        // What rmcp says of arguments that do not fit quotes them.
        let secrets = self
            .spec
            .zip(request.arguments.as_ref())
            .map(|(spec, arguments)| Secrets::among(arguments, |name| spec.may_be_sensitive(name)));
        let handler = self.handler.clone();
        // A task of its own, so that a panic is answered as well.
        let call =
            tokio::spawn(
                async move { governor.clone().scope(handler.call(request, context)).await },
            );
        let answer = call.await.unwrap_or_else(|_| {
            let text = "the tool panicked while it ran; what it had done by then is not known";
            Ok(failed(text, None).into())
        });
        match secrets {
            Some(secrets) => scrubbed(answer, &secrets),
            None => answer,
        }
    }

    /// Whether the rmcp server now says otherwise of the tool than when it was checked.
    fn was_exchanged(&self) -> bool {
        let is_other = |now: Listing| {
            let Listing { name, input_schema, output_schema, .. } = &self.listing;
            (name, input_schema, output_schema)
                != (&now.name, &now.input_schema, &now.output_schema)
        };
        self.handler.listing(&self.listing.name).is_some_and(is_other)
    }
}

/// How rmcp begins to say that arguments do not fit.
const UNFIT: &str = "failed to deserialize parameters:";

/// An answer without sensitive arguments, where rmcp quotes them: before the tool's own
/// code is reached. What that says is its own.
fn scrubbed(
    answer: Result<CallToolResponse, ErrorData>,
    secrets: &Secrets,
) -> Result<CallToolResponse, ErrorData> {
    match answer {
        Err(mut error) if error.message.starts_with(UNFIT) => {
            error.message = secrets.scrub(&error.message).into();
            Err(error)
        }
        Ok(CallToolResponse::Complete(mut result)) if result.is_error == Some(true) => {
            for block in &mut result.content {
                if let ContentBlock::Text(text) = block
                    && text.text.starts_with(UNFIT)
                {
                    text.text = secrets.scrub(&text.text);
                }
            }
            Ok(CallToolResponse::Complete(result))
        }
        answer => answer,
    }
}

/// An rmcp server without its type.
pub(crate) trait Handles: Send + Sync {
    fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'_, Result<CallToolResponse, ErrorData>>;

    /// `None` also where the server does not say.
    fn listing(&self, name: &str) -> Option<Listing>;
}

impl<H: ServerHandler> Handles for H {
    fn call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> BoxFuture<'_, Result<CallToolResponse, ErrorData>> {
        Box::pin(self.call_tool(request, context))
    }

    fn listing(&self, name: &str) -> Option<Listing> {
        self.get_tool(name)
    }
}

/// What clients read: of a governed tool, its risk as well.
pub(crate) fn described(listing: &Listing, mark: Option<&Mark>) -> Listing {
    let mut listing = listing.clone();
    if let Some(Mark::Governed(spec)) = mark {
        let description = listing.description.as_deref().unwrap_or_default();
        listing.description = Some(Cow::Owned(format!("{description} [Risk: {}]", spec.risk())));
    }
    listing
}
