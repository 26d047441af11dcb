//! An ordinary function: a tool of its own.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, FnArg, Pat, ReturnType, Type, spanned::Spanned};

use super::{SpecParameter, body, bound, crate_path, lint_levels, span_at, spec};
use crate::{
    action::Action,
    parameter::{Argument, Fallback, Parameter, Role},
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

/// In which builds the function is there.
fn cfgs(function: &Function) -> impl Iterator<Item = Attribute> {
    function.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).cloned()
}

/// What holds of each item that repeats the function's types: in which builds they
/// are there, and what may be wrong with them.
fn shared(function: &Function) -> TokenStream {
    let allowed = lint_levels(&function.attrs).filter(|attr| attr.path().is_ident("allow"));
    cfgs(function).chain(allowed).map(Attribute::into_token_stream).collect()
}

/// The tool's type, and what makes it readable and writable.
///
/// A parameter whose type cannot be read or written must be one error, at that
/// type. So what is called of `Field` falls back to what compiles for every type and
/// never runs, and `parameter` alone insists.
fn tool_type(action: &Action, function: &Function, parameters: &[Parameter]) -> TokenStream {
    let sdk = crate_path(action, span_at(&function.sig.ident));
    let private = quote!(#sdk::__private);
    let name = tool_name(function);
    let vis = &function.vis;
    let shared = shared(function);
    let map = quote!(#private::serde_json::Map<::std::string::String, #private::serde_json::Value>);

    // Of ours: a path that the user wrote cannot mean them.
    let local = |name| Ident::new(name, Span::mixed_site());
    let (properties, given, written) = (local("properties"), local("given"), local("written"));

    let fields = arguments(parameters).map(|(parameter, argument)| {
        let Parameter { ident, ty, .. } = parameter;
        let ident = ours(ident);
        let attrs = &argument.field_attrs;
        quote!(#(#attrs)* #ident: #ty)
    });
    let checks = arguments(parameters).map(|(parameter, _)| {
        let ty = &parameter.ty;
        let span = Span::mixed_site().located_at(ty.span());
        let sdk = crate_path(action, span);
        quote_spanned!(span=> #sdk::__private::parameter::<#ty>())
    });
    let descriptions = arguments(parameters)
        .map(|(parameter, argument)| described(&private, &properties, parameter, argument));
    let known = arguments(parameters).flat_map(|(_, argument)| argument.names());
    let taken = arguments(parameters).map(|(parameter, argument)| {
        let Parameter { ident, ty, .. } = parameter;
        let ident = ours(ident);
        let names = argument.names();
        let default = default(argument, ty);
        let with = option(argument.reading.with.as_ref());
        quote! {
            #ident: #private::Field::<#ty>::take(&mut #given, &[#(#names),*], #default, #with)?
        }
    });
    let puts = arguments(parameters).map(|(parameter, argument)| {
        let Parameter { ident, ty, .. } = parameter;
        let ident = ours(ident);
        let name = &argument.wire_name;
        quote!(#private::Field::<#ty>::put(&mut #written, #name, &self.#ident)?;)
    });
    let taking = arguments(parameters).next().map(|_| quote!(mut));
    quote! {
        #shared
        #[doc(hidden)]
        #vis struct #name { #(#fields),* }

        #shared
        const _: () = {
            use #private::Unchecked as _;

            const _: fn() = || { #(#checks;)* };

            impl #sdk::Arguments for #name {
                fn schema() -> #private::schemars::Schema {
                    let #taking #properties = #private::Properties::new();
                    #(#descriptions)*
                    #properties.finish()
                }

                fn read(#given: #map) -> ::core::result::Result<Self, #sdk::ArgumentError> {
                    let #taking #given = #private::Given::new(#given, &[#(#known),*])?;
                    ::core::result::Result::Ok(Self { #(#taken),* })
                }

                fn write(
                    &self,
                ) -> ::core::result::Result<#private::serde_json::Value, #private::serde_json::Error> {
                    let #taking #written = <#map>::new();
                    #(#puts)*
                    ::core::result::Result::Ok(#private::serde_json::Value::Object(#written))
                }
            }
        };
    }
}

fn option(value: Option<impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

fn default(argument: &Argument, ty: &Type) -> TokenStream {
    let at_type = Span::mixed_site().located_at(ty.span());
    option(argument.reading.default.as_ref().map(|fallback| match fallback {
        Fallback::OfType => {
            quote_spanned!(at_type=> <#ty as ::core::default::Default>::default)
        }
        Fallback::Path(path) => path.to_token_stream(),
    }))
}

/// Adds a parameter to the schema.
fn described(
    private: &TokenStream,
    properties: &Ident,
    parameter: &Parameter,
    argument: &Argument,
) -> TokenStream {
    let Parameter { ident, ty, .. } = parameter;
    if let Some(description) = &argument.description {
        let name = &argument.wire_name;
        let default = default(argument, ty);
        return quote! {
            #private::Field::<#ty>::describe(&mut #properties, #name, #description, #default);
        };
    }
    // Derived code takes the type's ability as a condition (over `'a`, else the
    // compiler would settle it at once), as text: by the alias the type keeps its span.
    let as_text = |path: &TokenStream| path.to_string().replace(' ', "");
    let schemars = quote!(#private::schemars);
    let (schemars_text, private_text) = (as_text(&schemars), as_text(private));
    let bound = format!("for<'a> __Parameter: {private_text}::Parameter<'a>");
    let attrs = &argument.schema_attrs;
    let ident = ours(ident);
    quote! {
        {
            use #private::Undescribed as _;

            type __Parameter = #ty;

            #[derive(#schemars::JsonSchema)]
            #[schemars(crate = #schemars_text, bound = #bound)]
            // Conditions are taken only of a type with generics.
            struct __Schema<const N: u8> { #(#attrs)* #ident: #ty }

            let schema = #private::Checked::<__Schema<0>>::json_schema(#properties.generator());
            #properties.derived(schema);
        }
    }
}

fn implementation(action: &Action, function: &Function, parameters: &[Parameter]) -> TokenStream {
    let sdk = crate_path(action, span_at(&function.sig.ident));
    let name = tool_name(function);
    let ident = &function.sig.ident;
    let span = span_at(ident);
    let (cfgs, shared) = (cfgs(function), shared(function));

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
        .map(|(_, argument)| SpecParameter {
            name: argument.wire_name.clone(),
            sensitive: argument.sensitive,
            traced: argument.traced,
        })
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
    // Called as the function, for messages.
    let run = name.clone();
    let body = with_permit(action, function, parameters, &run, &returned);
    quote_spanned! {span=>
        #shared
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

        #(#cfgs)*
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
