//! A center's database, looked into around the center.

use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

/// What has a process use the database of the center in this directory.
pub(crate) fn variable(directory: &Path) -> Option<(&'static str, String)> {
    url(directory).map(|url| ("ASCEND_CENTER_DATABASE", url))
}

/// Where it is; `None` where it is SQLite's in the directory.
fn url(directory: &Path) -> Option<String> {
    #[cfg(feature = "postgres")]
    return super::postgres::of(directory);
    #[cfg(not(feature = "postgres"))]
    None
}

/// A directory whose center uses SQLite, whatever the tests are run over: the
/// test is about its file.
pub(crate) fn in_file() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    #[cfg(feature = "postgres")]
    for place in [directory.path().to_owned(), directory.path().join("center")] {
        super::postgres::leave(&place);
    }
    directory
}

fn file(directory: &Path) -> PathBuf {
    directory.join("center.db")
}

/// Changes the database; how many rows.
pub(crate) async fn sql(directory: &Path, statement: impl Into<String>) -> u64 {
    let statement = AssertSqlSafe(statement.into());
    #[cfg(feature = "postgres")]
    if let Some(url) = url(directory) {
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let mut database = options.connect().await.unwrap();
        return database.execute(statement).await.unwrap().rows_affected();
    }
    let options = SqliteConnectOptions::new().filename(file(directory));
    let options = options.busy_timeout(std::time::Duration::from_secs(10));
    let mut database = options.connect().await.unwrap();
    database.execute(statement).await.unwrap().rows_affected()
}

/// Whether this text is anywhere in the database.
pub(crate) fn holds(directory: &Path, text: &str) -> bool {
    let content = match url(directory) {
        #[cfg(feature = "postgres")]
        Some(url) => super::postgres::content(&url),
        _ => std::fs::read(file(directory)).unwrap(),
    };
    assert!(!content.is_empty());
    content.windows(text.len()).any(|part| part == text.as_bytes())
}
