//! How calls end, as clients see it.

use std::any::Any;

use base64::Engine as _;
use rmcp::model::{
    CallToolResult, ContentBlock as Block, Resource, ResourceContents as McpContents,
};
use serde_json::Value;

use super::catalog::Output;
use crate::{
    ContentBlock, Refusal, RefusalKind, ResourceContents,
    output::Rendered,
    rmcp_return::RmcpResult as _,
    route::{Answer, Unanswered},
};

/// What came of a call; an error when user code panicked that describes it. A
/// panic of the body is caught where it runs.
pub(super) type Ended = Result<Result<Answer, Unanswered>, Box<dyn Any + Send>>;

/// The refusal of a call that goes on waiting.
pub(super) fn pending(ended: &Ended) -> Option<&Refusal> {
    match ended {
        Ok(Err(Unanswered::Refused(refusal))) if refusal.kind() == RefusalKind::Pending => {
            Some(refusal)
        }
        _ => None,
    }
}

pub(super) fn result(ended: Ended, output: Output, is_legacy: bool) -> CallToolResult {
    match ended {
        Ok(Ok(answer)) => answered_with(answer, is_legacy, output != Output::Content),
        Ok(Err(unanswered)) => unanswered_with(&unanswered, output.is_listed(is_legacy)),
        Err(_) => {
            failed("the call failed with a panic before the tool ran; it was not executed", None)
        }
    }
}

fn answered_with(answer: Answer, is_legacy: bool, has_schema: bool) -> CallToolResult {
    let Answer { result, governance } = answer;
    let Rendered { blocks, structured } = match result {
        Ok(rendered) => rendered,
        Err(error) => return failed(error, Some(governance)),
    };
    let mut content: Vec<Block> = blocks.into_iter().map(block).collect();
    // A tool that promised structured content and returned nothing returned null.
    let structured =
        structured.or_else(|| (has_schema && content.is_empty()).then_some(Value::Null));
    if content.is_empty() && structured.is_some() {
        content.push(Block::text("null"));
    }
    let mut result = CallToolResult::success(content);
    // Before 2026-07-28 structured content is an object; the list leaves other
    // schemas out for those clients, and the text has the value.
    result.structured_content = structured.filter(|value| value.is_object() || !is_legacy);
    result.governed(governance)
}

fn unanswered_with(unanswered: &Unanswered, has_schema: bool) -> CallToolResult {
    match unanswered {
        Unanswered::Refused(refusal) if refusal.kind() == RefusalKind::Pending => {
            let mut result = refused(refusal);
            // Nothing went wrong. But the official clients refuse a result that
            // lacks the structured content which the tool promised, unless it is
            // an error.
            result.is_error = Some(has_schema);
            result
        }
        Unanswered::Refused(refusal) => refused(refusal),
        Unanswered::Panicked { governance } => {
            failed(unanswered.to_string(), Some(governance.clone()))
        }
        Unanswered::InvalidArguments(_) | Unanswered::MissingState(_) => {
            failed(unanswered.to_string(), None)
        }
    }
}

pub(super) fn refused(refusal: &Refusal) -> CallToolResult {
    failed(refusal.to_string(), Some(refusal.to_json()))
}

pub(super) fn failed(text: impl Into<String>, governance: Option<Value>) -> CallToolResult {
    let result = CallToolResult::error(vec![Block::text(text)]);
    match governance {
        Some(governance) => result.governed(governance),
        None => result,
    }
}

fn block(block: ContentBlock) -> Block {
    let base64 = |data| base64::engine::general_purpose::STANDARD.encode::<Vec<u8>>(data);
    match block {
        ContentBlock::Text(text) => Block::text(text),
        ContentBlock::Image { data, mime_type } => Block::image(base64(data), mime_type),
        ContentBlock::Audio { data, mime_type } => Block::audio(base64(data), mime_type),
        ContentBlock::ResourceLink { uri, name, mime_type } => {
            let mut resource = Resource::new(uri, name);
            resource.mime_type = mime_type;
            Block::resource_link(resource)
        }
        ContentBlock::Resource { uri, mime_type, contents } => Block::resource(match contents {
            ResourceContents::Text(text) => {
                McpContents::TextResourceContents { uri, mime_type, text, meta: None }
            }
            ResourceContents::Blob(data) => {
                McpContents::BlobResourceContents { uri, mime_type, blob: base64(data), meta: None }
            }
        }),
    }
}
