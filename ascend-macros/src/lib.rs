//! The attributes of `ascend-sdk`: syntax in, syntax out, no policy.
//!
//! Use them through `ascend_sdk`, which documents them, so that their examples
//! compile.
#![allow(missing_docs, reason = "documented where they are exported")]

mod action;
mod args;
mod diagnostics;
mod expand;
mod parameter;
mod rmcp;
mod signature;
mod suite;
mod template;
mod ungoverned;

use proc_macro::TokenStream;

use crate::args::Kind;

#[proc_macro_attribute]
pub fn mcp_governance(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(Kind::Governance, arguments.into(), item.into()).into()
}

#[proc_macro_attribute]
pub fn high_risk_action(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(Kind::HighRisk, arguments.into(), item.into()).into()
}

#[proc_macro_attribute]
pub fn ungoverned(arguments: TokenStream, item: TokenStream) -> TokenStream {
    ungoverned::attribute(arguments.into(), item.into()).into()
}

#[proc_macro]
pub fn governance_tests(input: TokenStream) -> TokenStream {
    suite::tests(input.into()).into()
}
