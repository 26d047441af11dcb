//! What must hold of the `async fn` and its parameters.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, FnArg, Ident, PatType, ReturnType, Safety, Signature, Token, Type, Visibility,
    parse::{Parse, ParseStream},
    visit::Visit,
};

use crate::{
    args::Kind,
    diagnostics::Diagnostics,
    parameter::{Argument, Parameter, Role, Unowned, check_parameter},
    ungoverned::{self, UNGOVERNED},
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
        unraw(&self.sig.ident)
    }

    /// Whether it belongs to an `impl` block: it has `self`, or is a tool of rmcp's.
    pub(crate) fn is_method(&self) -> bool {
        self.sig.receiver().is_some() || self.is_tool() || self.is_rewritten()
    }

    /// Whether another attribute, such as rmcp's `#[tool]`, seems to have rewritten it.
    fn is_rewritten(&self) -> bool {
        self.sig.asyncness.is_none() && returns_boxed_future(&self.sig)
    }

    /// Whether it is a tool of rmcp's.
    pub(crate) fn is_tool(&self) -> bool {
        self.attrs.iter().any(|attr| is(attr, "tool"))
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

    /// The parameters that have something sensitive.
    pub(crate) fn sensitive_parameters(&self) -> impl Iterator<Item = (&PatType, &Attribute)> {
        self.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(input) => {
                let attr = input.attrs.iter().find(|attr| is(attr, "sensitive"))?;
                Some((input, attr))
            }
            FnArg::Receiver(_) => None,
        })
    }

    /// The function without our attributes.
    pub(crate) fn without_our_attributes(mut self) -> TokenStream {
        self.attrs.retain(|attr| !is_ours(attr));
        self.into_token_stream()
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

/// The word without `r#`.
pub(crate) fn unraw(ident: &Ident) -> String {
    syn::ext::IdentExt::unraw(ident).to_string()
}

/// Whether the last part of an attribute's path is `name`.
pub(crate) fn is(attr: &Attribute, name: &str) -> bool {
    attr.path().segments.last().is_some_and(|segment| segment.ident == name)
}

fn is_ours(attr: &Attribute) -> bool {
    is(attr, UNGOVERNED) || Kind::ALL.iter().any(|kind| is(attr, kind.name()))
}

/// `allow`, `warn`, `deny`, `forbid`, `expect`.
pub(crate) fn is_lint_level(attr: &Attribute) -> bool {
    ["allow", "warn", "deny", "forbid", "expect"].iter().any(|level| attr.path().is_ident(level))
}

/// The mistake of an attribute on something else than a function.
pub(crate) fn not_a_function(message: &str, item: TokenStream) -> syn::Error {
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

/// Whether it is a function that ends in a semicolon, as in a trait.
pub(crate) fn has_no_body(item: TokenStream) -> bool {
    syn::parse2::<syn::TraitItemFn>(item).is_ok_and(|item| item.default.is_none())
}

/// Checks what both kinds of function have in common.
pub(crate) fn check(kind: Kind, function: &Function, out: &mut Diagnostics) {
    let sig = &function.sig;
    let name = function.name();
    if sig.asyncness.is_none() {
        if function.is_rewritten() {
            let word = kind.name();
            out.at_span(
                Span::call_site(),
                format!(
                    "this returns a boxed future: if another attribute has rewritten it, write `#[{word}]` above `#[tool]`, or, with `#[async_trait]`, call a governed function from it; else write `async fn`"
                ),
            );
        } else {
            out.at(sig.fn_token, format!("a governed tool is async: write `async fn {name}`"));
        }
    }
    if matches!(sig.output, ReturnType::Default) {
        out.at(
            &sig.ident,
            "a governed tool can be refused: write `-> Result<T, E>`, where `E: From<ascend_sdk::Refusal>`",
        );
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
        out.at(variadic, "a governed tool has a fixed number of parameters");
    }
    for attr in function.attrs.iter().filter(|attr| is(attr, UNGOVERNED)) {
        out.at(attr, ungoverned::governed(kind));
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
pub(crate) fn returns_boxed_future(sig: &Signature) -> bool {
    matches!(&sig.output, ReturnType::Type(_, ty)
        if last_segment(ty).is_some_and(|segment| segment.ident == "Pin"))
}

/// The last part of a type's path.
pub(crate) fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
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
    if let ReturnType::Type(_, ty) = &sig.output {
        let mut finder = Unowned::default();
        finder.visit_type(ty);
        if finder.impl_trait {
            out.at(ty, "name the type that a governed tool returns");
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
                && let Some(name) = argument.names().find(|&name| {
                    let others = parameters.iter().filter_map(Parameter::argument);
                    others.flat_map(Argument::names).any(|other| other == name)
                })
                && parameters.iter().all(|other| other.ident != parameter.ident)
            {
                out.at(&parameter.ident, format!("two parameters are called `{name}` in JSON"));
            }
            parameters.push(parameter);
        }
    }
    parameters
}
