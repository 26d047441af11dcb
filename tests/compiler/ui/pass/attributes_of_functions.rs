//! Each other attribute of a function goes where it belongs.
#![deny(warnings, missing_docs, clippy::pedantic)]

use ascend_sdk::{Refusal, mcp_governance, tools};

/// Not in this build.
#[mcp_governance(action_type = "attributes.absent", resource = "main")]
#[cfg(doc)]
pub async fn absent(number: Missing) -> Result<u32, Refusal> {
    Ok(number)
}

/// In every build.
///
/// # Errors
///
/// When it is refused.
#[mcp_governance(action_type = "attributes.present", resource = "main")]
#[cfg(not(doc))]
#[cfg_attr(not(doc), must_use = "it was counted")]
#[doc(alias = "there")]
pub async fn present(number: u32) -> Result<u32, Refusal> {
    Ok(number)
}

/// An old one.
///
/// # Errors
///
/// When it is refused.
#[mcp_governance(action_type = "attributes.old", resource = "main")]
#[deprecated = "use `present`"]
pub async fn old(number: u32) -> Result<u32, Refusal> {
    Ok(number)
}

/// Lints of the body and of the signature.
///
/// # Errors
///
/// When it is refused.
#[mcp_governance(action_type = "attributes.lints", resource = "main")]
#[allow(unused_variables, clippy::too_many_arguments, reason = "of the signature")]
#[expect(unused_mut, clippy::many_single_char_names, reason = "of both")]
pub async fn lints(
    mut a: u32,
    b: u32,
    c: u32,
    d: u32,
    e: u32,
    f: u32,
    g: u32,
    h: u32,
) -> Result<u32, Refusal> {
    #![allow(unused_assignments, reason = "of the body")]
    let mut rows = a;
    rows = b;
    Ok(b)
}

/// Traced, from inside: the wait for an approval is not in the span.
#[mcp_governance(action_type = "attributes.traced", resource = "main")]
#[tracing::instrument(skip_all, fields(number), err)]
async fn traced(number: u32, #[sensitive] pin: String) -> Result<u32, Refusal> {
    tracing::info!(length = pin.len(), "inside");
    Ok(number)
}

/// Traced, but for what is sensitive.
#[mcp_governance(action_type = "attributes.traced", resource = "main")]
#[tracing::instrument(skip(pin))]
async fn traced_in_part(number: u32, #[sensitive] pin: String) -> Result<u32, Refusal> {
    tracing::info!(length = pin.len(), "inside");
    Ok(number)
}

/// A number of old.
#[deprecated = "use `u32`"]
pub type Number = u32;

/// Takes what is no longer to be used.
///
/// # Errors
///
/// When it is refused.
#[mcp_governance(action_type = "attributes.number", resource = "main")]
#[allow(deprecated, reason = "it is tried here")]
pub async fn number(number: Number) -> Result<Number, Refusal> {
    Ok(number)
}

/// Traced, written the other way round.
#[tracing::instrument]
#[mcp_governance(action_type = "attributes.traced", resource = "main")]
async fn traced_above(number: u32) -> Result<u32, Refusal> {
    Ok(number)
}

/// Compiles.
///
/// # Panics
///
/// When something is not as it was written.
pub fn main() {
    let tools = tools![present, lints, traced, traced_in_part, number, traced_above];
    assert_eq!(tools.routes().len(), 6);
    #[allow(deprecated, reason = "it is tried here")]
    let old = tools![old];
    assert_eq!(old.routes()[0].spec().description, "An old one.");
}
