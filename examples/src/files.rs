//! Text files under one root that cannot be left.

use std::{
    ffi::OsString,
    io::{self, Read as _, Write as _},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ascend_sdk::Refusal;
use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions},
};
use schemars::JsonSchema;
use serde::Serialize;

/// The most bytes of a file that is read or written.
pub const SIZE_LIMIT: usize = 1024 * 1024;

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TextFile {
    /// What is in it.
    pub content: String,
    /// Its length in bytes.
    pub size: usize,
}

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The call was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The path is absolute, or leads out of the root by `..` or a link.
    #[error(
        "`{0}` leads out of the directory that this server works in; give a path within it, relative to it"
    )]
    Escapes(String),
    /// There is no such file.
    #[error("there is no file `{0}`")]
    NotFound(String),
    /// The path names no regular file.
    #[error("`{0}` is not a regular file; name one")]
    NotAFile(String),
    /// The file holds something other than text.
    #[error("`{0}` is not UTF-8 text, so it cannot be shown")]
    NotText(String),
    /// There is too much of it.
    #[error("`{path}` has over {limit} bytes, the most that is read or written at once")]
    TooLarge {
        /// The path as given.
        path: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The system refuses.
    #[error("`{path}`: {source}")]
    Io {
        /// The path as given.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Text files under one root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Files {
    root: Arc<Dir>,
}

impl Files {
    /// Files under `root`, which is made when it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made or opened.
    pub fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        // From here on all goes through the opened directory, so that what
        // its path leads to later does not matter.
        let root = Dir::open_ambient_dir(root, ambient_authority())?;
        Ok(Self { root: Arc::new(root) })
    }

    /// Reads a text file.
    ///
    /// # Errors
    ///
    /// When it is not a text file under the root, or too large.
    pub async fn read(&self, path: &str) -> Result<TextFile, FileError> {
        self.blocking(path, |root, path| {
            let text = |content: String| TextFile { size: content.len(), content };
            String::from_utf8(read(root, path)?)
                .map(text)
                .map_err(|_| FileError::NotText(path.to_owned()))
        })
        .await
    }

    /// Writes a text file, whole or not at all, and the directories above it.
    /// Returns its length in bytes.
    ///
    /// # Errors
    ///
    /// When the path is not one of a file under the root, or the text is too
    /// large. The file is as it was then.
    pub async fn write(&self, path: &str, content: String) -> Result<usize, FileError> {
        if content.len() > SIZE_LIMIT {
            return Err(FileError::TooLarge { path: path.to_owned(), limit: SIZE_LIMIT });
        }
        self.blocking(path, move |root, path| {
            write(root, path, content.as_bytes())?;
            Ok(content.len())
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&Dir, &str) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let (root, path) = (self.root.clone(), path.to_owned());
        let shown = path.clone();
        tokio::task::spawn_blocking(move || {
            check(&path)?;
            work(&root, &path)
        })
        .await
        .unwrap_or_else(|error| Err(FileError::Io { path: shown, source: error.into() }))
    }
}

/// Refuses what can be told from the path alone. The rest is refused by the
/// directory itself.
fn check(path: &str) -> Result<(), FileError> {
    let not_a_file = path.is_empty() || path.contains('\0') || path.ends_with('/');
    let mut depth = 0_i32;
    for component in Path::new(path).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => depth = i32::MIN / 2,
        }
        if depth < 0 {
            return Err(FileError::Escapes(path.to_owned()));
        }
    }
    if not_a_file || depth == 0 {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    Ok(())
}

fn failure(path: &str) -> impl Fn(io::Error) -> FileError {
    move |source| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => FileError::NotFound(path),
            // The directory's own refusal has no code of the system.
            io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => {
                FileError::Escapes(path)
            }
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => FileError::NotAFile(path),
            _ => FileError::Io { path, source },
        }
    }
}

fn read(root: &Dir, path: &str) -> Result<Vec<u8>, FileError> {
    // Before it is opened: opening a pipe would wait for its other end.
    if !root.metadata(path).map_err(failure(path))?.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let file = root.open(path).map_err(failure(path))?;
    let mut content = Vec::new();
    file.take(SIZE_LIMIT as u64 + 1).read_to_end(&mut content).map_err(failure(path))?;
    if content.len() > SIZE_LIMIT {
        return Err(FileError::TooLarge { path: path.to_owned(), limit: SIZE_LIMIT });
    }
    Ok(content)
}

fn write(root: &Dir, path: &str, content: &[u8]) -> Result<(), FileError> {
    let failure = failure(path);
    let target = resolve(root, path)?;
    let (Some(name), parent) = (target.file_name(), target.parent()) else {
        return Err(FileError::NotAFile(path.to_owned()));
    };
    let existing = match root.metadata(&target) {
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        Ok(_) => return Err(FileError::NotAFile(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failure(error)),
    };
    let opened;
    let directory = match parent.filter(|parent| !parent.as_os_str().is_empty()) {
        None => root,
        Some(parent) => {
            root.create_dir_all(parent).map_err(&failure)?;
            opened = root.open_dir(parent).map_err(&failure)?;
            &opened
        }
    };
    let unfinished = Unfinished { directory, name: Some(unfinished_name()) };
    let Some(temporary) = &unfinished.name else { return Ok(()) };
    let mut options = OpenOptions::new();
    let mut file =
        directory.open_with(temporary, options.write(true).create_new(true)).map_err(&failure)?;
    file.write_all(content).map_err(&failure)?;
    if let Some(permissions) = existing {
        file.set_permissions(permissions).map_err(&failure)?;
    }
    file.sync_all().map_err(&failure)?;
    directory.rename(temporary, directory, name).map_err(&failure)?;
    unfinished.finish();
    Ok(())
}

/// Where `path` leads, since renaming onto a link would replace the link.
fn resolve(root: &Dir, path: &str) -> Result<PathBuf, FileError> {
    match root.symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => root.canonicalize(path).map_err(failure(path)),
        Ok(_) => Ok(PathBuf::from(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PathBuf::from(path)),
        Err(error) => Err(failure(path)(error)),
    }
}

fn unfinished_name() -> OsString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!(".{}-{count}-{now}.unfinished", std::process::id()).into()
}

/// A file that is removed unless it is finished.
struct Unfinished<'a> {
    directory: &'a Dir,
    name: Option<OsString>,
}

impl Unfinished<'_> {
    fn finish(mut self) {
        self.name = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && let Err(error) = self.directory.remove_file(name)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "an unfinished file stays behind");
        }
    }
}

#[cfg(test)]
mod tests;
