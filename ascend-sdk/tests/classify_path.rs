//! Hostile and ordinary paths.

#![cfg(all(feature = "classify", unix))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::symlink};

use ascend_sdk::{FileFacts, RiskLevel, classify::Root};
use proptest::prelude::*;

/// A root with a file, a directory and links, beside a secret.
fn root() -> (tempfile::TempDir, Root) {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("root");
    fs::create_dir_all(inner.join("dir")).unwrap();
    fs::write(outer.path().join("secret"), "s").unwrap();
    fs::write(inner.join("file"), "f").unwrap();
    symlink("file", inner.join("inside")).unwrap();
    symlink("../secret", inner.join("outside")).unwrap();
    symlink("..", inner.join("up")).unwrap();
    symlink("/etc", inner.join("dir/etc")).unwrap();
    symlink("../not-there", inner.join("dangling")).unwrap();
    symlink("loop", inner.join("loop")).unwrap();
    symlink("inside", inner.join("chain")).unwrap();
    // To what is not there, by way of the outside.
    fs::create_dir_all(outer.path().join("far/away")).unwrap();
    symlink("../../far/away", inner.join("dir/far")).unwrap();
    symlink("dir/far/../planted", inner.join("sneaky")).unwrap();
    symlink("dir/far/..", inner.join("away")).unwrap();
    let root = Root::new(&inner).unwrap();
    (outer, root)
}

#[test]
fn paths_within_the_root() {
    let (_outer, root) = root();
    for (path, resolved, exists) in [
        ("file", "file", true),
        ("./file", "file", true),
        ("dir/../file", "file", true),
        ("dir//..//file", "file", true),
        ("new", "new", false),
        ("new/deeper/file", "new/deeper/file", false),
        ("dir", "dir", true),
        (".", "", true),
        ("inside", "file", true),
        ("chain", "file", true),
    ] {
        let expected = FileFacts { path: resolved.to_owned(), escapes: false, exists };
        assert_eq!(root.facts(path), expected, "{path}");
    }
    let absolute = root.path().join("file");
    assert_eq!(root.facts(absolute.to_str().unwrap()).path, "file");
}

#[test]
fn dot_dot_escapes() {
    let (_outer, root) = root();
    for path in [
        "..",
        "../secret",
        "dir/../../secret",
        "../root-beside/x",
        "a/b/../../../secret",
        "/etc/passwd",
        "//etc/passwd",
    ] {
        let found = root.facts(path);
        assert!(found.escapes && found.path.is_empty() && !found.exists, "{path}: {found:?}");
    }
}

#[test]
fn symlinks_escape() {
    let (_outer, root) = root();
    for path in [
        "outside",
        "up",
        "up/secret",
        "dir/../up/secret",
        "dir/etc/passwd",
        "dir/etc/not-there",
        "dangling",
        "sneaky",
        "away/planted",
        "dir/far/../planted",
        "away/../planted",
        "loop",
        "loop/x",
    ] {
        assert!(root.facts(path).escapes, "{path}: {:?}", root.facts(path));
    }
    // Back in, by way of the outside.
    assert_eq!(root.facts("up/root/file").path, "file");
}

#[test]
fn unreadable_paths_escape() {
    let (_outer, root) = root();
    for path in ["", "\0", "file\0", "dir/\0/x"] {
        assert!(root.facts(path).escapes, "{path:?}");
    }
    let long = "x/".repeat(10_000);
    let found = root.facts(&long);
    assert!(found.escapes || !found.exists);
}

#[test]
fn a_root_exists() {
    let (outer, root) = root();
    assert!(Root::new(outer.path().join("not-there")).is_err());
    assert!(Root::new(root.path().join("file")).is_err());
}

#[test]
fn the_verb_takes_the_facts() {
    let (_outer, root) = root();
    let verb = root.verb("read", "file");
    assert_eq!((verb.name.as_ref(), verb.facts.risk_level), ("read", Some(RiskLevel::Low)));
    assert_eq!(verb.facts.file.unwrap().path, "file");
    assert_eq!(root.verb("write", "new").facts.risk_level, Some(RiskLevel::Medium));
    assert_eq!(root.verb("delete", "file").facts.risk_level, Some(RiskLevel::High));
    let verb = root.verb("read", "../secret");
    assert_eq!(
        (verb.facts.risk_level, verb.facts.file.unwrap().escapes),
        (Some(RiskLevel::Critical), true)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What does not escape is, for the file system too, within the root.
    #[test]
    fn what_does_not_escape_lies_within(
        parts in prop::collection::vec(prop::sample::select(vec![
            "..", ".", "", "dir", "file", "inside", "outside", "up", "root", "secret", "new", "chain", "dangling",
            "far", "away", "sneaky",
        ]), 0..8),
    ) {
        let (_outer, root) = root();
        let path = parts.join("/");
        let found = root.facts(&path);
        if !path.is_empty() && let Ok(real) = root.path().join(&path).canonicalize() {
            prop_assert_eq!(real.starts_with(root.path()), !found.escapes, "{}", path);
            if !found.escapes {
                prop_assert_eq!(root.path().join(&found.path), real);
            }
        } else if !found.escapes && fs::File::create(root.path().join(&path)).is_ok() {
            // What is made there is where it was said to be.
            let real = root.path().join(&path).canonicalize().unwrap();
            prop_assert_eq!(root.path().join(&found.path), real);
        }
    }

    #[test]
    fn it_never_panics(path in any::<String>()) {
        let (_outer, root) = root();
        let _ = root.facts(path);
    }
}
