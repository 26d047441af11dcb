use ascend_sdk::testing::governance_tests;

governance_tests!();

fn main() {}
