//! The attributes of `ascend-sdk`.
use proc_macro::TokenStream;
/// x
#[proc_macro_attribute]
pub fn mcp_governance(_a: TokenStream, i: TokenStream) -> TokenStream {
    i
}
/// x
#[proc_macro_attribute]
pub fn high_risk_action(_a: TokenStream, i: TokenStream) -> TokenStream {
    i
}
