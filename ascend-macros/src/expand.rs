//! From the model to tokens. What is generated is small: it names the runtime,
//! which does the work.

mod function;
mod method;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Meta, Pat, spanned::Spanned};

use crate::{
    action::{Action, RiskLevel, Scope, Verb, mentions},
    args::{Arguments, Kind},
    diagnostics::Diagnostics,
    parameter::{self, MethodParameter, MethodRole, Parameter, Role},
    signature::{self, Function, unraw},
    template::Segment,
};

/// What an attribute with `arguments` makes of `item`.
pub(crate) fn attribute(kind: Kind, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut out = Diagnostics::default();
    let function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(_) => {
            let word = kind.name();
            let message = if signature::has_no_body(item.clone()) {
                format!("this method has no body to govern: put `#[{word}]` on it in the `impl`")
            } else {
                format!("`#[{word}]` goes on an `async fn`")
            };
            out.push(signature::not_a_function(&message, item.clone()));
            let errors = out.into_tokens();
            return quote! { #item #errors };
        }
    };
    let written = arguments.clone();
    let arguments = Arguments::parse(kind, arguments, &mut out);
    signature::check(kind, &function, &mut out);
    if out.is_empty()
        && let Some(instrumented) =
            after_instrument(kind, &function, &arguments, &written, &mut out)
    {
        return instrumented;
    }
    let expanded = if function.is_method() {
        let parameters = parameter::check_method(&function, &mut out);
        Action::new(&arguments, &function, &scope_of_method(&parameters), &mut out)
            .map(|action| method::expand(&action, &function, &parameters))
    } else {
        let parameters = signature::check_function(&function, &mut out);
        Action::new(&arguments, &function, &scope_of_function(&function, &parameters), &mut out)
            .map(|action| function::expand(&action, &function, &parameters))
    };
    match expanded {
        Some(expanded) if out.is_empty() => expanded,
        _ => {
            let stand_in = stand_in(&arguments, &function);
            let function = function.without_attributes();
            let errors = out.into_tokens();
            quote! { #function #stand_in #errors }
        }
    }
}

fn scope_of_function(function: &Function, parameters: &[Parameter]) -> Scope {
    let mut scope = Scope {
        // What is wrong with a parameter is said; not that it is missing.
        open: parameters.len() < function.sig.inputs.len(),
        ..Scope::default()
    };
    for parameter in parameters {
        let name = unraw(&parameter.ident);
        match &parameter.role {
            Role::Argument(argument) => scope.arguments.push((name, argument.sensitive)),
            Role::State => scope.others.push((name, "state")),
            Role::Context => scope.others.push((name, "context")),
        }
    }
    scope
}

fn scope_of_method(parameters: &[MethodParameter]) -> Scope {
    let mut scope = Scope::default();
    for parameter in parameters {
        match &parameter.role {
            MethodRole::Argument { name, sensitive, .. } => {
                scope.arguments.push((name.clone(), *sensitive));
            }
            MethodRole::Fields { sensitive } => {
                scope.open = true;
                scope.arguments.extend(sensitive.iter().map(|field| (unraw(field), true)));
            }
            MethodRole::Context => {}
        }
    }
    scope
}

/// A tool by the function's name, so that registering it is no second mistake.
fn stand_in(arguments: &Arguments, function: &Function) -> Option<TokenStream> {
    if function.is_method() || function.mentions_self() {
        return None;
    }
    let sdk = sdk(arguments.path("crate"));
    let Function { vis, sig, .. } = function;
    let mut name = sig.ident.clone();
    name.set_span(Span::call_site().located_at(name.span()));
    Some(quote!(#[doc(hidden)] #vis type #name = #sdk::__private::Unfinished;))
}

/// `#[tracing::instrument]` is about the body, so it goes first: the function
/// with the two attributes exchanged.
fn after_instrument(
    kind: Kind,
    function: &Function,
    arguments: &Arguments,
    written: &TokenStream,
    out: &mut Diagnostics,
) -> Option<TokenStream> {
    let at = function.attrs.iter().position(|attr| signature::is(attr, "instrument"))?;
    let mut function = function.clone();
    let instrument = function.attrs.remove(at);
    refuse_recorded(&function, &instrument, out);
    if !out.is_empty() {
        return None;
    }
    let sdk = sdk(arguments.path("crate"));
    let attribute = Ident::new(kind.name(), Span::call_site());
    Some(quote!(#instrument #[#sdk::#attribute(#written)] #function))
}

/// Sensitive parameters must not come into a span: neither by themselves, as all
/// parameters do that are not skipped, nor by name.
fn refuse_recorded(function: &Function, instrument: &Attribute, out: &mut Diagnostics) {
    let written = match &instrument.meta {
        Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    let argument = |key: &str| {
        let mut tokens = written.clone().into_iter();
        tokens.find(|token| matches!(token, TokenTree::Ident(word) if word == key))?;
        Some(match tokens.next() {
            Some(TokenTree::Group(group)) => group.stream(),
            _ => TokenStream::new(),
        })
    };
    let skipped = argument("skip").unwrap_or_default();
    let is_skipped = |name: &Ident| {
        let mut tokens = skipped.clone().into_iter();
        tokens.any(|token| matches!(token, TokenTree::Ident(word) if word == *name))
    };
    for (parameter, attr) in function.sensitive_parameters() {
        let name = match &*parameter.pat {
            Pat::Ident(pat) => Some(&pat.ident),
            _ => None,
        };
        if argument("skip_all").is_none() && !name.is_some_and(is_skipped) {
            let shown = parameter.pat.to_token_stream().to_string().replace(' ', "");
            out.at(
                instrument,
                format!(
                    "this would record `{shown}`: write `skip_all`, and what to record in `fields(…)`"
                ),
            );
            return;
        }
        // Of `Parameters<T>` the fields that are named, and the whole, else the parameter.
        let fields = parameter::named_fields(attr);
        let names = fields.iter().cloned().chain(bound_names(parameter.pat.to_token_stream()));
        for name in names.map(|name| unraw(&name)).collect::<Vec<_>>() {
            let recorded = argument("fields").unwrap_or_default();
            if let Some(span) = mentions(&name, recorded).into_iter().next() {
                out.at_span(
                    span,
                    format!("`{name}` is sensitive: what a span records is readable"),
                );
            }
        }
    }
}

/// The names that a pattern binds, perhaps with others: those that begin in lower case.
fn bound_names(pattern: TokenStream) -> Vec<Ident> {
    pattern
        .into_iter()
        .flat_map(|token| match token {
            TokenTree::Ident(word) if word.to_string().starts_with(char::is_lowercase) => {
                vec![word]
            }
            TokenTree::Group(group) => bound_names(group.stream()),
            _ => Vec::new(),
        })
        .collect()
}

/// Where our own tokens stand: in messages, at the function's name.
fn span_at(name: &Ident) -> Span {
    Span::mixed_site().located_at(name.span())
}

fn crate_path(action: &Action, span: Span) -> TokenStream {
    match &action.crate_path {
        Some(path) => path.to_token_stream(),
        None => quote_spanned!(span=> ::ascend_sdk),
    }
}

pub(crate) fn sdk(path: Option<&syn::Path>) -> TokenStream {
    match path {
        Some(path) => path.to_token_stream(),
        None => quote!(::ascend_sdk),
    }
}

/// The governor that the expression names.
fn bound(sdk: &TokenStream, governor: &syn::Expr) -> TokenStream {
    quote_spanned!(governor.span()=> #sdk::__private::bound(&(#governor)))
}

/// Whether the verb, or what comes with it, follows from the arguments.
fn is_computed(action: &Action) -> bool {
    matches!(action.verb, Verb::Computed(_)) || action.facts.is_some()
}

/// The verb of a call, as an expression over the parameters.
fn verb(action: &Action) -> TokenStream {
    let sdk = sdk(action.crate_path.as_ref());
    match (&action.verb, &action.facts) {
        (Verb::Word(word), None) => quote!(#sdk::Verb::from(#word)),
        (Verb::Word(word), Some(facts)) => {
            let span = facts.span();
            let sdk = crate_path(action, Span::mixed_site().located_at(span));
            quote_spanned!(span=> #sdk::__private::verb_with_facts(#word, #facts))
        }
        (Verb::Computed(expression), _) => {
            let span = expression.span();
            let sdk = crate_path(action, Span::mixed_site().located_at(span));
            quote_spanned!(span=> #sdk::__private::verb(#expression))
        }
    }
}

/// What a tool's metadata says of a parameter.
struct SpecParameter {
    /// Its name in JSON.
    name: String,
    sensitive: bool,
    traced: bool,
}

/// The `ToolSpec`. `wire_name` gives a parameter's name in JSON.
fn spec(
    action: &Action,
    name: &Ident,
    parameters: &[SpecParameter],
    state: &[&syn::Type],
    wire_name: &dyn Fn(&str) -> String,
) -> TokenStream {
    let sdk = crate_path(action, span_at(name));
    let Action { name: tool, description, namespace, approval_timeout, .. } = action;
    let option = |value: Option<TokenStream>| match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    };
    let title = option(action.title.as_ref().map(ToTokens::to_token_stream));
    let verb = option(match &action.verb {
        Verb::Word(word) => Some(word.to_token_stream()),
        Verb::Computed(_) => None,
    });
    let segments = |segments: &[Segment]| {
        let segments = segments.iter().map(|segment| match segment {
            Segment::Literal(text) => quote!(#sdk::Segment::Literal(#text)),
            Segment::Parameter(name) => {
                let name = wire_name(name);
                quote!(#sdk::Segment::Parameter(#name))
            }
            Segment::Path(name) => {
                let name = wire_name(name);
                quote!(#sdk::Segment::Path(#name))
            }
        });
        quote!(#sdk::Template(&[#(#segments),*]))
    };
    let resource = segments(&action.resource.segments);
    let summary = option(action.summary.as_ref().map(|summary| segments(&summary.segments)));
    let risk_level = option(action.risk_level.map(|level| match level {
        RiskLevel::Low => quote!(#sdk::RiskLevel::Low),
        RiskLevel::Medium => quote!(#sdk::RiskLevel::Medium),
        RiskLevel::High => quote!(#sdk::RiskLevel::High),
        RiskLevel::Critical => quote!(#sdk::RiskLevel::Critical),
    }));
    let require_human_approval = action.require_human_approval;
    let approval_timeout =
        option(approval_timeout.map(|seconds| quote!(::core::time::Duration::from_secs(#seconds))));
    let metadata = action.metadata.iter().map(|(key, value)| quote!((#key, #value)));
    let parameters = parameters.iter().map(|SpecParameter { name, sensitive, traced }| {
        quote!(#sdk::Parameter { name: #name, sensitive: #sensitive, traced: #traced })
    });
    let hint = |flag: Option<bool>| option(flag.map(|flag| quote!(#flag)));
    let read_only = hint(action.read_only);
    let destructive = hint(action.destructive);
    let idempotent = hint(action.idempotent);
    let open_world = hint(action.open_world);
    quote_spanned! {span_at(name)=>
        #sdk::ToolSpec {
            name: #tool,
            title: #title,
            description: #description,
            namespace: #namespace,
            verb: #verb,
            resource: #resource,
            summary: #summary,
            floor: #sdk::Floor {
                risk_level: #risk_level,
                require_human_approval: #require_human_approval,
            },
            approval_timeout: #approval_timeout,
            metadata: &[#(#metadata),*],
            parameters: &[#(#parameters),*],
            state: &[#(#sdk::StateRequirement::of::<#state>()),*],
            hints: #sdk::Hints {
                read_only: #read_only,
                destructive: #destructive,
                idempotent: #idempotent,
                open_world: #open_world,
            },
            location: #sdk::Location { file: ::core::file!(), line: ::core::line!() },
        }
    }
}

/// The body's own attributes, as outer ones, and the rest of it.
fn body(body: &proc_macro2::Group) -> (Vec<Attribute>, TokenStream) {
    use syn::parse::Parser as _;

    let parser = |input: syn::parse::ParseStream<'_>| {
        let mut attrs = input.call(Attribute::parse_inner)?;
        for attr in &mut attrs {
            attr.style = syn::AttrStyle::Outer;
        }
        Ok((attrs, input.parse()?))
    };
    parser.parse2(body.stream()).unwrap_or_else(|_| (Vec::new(), body.stream()))
}

/// Lint levels of the function, for another item: `expect` becomes `allow`,
/// since not both items can meet the expectation.
fn lint_levels(attrs: &[Attribute]) -> impl Iterator<Item = Attribute> {
    attrs.iter().filter(|attr| signature::is_lint_level(attr)).cloned().map(|mut attr| {
        if attr.path().is_ident("expect")
            && let syn::Meta::List(list) = &mut attr.meta
        {
            list.path = syn::Path::from(Ident::new("allow", Span::call_site()));
        }
        attr
    })
}

#[cfg(test)]
mod tests;
