//! Replicas of one center over a real PostgreSQL server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod doors;
mod intruder;
mod outages;
mod replicas;
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod texts;

use std::path::Path;

use tempfile::TempDir;

/// Directories of replicas: the first, with its database, and others with its keys.
fn replicas<const N: usize>() -> [TempDir; N] {
    let directories = [(); N].map(|()| tempfile::tempdir().unwrap());
    support::postgres::choose(directories[0].path());
    for other in &directories[1..] {
        support::postgres::share(directories[0].path(), other.path());
    }
    directories
}

fn copy_keys(from: &Path, to: &Path) {
    for key in ["audit.key", "approver.key", "agent.key"] {
        std::fs::copy(from.join(key), to.join(key)).unwrap();
    }
}
