//! What the attributes say about mistakes, and that what is right compiles
//! without a word under the strictest lints, and runs.

#[test]
fn mistakes() {
    trybuild::TestCases::new().compile_fail("ui/fail/*.rs");
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
