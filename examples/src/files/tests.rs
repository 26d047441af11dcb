#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;

/// A root with a file and links, beside a secret.
fn files() -> (tempfile::TempDir, PathBuf, Files) {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("dir")).unwrap();
    fs::write(outer.path().join("secret"), "secret").unwrap();
    fs::write(root.join("notes.txt"), "old").unwrap();
    symlink("notes.txt", root.join("link")).unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("/etc", root.join("etc")).unwrap();
    symlink("../made-outside", root.join("dangling")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let files = Files::open(&root).unwrap();
    (outer, root, files)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_written_is_read() {
    let (_outer, root, files) = files();
    assert_eq!(files.write("a/b/new.txt", "héllo".to_owned()).await.unwrap(), 6);
    let read = files.read("a/./b/../b/new.txt").await.unwrap();
    assert_eq!(read, TextFile { content: "héllo".to_owned(), size: 6 });
    assert_eq!(names(&root.join("a/b")), ["new.txt"]);
    assert_eq!(files.write("notes.txt", String::new()).await.unwrap(), 0);
    assert_eq!(files.read("notes.txt").await.unwrap().size, 0);
}

#[tokio::test]
async fn writing_keeps_links_and_permissions() {
    let (_outer, root, files) = files();
    fs::set_permissions(root.join("notes.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    files.write("link", "new".to_owned()).await.unwrap();
    assert_eq!(fs::read_to_string(root.join("notes.txt")).unwrap(), "new");
    assert!(root.join("link").is_symlink());
    let mode = fs::metadata(root.join("notes.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[tokio::test]
async fn nothing_outside_is_read_or_written() {
    let (outer, root, files) = files();
    let before = names(outer.path());
    let absolute = outer.path().join("secret").display().to_string();
    for path in [
        "../secret",
        "..",
        "dir/../../secret",
        "/etc/passwd",
        "out",
        "up/secret",
        "up/new",
        "etc/passwd",
        "dir/../up/secret",
        "up/root/notes.txt",
        &absolute,
    ] {
        let error = files.read(path).await.unwrap_err();
        assert!(matches!(error, FileError::Escapes(_)) || path == "up/new", "{path}: {error:?}");
        let error = files.write(path, "evil".to_owned()).await.unwrap_err();
        assert!(matches!(error, FileError::Escapes(_)), "{path}: {error:?}");
    }
    for path in ["dangling", "loop"] {
        assert!(files.read(path).await.is_err(), "{path}");
        assert!(files.write(path, "evil".to_owned()).await.is_err(), "{path}");
    }
    assert_eq!(fs::read_to_string(outer.path().join("secret")).unwrap(), "secret");
    assert_eq!(names(outer.path()), before);
    assert_eq!(names(&root), ["dangling", "dir", "etc", "link", "loop", "notes.txt", "out", "up"]);
}

#[tokio::test]
async fn a_root_that_is_replaced_later_does_not_matter() {
    let (outer, root, files) = files();
    fs::rename(&root, outer.path().join("moved")).unwrap();
    fs::create_dir(outer.path().join("other")).unwrap();
    symlink("other", &root).unwrap();
    files.write("notes.txt", "new".to_owned()).await.unwrap();
    assert_eq!(fs::read_to_string(outer.path().join("moved/notes.txt")).unwrap(), "new");
    assert!(names(&outer.path().join("other")).is_empty());
}

#[tokio::test]
async fn only_regular_text_files() {
    let (_outer, root, files) = files();
    fs::write(root.join("binary"), [0xff, 0xfe]).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    for path in ["dir", "dir/", ".", "", "notes.txt/", "dir/..", "socket", "x\0"] {
        let error = files.read(path).await.unwrap_err();
        assert!(matches!(error, FileError::NotAFile(_)), "{path:?}: {error:?}");
        let error = files.write(path, String::new()).await.unwrap_err();
        assert!(matches!(error, FileError::NotAFile(_)), "{path:?}: {error:?}");
    }
    assert!(matches!(files.read("binary").await, Err(FileError::NotText(_))));
    assert!(matches!(files.read("missing").await, Err(FileError::NotFound(_))));
    assert!(matches!(files.read("notes.txt/x").await, Err(FileError::NotAFile(_))));
}

#[tokio::test]
async fn sizes_are_limited() {
    let (_outer, root, files) = files();
    let full = "x".repeat(SIZE_LIMIT);
    assert_eq!(files.write("full", full.clone()).await.unwrap(), SIZE_LIMIT);
    assert_eq!(files.read("full").await.unwrap().size, SIZE_LIMIT);
    let error = files.write("full", full + "x").await.unwrap_err();
    assert!(matches!(error, FileError::TooLarge { .. }), "{error:?}");
    fs::write(root.join("large"), vec![b'x'; SIZE_LIMIT + 1]).unwrap();
    assert!(matches!(files.read("large").await, Err(FileError::TooLarge { .. })));
}
