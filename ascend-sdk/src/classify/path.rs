//! Where a path leads.

use std::{
    ffi::OsStr,
    io,
    path::{Component, Path, PathBuf},
};

use crate::{Facts, FileFacts, RiskLevel, Verb};

/// A directory that paths are looked at from.
///
/// What it finds is a fact for policy at one moment. The wall is how the file
/// is opened: through `cap_std::fs::Dir`, which cannot be left.
///
/// ```
/// use ascend_sdk::classify::Root;
/// let root = Root::new(std::env::temp_dir())?;
/// assert!(root.facts("../etc/passwd").escapes);
/// assert_eq!(root.facts("a/../b.txt").path, "b.txt");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// A root at `path`, which must exist.
    ///
    /// # Errors
    ///
    /// When there is no such directory or it cannot be looked at.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().canonicalize()?;
        if path.is_dir() {
            Ok(Self(path))
        } else {
            Err(io::Error::new(io::ErrorKind::NotADirectory, "the root is not a directory"))
        }
    }

    /// The directory, symbolic links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where `path` leads, from the root. Whatever cannot be resolved, as a
    /// loop of links or a name with a NUL byte, escapes.
    pub fn facts(&self, path: impl AsRef<str>) -> FileFacts {
        let escaped = FileFacts { escapes: true, ..FileFacts::default() };
        let path = path.as_ref();
        if path.is_empty() || path.contains('\0') {
            return escaped;
        }
        let Some(resolved) = resolved(&self.0.join(path)) else { return escaped };
        // A name that is not Unicode would have to be shown as another one.
        let Some(inside) = resolved.strip_prefix(&self.0).ok().and_then(Path::to_str) else {
            return escaped;
        };
        let exists = resolved.symlink_metadata().is_ok();
        FileFacts { path: inside.to_owned(), escapes: false, exists }
    }

    /// The `verb`, with what is found about `path`. The risk is that of ASCEND's
    /// table (`LOW` for a read, `HIGH` for a delete, `MEDIUM` otherwise), and
    /// `CRITICAL` when the path escapes.
    pub fn verb(&self, verb: impl Into<Verb>, path: impl AsRef<str>) -> Verb {
        let mut verb = verb.into();
        let file = self.facts(path);
        let risk_level = match verb.name.as_ref() {
            _ if file.escapes => RiskLevel::Critical,
            "read" => RiskLevel::Low,
            "delete" | "execute" => RiskLevel::High,
            _ => RiskLevel::Medium,
        };
        verb.facts = Facts { risk_level: Some(risk_level), file: Some(file), ..verb.facts };
        verb
    }
}

/// Where a path leads as the system would find it, however much of it is there; `None`
/// where that cannot be told, as of a link to something that is not there.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut found = PathBuf::new();
    // What is not there, below what was found.
    let mut missing: Vec<&OsStr> = Vec::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => found.push(component),
            Component::CurDir => {}
            Component::ParentDir if missing.pop().is_some() => {}
            // All links in it are resolved, so that this is its parent.
            Component::ParentDir => {
                found.pop();
            }
            Component::Normal(name) if missing.is_empty() => {
                let next = found.join(name);
                match next.symlink_metadata() {
                    Ok(_) => found = next.canonicalize().ok()?,
                    Err(error) if is_missing(&error) => missing.push(name),
                    Err(_) => return None,
                }
            }
            Component::Normal(name) => missing.push(name),
        }
    }
    found.extend(missing);
    Some(found)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
