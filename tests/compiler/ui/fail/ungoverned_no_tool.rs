use ascend_sdk::ungoverned;

/// Tells the time.
#[ungoverned(reason = "it changes nothing")]
fn time() -> String {
    "noon".to_owned()
}

fn main() {
    let _ = time();
}
