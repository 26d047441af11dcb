//! The center's directory, and who else can read it.

use std::{fs, path::Path};

use super::Checks;
use crate::config::Config;

/// What is the center's secret, or leads to it.
const PRIVATE: [&str; 5] = ["center.db", "center.db-wal", "approver.key", "agent.key", "audit.key"];
/// Below this much free space a center soon stops writing, in bytes.
const LITTLE: u64 = 1024 * 1024 * 1024;
/// And this is next to none.
const NONE: u64 = 64 * 1024 * 1024;

/// Whether there is a center in it.
pub(super) fn directory(checks: &mut Checks, directory: &Path, config: &Config) -> bool {
    let shown = directory.display();
    if !config.is_there() {
        checks.error(
            "directory",
            format!("there is no center in {shown}"),
            "make one with `ascend-center init`, or name another with --directory",
        );
        return false;
    }
    let open: Vec<_> = PRIVATE
        .iter()
        .map(|name| directory.join(name))
        .chain([directory.to_owned()])
        .filter(|path| others_can(path, 0o077))
        .collect();
    for path in &open {
        let advice = format!("chmod go-rwx '{}'", path.display());
        checks.error("directory", format!("others have rights to {}", path.display()), advice);
    }
    if let Some(file) = config.file.as_ref().filter(|file| others_can(file, 0o022)) {
        let advice = format!("chmod go-w '{}'", file.display());
        checks.error("directory", format!("others can change {}", file.display()), advice);
    }
    if open.is_empty() {
        checks.ok("directory", format!("{shown}, for its owner alone"));
    }
    space(checks, directory);
    true
}

/// Whether others than the owner have one of these rights.
fn others_can(path: &Path, rights: u32) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).is_ok_and(|about| about.permissions().mode() & rights != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = (path, rights);
        false
    }
}

#[cfg(unix)]
fn space(checks: &mut Checks, directory: &Path) {
    const ADVICE: &str = "make room: `ascend-center audit prune` removes what is old";
    match rustix::fs::statvfs(directory) {
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            let found = format!("{} MiB free", free / 1024 / 1024);
            if free < NONE {
                checks.error("disk", found, ADVICE);
            } else if free < LITTLE {
                checks.warn("disk", found, ADVICE);
            } else {
                checks.ok("disk", found);
            }
        }
        Err(error) => checks.warn("disk", error.to_string(), "look how much is free"),
    }
}

#[cfg(not(unix))]
fn space(_: &mut Checks, _: &Path) {}
