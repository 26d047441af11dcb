use ascend_sdk::ungoverned;

#[ungoverned(reason = "it changes nothing")]
struct Clock;

fn main() {
    let _ = Clock;
}
