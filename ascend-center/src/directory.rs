//! The center's directory, and files that are created once.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The database in a center's directory.
pub(crate) const DATABASE: &str = "center.db";

/// Creates the directory for its owner alone. One that is there is closed to
/// others when it is empty or a center's; in any other, others must not be able
/// to replace files.
pub(crate) fn create(directory: &Path) -> io::Result<PathBuf> {
    create_private(directory)?;
    let directory = directory.canonicalize()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = directory.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            let ours =
                directory.join(DATABASE).exists() || fs::read_dir(&directory)?.next().is_none();
            if ours {
                fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
            } else if mode & 0o022 != 0 {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "others can write to {}; give the center a directory of its own",
                        directory.display()
                    ),
                ));
            }
        }
    }
    Ok(directory)
}

fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(directory)
}

/// Holds the directory for this process until it is dropped.
pub(crate) fn lock(directory: &Path) -> io::Result<File> {
    let file = private(OpenOptions::new().write(true).create(true).truncate(false), 0o600)
        .open(directory.join("center.lock"))?;
    file.lock()?;
    Ok(file)
}

/// Creates a file with this content, unless it is there. Nobody ever sees a
/// part of it.
pub(crate) fn create_once(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", hex::encode(crate::identity::random::<8>()?)));
    let draft = PathBuf::from(name);
    let written = private(OpenOptions::new().write(true).create_new(true), mode)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        // Unlike a rename, a link never replaces what is there.
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => removed,
    }
}

/// The text of a file that only its owner can read.
pub(crate) fn read_private(path: &Path) -> io::Result<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if path.metadata()?.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "others can read it; delete it to have a new one made",
            ));
        }
    }
    fs::read_to_string(path)
}

/// Creates an empty file for its owner alone, unless it is there.
pub(crate) fn touch(path: &Path) -> io::Result<()> {
    private(OpenOptions::new().write(true).create(true).truncate(false), 0o600).open(path)?;
    Ok(())
}

fn private(options: &mut OpenOptions, mode: u32) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(mode);
    }
    #[cfg(not(unix))]
    let _ = mode;
    options
}
