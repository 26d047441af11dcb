//! An ordinary function: a tool of its own.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, FnArg, Pat, ReturnType, parse::Parser, spanned::Spanned};

use super::{crate_path, lint_levels, name_of, span_at, spec};
use crate::{
    action::{Action, Verb},
    signature::{Function, Parameter, Role},
};

/// The tool's type, which is its arguments; its `impl Tool`, which alone has
/// the body; and the function, which asks the runtime to run it.
pub(super) fn expand(
    action: &Action,
    function: &Function,
    parameters: &[Parameter],
) -> TokenStream {
    let tool = tool_type(action, function, parameters);
    let implementation = implementation(action, function, parameters);
    let front = front(action, function, parameters);
    quote! { #tool #implementation #front }
}

/// The type's name is the function's, which is in another namespace. Its token
/// is ours, so that lints speak of the function alone.
fn tool_name(function: &Function) -> Ident {
    let mut name = function.sig.ident.clone();
    name.set_span(Span::call_site().located_at(name.span()));
    name
}

fn arguments(
    parameters: &[Parameter],
) -> impl Iterator<Item = (&Parameter, &crate::signature::Argument)> {
    parameters.iter().filter_map(|parameter| Some((parameter, parameter.argument()?)))
}

fn of_role<'a>(
    parameters: &'a [Parameter],
    is: fn(&Role) -> bool,
) -> impl Iterator<Item = &'a Parameter> {
    parameters.iter().filter(move |parameter| is(&parameter.role))
}

fn is_state(role: &Role) -> bool {
    matches!(role, Role::State)
}

fn is_context(role: &Role) -> bool {
    matches!(role, Role::Context)
}

fn cfgs(function: &Function) -> Vec<&Attribute> {
    function.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect()
}

fn tool_type(action: &Action, function: &Function, parameters: &[Parameter]) -> TokenStream {
    let sdk = crate_path(action);
    let name = tool_name(function);
    let vis = &function.vis;
    let cfgs = cfgs(function);
    let serde = quote!(#sdk::__private::serde);
    let schemars = quote!(#sdk::__private::schemars);
    let serde_path = serde.to_string().replace(' ', "");
    let schemars_path = schemars.to_string().replace(' ', "");
    let fields = arguments(parameters).map(|(parameter, argument)| {
        let Parameter { ident, ty, .. } = parameter;
        let attrs = &argument.field_attrs;
        quote!(#(#attrs)* #ident: #ty)
    });
    quote! {
        #(#cfgs)*
        #[doc(hidden)]
        #[allow(non_camel_case_types, reason = "the type has the function's name")]
        #[derive(#serde::Serialize, #serde::Deserialize, #schemars::JsonSchema)]
        #[serde(crate = #serde_path, deny_unknown_fields)]
        #[schemars(crate = #schemars_path)]
        #vis struct #name { #(#fields),* }
    }
}

fn implementation(action: &Action, function: &Function, parameters: &[Parameter]) -> TokenStream {
    let sdk = crate_path(action);
    let name = tool_name(function);
    let ident = &function.sig.ident;
    let span = span_at(ident);
    let cfgs = cfgs(function);

    let wire_names: Vec<_> = arguments(parameters)
        .map(|(parameter, argument)| (name_of(&parameter.ident), argument.wire_name.clone()))
        .collect();
    let wire_name = |name: &str| {
        wire_names
            .iter()
            .find(|(rust, _)| rust == name)
            .map_or_else(|| name.to_owned(), |(_, wire)| wire.clone())
    };
    let state: Vec<_> = of_role(parameters, is_state).map(|parameter| &parameter.ty).collect();
    let described: Vec<_> = arguments(parameters)
        .map(|(_, argument)| (argument.wire_name.clone(), argument.sensitive))
        .collect();
    let spec = spec(action, ident, &described, &state, &wire_name);

    let returned = match &function.sig.output {
        ReturnType::Type(_, ty) => ty.to_token_stream(),
        ReturnType::Default => quote!(()),
    };
    let names: Vec<_> = arguments(parameters).map(|(parameter, _)| &parameter.ident).collect();
    let verb = match &action.verb {
        Verb::Word(_) => None,
        Verb::Computed(expression) => {
            let from = quote_spanned!(expression.span()=> ::core::convert::From::from);
            Some(quote! {
                #[allow(unused_variables, reason = "the verb follows from some of them")]
                fn verb(&self) -> #sdk::Verb {
                    let Self { #(#names),* } = self;
                    #from(#expression)
                }
            })
        }
    };
    let governor = action.governor.as_ref().map(|governor| {
        let bound = quote_spanned!(governor.span()=> #sdk::__private::bound);
        quote! {
            fn governor() -> ::core::option::Option<#sdk::Governor> {
                ::core::option::Option::Some(#bound(&(#governor)))
            }
        }
    });
    let taken = state
        .iter()
        .map(|ty| quote_spanned!(Span::mixed_site().located_at(ty.span())=> state.get::<#ty>()?));
    let run = run(action, function, parameters, &returned);
    quote_spanned! {span=>
        #(#cfgs)*
        impl #sdk::Tool for #name {
            type State = (#(#state,)*);
            type Return = #returned;

            const SPEC: &'static #sdk::ToolSpec = &#spec;

            #verb
            #governor

            fn state(
                state: &#sdk::State,
            ) -> ::core::result::Result<Self::State, #sdk::MissingState> {
                // Whoever offers the tool uses the function.
                let _ = #ident;
                ::core::result::Result::Ok((#(#taken,)*))
            }

            #run
        }
    }
}

/// The only place that has the body. It takes a permit, which only the runtime makes.
fn run(
    action: &Action,
    function: &Function,
    parameters: &[Parameter],
    returned: &TokenStream,
) -> TokenStream {
    let sdk = crate_path(action);
    let ident = &function.sig.ident;
    let span = span_at(ident);
    let fields = arguments(parameters).map(|(parameter, _)| {
        let Parameter { ident, mutability, binding_attrs, .. } = parameter;
        // Written in full: lints then speak of the variable as of a parameter.
        let field = Ident::new(&ident.to_string(), Span::call_site().located_at(ident.span()));
        quote!(#(#binding_attrs)* #field: #mutability #ident)
    });
    let bind = |parameter: &Parameter| {
        let Parameter { ident, mutability, .. } = parameter;
        quote!(#mutability #ident)
    };
    let state = of_role(parameters, is_state).map(bind);
    let context = of_role(parameters, is_context).map(bind).next().unwrap_or_else(|| quote!(_));
    let lint_levels = lint_levels(&function.attrs);
    let (inner_attrs, statements) = body(&function.body);
    let mut block = Group::new(
        Delimiter::Brace,
        quote_spanned! {span=>
            let (Self { #(#fields),* }, (#(#state,)*), #context) = permit.into_parts();
            #statements
        },
    );
    block.set_span(function.body.span());
    quote_spanned! {span=>
        #(#lint_levels)*
        #(#inner_attrs)*
        async fn run(permit: #sdk::Permit<Self>) -> #returned
        #block
    }
}

/// The body's own attributes, as outer ones, and the rest of it.
fn body(body: &Group) -> (Vec<Attribute>, TokenStream) {
    let parser = |input: syn::parse::ParseStream<'_>| {
        let mut attrs = input.call(Attribute::parse_inner)?;
        for attr in &mut attrs {
            attr.style = syn::AttrStyle::Outer;
        }
        Ok((attrs, input.parse()?))
    };
    parser.parse2(body.stream()).unwrap_or_else(|_| (Vec::new(), body.stream()))
}

/// The function as its callers see it.
fn front(action: &Action, function: &Function, parameters: &[Parameter]) -> TokenStream {
    let sdk = crate_path(action);
    let name = tool_name(function);
    let Function { attrs, vis, sig, body } = function;
    let mut sig = sig.clone();
    for input in &mut sig.inputs {
        if let FnArg::Typed(input) = input {
            input.attrs.clear();
            if let Pat::Ident(pat) = &mut *input.pat {
                pat.mutability = None;
            }
        }
    }
    let span = span_at(&sig.ident);
    let names = arguments(parameters).map(|(parameter, _)| &parameter.ident);
    let state = of_role(parameters, is_state).map(|parameter| &parameter.ident);
    let context = match of_role(parameters, is_context).next() {
        Some(Parameter { ident, .. }) => quote!(::core::option::Option::Some(#ident)),
        None => quote!(::core::option::Option::None),
    };
    let attrs = attrs.iter().map(|attr| {
        if attr.path().is_ident("expect") {
            lint_levels(std::slice::from_ref(attr)).next().unwrap_or_else(|| attr.clone())
        } else {
            attr.clone()
        }
    });
    let mut block = Group::new(
        Delimiter::Brace,
        quote_spanned! {span=>
            #sdk::__private::call(#name { #(#names),* }, (#(#state,)*), #context).await
        },
    );
    block.set_span(body.span());
    let block = TokenTree::Group(block);
    quote!(#(#attrs)* #vis #sig #block)
}
