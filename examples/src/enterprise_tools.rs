//! The four tools of ASCEND's MCP example: their bodies and results.

use std::{io, path::Path};

use ascend_sdk::classify::Root;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    commands::{CommandError, Commands},
    database::{Database, DatabaseError},
    files::{FileError, Files},
    samples::Sample,
};

/// A database that `query_database` can ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseName {
    /// What the customers use.
    Production,
    /// What is tried before it goes to production.
    Staging,
    /// Where anything may be tried.
    Development,
}

/// What the four tools work on. Cheap to clone: a server's state.
#[derive(Debug, Clone)]
pub struct Enterprise {
    production: Database,
    staging: Database,
    development: Database,
    files: Files,
    commands: Commands,
}

/// Why there is nothing to work on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A database cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The directory cannot be made or opened.
    #[error("the directory `{path}` cannot be used: {source}")]
    Directory {
        /// The directory.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

impl Enterprise {
    /// Opens the databases in `data/databases`, and the root of files and commands at
    /// `data/files`. What is not there is made.
    ///
    /// # Errors
    ///
    /// When something cannot be made or opened.
    pub async fn open(data: &Path) -> Result<Self, OpenError> {
        let databases = data.join("databases");
        let root = data.join("files");
        let failure = |source| OpenError::Directory { path: root.display().to_string(), source };
        Ok(Self {
            production: Database::open(&databases, Sample::Production).await?,
            staging: Database::open(&databases, Sample::Staging).await?,
            development: Database::open(&databases, Sample::Development).await?,
            files: Files::open(&root).map_err(failure)?,
            commands: Commands::open(&root).map_err(failure)?,
        })
    }

    /// The root of all files and commands.
    #[must_use]
    pub fn root(&self) -> &Root {
        self.commands.root()
    }

    /// A database by name.
    #[must_use]
    pub fn database(&self, name: DatabaseName) -> &Database {
        match name {
            DatabaseName::Production => &self.production,
            DatabaseName::Staging => &self.staging,
            DatabaseName::Development => &self.development,
        }
    }
}

/// That a tool did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It did.
    Success,
    /// It ran, and failed or was stopped.
    Failed,
}

/// What became of a statement.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct QueryResult {
    /// Always `success`.
    pub status: Status,
    /// The database that was asked.
    pub database: DatabaseName,
    /// The statement.
    pub query: String,
    /// How many rows it added, changed or removed.
    pub rows_affected: u64,
    /// The result's columns.
    pub columns: Vec<String>,
    /// The result's rows, each with one value per column.
    pub rows: Vec<Vec<Value>>,
    /// Whether rows are missing because the result is too large.
    pub truncated: bool,
}

/// A file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReadResult {
    /// Always `success`.
    pub status: Status,
    /// The path as given.
    pub path: String,
    /// What is in the file.
    pub content: String,
    /// Its length in bytes.
    pub size: usize,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WriteResult {
    /// Always `success`.
    pub status: Status,
    /// The path as given.
    pub path: String,
    /// The file's length in bytes.
    pub bytes_written: usize,
}

/// A command that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CommandResult {
    /// `success` when the exit code is 0.
    pub status: Status,
    /// The command as given.
    pub command: String,
    /// What became of it.
    #[serde(flatten)]
    pub finished: crate::commands::Finished,
}

/// Runs one SQL statement.
///
/// # Errors
///
/// As [`Database::run`].
pub async fn query_database(
    query: String,
    database: DatabaseName,
    enterprise: &Enterprise,
) -> Result<QueryResult, DatabaseError> {
    let outcome = enterprise.database(database).run(&query).await?;
    let rows = outcome.rows;
    Ok(QueryResult {
        status: Status::Success,
        database,
        query,
        rows_affected: outcome.rows_affected,
        columns: rows.columns,
        rows: rows.rows,
        truncated: rows.truncated,
    })
}

/// Reads a text file.
///
/// # Errors
///
/// As [`Files::read`].
pub async fn read_file(path: String, enterprise: &Enterprise) -> Result<ReadResult, FileError> {
    let file = enterprise.files.read(&path).await?;
    Ok(ReadResult { status: Status::Success, path, content: file.content, size: file.size })
}

/// Writes a text file.
///
/// # Errors
///
/// As [`Files::write`].
pub async fn write_file(
    path: String,
    content: String,
    enterprise: &Enterprise,
) -> Result<WriteResult, FileError> {
    let bytes_written = enterprise.files.write(&path, content).await?;
    Ok(WriteResult { status: Status::Success, path, bytes_written })
}

/// Runs one literal command.
///
/// # Errors
///
/// As [`Commands::run`].
pub async fn run_command(
    command: String,
    working_directory: Option<String>,
    enterprise: &Enterprise,
) -> Result<CommandResult, CommandError> {
    let finished = enterprise.commands.run(&command, working_directory.as_deref()).await?;
    let status = if finished.exit_code == Some(0) { Status::Success } else { Status::Failed };
    Ok(CommandResult { status, command, finished })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_scenarios_of_ascends_example() {
        let data = tempfile::tempdir().unwrap();
        let tools = Enterprise::open(data.path()).await.unwrap();
        let select = "SELECT * FROM users WHERE active = true";
        let found = query_database(select.to_owned(), DatabaseName::Staging, &tools).await.unwrap();
        assert_eq!((found.rows.len(), found.rows_affected), (30, 0));
        let delete = "DELETE FROM users WHERE last_login < '2025-01-01'";
        let gone =
            query_database(delete.to_owned(), DatabaseName::Production, &tools).await.unwrap();
        let shown = serde_json::to_value(&gone).unwrap();
        assert_eq!(
            shown,
            json!({
                "status": "success", "database": "production", "query": delete, "rows_affected": 30,
                "columns": [], "rows": [], "truncated": false,
            })
        );
    }

    #[tokio::test]
    async fn files_and_commands_share_a_root() {
        let data = tempfile::tempdir().unwrap();
        let tools = Enterprise::open(data.path()).await.unwrap();
        let written = write_file("a/b.txt".to_owned(), "hello".to_owned(), &tools).await.unwrap();
        assert_eq!(
            serde_json::to_value(&written).unwrap(),
            json!({ "status": "success", "path": "a/b.txt", "bytes_written": 5 })
        );
        let read = read_file("a/b.txt".to_owned(), &tools).await.unwrap();
        assert_eq!(
            serde_json::to_value(&read).unwrap(),
            json!({ "status": "success", "path": "a/b.txt", "content": "hello", "size": 5 })
        );
        let ran = run_command("cat b.txt".to_owned(), Some("a".to_owned()), &tools).await.unwrap();
        let shown = serde_json::to_value(&ran).unwrap();
        assert_eq!(
            (
                &shown["status"],
                &shown["command"],
                &shown["exit_code"],
                &shown["stdout"],
                &shown["stderr"]
            ),
            (&json!("success"), &json!("cat b.txt"), &json!(0), &json!("hello"), &json!(""))
        );
        let failed = run_command("false".to_owned(), None, &tools).await.unwrap();
        assert_eq!((failed.status, failed.finished.exit_code), (Status::Failed, Some(1)));
    }
}
