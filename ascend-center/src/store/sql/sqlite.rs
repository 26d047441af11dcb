//! SQLite: its connections, and how statements run on them.
//!
//! A statement takes microseconds, and a way to another thread and back takes
//! longer. So a connection whose user has a thread for itself, or reads a few rows by
//! their keys, runs statements right [there](Place::Here), and any other has them run
//! where they may block: those who read wait for no writer, but for the disk.

use std::{
    borrow::Cow,
    error::Error as StdError,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{OpenFlags, Statement, TransactionBehavior, ffi};
use sqlx::{
    SqlStr,
    error::{DatabaseError, ErrorKind},
    migrate::{MigrateError, Migrator},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinHandle, spawn_blocking},
};

use super::{FromRow, Row, Value};
use crate::{center::Durability, store::StoreError};

/// How long SQLite waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before one who is in the way is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How many connections read.
const READERS: usize = 4;
/// How many statements each connection keeps prepared.
const PREPARED: usize = 256;

/// After how many pages of the write-ahead log, of 4 KiB, who writes copies them into
/// the file, for which it waits for the disk whatever the durability. That is only for
/// the case that [`Options::copy_log`] does not keep up: a call writes about 15 pages,
/// mostly the same, and SQLite's own 1,000 would make every fiftieth call wait.
const CHECKPOINT: u32 = 16_384;
/// How often the log is copied to catch up with who writes meanwhile.
const COPIES: usize = 4;

/// How a file is reached.
#[derive(Debug, Clone)]
pub(in crate::store) struct Options {
    path: PathBuf,
    durability: Durability,
}

impl Options {
    pub(super) fn new(path: &Path, durability: Durability) -> Self {
        Self { path: path.to_owned(), durability }
    }

    fn open(&self, access: Access) -> rusqlite::Result<rusqlite::Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        let synchronous = match self.durability {
            Durability::Disk => "FULL",
            Durability::System => "NORMAL",
        };
        let query_only = match access {
            Access::Write => "OFF",
            Access::Read => "ON",
        };
        // What retention erases is not to be found in the file any more.
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = {CHECKPOINT}; \
             PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON; \
             PRAGMA secure_delete = ON; PRAGMA query_only = {query_only}"
        ))?;
        Ok(connection)
    }

    /// Copies the write-ahead log into the file, on a thread that may block, while
    /// others write: where it is wholly copied, it begins anew with what is written next.
    pub(super) fn copy_log(&self, copier: Option<Copier>) -> JoinHandle<Option<Copier>> {
        let options = self.clone();
        spawn_blocking(move || {
            let opened = copier.map_or_else(|| options.open(Access::Write).map(Copier), Ok);
            let copied = opened.and_then(|copier| {
                for _ in 0..COPIES {
                    if checkpoint(&copier.0, "PASSIVE")?.is_whole {
                        break;
                    }
                }
                Ok(copier)
            });
            copied
                .inspect_err(|error| {
                    // Nothing is lost: it stands in the log, and is copied later.
                    tracing::warn!(%error, "the center's write-ahead log was not copied");
                })
                .ok()
        })
    }

    /// A connection by itself.
    pub(super) async fn connect(
        &self,
        access: Access,
        place: Place,
    ) -> Result<Connection, sqlx::Error> {
        let options = self.clone();
        let opened = aside(move || options.open(access)).await?.map_err(failure)?;
        Ok(Connection { inner: Some(opened), place, home: None })
    }
}

/// A connection that copies the write-ahead log, kept from one copy to the next: to open
/// one is to read the whole schema.
pub(in crate::store) struct Copier(rusqlite::Connection);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Where the statements of a connection run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Place {
    /// Where they are asked for.
    Here,
    /// On a thread that may block.
    Aside,
}

async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, sqlx::Error> {
    spawn_blocking(work).await.map_err(|_| sqlx::Error::WorkerCrashed)
}

pub(crate) struct Connection {
    /// `None` while it is used, and forever where that was given up midway.
    inner: Option<rusqlite::Connection>,
    place: Place,
    /// The pool that it goes back to.
    home: Option<(Pool, OwnedSemaphorePermit)>,
}

impl Connection {
    /// Runs a statement; how many rows it changed.
    pub(super) async fn execute(
        &mut self,
        text: SqlStr,
        values: Vec<Value<'_>>,
    ) -> Result<u64, sqlx::Error> {
        self.run(text, values, |connection, text, values| {
            execute(connection, text, values)?;
            Ok(Ok(connection.changes()))
        })
        .await
    }

    /// Runs a statement that inserts one row; its id. `RETURNING` would have SQLite make
    /// a table for it, and a journal of the statement.
    pub(super) async fn insert(
        &mut self,
        text: SqlStr,
        values: Vec<Value<'_>>,
    ) -> Result<i64, sqlx::Error> {
        self.run(text, values, |connection, text, values| {
            execute(connection, text, values)?;
            Ok(Ok(connection.last_insert_rowid()))
        })
        .await
    }

    /// The first `limit` rows.
    pub(super) async fn fetch<T: FromRow + Send + 'static>(
        &mut self,
        text: SqlStr,
        values: Vec<Value<'_>>,
        limit: usize,
    ) -> Result<Vec<T>, sqlx::Error> {
        self.run(text, values, move |connection, text, values| {
            let mut statement = connection.prepare_cached(text)?;
            bind(&mut statement, values)?;
            let mut rows = statement.raw_query();
            let mut found = Vec::new();
            while found.len() < limit
                && let Some(row) = rows.next()?
            {
                match T::from_row(&Row::from(row)) {
                    Ok(row) => found.push(row),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(found))
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &mut self,
        text: SqlStr,
        values: Vec<Value<'_>>,
        work: impl FnOnce(&rusqlite::Connection, &str, &[Value<'_>]) -> Found<T> + Send + 'static,
    ) -> Result<T, sqlx::Error> {
        if self.place == Place::Here {
            return work(self.inner()?, text.as_str(), &values).map_err(failure)?;
        }
        let values: Vec<_> = values.into_iter().map(Value::into_owned).collect();
        self.aside(move |connection| work(connection, text.as_str(), &values))
            .await?
            .map_err(failure)?
    }

    async fn aside<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut rusqlite::Connection) -> T + Send + 'static,
    ) -> Result<T, sqlx::Error> {
        let mut inner = self.inner.take().ok_or(sqlx::Error::WorkerCrashed)?;
        let (inner, done) = aside(move || {
            let done = work(&mut inner);
            (inner, done)
        })
        .await?;
        self.inner = Some(inner);
        Ok(done)
    }

    fn inner(&self) -> Result<&rusqlite::Connection, sqlx::Error> {
        self.inner.as_ref().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// Has all further statements run at this place.
    pub(super) fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Empties the write-ahead log. Others who read what it was, or copy it, are
    /// waited for.
    pub(super) async fn empty_log(&mut self) -> Result<(), StoreError> {
        let until = Instant::now() + BUSY_TIMEOUT;
        loop {
            let emptied = self.aside(|connection| checkpoint(connection, "TRUNCATE")).await?;
            if !emptied.map_err(failure)?.is_busy {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(StoreError::NotForgotten);
            }
            // For readers SQLite waits itself, for who copies it does not.
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    pub(super) async fn migrate(&mut self, migrations: Migrator) -> Result<(), MigrateError> {
        self.aside(move |connection| {
            migrate(connection, &migrations)?;
            // What undoes one piece of work is in memory from here on: else it soon is a
            // file. So would be what indexes are made by, for which it can be too much.
            let failed = |error| MigrateError::Execute(failure(error));
            connection.execute_batch("PRAGMA temp_store = MEMORY").map_err(failed)
        })
        .await?
    }

    pub(super) async fn close(mut self) -> Result<(), sqlx::Error> {
        if self.home.is_some() {
            return Ok(());
        }
        let Some(inner) = self.inner.take() else { return Ok(()) };
        let close = move || inner.close().map_err(|(_, error)| failure(error));
        match self.place {
            Place::Here => close(),
            Place::Aside => aside(close).await?,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (Some((pool, permit)), Some(inner)) = (self.home.take(), self.inner.take()) else {
            return;
        };
        // It only read: to end that takes no time.
        let is_idle = inner.is_autocommit() || inner.execute_batch("ROLLBACK").is_ok();
        if is_idle && !pool.is_closed() {
            pool.free().push(inner);
        }
        drop(permit);
    }
}

/// What became of a copy of the write-ahead log.
struct Copied {
    /// Whether others were in the way.
    is_busy: bool,
    /// Whether the file has all that the log had.
    is_whole: bool,
}

fn checkpoint(connection: &rusqlite::Connection, mode: &str) -> rusqlite::Result<Copied> {
    // https://www.sqlite.org/pragma.html#pragma_wal_checkpoint
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |row| {
        let [busy, in_log, copied]: [i64; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
        Ok(Copied { is_busy: busy != 0, is_whole: in_log == copied })
    })
}

type Found<T> = rusqlite::Result<Result<T, sqlx::Error>>;

fn execute(
    connection: &rusqlite::Connection,
    text: &str,
    values: &[Value<'_>],
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(text)?;
    bind(&mut statement, values)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

/// `$2` is the second value, wherever it stands.
fn bind(statement: &mut Statement<'_>, values: &[Value<'_>]) -> rusqlite::Result<()> {
    for index in 1..=statement.parameter_count() {
        let number = statement.parameter_name(index).and_then(|name| name[1..].parse().ok());
        let number: usize = number.unwrap_or(index);
        let value = number.checked_sub(1).and_then(|at| values.get(at));
        let missing = || rusqlite::Error::InvalidParameterCount(values.len(), number);
        statement.raw_bind_parameter(index, value.ok_or_else(missing)?)?;
    }
    Ok(())
}

/// Connections that read.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Readers>);

struct Readers {
    options: Options,
    free: Mutex<Vec<rusqlite::Connection>>,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.0.options).finish()
    }
}

impl Pool {
    pub(super) fn new(options: Options) -> Self {
        let permits = Arc::new(Semaphore::new(READERS));
        Self(Arc::new(Readers { options, free: Mutex::default(), permits }))
    }

    fn free(&self) -> MutexGuard<'_, Vec<rusqlite::Connection>> {
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that reads and is none of the pool.
    pub(super) async fn connect(&self, place: Place) -> Result<Connection, sqlx::Error> {
        self.0.options.connect(Access::Read, place).await
    }

    pub(super) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        let permit = self.0.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        let free = self.free().pop();
        let inner = match free {
            Some(inner) => inner,
            None => {
                let options = self.0.options.clone();
                aside(move || options.open(Access::Read)).await?.map_err(failure)?
            }
        };
        let home = Some((self.clone(), permit));
        Ok(Connection { inner: Some(inner), place: Place::Aside, home })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.permits.is_closed()
    }

    /// Waits for those that are used.
    pub(super) async fn close(&self) {
        let all = self.0.permits.acquire_many(READERS as u32).await;
        self.0.permits.close();
        drop(all);
        let free = std::mem::take(&mut *self.free());
        // What is not closed here is closed by whoever drops it.
        let _ = aside(move || drop(free)).await;
    }
}

/// The migrations are kept as sqlx keeps them, but all that are due come about together:
/// each by itself would wait for the disk.
fn migrate(
    connection: &mut rusqlite::Connection,
    migrations: &Migrator,
) -> Result<(), MigrateError> {
    let failed = |error| MigrateError::Execute(failure(error));
    let mut applied: Vec<(i64, bool, Vec<u8>)> = Vec::new();
    if connection.table_exists(None, "_sqlx_migrations").map_err(failed)? {
        applied = connection
            .prepare("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
            .and_then(|mut query| {
                let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
                query.query_map((), row)?.collect()
            })
            .map_err(failed)?;
    }
    for (version, succeeded, checksum) in &applied {
        if !succeeded {
            return Err(MigrateError::Dirty(*version));
        }
        match migrations.iter().find(|migration| migration.version == *version) {
            None => return Err(MigrateError::VersionMissing(*version)),
            Some(migration) if *migration.checksum != **checksum => {
                return Err(MigrateError::VersionMismatch(*version));
            }
            Some(_) => {}
        }
    }
    let is_applied = |version| applied.iter().any(|(applied, ..)| *applied == version);
    let due: Vec<_> =
        migrations.iter().filter(|migration| !is_applied(migration.version)).collect();
    if due.is_empty() {
        return Ok(());
    }
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, \
             description TEXT NOT NULL, \
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, \
             checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
        )
        .map_err(failed)?;
    for migration in due {
        let begun = Instant::now();
        let of_it = |error| MigrateError::ExecuteMigration(failure(error), migration.version);
        transaction.execute_batch(migration.sql.as_str()).map_err(of_it)?;
        let took = i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX);
        transaction
            .execute(
                "INSERT INTO _sqlx_migrations \
                 (version, description, success, checksum, execution_time) \
                 VALUES (?1, ?2, TRUE, ?3, ?4)",
                (migration.version, &migration.description, &*migration.checksum, took),
            )
            .map_err(of_it)?;
    }
    transaction.commit().map_err(failed)
}

/// What SQLite says, as sqlx would say it.
#[derive(Debug, thiserror::Error)]
#[error("(code: {code}) {message}")]
struct Failure {
    /// The extended code.
    code: i32,
    message: String,
}

pub(super) fn failure(error: rusqlite::Error) -> sqlx::Error {
    match error {
        rusqlite::Error::SqliteFailure(error, message) => {
            let message = message.unwrap_or_else(|| ffi::code_to_str(error.extended_code).into());
            sqlx::Error::Database(Box::new(Failure { code: error.extended_code, message }))
        }
        error => sqlx::Error::Decode(Box::new(error)),
    }
}

impl DatabaseError for Failure {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        match self.code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
                ErrorKind::UniqueViolation
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorKind::ForeignKeyViolation,
            ffi::SQLITE_CONSTRAINT_NOTNULL => ErrorKind::NotNullViolation,
            ffi::SQLITE_CONSTRAINT_CHECK => ErrorKind::CheckViolation,
            _ => ErrorKind::Other,
        }
    }
}
