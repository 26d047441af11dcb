//! A SQLite database with a connection that can only read and one that writes.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ascend_sdk::{
    Refusal,
    classify::{Dialect, Effect, NotACondition, Sql},
};
use futures_util::TryStreamExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Decode, Either,
    Executor as _, Row as _, SqlSafeStr as _, SqliteConnection, Statement as _, TypeInfo as _,
    ValueRef as _,
    sqlite::{
        Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    },
};

use crate::samples::Sample;

/// The most rows of one result.
pub const ROW_LIMIT: usize = 1000;
/// The most bytes of one result, as JSON.
pub const BYTE_LIMIT: usize = 256 * 1024;
/// The longest that one statement runs.
pub const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes that SQLite allocates in this process: a single function such
/// as `printf` could take a gigabyte between two looks at the clock.
const HEAP_LIMIT: &str = "268435456";

/// How many steps of SQLite's machine lie between two looks at the clock.
const STEPS_PER_LOOK: i32 = 10_000;

const SQLITE: Sql = Sql::new(Dialect::Sqlite);

/// A result of a query.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
pub struct Rows {
    /// The columns' names, in order.
    pub columns: Vec<String>,
    /// The rows, each with one value per column. A blob is written as `x'0a0b'`.
    pub rows: Vec<Vec<Value>>,
    /// Whether rows are missing because the result is too large.
    pub truncated: bool,
}

/// What became of a statement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
pub struct Outcome {
    /// What it returned.
    #[serde(flatten)]
    pub rows: Rows,
    /// How many rows it added, changed or removed.
    pub rows_affected: u64,
}

/// Why a statement had no effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The call was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A query that does more than read.
    #[error("only queries that read can run here: {0}. Nothing was executed")]
    NotARead(String),
    /// A statement that this server never runs.
    #[error(
        "one SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER or DROP can run at a time: {0}. Nothing was executed"
    )]
    Unsupported(String),
    /// There is no such table.
    #[error("there is no table `{name}`; the tables are {}", .tables.join(", "))]
    UnknownTable {
        /// The name given.
        name: String,
        /// The tables that there are.
        tables: Vec<String>,
    },
    /// A condition that is not one expression.
    #[error(
        "the where clause must be one condition such as `last_login < '2025-01-01'`, without `WHERE` or `;`: {0}. Nothing was executed"
    )]
    Condition(#[from] NotACondition),
    /// It took too long and was undone.
    #[error(
        "the statement ran longer than {} s and was stopped; nothing was changed. Narrow it with WHERE or LIMIT",
        TIME_LIMIT.as_secs()
    )]
    TimedOut,
    /// Another process holds the database.
    #[error("the database is busy; nothing was changed. Try again in a few seconds")]
    Busy,
    /// SQLite refuses the statement.
    #[error("SQLite: {0}. Nothing was changed")]
    Sql(String),
    /// The database cannot be opened or used.
    #[error("the database `{name}` cannot be used: {source}")]
    Unusable {
        /// The database's name.
        name: String,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A SQLite database. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Database {
    name: &'static str,
    reader: SqlitePool,
    writer: SqlitePool,
    time_limit: Duration,
}

impl Database {
    /// Opens the `sample` database in `directory`, and makes and fills it
    /// first when it is not there. Several processes may do so at once.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Unusable`].
    pub async fn open(directory: &Path, sample: Sample) -> Result<Self, DatabaseError> {
        let name = sample.name();
        let path = directory.join(format!("{name}.sqlite"));
        if !path.try_exists().map_err(|error| unusable(name, error))? {
            create(directory, &path, sample)
                .await
                .map_err(|source| DatabaseError::Unusable { name: name.to_owned(), source })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(BUSY_TIMEOUT)
            // Functions and virtual tables named in a schema may not have effects.
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            .pragma("hard_heap_limit", HEAP_LIMIT)
            .disable_statement_logging();
        // Before the reader: who only reads cannot make the files of the
        // write-ahead log.
        let writer = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_release(|connection, _| {
                Box::pin(async move {
                    // Behind a rollback that is still under way.
                    connection.ping().await?;
                    // SQLite rolls an interrupted transaction back by itself, after
                    // which the connection is taken for one that is still in it.
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options.clone())
            .await
            .map_err(|error| unusable(name, error))?;
        let reader = SqlitePoolOptions::new()
            // One stays, so that the log's files do too while the writer reconnects.
            .min_connections(1)
            .max_connections(4)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.read_only(true).pragma("query_only", "ON"))
            .await
            .map_err(|error| unusable(name, error))?;
        Ok(Self { name, reader, writer, time_limit: TIME_LIMIT })
    }

    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// Runs a query that reads, on a connection that cannot write.
    ///
    /// # Errors
    ///
    /// When it is none, fails or takes too long.
    pub async fn query(&self, text: &str) -> Result<Rows, DatabaseError> {
        let found = SQLITE.classify(text);
        if found.effect != Effect::Read {
            let why = found.why.unwrap_or_else(|| format!("this is a `{}`", found.effect));
            return Err(DatabaseError::NotARead(why));
        }
        self.read(text).await
    }

    /// Runs one statement: a read on the connection that cannot write, all else
    /// in a transaction.
    ///
    /// # Errors
    ///
    /// When the statement is not one that this server runs, fails or takes too
    /// long. It had no effect then.
    pub async fn run(&self, text: &str) -> Result<Outcome, DatabaseError> {
        let found = SQLITE.classify(text);
        let kinds = found.facts.sql.map(|sql| (sql.parsed && sql.statements == 1, sql.kinds));
        match (found.effect, kinds) {
            (Effect::Read, _) => Ok(Outcome { rows: self.read(text).await?, rows_affected: 0 }),
            (Effect::Write | Effect::Delete, _) => self.write(text).await,
            (Effect::Execute, Some((true, kinds)))
                if kinds.iter().any(|kind| kind == "create" || kind == "alter") =>
            {
                self.write(text).await
            }
            (Effect::Execute, _) => Err(DatabaseError::Unsupported(
                found.why.unwrap_or_else(|| "this is another statement".to_owned()),
            )),
        }
    }

    /// Deletes the rows of `table` for which `where_clause` holds, all or none.
    ///
    /// # Errors
    ///
    /// When there is no such table, the clause is not one condition, or SQLite
    /// refuses. Nothing was deleted then.
    pub async fn delete(&self, table: &str, where_clause: &str) -> Result<u64, DatabaseError> {
        SQLITE.check_condition(where_clause)?;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
        )
        .fetch_all(&self.reader)
        .await
        .map_err(|error| self.failure(error))?;
        let Some(known) = tables.iter().find(|known| known.eq_ignore_ascii_case(table)) else {
            return Err(DatabaseError::UnknownTable { name: table.to_owned(), tables });
        };
        let text = format!("DELETE FROM \"{}\" WHERE ({where_clause})", known.replace('"', "\"\""));
        match SQLITE.classify(&text) {
            found if found.effect == Effect::Delete => Ok(self.write(&text).await?.rows_affected),
            found => Err(DatabaseError::Unsupported(
                found.why.unwrap_or_else(|| format!("this is a `{}`", found.effect)),
            )),
        }
    }

    async fn read(&self, text: &str) -> Result<Rows, DatabaseError> {
        let mut connection = self.reader.acquire().await.map_err(|error| self.failure(error))?;
        let mut outcome = Outcome::default();
        let result = self.step(&mut connection, text, &mut outcome, Effect::Read).await;
        result.map_err(|error| self.failure(error))?;
        Ok(outcome.rows)
    }

    async fn write(&self, text: &str) -> Result<Outcome, DatabaseError> {
        let mut connection = self.writer.acquire().await.map_err(|error| self.failure(error))?;
        let mut outcome = Outcome::default();
        let result = async {
            // Dropped without a commit, it is rolled back.
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            self.step(&mut transaction, text, &mut outcome, Effect::Write).await?;
            transaction.commit().await
        };
        result.await.map_err(|error: sqlx::Error| self.failure(error))?;
        Ok(outcome)
    }

    async fn step(
        &self,
        connection: &mut SqliteConnection,
        text: &str,
        outcome: &mut Outcome,
        effect: Effect,
    ) -> Result<(), sqlx::Error> {
        let deadline = Instant::now() + self.time_limit;
        connection
            .lock_handle()
            .await?
            .set_progress_handler(STEPS_PER_LOOK, move || Instant::now() < deadline);
        let result = fetch(connection, text, outcome, effect).await;
        connection.lock_handle().await?.remove_progress_handler();
        result
    }

    fn failure(&self, error: sqlx::Error) -> DatabaseError {
        let sqlx::Error::Database(error) = error else { return unusable(self.name, error) };
        // SQLite's result codes; the upper bits only refine them.
        let code = error.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
        match code {
            Some(5 | 6) => DatabaseError::Busy,
            Some(9) => DatabaseError::TimedOut,
            _ => DatabaseError::Sql(error.message().to_owned()),
        }
    }
}

/// Runs one statement to its end, or to the limit of what is kept of it.
async fn fetch(
    connection: &mut SqliteConnection,
    text: &str,
    outcome: &mut Outcome,
    effect: Effect,
) -> Result<(), sqlx::Error> {
    // The text is what was classified, and what a person approved. It holds
    // one statement; on the reader it cannot write whatever it is.
    let statement = connection.prepare(AssertSqlSafe(text.to_owned()).into_sql_str()).await?;
    outcome.rows.columns =
        statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let mut bytes: usize = outcome.rows.columns.iter().map(String::len).sum();
    let mut stream = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).fetch_many(&mut *connection);
    while let Some(next) = stream.try_next().await? {
        let row = match next {
            Either::Left(done) => {
                outcome.rows_affected += done.rows_affected();
                continue;
            }
            Either::Right(row) => row,
        };
        let values = values(&row)?;
        bytes += Value::from(values.clone()).to_string().len();
        if outcome.rows.rows.len() < ROW_LIMIT && bytes <= BYTE_LIMIT {
            outcome.rows.rows.push(values);
            continue;
        }
        outcome.rows.truncated = true;
        // A write goes on to its end; only what it returns is cut.
        if effect == Effect::Read {
            break;
        }
    }
    Ok(())
}

fn values(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    (0..row.len())
        .map(|index| {
            let value = row.try_get_raw(index)?;
            if value.is_null() {
                return Ok(Value::Null);
            }
            let kind = value.type_info().name().to_owned();
            let decoded = match kind.as_str() {
                "INTEGER" => <i64 as Decode<Sqlite>>::decode(value).map(Value::from),
                "REAL" => <f64 as Decode<Sqlite>>::decode(value).map(|real| {
                    // JSON has no infinities.
                    serde_json::Number::from_f64(real)
                        .map_or_else(|| Value::from(real.to_string()), Value::Number)
                }),
                "TEXT" => <&[u8] as Decode<Sqlite>>::decode(value)
                    .map(|bytes| Value::from(String::from_utf8_lossy(bytes).into_owned())),
                _ => <&[u8] as Decode<Sqlite>>::decode(value).map(|bytes| {
                    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    Value::from(format!("x'{hex}'"))
                }),
            };
            decoded.map_err(sqlx::Error::Decode)
        })
        .collect()
}

fn unusable(
    name: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> DatabaseError {
    DatabaseError::Unusable { name: name.to_owned(), source: source.into() }
}

/// Makes the database under another name, complete, and then gives it its
/// name, unless another process was faster. So nobody sees half of it.
async fn create(
    directory: &Path,
    path: &PathBuf,
    sample: Sample,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    std::fs::create_dir_all(directory)?;
    let unfinished = tempfile::Builder::new()
        .prefix(&format!(".{}.", sample.name()))
        .suffix(".new")
        .tempfile_in(directory)?
        .into_temp_path();
    let mut connection = SqliteConnectOptions::new()
        .filename(&unfinished)
        .journal_mode(SqliteJournalMode::Wal)
        .disable_statement_logging()
        .connect()
        .await?;
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(sample.script())).execute(&mut *transaction).await?;
    transaction.commit().await?;
    // Also writes the log back and removes it.
    connection.close().await?;
    match unfinished.persist_noclobber(path) {
        Ok(()) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error.into()),
    }
}

#[cfg(test)]
mod tests;
