//! Operating a center: making it ready, looking it over, watching, counting,
//! logging and stopping.
#![allow(clippy::unwrap_used, reason = "tests")]

mod connections;
mod doctor;
mod guide;
mod init;
mod logs;
mod metrics;
mod shutdown;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use std::{
    path::Path,
    process::{Command, Output},
};

/// The binary, with nothing of this machine's environment that sets it.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ascend-center"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASCEND_")) {
        command.env_remove(name);
    }
    command.args(arguments).env("RUST_LOG", "warn").env("USER", "alice");
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(arguments).arg("--directory").arg(directory).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
