use ascend_sdk::testing::governance_tests;

governance_tests!("time", sample = serde_json::json!({}));

fn main() {}
