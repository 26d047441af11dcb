//! rmcp's `#[tool]`, where it stands on a method of ours.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Lit, Meta, Token, punctuated::Punctuated};

use crate::{args, signature::is};

type Arguments = Punctuated<Meta, Token![,]>;

fn arguments(tool: &Attribute) -> Option<Arguments> {
    match &tool.meta {
        Meta::Path(_) => Some(Arguments::new()),
        _ => tool.parse_args_with(Arguments::parse_terminated).ok(),
    }
}

/// What `#[tool(…)]` gives, where there is one that can be read.
fn given(attrs: &[Attribute]) -> Option<Arguments> {
    arguments(attrs.iter().find(|attr| is(attr, "tool"))?)
}

/// A text that `#[tool(…)]` gives.
pub(crate) fn text(attrs: &[Attribute], key: &str) -> Option<String> {
    given(attrs)?.iter().find_map(|meta| match meta {
        Meta::NameValue(pair) if pair.path.is_ident(key) => {
            args::text(&pair.value).map(syn::LitStr::value)
        }
        _ => None,
    })
}

/// Whether `#[tool(…)]` has this key.
pub(crate) fn has(attrs: &[Attribute], key: &str) -> bool {
    given(attrs).is_some_and(|given| given.iter().any(|meta| meta.path().is_ident(key)))
}

/// Where `#[tool(annotations(…))]` says `true` of this hint.
pub(crate) fn hint(attrs: &[Attribute], key: &str) -> Option<Meta> {
    let hints = given(attrs)?.iter().find_map(|meta| match meta {
        Meta::List(list) if list.path.is_ident("annotations") => {
            list.parse_args_with(Arguments::parse_terminated).ok()
        }
        _ => None,
    })?;
    hints.into_iter().find(|meta| match meta {
        Meta::NameValue(pair) if pair.path.is_ident(key) => {
            matches!(args::literal(&pair.value), Some(Lit::Bool(it)) if it.value)
        }
        _ => false,
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
