//! A method above rmcp's `#[tool]`: its body, wrapped.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

use super::crate_path;
use crate::{
    action::Action,
    signature::{Function, MethodParameter},
};

pub(super) fn expand(
    action: &Action,
    function: &Function,
    parameters: &[MethodParameter],
) -> TokenStream {
    let _ = (action, function, parameters, crate_path(action), Ident::new("x", Span::call_site()));
    quote!()
}
