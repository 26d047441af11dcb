//! Has the migrations, which are compiled in, looked at again when they change.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
