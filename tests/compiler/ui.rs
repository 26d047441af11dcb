//! What the attributes say about mistakes, and that what is right compiles
//! without a word under the strictest lints, and runs.

use std::{env, process::Command};

/// trybuild checks the dependencies of the cases without `--diagnostic-width`, and
/// the cases with it, which has cargo check all dependencies twice. Flags that cargo
/// takes from here hold for both; but for the order they are trybuild's own.
const FLAGS: (&str, &str) = (
    "CARGO_ENCODED_RUSTFLAGS",
    "--cfg\x1ftrybuild\x1f--verbose\x1f-A\x1fdead_code\x1f--diagnostic-width=140",
);

#[test]
fn mistakes() {
    let (name, flags) = FLAGS;
    if env::var(name).is_ok_and(|given| given == flags) {
        return trybuild::TestCases::new().compile_fail("ui/fail/*.rs");
    }
    // What trybuild starts takes its environment from this process, which is no
    // more alone in it: so another one, with the same arguments.
    let this = env::current_exe().expect("a test knows its program");
    let filters = env::args().skip(1).filter(|argument| argument.starts_with("trybuild="));
    let status = Command::new(this)
        .args(["mistakes", "--exact", "--nocapture"])
        .args(filters)
        .env(name, flags)
        .status()
        .expect("a test can be started");
    assert!(status.success(), "see above");
}

// As modules, so that they are run as well, and seen by clippy.
#[path = "ui/pass/attributes_of_functions.rs"]
pub mod attributes_of_functions;
#[path = "ui/pass/functions.rs"]
pub mod functions;
#[path = "ui/pass/methods.rs"]
pub mod methods;
#[path = "ui/pass/renamed_crate.rs"]
pub mod renamed_crate;

#[test]
fn what_is_right_runs() {
    functions::main();
    attributes_of_functions::main();
    methods::main();
    renamed_crate::main();
}
