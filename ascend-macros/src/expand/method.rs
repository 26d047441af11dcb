//! A method above rmcp's `#[tool]`: its body, wrapped.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, FnArg, Pat, PatType, ReturnType, Type, spanned::Spanned, visit_mut::VisitMut,
};

use super::{SpecParameter, body, bound, crate_path, span_at, spec};
use crate::{
    action::{Action, Template},
    parameter::{MethodParameter, MethodRole},
    rmcp,
    signature::{Function, unraw},
    template::Segment,
};

/// The method as written, but for its body: that is a closure which the
/// runtime calls under a grant. Its parameters are taken as they come, shown
/// to the authority, and taken apart inside.
pub(super) fn expand(
    action: &Action,
    function: &Function,
    parameters: &[MethodParameter],
) -> TokenStream {
    let Function { attrs, vis, sig, .. } = function;
    let ident = &sig.ident;
    let span = span_at(ident);
    let sdk = crate_path(action, span);
    let values: Vec<_> = parameters
        .iter()
        .enumerate()
        .map(|(index, parameter)| format_ident!("parameter_{index}", span = at(&parameter.ty)))
        .collect();

    let described: Vec<_> = parameters
        .iter()
        .flat_map(|parameter| match &parameter.role {
            &MethodRole::Argument { ref name, sensitive, traced } => {
                vec![SpecParameter { name: name.clone(), sensitive, traced }]
            }
            MethodRole::Fields { sensitive } => sensitive
                .iter()
                .map(|field| SpecParameter { name: unraw(field), sensitive: true, traced: false })
                .collect(),
            MethodRole::Context => Vec::new(),
        })
        .collect();
    let spec = spec(action, ident, &described, &[], &str::to_owned);
    let (attrs, spec_of_tool, spec) = metadata(&sdk, attrs, ident, &spec);

    let arguments = parameters.iter().zip(&values).filter_map(|(parameter, value)| {
        let span = at(&parameter.ty);
        let sdk = crate_path(action, span);
        let argument = match &parameter.role {
            MethodRole::Argument { name, .. } => {
                quote_spanned!(span=> #sdk::__private::Argument::one(#name, &#value))
            }
            MethodRole::Fields { sensitive } => {
                let names = sensitive.iter().map(unraw);
                quote_spanned! {span=>
                    #sdk::__private::Argument::fields(&#value)
                        #(.sensitive(#names, &#value.0.#sensitive))*
                }
            }
            MethodRole::Context => return None,
        };
        Some(argument)
    });
    let contexts: TokenStream = parameters
        .iter()
        .zip(&values)
        .filter(|(parameter, _)| matches!(parameter.role, MethodRole::Context))
        .map(|(_, value)| {
            quote_spanned! {span=>
                let context = {
                    use #sdk::__private::Untold as _;
                    #sdk::__private::Told(&#value).tell(context)
                };
            }
        })
        .collect();
    let fields = field_checks(action, parameters, &values);
    let patterns: Vec<_> = parameters.iter().map(|parameter| &parameter.pat).collect();
    let verb = super::verb(action);
    let verb = if super::is_computed(action) {
        let patterns = patterns.iter().map(|pat| without_mut(pat));
        quote! {{
            #[allow(unused_variables, reason = "the verb follows from some of them")]
            let (#(#patterns,)*) = (#(&#values,)*);
            #verb
        }}
    } else {
        verb
    };
    let governor = match &action.governor {
        None => quote!(::core::option::Option::None),
        Some(governor) => {
            let bound = bound(&sdk, governor);
            quote!(::core::option::Option::Some(#bound))
        }
    };

    let returned = match &sig.output {
        ReturnType::Type(_, ty) => named(ty),
        ReturnType::Default => quote!(()),
    };
    // Tells the compiler what the body returns before it sees the body.
    let expected = quote_spanned! {at(&returned)=>
        #[allow(
            unreachable_code,
            clippy::diverging_sub_expression,
            clippy::empty_loop,
            clippy::let_unit_value,
            clippy::let_with_type_underscore,
            clippy::needless_return,
            reason = "it never runs"
        )]
        if false {
            let never: #returned = loop {};
            return never;
        }
    };
    let (inner_attrs, statements) = body(&function.body);
    let mut inside = Group::new(
        Delimiter::Brace,
        quote_spanned! {span=>
            #(let #patterns = #values;)*
            #expected
            #statements
        },
    );
    inside.set_span(function.body.span());
    let inside = TokenTree::Group(inside);
    // Asks the return type for room for a refusal.
    let at_return = at(&returned);
    let sdk_at_return = crate_path(action, at_return);
    let guarded = quote_spanned! {at_return=>
        #sdk_at_return::__private::guard(
            governor,
            #spec,
            verb,
            arguments,
            context,
            move || async move #inside,
        )
        .await
    };
    let mut block = Group::new(
        Delimiter::Brace,
        quote_spanned! {span=>
            #fields
            let governor = #governor;
            let verb = #verb;
            let arguments = #sdk::__private::arguments([#(#arguments),*]);
            let context = <#sdk::CallContext as ::core::default::Default>::default();
            #contexts
            #guarded
        },
    );
    block.set_span(function.body.span());

    let mut sig = sig.clone();
    let mut kept = parameters.iter().zip(&values);
    for input in &mut sig.inputs {
        if let FnArg::Typed(input) = input
            && let Some((parameter, value)) = kept.next()
        {
            *input = taken(input, parameter, value);
        }
    }
    let block = TokenTree::Group(block);
    quote!(#spec_of_tool #(#attrs)* #(#inner_attrs)* #vis #sig #block)
}

/// The attributes, the item that has the metadata, and its name. That of a tool
/// stands beside the method, where rmcp's description of the tool can name it too.
fn metadata(
    sdk: &TokenStream,
    attrs: &[Attribute],
    ident: &Ident,
    spec: &TokenStream,
) -> (Vec<Attribute>, Option<TokenStream>, TokenStream) {
    let span = span_at(ident);
    let name = format_ident!("__{}_SPEC", unraw(ident).to_uppercase(), span = span);
    let constant = quote_spanned!(span=> Self::#name);
    let marked = rmcp::with_meta(
        attrs,
        |meta| quote_spanned!(span=> #sdk::__private::governed(#meta, #constant)),
    );
    match marked {
        Some(attrs) => {
            let item = quote_spanned! {span=>
                #[doc(hidden)]
                const #name: &'static #sdk::ToolSpec = &#spec;
            };
            (attrs, Some(item), constant)
        }
        None => {
            let constant = quote_spanned!(span=> const { &#spec });
            (attrs.to_vec(), None, constant)
        }
    }
}

/// Where tokens of ours that ask something of a type stand.
fn at(ty: &impl ToTokens) -> Span {
    Span::mixed_site().located_at(ty.span())
}

fn taken(input: &PatType, parameter: &MethodParameter, value: &Ident) -> PatType {
    PatType {
        attrs: parameter.attrs.clone(),
        pat: Box::new(Pat::Verbatim(value.to_token_stream())),
        ..input.clone()
    }
}

/// Has the compiler look for the fields that placeholders name.
fn field_checks(
    action: &Action,
    parameters: &[MethodParameter],
    values: &[Ident],
) -> Option<TokenStream> {
    let (_, value) = parameters
        .iter()
        .zip(values)
        .find(|(parameter, _)| matches!(parameter.role, MethodRole::Fields { .. }))?;
    let own: Vec<_> = parameters
        .iter()
        .filter_map(|parameter| match &parameter.role {
            MethodRole::Argument { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let named = |template: &Template| {
        let span = Span::mixed_site().located_at(template.span);
        let names: Vec<_> = template
            .segments
            .iter()
            .filter_map(Segment::parameter)
            .filter(|name| !own.contains(name))
            .map(|name| field(name, span))
            .collect();
        names
    };
    let mut fields: Vec<Ident> = named(&action.resource);
    fields.extend(action.summary.iter().flat_map(named));
    (!fields.is_empty()).then(|| quote!(let _ = || { #(let _ = &#value.0.#fields;)* };))
}

/// A field's name, raw where it is a keyword.
fn field(name: &str, span: Span) -> Ident {
    match syn::parse_str::<Ident>(name) {
        Ok(_) => Ident::new(name, span),
        Err(_) => Ident::new_raw(name, span),
    }
}

/// The return type with a hole for each `impl Trait`.
fn named(ty: &Type) -> TokenStream {
    struct Holes;
    impl VisitMut for Holes {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if let Type::ImplTrait(_) = ty {
                *ty = syn::parse_quote!(_);
            } else {
                syn::visit_mut::visit_type_mut(self, ty);
            }
        }
    }
    let mut ty = ty.clone();
    Holes.visit_type_mut(&mut ty);
    ty.into_token_stream()
}

/// The pattern without `mut`: what the verb sees cannot be changed.
fn without_mut(pat: &Pat) -> Pat {
    struct Immutable;
    impl VisitMut for Immutable {
        fn visit_pat_ident_mut(&mut self, pat: &mut syn::PatIdent) {
            pat.mutability = None;
            syn::visit_mut::visit_pat_ident_mut(self, pat);
        }
    }
    let mut pat = pat.clone();
    Immutable.visit_pat_mut(&mut pat);
    pat
}
