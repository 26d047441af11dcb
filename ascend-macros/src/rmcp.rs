//! rmcp's `#[tool]`, where it stands on a method of ours.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Token, punctuated::Punctuated};

use crate::signature::is;

type Arguments = Punctuated<Meta, Token![,]>;

fn arguments(tool: &Attribute) -> Option<Arguments> {
    match &tool.meta {
        Meta::Path(_) => Some(Arguments::new()),
        _ => tool.parse_args_with(Arguments::parse_terminated).ok(),
    }
}

/// A text that `#[tool(…)]` gives.
pub(crate) fn text(attrs: &[Attribute], key: &str) -> Option<String> {
    let tool = attrs.iter().find(|attr| is(attr, "tool"))?;
    arguments(tool)?.iter().find_map(|meta| match meta {
        Meta::NameValue(pair) if pair.path.is_ident(key) => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// The attributes with a `#[tool]` whose `meta` is what `make` makes of the one
/// that was written, an `Option`; `None` without a `#[tool]`, or with one that
/// rmcp does not take either.
pub(crate) fn with_meta(
    attrs: &[Attribute],
    make: impl FnOnce(TokenStream) -> TokenStream,
) -> Option<Vec<Attribute>> {
    let at = attrs.iter().position(|attr| is(attr, "tool"))?;
    let is_meta = |meta: &Meta| matches!(meta, Meta::NameValue(pair) if pair.path.is_ident("meta"));
    let (given, others): (Vec<Meta>, Vec<Meta>) =
        arguments(&attrs[at])?.into_iter().partition(is_meta);
    let given = match &given[..] {
        [Meta::NameValue(pair)] => {
            let value = &pair.value;
            quote!(::core::option::Option::Some(#value))
        }
        _ => quote!(::core::option::Option::None),
    };
    let meta = make(given);
    let path = attrs[at].path();
    let mut attrs = attrs.to_vec();
    attrs[at] = syn::parse_quote!(#[#path(#(#others,)* meta = #meta)]);
    Some(attrs)
}
