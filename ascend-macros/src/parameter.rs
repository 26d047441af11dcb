//! The parameters of a function: what each is, and what must hold of it.

use syn::{
    Attribute, FnArg, GenericArgument, Ident, Lifetime, Meta, Pat, PatType, PathArguments, Token,
    Type,
    punctuated::Punctuated,
    visit::{self, Visit},
};

use crate::{
    diagnostics::{Diagnostics, nearest},
    signature::{Function, is_lint_level, last_segment, unraw},
};

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

/// Takes a parameter of an ordinary function apart; `None` when something is
/// wrong with it.
pub(crate) fn check_parameter(input: &PatType, out: &mut Diagnostics) -> Option<Parameter> {
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
            let wire_name = check_field_attrs(&others, out).unwrap_or(unraw(&pat.ident));
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
            MethodRole::Argument { name: unraw(&pat.ident), sensitive: sensitive.is_some() }
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

/// Looks for what a type borrows or hides.
#[derive(Default)]
pub(crate) struct Unowned {
    pub(crate) impl_trait: bool,
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
