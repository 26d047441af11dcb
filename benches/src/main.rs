//! Drives whole stdio servers, ours beside the alternatives, in one run on one
//! processor, and prints what a call costs as ratios and as a table. `BENCHMARKS.md`
//! says what each row is.

#[cfg(target_os = "linux")]
mod authority;
#[cfg(target_os = "linux")]
mod center;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod table;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    run::run(&clap::Parser::parse())
}

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("the benches read /proc and pin processes: they need Linux")
}
