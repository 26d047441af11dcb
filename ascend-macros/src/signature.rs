//! What must hold of the `async fn` and its parameters.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, FnArg, GenericArgument, Ident, Lifetime, Meta, Pat, PatType, PathArguments,
    ReturnType, Safety, Signature, Token, Type, Visibility,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    visit::{self, Visit},
};

use crate::{
    args::Kind,
    diagnostics::{Diagnostics, nearest},
};

/// The item under the attribute. Its body stays as written: it is never parsed.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse()?;
        let body = match input.parse()? {
            TokenTree::Group(body) => body,
            other => return Err(syn::Error::new_spanned(other, "expected a body")),
        };
        Ok(Self { attrs, vis, sig, body })
    }
}

impl Function {
    /// The function's name, for messages and as the tool's default name.
    pub(crate) fn name(&self) -> String {
        self.sig.ident.unraw_string()
    }

    /// Whether it belongs to an `impl` block: it has `self`, or is a tool of rmcp's.
    pub(crate) fn is_method(&self) -> bool {
        self.sig.receiver().is_some() || self.attrs.iter().any(|attr| is(attr, "tool"))
    }

    /// Whether the signature says `Self`, which only an `impl` block has.
    pub(crate) fn mentions_self(&self) -> bool {
        fn in_tokens(tokens: TokenStream) -> bool {
            tokens.into_iter().any(|token| match token {
                TokenTree::Ident(word) => word == "Self",
                TokenTree::Group(group) => in_tokens(group.stream()),
                _ => false,
            })
        }
        in_tokens(self.sig.to_token_stream())
    }

    /// The name, or pattern, of a sensitive parameter.
    pub(crate) fn sensitive_parameter(&self) -> Option<String> {
        self.sig.inputs.iter().find_map(|input| match input {
            FnArg::Typed(input) if input.attrs.iter().any(|attr| is(attr, "sensitive")) => {
                Some(input.pat.to_token_stream().to_string())
            }
            _ => None,
        })
    }

    /// The function as it would be without our attributes, so that what else
    /// is wrong with it is the only other thing to be reported.
    pub(crate) fn without_attributes(mut self) -> TokenStream {
        self.attrs.retain(|attr| !is_ours(attr));
        for input in &mut self.sig.inputs {
            if let FnArg::Typed(input) = input {
                input.attrs.retain(|attr| is_lint_level(attr) || is(attr, "cfg"));
            }
        }
        if self.sig.asyncness.is_none() && !returns_boxed_future(&self.sig) {
            self.sig.asyncness = Some(Token![async](self.sig.fn_token.span));
        }
        quote! { #[allow(unused)] #self }
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, vis, sig, body } = self;
        tokens.extend(quote!(#(#attrs)* #vis #sig #body));
    }
}

trait Unraw {
    fn unraw_string(&self) -> String;
}

impl Unraw for Ident {
    fn unraw_string(&self) -> String {
        syn::ext::IdentExt::unraw(self).to_string()
    }
}

/// Whether the last part of an attribute's path is `name`.
pub(crate) fn is(attr: &Attribute, name: &str) -> bool {
    attr.path().segments.last().is_some_and(|segment| segment.ident == name)
}

fn is_ours(attr: &Attribute) -> bool {
    Kind::ALL.iter().any(|kind| is(attr, kind.name()))
}

/// `allow`, `warn`, `deny`, `forbid`, `expect`.
pub(crate) fn is_lint_level(attr: &Attribute) -> bool {
    ["allow", "warn", "deny", "forbid", "expect"].iter().any(|level| attr.path().is_ident(level))
}

/// A parameter of an ordinary function.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    pub(crate) mutability: Option<Token![mut]>,
    pub(crate) ty: Type,
    /// Those that stand where the parameter is bound.
    pub(crate) binding_attrs: Vec<Attribute>,
    pub(crate) role: Role,
}

/// Where a parameter's value comes from.
#[derive(Debug)]
pub(crate) enum Role {
    /// From the caller.
    Argument(Argument),
    /// From the server's state.
    State,
    /// From the call.
    Context,
}

/// What else is known of a parameter that the caller gives.
#[derive(Debug)]
pub(crate) struct Argument {
    /// Its name in JSON.
    pub(crate) wire_name: String,
    pub(crate) sensitive: bool,
    /// Those that the generated field takes over.
    pub(crate) field_attrs: Vec<Attribute>,
}

impl Parameter {
    pub(crate) fn argument(&self) -> Option<&Argument> {
        match &self.role {
            Role::Argument(argument) => Some(argument),
            Role::State | Role::Context => None,
        }
    }
}

/// A parameter of a method.
#[derive(Debug)]
pub(crate) struct MethodParameter {
    /// The pattern as written.
    pub(crate) pat: Pat,
    pub(crate) ty: Type,
    /// Without our own.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) role: MethodRole,
}

/// What a method's parameter is to the authority.
#[derive(Debug)]
pub(crate) enum MethodRole {
    /// One argument.
    Argument { name: String, sensitive: bool },
    /// All the arguments: rmcp's `Parameters<T>`; those fields are sensitive.
    Fields { sensitive: Vec<Ident> },
    /// Not an argument.
    Context,
}

/// Checks what both kinds of function have in common.
pub(crate) fn check(kind: Kind, function: &Function, out: &mut Diagnostics) {
    let sig = &function.sig;
    let name = function.name();
    if sig.asyncness.is_none() {
        if returns_boxed_future(sig) && sig.receiver().is_some() {
            out.at_span(Span::call_site(), format!("write `#[{}]` above `#[tool]`", kind.name()));
        } else {
            out.at(sig.fn_token, format!("a governed tool is async: write `async fn {name}`"));
        }
    }
    if let Some(token) = &sig.constness {
        out.at(token, "a governed tool cannot be `const`");
    }
    if let Safety::Unsafe(token) = &sig.safety {
        out.at(token, "a governed tool cannot be `unsafe`: callers reach it by its name alone");
    }
    if let Some(abi) = &sig.abi {
        out.at(abi, "a governed tool cannot be `extern`");
    }
    if let Some(variadic) = &sig.variadic {
        out.at(variadic, "name the parameter and give it an owned type");
    }
    let mut seen = vec![kind];
    for attr in &function.attrs {
        let Some(other) = Kind::ALL.into_iter().find(|kind| is(attr, kind.name())) else {
            continue;
        };
        if seen.contains(&other) {
            out.at(attr, format!("`#[{}]` is given twice", other.name()));
        } else {
            seen.push(other);
            const MESSAGE: &str =
                "`#[high_risk_action]` already governs; remove `#[mcp_governance]`";
            match other {
                Kind::Governance => out.at(attr, MESSAGE),
                Kind::HighRisk => out.at_span(Span::call_site(), MESSAGE),
            }
        }
    }
}

/// What rmcp makes of an `async fn`.
fn returns_boxed_future(sig: &Signature) -> bool {
    matches!(&sig.output, ReturnType::Type(_, ty)
        if last_segment(ty).is_some_and(|segment| segment.ident == "Pin"))
}

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match ty {
        Type::Path(ty) => ty.path.segments.last(),
        Type::Group(ty) => last_segment(&ty.elem),
        Type::Paren(ty) => last_segment(&ty.elem),
        _ => None,
    }
}

/// Checks an ordinary function, and takes its parameters apart: those in which
/// nothing is wrong.
pub(crate) fn check_function(function: &Function, out: &mut Diagnostics) -> Vec<Parameter> {
    const PRIMITIVES: [&str; 17] = [
        "bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32",
        "i64", "i128", "isize", "f32", "f64",
    ];
    let sig = &function.sig;
    let name = function.name();
    if function.mentions_self() {
        out.at(&sig.ident, "move this function out of the `impl` block, or give it `&self`");
    }
    if PRIMITIVES.contains(&name.as_str()) {
        out.at(
            &sig.ident,
            format!("a governed tool cannot be a function called `{name}`, like Rust's own type; rename it and write `name = \"{name}\"`"),
        );
    }
    if let Some(first) = sig.generics.params.first() {
        out.at(first, "a governed tool has no generics");
    } else if let Some(clause) = &sig.generics.where_clause {
        out.at(clause.where_token, "a governed tool has no generics");
    }
    match &sig.output {
        ReturnType::Default => out.at(
            &sig.ident,
            "a governed tool can be refused: write `-> Result<T, E>`, where `E: From<ascend_sdk::Refusal>`",
        ),
        ReturnType::Type(_, ty) => {
            let mut finder = Unowned::default();
            finder.visit_type(ty);
            if finder.impl_trait {
                out.at(ty, "name the type that a governed tool returns");
            }
        }
    }
    let mut parameters: Vec<Parameter> = Vec::new();
    for input in &sig.inputs {
        let FnArg::Typed(input) = input else { continue };
        if let Some(parameter) = check_parameter(input, out) {
            let is_context = |parameter: &Parameter| matches!(parameter.role, Role::Context);
            if is_context(&parameter) && parameters.iter().any(is_context) {
                out.at(input, "a call has one context: remove the second `#[context]` parameter");
            }
            if let Some(argument) = parameter.argument()
                && parameters
                    .iter()
                    .filter_map(Parameter::argument)
                    .any(|other| other.wire_name == argument.wire_name)
                && parameters.iter().all(|other| other.ident != parameter.ident)
            {
                let name = &argument.wire_name;
                out.at(&parameter.ident, format!("two parameters are called `{name}` in JSON"));
            }
            parameters.push(parameter);
        }
    }
    parameters
}

fn check_parameter(input: &PatType, out: &mut Diagnostics) -> Option<Parameter> {
    let bare = PatType { attrs: Vec::new(), ..input.clone() };
    let Helpers { sensitive, state, context, others } = Helpers::of(&input.attrs, out);
    let is_state = state.is_some();

    let mut finder = Unowned::default();
    finder.visit_type(&input.ty);
    let owned = !finder.impl_trait
        && !finder.lifetime
        && !finder.elided
        && (is_state || !finder.static_reference);
    let pat = match &*input.pat {
        Pat::Ident(pat) if owned && pat.by_ref.is_none() && pat.subpat.is_none() => pat,
        _ => {
            out.at(bare, "name the parameter and give it an owned type");
            return None;
        }
    };

    let roles: Vec<_> = [(state, "state"), (context, "context"), (sensitive.clone(), "sensitive")]
        .into_iter()
        .filter_map(|(attr, name)| Some((attr?, name)))
        .collect();
    if let [(_, first), (second, name), ..] = &roles[..] {
        out.at(second, format!("a parameter is either `#[{first}]` or `#[{name}]`"));
        return None;
    }

    let (binding_attrs, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is_lint_level);
    for attr in &others {
        if attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr") {
            out.at(attr, "a governed tool has the same parameters in every build: put `#[cfg]` on the function");
            return None;
        }
    }
    let role = match roles.first() {
        Some((_, "state")) | Some((_, "context")) => {
            for attr in others.iter().filter(|attr| !attr.path().is_ident("doc")) {
                out.at(attr, "this parameter is not in the schema: remove the attribute");
            }
            if roles[0].1 == "state" { Role::State } else { Role::Context }
        }
        _ => {
            let wire_name = check_field_attrs(&others, out).unwrap_or(pat.ident.unraw_string());
            Role::Argument(Argument {
                wire_name,
                sensitive: sensitive.is_some(),
                field_attrs: others,
            })
        }
    };
    Some(Parameter {
        ident: pat.ident.clone(),
        mutability: pat.mutability,
        ty: (*input.ty).clone(),
        binding_attrs,
        role,
    })
}

/// Checks the `serde` and `schemars` attributes of a parameter, and finds its
/// name in JSON where they give one.
fn check_field_attrs(attrs: &[Attribute], out: &mut Diagnostics) -> Option<String> {
    let mut wire_name = None;
    for attr in attrs {
        let serde = attr.path().is_ident("serde");
        if !serde && !attr.path().is_ident("schemars") {
            continue;
        }
        let Ok(metas) = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
        else {
            continue; // What is wrong is theirs to say.
        };
        for meta in metas {
            let Some(word) = meta.path().get_ident().map(ToString::to_string) else { continue };
            match (serde, word.as_str()) {
                (
                    true,
                    "skip"
                    | "skip_serializing"
                    | "skip_deserializing"
                    | "skip_serializing_if"
                    | "flatten"
                    | "serialize_with"
                    | "with"
                    | "getter"
                    | "borrow",
                ) => out.at(
                    &meta,
                    format!("remove `{word}`: what is approved must be exactly what runs"),
                ),
                (true, "rename") => match &meta {
                    Meta::NameValue(pair) => {
                        if let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) =
                            &pair.value
                        {
                            wire_name = Some(text.value());
                        }
                    }
                    _ => out.at(&meta, "a parameter has one name in JSON: write `rename = \"…\"`"),
                },
                (false, "rename") => {
                    out.at(
                        &meta,
                        "write `#[serde(rename = \"…\")]`, so that the schema and the call agree",
                    );
                }
                (false, "skip" | "skip_serializing" | "skip_deserializing" | "flatten") => {
                    out.at(&meta, format!("remove `{word}`: callers must see every parameter"));
                }
                _ => {}
            }
        }
    }
    wire_name
}

/// The attributes of a parameter: ours, and the others.
struct Helpers {
    sensitive: Option<Attribute>,
    state: Option<Attribute>,
    context: Option<Attribute>,
    others: Vec<Attribute>,
}

impl Helpers {
    const NAMES: [&'static str; 3] = ["sensitive", "state", "context"];

    fn of(attrs: &[Attribute], out: &mut Diagnostics) -> Self {
        let mut found = Self { sensitive: None, state: None, context: None, others: Vec::new() };
        for attr in attrs {
            let place = match attr.path().get_ident().map(ToString::to_string).as_deref() {
                Some("sensitive") => &mut found.sensitive,
                Some("state") => &mut found.state,
                Some("context") => &mut found.context,
                Some(word) if !Self::is_known(word) && nearest(word, Self::NAMES).is_some() => {
                    let near = nearest(word, Self::NAMES).unwrap_or_default();
                    out.at(attr, format!("unknown attribute `{word}`; did you mean `#[{near}]`?"));
                    // What it was meant to be.
                    match near {
                        "sensitive" => &mut found.sensitive,
                        "state" => &mut found.state,
                        _ => &mut found.context,
                    }
                }
                _ => {
                    found.others.push(attr.clone());
                    continue;
                }
            };
            *place = Some(attr.clone());
        }
        found
    }

    fn is_known(word: &str) -> bool {
        Self::NAMES.contains(&word)
    }
}

/// Takes the parameters of a method apart.
pub(crate) fn check_method(function: &Function, out: &mut Diagnostics) -> Vec<MethodParameter> {
    let mut parameters = Vec::new();
    for input in &function.sig.inputs {
        let FnArg::Typed(input) = input else { continue };
        let Helpers { sensitive, state, context, others } = Helpers::of(&input.attrs, out);
        if let Some(attr) = &state {
            out.at(attr, "a method has its state in `self`: remove `#[state]`");
        }
        if let (Some(_), Some(attr)) = (&sensitive, &context) {
            out.at(attr, "a parameter is either `#[sensitive]` or `#[context]`");
        }
        let is_fields = last_segment(&input.ty).is_some_and(|last| {
            last.ident == "Parameters"
                && matches!(&last.arguments, PathArguments::AngleBracketed(arguments)
                    if matches!(arguments.args.first(), Some(GenericArgument::Type(_))))
        });
        let role = if context.is_some() {
            MethodRole::Context
        } else if is_fields {
            MethodRole::Fields { sensitive: sensitive_fields(sensitive.as_ref(), out) }
        } else if let Pat::Ident(pat) = &*input.pat {
            if let Some(attr) = &sensitive
                && !matches!(attr.meta, Meta::Path(_))
            {
                out.at(attr, "write `#[sensitive]`: this parameter is one value");
            }
            MethodRole::Argument { name: pat.ident.unraw_string(), sensitive: sensitive.is_some() }
        } else {
            let bare = PatType { attrs: Vec::new(), ..input.clone() };
            out.at(
                bare,
                "name the parameter, or mark it `#[context]` if it is not an argument of the tool",
            );
            continue;
        };
        parameters.push(MethodParameter {
            pat: (*input.pat).clone(),
            ty: (*input.ty).clone(),
            attrs: others,
            role,
        });
    }
    parameters
}

fn sensitive_fields(attr: Option<&Attribute>, out: &mut Diagnostics) -> Vec<Ident> {
    let Some(attr) = attr else { return Vec::new() };
    let parsed = match &attr.meta {
        Meta::List(_) => {
            attr.parse_args_with(Punctuated::<Ident, Token![,]>::parse_terminated).ok()
        }
        _ => None,
    };
    match parsed {
        Some(fields) if !fields.is_empty() => fields.into_iter().collect(),
        _ => {
            out.at(attr, "name the sensitive fields, as in `#[sensitive(token)]`");
            Vec::new()
        }
    }
}

/// The mistake of an attribute on something else than a function.
pub(crate) fn not_a_function(kind: Kind, item: TokenStream) -> syn::Error {
    let message = format!("`#[{}]` goes on an `async fn`", kind.name());
    let keyword = |input: ParseStream<'_>| {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        let keyword: Option<TokenTree> = input.parse().ok();
        input.parse::<TokenStream>()?;
        Ok(keyword)
    };
    match syn::parse::Parser::parse2(keyword, item) {
        Ok(Some(keyword)) => syn::Error::new_spanned(keyword, message),
        _ => syn::Error::new(Span::call_site(), message),
    }
}

/// Looks for what a type borrows or hides.
#[derive(Default)]
struct Unowned {
    impl_trait: bool,
    lifetime: bool,
    static_reference: bool,
    elided: bool,
}

impl<'ast> Visit<'ast> for Unowned {
    fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
        self.impl_trait = true;
    }

    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
        match &reference.lifetime {
            None => self.elided = true,
            Some(lifetime) if lifetime.ident == "static" => self.static_reference = true,
            Some(_) => self.lifetime = true,
        }
        visit::visit_type(self, &reference.elem);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        self.lifetime |= lifetime.ident != "static";
    }

    // `for<'a> fn(&'a T)` is an owned type.
    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
}
