//! `governance_tests!`: one test for each way in which a tool must not run.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Error, Expr, Ident, LitStr, Path, Token,
    ext::IdentExt as _,
    parse::{Parse, ParseStream, Parser},
    spanned::Spanned as _,
};

use crate::expand::sdk as sdk_path;

/// How a test's name ends, and the function of the runtime that it calls.
const TESTS: [(&str, &str); 12] = [
    ("does_not_run_when_denied", "denied"),
    ("does_not_run_when_rejected", "rejected"),
    ("does_not_run_when_nobody_decides_in_time", "timed_out"),
    ("does_not_run_when_expired", "expired"),
    ("does_not_run_under_the_kill_switch", "killed"),
    ("does_not_run_without_an_answer", "not_answered"),
    ("does_not_run_when_cancelled", "cancelled"),
    ("does_not_run_with_other_arguments_than_approved", "tampered"),
    ("needs_a_person_where_it_says_so", "not_approved_by_a_person"),
    ("runs_once_when_called_again", "called_again"),
    ("runs_with_the_approved_arguments", "approved_arguments"),
    ("tells_no_secret", "secrets"),
];

const USAGE: &str =
    "write `governance_tests!(delete_records, sample = json!({ \"table\": \"users\" }))`";

struct Input {
    tool: Path,
    sample: Expr,
    /// What the SDK is called in this crate.
    sdk: Option<Path>,
}

impl Parse for Input {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        if input.is_empty() {
            return Err(input.error(format!("expected a governed function; {USAGE}")));
        }
        let tool = input.call(Path::parse_mod_style).map_err(|error| {
            Error::new(error.span(), format!("expected the name of a governed function; {USAGE}"))
        })?;
        let (mut sample, mut sdk) = (None, None);
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let key = input.call(Ident::parse_any).map_err(|error| {
                Error::new(error.span(), format!("expected `sample = …`; {USAGE}"))
            })?;
            let is_given = match key.to_string().as_str() {
                "sample" => sample.is_some(),
                "crate" => sdk.is_some(),
                _ => return Err(Error::new(key.span(), format!("unknown key `{key}`; {USAGE}"))),
            };
            if is_given {
                return Err(Error::new(key.span(), format!("`{key}` is given twice")));
            }
            input.parse::<Token![=]>()?;
            if key == "sample" {
                sample = Some(input.parse()?);
            } else {
                let path =
                    input.parse::<LitStr>().and_then(|text| text.parse()).map_err(|error| {
                        let message =
                            "`crate` takes a path in a string, as in `crate = \"ascend_sdk\"`";
                        Error::new(error.span(), message)
                    })?;
                sdk = Some(path);
            }
        }
        if !input.is_empty() {
            return Err(input.error(format!("nothing follows the sample; {USAGE}")));
        }
        let sample = sample.ok_or_else(|| {
            Error::new(tool.span(), format!("the tests need arguments that fit the tool; {USAGE}"))
        })?;
        Ok(Self { tool, sample, sdk })
    }
}

pub(crate) fn tests(input: TokenStream) -> TokenStream {
    match Input::parse.parse2(input) {
        Ok(input) => expand(&input),
        Err(error) => error.into_compile_error(),
    }
}

fn expand(Input { tool, sample, sdk }: &Input) -> TokenStream {
    let Some(name) = tool.segments.last().map(|segment| segment.ident.unraw()) else {
        return TokenStream::new();
    };
    let span = tool.span();
    let sdk = sdk_path(sdk.as_ref());
    let tests = TESTS.into_iter().map(|(ending, function)| {
        let test = format_ident!("{name}_{ending}", span = span);
        let function = format_ident!("{function}");
        let run = quote_spanned!(span=> #sdk::testing::suite::#function::<#tool>);
        quote! {
            #[test]
            fn #test() {
                #run(#sdk::__private::serde_json::Value::from(#sample));
            }
        }
    });
    quote!(#(#tests)*)
}
