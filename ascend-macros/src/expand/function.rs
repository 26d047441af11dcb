//! An ordinary function: a tool of its own.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Attribute, FnArg, Pat, ReturnType, Type, spanned::Spanned};

use super::{body, bound, crate_path, lint_levels, span_at, spec};
use crate::{
    action::Action,
    parameter::{Argument, Parameter, Role},
    signature::{Function, unraw},
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

/// A word of the user's as a token of ours, so that lints speak only of the
/// item that the user wrote.
fn ours(ident: &Ident) -> Ident {
    let mut ident = ident.clone();
    ident.set_span(Span::call_site().located_at(ident.span()));
    ident
}

/// The type's name is the function's, which is in another namespace.
fn tool_name(function: &Function) -> Ident {
    ours(&function.sig.ident)
}

fn arguments(parameters: &[Parameter]) -> impl Iterator<Item = (&Parameter, &Argument)> {
    parameters.iter().filter_map(|parameter| Some((parameter, parameter.argument()?)))
}

fn of_role(parameters: &[Parameter], is: fn(&Role) -> bool) -> impl Iterator<Item = &Parameter> {
    parameters.iter().filter(move |parameter| is(&parameter.role))
}

fn is_state(role: &Role) -> bool {
    matches!(role, Role::State)
}

fn is_context(role: &Role) -> bool {
    matches!(role, Role::Context)
}

fn cfgs(function: &Function) -> TokenStream {
    function
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("cfg"))
        .map(Attribute::to_token_stream)
        .collect()
}

/// The tool's type, and what makes it readable and writable.
///
/// A parameter whose type cannot be read or written must be one error, at that
/// type. So the derived code takes the types' abilities as conditions (over
/// `'a`, else the compiler would settle them at once), what depends on it
/// falls back to what compiles for every type and never runs, and `parameter`
/// alone insists.
fn tool_type(action: &Action, function: &Function, parameters: &[Parameter]) -> TokenStream {
    let sdk = crate_path(action, span_at(&function.sig.ident));
    let name = tool_name(function);
    let vis = &function.vis;
    let cfgs = cfgs(function);
    let serde = quote!(#sdk::__private::serde);
    let schemars = quote!(#sdk::__private::schemars);
    let as_text = |path: &TokenStream| path.to_string().replace(' ', "");
    let (serde_text, schemars_text) = (as_text(&serde), as_text(&schemars));

    // Derives take conditions as text; by these names the types keep their spans.
    let aliases: Vec<_> = (0..arguments(parameters).count())
        .map(|index| format_ident!("__{}_{index}", unraw(&name), span = name.span()))
        .collect();
    let types: Vec<_> = arguments(parameters).map(|(parameter, _)| &parameter.ty).collect();
    let sdk_text = as_text(&sdk);
    let bound = aliases
        .iter()
        .map(|alias| format!("for<'a> {alias}: {sdk_text}::__private::Parameter<'a>"))
        .collect::<Vec<_>>()
        .join(", ");
    let fields = |keep: fn(&Attribute) -> bool| {
        let fields = arguments(parameters).map(move |(parameter, argument)| {
            let Parameter { ident, ty, .. } = parameter;
            let ident = ours(ident);
            let attrs = argument.field_attrs.iter().filter(|attr| keep(attr));
            quote!(#(#attrs)* #ident: #ty)
        });
        quote!(#(#fields),*)
    };
    let stored = fields(|attr| !is_schema_attr(attr));
    let described = fields(|attr| is_schema_attr(attr) || attr.path().is_ident("serde"));
    let checks = types.iter().map(|ty| {
        let span = Span::mixed_site().located_at(ty.span());
        let sdk = crate_path(action, span);
        quote_spanned!(span=> #sdk::__private::parameter::<#ty>())
    });
    let text = unraw(&name);
    let aliases = aliases
        .iter()
        .zip(&types)
        .map(|(alias, ty)| quote!(#cfgs #[doc(hidden)] type #alias = #ty;))
        .collect::<TokenStream>();
    quote! {
        #aliases

        #cfgs
        #[doc(hidden)]
        #[derive(#serde::Serialize, #serde::Deserialize)]
        #[serde(
            crate = #serde_text,
            remote = "Self",
            deny_unknown_fields,
            bound(serialize = #bound, deserialize = #bound)
        )]
        #vis struct #name { #stored }

        #cfgs
        const _: () = {
            use #sdk::__private::Unchecked as _;

            const _: fn() = || { #(#checks;)* };

            #[derive(#schemars::JsonSchema)]
            #[schemars(crate = #schemars_text, bound = #bound)]
            #[serde(deny_unknown_fields)]
            // Conditions are taken only of a type with generics.
            struct __Schema<const N: u8> { #described }

            impl #serde::Serialize for #name {
                fn serialize<S: #serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    #name::serialize(self, serializer)
                }
            }

            impl<'de> #serde::Deserialize<'de> for #name {
                fn deserialize<D: #serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    #name::deserialize(deserializer)
                }
            }

            impl #schemars::JsonSchema for #name {
                fn schema_name() -> ::std::borrow::Cow<'static, str> {
                    ::std::borrow::Cow::Borrowed(#text)
                }

                fn json_schema(generator: &mut #schemars::SchemaGenerator) -> #schemars::Schema {
                    #sdk::__private::Checked::<__Schema<0>>::json_schema(generator)
                }
            }
        };
    }
}

/// Whether an attribute is about the schema alone.
fn is_schema_attr(attr: &Attribute) -> bool {
    ["doc", "schemars", "validate", "garde"].iter().any(|name| attr.path().is_ident(name))
}

fn implementation(action: &Action, function: &Function, parameters: &[Parameter]) -> TokenStream {
    let sdk = crate_path(action, span_at(&function.sig.ident));
    let name = tool_name(function);
    let ident = &function.sig.ident;
    let span = span_at(ident);
    let cfgs = cfgs(function);

    let wire_names: Vec<_> = arguments(parameters)
        .map(|(parameter, argument)| (unraw(&parameter.ident), argument.wire_name.clone()))
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
    let verb = super::is_computed(action).then(|| {
        let verb = super::verb(action);
        quote! {
            #[allow(unused_variables, reason = "the verb follows from some of them")]
            fn verb(&self) -> #sdk::Verb {
                let Self { #(#names),* } = self;
                #verb
            }
        }
    });
    let governor = action.governor.as_ref().map(|governor| {
        let bound = bound(&sdk, governor);
        quote! {
            fn governor() -> ::core::option::Option<#sdk::Governor> {
                ::core::option::Option::Some(#bound)
            }
        }
    });
    let taken = state
        .iter()
        .map(|ty| quote_spanned!(Span::mixed_site().located_at(ty.span())=> #sdk::__private::state::<#ty>(state)?));
    // Called as the function, for messages; serde took two names.
    let run = match unraw(ident).as_str() {
        "serialize" | "deserialize" => format_ident!("{name}_", span = name.span()),
        _ => name.clone(),
    };
    let body = with_permit(action, function, parameters, &run, &returned);
    quote_spanned! {span=>
        #cfgs
        impl #sdk::Tool for #name {
            type State = (#(#state,)*);
            type Return = #returned;

            const SPEC: &'static #sdk::ToolSpec = &#spec;

            #verb
            #governor

            #[allow(deprecated, reason = "whoever offers the tool uses the function")]
            fn state(
                state: &#sdk::State,
            ) -> ::core::result::Result<Self::State, #sdk::MissingState> {
                let _ = #name;
                ::core::result::Result::Ok((#(#taken,)*))
            }

            fn run(permit: #sdk::Permit<Self>) -> #sdk::BoxFuture<'static, Self::Return> {
                ::std::boxed::Box::pin(Self::#run(permit))
            }
        }

        #cfgs
        impl #name { #body }
    }
}

/// The only place that has the body: a method of the tool's type, so that the
/// function's name means the governed one in it as well. It takes a permit,
/// which only the runtime makes.
fn with_permit(
    action: &Action,
    function: &Function,
    parameters: &[Parameter],
    run: &Ident,
    returned: &TokenStream,
) -> TokenStream {
    let sdk = crate_path(action, span_at(&function.sig.ident));
    let ident = &function.sig.ident;
    let span = span_at(ident);
    let fields = arguments(parameters).map(|(parameter, _)| {
        let Parameter { ident, mutability, binding_attrs, .. } = parameter;
        // Written in full: lints then speak of the variable as of a parameter.
        let field = ours(ident);
        quote!(#(#binding_attrs)* #field: #mutability #ident)
    });
    let bound_attrs = parameters
        .iter()
        .filter(|parameter| is_state(&parameter.role))
        .flat_map(|parameter| &parameter.binding_attrs);
    let bind = |parameter: &Parameter| {
        let Parameter { ident, mutability, .. } = parameter;
        quote!(#mutability #ident)
    };
    let state = of_role(parameters, is_state).map(bind);
    let (context, of_context) = match of_role(parameters, is_context).next() {
        None => (quote!(_), None),
        Some(parameter) => {
            let Parameter { binding_attrs, ty, .. } = parameter;
            let context = quote_spanned!(span=> context);
            let of = context_of(action, ty);
            let bound = bind(parameter);
            let of_context =
                quote_spanned!(span=> #(#binding_attrs)* let #bound = #of::of(#context););
            (context, Some(of_context))
        }
    };
    let lint_levels = lint_levels(&function.attrs);
    let (inner_attrs, statements) = body(&function.body);
    let mut block = Group::new(
        Delimiter::Brace,
        quote_spanned! {span=>
            #(#bound_attrs)*
            let (Self { #(#fields),* }, (#(#state,)*), #context) = permit.into_parts();
            #of_context
            #statements
        },
    );
    block.set_span(function.body.span());
    quote_spanned! {span=>
        #(#lint_levels)*
        #(#inner_attrs)*
        async fn #run(permit: #sdk::Permit<Self>) -> #returned
        #block
    }
}

/// What is known of a `#[context]` parameter's type, asked at that type.
fn context_of(action: &Action, ty: &Type) -> TokenStream {
    let span = Span::mixed_site().located_at(ty.span());
    let sdk = crate_path(action, span);
    quote_spanned!(span=> <#ty as #sdk::__private::Context>)
}

/// The function as its callers see it.
fn front(action: &Action, function: &Function, parameters: &[Parameter]) -> TokenStream {
    let sdk = crate_path(action, span_at(&function.sig.ident));
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
        Some(Parameter { ident, ty, .. }) => {
            let of = context_of(action, ty);
            quote_spanned!(span=> ::core::option::Option::Some(#of::given(#ident)))
        }
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
    // What the body leaves unused is used here.
    let underscored = parameters.iter().any(|parameter| unraw(&parameter.ident).starts_with('_'));
    let allow = underscored.then(|| {
        quote!(#[allow(clippy::used_underscore_binding, reason = "the body may leave it unused")])
    });
    quote!(#(#attrs)* #allow #vis #sig #block)
}
