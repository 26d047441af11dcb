//! The parameters of a function: what each is, and what must hold of it.

use quote::ToTokens as _;
use syn::{
    Attribute, ExprPath, FnArg, GenericArgument, Ident, Lifetime, Meta, Pat, PatType,
    PathArguments, Token, Type,
    punctuated::Punctuated,
    visit::{self, Visit},
};

use crate::{
    args,
    diagnostics::{Diagnostics, alternatives, nearest},
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
    Argument(Box<Argument>),
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
    pub(crate) traced: bool,
    /// What `#[serde(…)]` says of reading it.
    pub(crate) reading: Reading,
    /// What it is for, where that is plain text and schemars has nothing to add.
    pub(crate) description: Option<String>,
    /// Those that schemars reads.
    pub(crate) schema_attrs: Vec<Attribute>,
    /// Those that the generated field takes over.
    pub(crate) field_attrs: Vec<Attribute>,
}

/// How a parameter is read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Its name in JSON, where it is another one.
    rename: Option<String>,
    pub(crate) aliases: Vec<String>,
    pub(crate) default: Option<Fallback>,
    pub(crate) with: Option<ExprPath>,
}

/// What a parameter is that is not given.
#[derive(Debug)]
pub(crate) enum Fallback {
    /// `#[serde(default)]`, at the word.
    OfType,
    /// `#[serde(default = "path")]`
    Path(ExprPath),
}

impl Argument {
    /// The names by which it is taken; the first is the schema's.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let aliases = self.reading.aliases.iter().map(String::as_str);
        std::iter::once(self.wire_name.as_str()).chain(aliases)
    }
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
    Argument { name: String, sensitive: bool, traced: bool },
    /// All the arguments: rmcp's `Parameters<T>`; those fields are sensitive.
    Fields { sensitive: Vec<Ident> },
    /// Not an argument.
    Context,
}

const CONDITIONAL: &str =
    "a governed tool has the same parameters in every build: put `#[cfg]` on the function";

fn is_conditional(attr: &Attribute) -> bool {
    attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr")
}

/// Takes a parameter of an ordinary function apart; `None` when something is
/// wrong with it.
pub(crate) fn check_parameter(input: &PatType, out: &mut Diagnostics) -> Option<Parameter> {
    let bare = PatType { attrs: Vec::new(), ..input.clone() };
    let Helpers { sensitive, state, context, traced, others } = Helpers::of(&input.attrs, out);
    if let Some(attr) = &sensitive
        && !matches!(attr.meta, Meta::Path(_))
    {
        out.at(
            attr,
            "all of a function's parameter is sensitive: write `#[sensitive]`, or make the field a parameter of its own",
        );
    }
    let is_state = state.is_some();

    let Some(pat) = named(&input.pat) else {
        let ty = input.ty.to_token_stream();
        let name = guess(&input.pat);
        out.at(bare, format!("give the parameter a name, as in `{name}: {ty}`"));
        return None;
    };
    if let Some(mistake) = not_owned(&input.ty, &unraw(&pat.ident), is_state) {
        out.at(bare, mistake);
        return None;
    }

    let roles: Vec<_> = [
        (state, "state"),
        (context, "context"),
        (sensitive.clone(), "sensitive"),
        (traced.clone(), "traced"),
    ]
    .into_iter()
    .filter_map(|(attr, name)| Some((attr?, name)))
    .collect();
    if let [(_, first), (second, name), ..] = &roles[..] {
        out.at(second, format!("a parameter is either `#[{first}]` or `#[{name}]`"));
        return None;
    }

    let (binding_attrs, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is_lint_level);
    if let Some(attr) = others.iter().find(|attr| is_conditional(attr)) {
        out.at(attr, CONDITIONAL);
        return None;
    }
    let role = match roles.first() {
        Some((_, "state")) | Some((_, "context")) => {
            for attr in others.iter().filter(|attr| !attr.path().is_ident("doc")) {
                out.at(attr, "this parameter is not in the schema: remove the attribute");
            }
            if roles[0].1 == "state" { Role::State } else { Role::Context }
        }
        _ => {
            let mut reading = check_field_attrs(&others, out);
            let wire_name = reading.rename.take().unwrap_or(unraw(&pat.ident));
            let (schema_attrs, others): (Vec<_>, Vec<_>) =
                others.into_iter().partition(is_schema_attr);
            let plain = plain_description(&schema_attrs);
            Role::Argument(Box::new(Argument {
                wire_name,
                sensitive: sensitive.is_some(),
                traced: traced.is_some(),
                reading,
                schema_attrs: if plain.is_some() { Vec::new() } else { schema_attrs },
                description: plain,
                field_attrs: others,
            }))
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

/// The pattern, where it is a name and nothing else.
fn named(pat: &Pat) -> Option<&syn::PatIdent> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => Some(pat),
        _ => None,
    }
}

/// The first name in a pattern, or one that could be.
fn guess(pat: &Pat) -> String {
    struct First(Option<Ident>);
    impl<'ast> Visit<'ast> for First {
        fn visit_pat_ident(&mut self, pat: &'ast syn::PatIdent) {
            self.0.get_or_insert_with(|| pat.ident.clone());
        }
    }
    let mut first = First(None);
    first.visit_pat(pat);
    first.0.map_or_else(|| "value".to_owned(), |ident| ident.to_string())
}

/// What is wrong with a type that is not owned, and what to write.
fn not_owned(ty: &Type, name: &str, is_state: bool) -> Option<String> {
    let mut finder = Unowned::default();
    finder.visit_type(ty);
    if finder.impl_trait {
        return Some("name the parameter's type".to_owned());
    }
    let borrows = finder.lifetime || finder.elided || (finder.static_reference && !is_state);
    if !borrows {
        return None;
    }
    const OWNS: &str = "a governed tool owns its arguments";
    Some(match ty {
        Type::Reference(reference) => match &*reference.elem {
            Type::Path(path) if path.path.is_ident("str") => {
                format!("{OWNS}: write `{name}: String`")
            }
            Type::Slice(slice) => {
                format!("{OWNS}: write `{name}: Vec<{}>`", slice.elem.to_token_stream())
            }
            owned => format!("{OWNS}: write `{name}: {}`", owned.to_token_stream()),
        },
        _ => format!("{OWNS}: give `{name}` a type that borrows nothing"),
    })
}

/// Whether an attribute is for schemars.
fn is_schema_attr(attr: &Attribute) -> bool {
    ["doc", "serde", "schemars", "validate", "garde"].iter().any(|name| attr.path().is_ident(name))
}

/// The description, unless schemars must make the schema: for attributes of its own,
/// for text that a macro makes, and for a title.
fn plain_description(attrs: &[Attribute]) -> Option<String> {
    let mut lines = Vec::new();
    for attr in attrs.iter().filter(|attr| !attr.path().is_ident("serde")) {
        let Meta::NameValue(pair) = &attr.meta else { return None };
        let text = args::text(&pair.value).filter(|_| attr.path().is_ident("doc"))?.value();
        lines.push(text.strip_prefix(' ').map(str::to_owned).unwrap_or(text));
    }
    let text = lines.join("\n");
    let text = text.trim_matches(|character: char| character.is_ascii_whitespace());
    (!text.starts_with('#')).then(|| text.to_owned())
}

/// Checks the `serde` and `schemars` attributes of a parameter, and finds how it
/// is read.
fn check_field_attrs(attrs: &[Attribute], out: &mut Diagnostics) -> Reading {
    let mut reading = Reading::default();
    for attr in attrs {
        let serde = attr.path().is_ident("serde");
        if !serde && !attr.path().is_ident("schemars") {
            continue;
        }
        let metas = match attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) {
            Ok(metas) => metas,
            Err(error) => {
                // What is wrong with schemars' is theirs to say.
                if serde {
                    out.push(error);
                }
                continue;
            }
        };
        for meta in metas {
            let word = meta.path().get_ident().map(ToString::to_string).unwrap_or_default();
            match (serde, word.as_str()) {
                (true, word) => reading.add(word, &meta, out),
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
    reading
}

impl Reading {
    const WORDS: [&'static str; 4] = ["rename", "alias", "default", "deserialize_with"];

    /// Takes one argument of `#[serde(…)]` over.
    fn add(&mut self, word: &str, meta: &Meta, out: &mut Diagnostics) {
        let text = match meta {
            Meta::NameValue(pair) => args::text(&pair.value),
            _ => None,
        };
        match (word, text) {
            (
                "skip"
                | "skip_serializing"
                | "skip_deserializing"
                | "skip_serializing_if"
                | "flatten"
                | "serialize_with"
                | "with"
                | "getter"
                | "borrow",
                _,
            ) => {
                out.at(meta, format!("remove `{word}`: what is approved must be exactly what runs"))
            }
            ("rename", Some(text)) => self.rename = Some(text.value()),
            ("rename", None) => {
                out.at(meta, "a parameter has one name in JSON: write `rename = \"…\"`");
            }
            ("alias", Some(text)) => self.aliases.push(text.value()),
            ("default", None) if matches!(meta, Meta::Path(_)) => {
                self.default = Some(Fallback::OfType);
            }
            ("default", Some(text)) => match text.parse() {
                Ok(path) => self.default = Some(Fallback::Path(path)),
                Err(error) => out.push(error),
            },
            ("deserialize_with", Some(text)) => match text.parse() {
                Ok(path) => self.with = Some(path),
                Err(error) => out.push(error),
            },
            (word, None) if Self::WORDS.contains(&word) => {
                out.at(meta, format!("`{word}` takes a string, as in `{word} = \"…\"`"));
            }
            _ => {
                let hint = match nearest(word, Self::WORDS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a parameter takes {}", alternatives(Self::WORDS)),
                };
                out.at(meta.path(), format!("unknown argument of `serde`; {hint}"));
            }
        }
    }
}

/// The attributes of a parameter: ours, and the others.
struct Helpers {
    sensitive: Option<Attribute>,
    state: Option<Attribute>,
    context: Option<Attribute>,
    traced: Option<Attribute>,
    others: Vec<Attribute>,
}

impl Helpers {
    const NAMES: [&'static str; 4] = ["sensitive", "state", "context", "traced"];

    fn of(attrs: &[Attribute], out: &mut Diagnostics) -> Self {
        let mut found =
            Self { sensitive: None, state: None, context: None, traced: None, others: Vec::new() };
        for attr in attrs {
            let word = attr.path().get_ident().map(ToString::to_string);
            let place = match word.as_deref() {
                Some("sensitive") => &mut found.sensitive,
                Some("state") => &mut found.state,
                Some("context") => &mut found.context,
                Some("traced") => &mut found.traced,
                Some(word) if !Self::is_known(word) && nearest(word, Self::NAMES).is_some() => {
                    let near = nearest(word, Self::NAMES).unwrap_or_default();
                    out.at(attr, format!("unknown attribute `{word}`; did you mean `#[{near}]`?"));
                    // What it was meant to be.
                    match near {
                        "sensitive" => &mut found.sensitive,
                        "state" => &mut found.state,
                        "traced" => &mut found.traced,
                        _ => &mut found.context,
                    }
                }
                _ => {
                    found.others.push(attr.clone());
                    continue;
                }
            };
            if let Some(word) = word.filter(|word| Self::is_known(word)) {
                if place.is_some() {
                    out.at(attr, format!("`#[{word}]` is given twice"));
                } else if word != "sensitive" && !matches!(attr.meta, Meta::Path(_)) {
                    out.at(attr, format!("`#[{word}]` takes no arguments"));
                }
            }
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
        let Helpers { sensitive, state, context, traced, others } = Helpers::of(&input.attrs, out);
        for attr in others.iter().filter(|attr| is_conditional(attr)) {
            out.at(attr, CONDITIONAL);
        }
        if let Some(attr) = &state {
            out.at(attr, "a method has its state in `self`: remove `#[state]`");
        }
        if let (Some(_), Some(attr)) = (&sensitive, &context) {
            out.at(attr, "a parameter is either `#[sensitive]` or `#[context]`");
        }
        if let Some(attr) = &traced {
            let other = [(&sensitive, "sensitive"), (&context, "context")];
            if let Some((_, other)) = other.iter().find(|(other, _)| other.is_some()) {
                out.at(attr, format!("a parameter is either `#[{other}]` or `#[traced]`"));
            }
        }
        let is_fields = last_segment(&input.ty).is_some_and(|last| {
            last.ident == "Parameters"
                && matches!(&last.arguments, PathArguments::AngleBracketed(arguments)
                    if matches!(arguments.args.first(), Some(GenericArgument::Type(_))))
        });
        let role = if context.is_some() {
            MethodRole::Context
        } else if is_fields {
            if let Some(attr) = &traced {
                out.at(
                    attr,
                    "only a parameter that is one argument can be traced: remove `#[traced]`",
                );
            }
            MethodRole::Fields { sensitive: sensitive_fields(sensitive.as_ref(), out) }
        } else if let Pat::Ident(pat) = &*input.pat {
            if let Some(attr) = &sensitive
                && !matches!(attr.meta, Meta::Path(_))
            {
                out.at(attr, "write `#[sensitive]`: this parameter is one value");
            }
            MethodRole::Argument {
                name: unraw(&pat.ident),
                sensitive: sensitive.is_some(),
                traced: traced.is_some(),
            }
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
    let fields = named_fields(attr);
    if fields.is_empty() {
        out.at(attr, "name the sensitive fields, as in `#[sensitive(token)]`");
    }
    fields
}

/// The fields that an attribute names, as in `#[sensitive(token)]`.
pub(crate) fn named_fields(attr: &Attribute) -> Vec<Ident> {
    let fields = match &attr.meta {
        Meta::List(list) => {
            list.parse_args_with(Punctuated::<Ident, Token![,]>::parse_terminated).ok()
        }
        _ => None,
    };
    fields.into_iter().flatten().collect()
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
