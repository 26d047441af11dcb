//! `#[ungoverned(reason = "…")]`: a tool of rmcp's that nobody is asked about.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{LitStr, Meta, Path, Token, punctuated::Punctuated};

use crate::{
    args::{self, Kind},
    diagnostics::{Diagnostics, nearest},
    rmcp,
    signature::{self, Function, is},
};

pub(crate) const UNGOVERNED: &str = "ungoverned";

/// The mistake of a tool that is both.
pub(crate) fn governed(kind: Kind) -> String {
    format!("`#[{}]` governs this tool; remove `#[ungoverned]`", kind.name())
}

/// What the attribute with `arguments` makes of `item`: a method whose listing
/// says that it is ungoverned, and why.
pub(crate) fn attribute(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut out = Diagnostics::default();
    let function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            let message = "`#[ungoverned]` goes above the `#[tool]` of a method";
            out.push(signature::not_a_function(message, item.clone()));
            let errors = out.into_tokens();
            return quote! { #item #errors };
        }
    };
    let written = Written::parse(arguments, &mut out);
    check(&function, &mut out);
    let marked = written.reason.and_then(|reason| {
        let name = rmcp::text(&function.attrs, "name").unwrap_or_else(|| function.name());
        let span = Span::mixed_site().located_at(function.sig.ident.span());
        let sdk = match &written.crate_path {
            Some(path) => path.to_token_stream(),
            None => quote_spanned!(span=> ::ascend_sdk),
        };
        rmcp::with_meta(
            &function.attrs,
            |meta| quote_spanned!(span=> #sdk::__private::ungoverned(#meta, #name, #reason)),
        )
    });
    match marked {
        Some(attrs) if out.is_empty() => {
            let function = Function { attrs, ..function };
            quote!(#function)
        }
        _ => {
            let function = function.without_our_attributes();
            let errors = out.into_tokens();
            quote! { #function #errors }
        }
    }
}

fn check(function: &Function, out: &mut Diagnostics) {
    let is_tool = function.attrs.iter().any(|attr| is(attr, "tool"));
    if !is_tool && signature::returns_boxed_future(&function.sig) {
        out.at_span(Span::call_site(), "write `#[ungoverned]` above `#[tool]`");
    } else if !is_tool {
        out.at(
            &function.sig.ident,
            "this is no tool: `#[ungoverned]` goes above the `#[tool]` of a method",
        );
    }
    for attr in &function.attrs {
        if is(attr, UNGOVERNED) {
            out.at(attr, "`#[ungoverned]` is given twice");
        }
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| is(attr, kind.name())) {
            out.at_span(Span::call_site(), governed(kind));
        }
    }
}

/// The arguments.
#[derive(Default)]
struct Written {
    reason: Option<LitStr>,
    crate_path: Option<Path>,
}

impl Written {
    fn parse(tokens: TokenStream, out: &mut Diagnostics) -> Self {
        use syn::parse::Parser as _;

        const EXAMPLE: &str = r#"reason = "it only tells the time""#;
        let mut written = Self::default();
        if let Ok(text) = syn::parse2::<LitStr>(tokens.clone()) {
            out.at(text, format!("give this text a key, as in `{EXAMPLE}`"));
            return written;
        }
        let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
        let metas = match parser.parse2(tokens) {
            Ok(metas) => metas,
            Err(error) => {
                out.push(error);
                return written;
            }
        };
        let mut given: Vec<&str> = Vec::new();
        for meta in &metas {
            let word = meta.path().get_ident().map(ToString::to_string).unwrap_or_default();
            let key = match word.as_str() {
                "reason" => "reason",
                "crate" => "crate",
                other => {
                    let path = meta.path().to_token_stream().to_string();
                    match nearest(other, ["reason"]) {
                        Some(near) => {
                            given.push("reason");
                            out.at(
                                meta.path(),
                                format!("unknown argument `{path}`; did you mean `{near}`?"),
                            );
                        }
                        None => out.at(
                            meta.path(),
                            format!("unknown argument `{path}`; expected `reason`"),
                        ),
                    }
                    continue;
                }
            };
            if given.contains(&key) {
                out.at(meta.path(), format!("`{key}` is given twice"));
                continue;
            }
            given.push(key);
            let text = match meta {
                Meta::NameValue(pair) => {
                    args::text(&pair.value).ok_or_else(|| pair.value.to_token_stream())
                }
                _ => Err(meta.to_token_stream()),
            };
            match (key, text) {
                ("reason", Ok(text)) if text.value().trim().is_empty() => {
                    out.at(text, "say why nobody needs to be asked before this tool runs");
                }
                ("reason", Ok(text)) => written.reason = Some(text.clone()),
                ("reason", Err(at)) => {
                    out.at(at, format!("`reason` takes text in quotes, as in `{EXAMPLE}`"));
                }
                (_, text) => match text.map(LitStr::parse::<Path>) {
                    Ok(Ok(path)) => written.crate_path = Some(path),
                    Ok(Err(_)) | Err(_) => {
                        out.at(
                            meta,
                            "`crate` takes a path in a string, as in `crate = \"ascend_sdk\"`",
                        );
                    }
                },
            }
        }
        if !given.contains(&"reason") {
            out.at_span(Span::call_site(), format!("missing `reason`; write `{EXAMPLE}`"));
        }
        written
    }
}
