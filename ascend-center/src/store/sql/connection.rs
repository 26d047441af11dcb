//! How the database is reached, and connections to it.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    path::Path,
    time::Duration,
};

use ascend_sdk::BoxFuture;
#[cfg(feature = "postgres")]
use sqlx::postgres::{PgConnectOptions, Postgres};
use sqlx::{
    ConnectOptions, Connection as _, Executor, Transaction,
    pool::PoolConnection,
    sqlite::{
        Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    },
};

#[cfg(feature = "postgres")]
use super::postgres;
use super::query_scalar;
use crate::{center::Durability, store::StoreError};

/// How long SQLite waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections read.
const READERS: u32 = 4;

/// How the database is reached.
#[derive(Clone)]
pub(in crate::store) enum Database {
    Sqlite(Box<SqliteConnectOptions>),
    #[cfg(feature = "postgres")]
    Postgres(Box<PgConnectOptions>, Durability),
}

// Options of a connection can have a password.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            #[cfg(feature = "postgres")]
            Self::Postgres(..) => "Postgres",
        })
    }
}

impl Database {
    /// The file at `path`.
    pub(in crate::store) fn file(path: &Path, durability: Durability) -> Self {
        let synchronous = match durability {
            Durability::Disk => SqliteSynchronous::Full,
            Durability::System => SqliteSynchronous::Normal,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            // What retention erases is not to be found in the file any more.
            .pragma("secure_delete", "ON")
            .disable_statement_logging();
        Self::Sqlite(Box::new(options))
    }

    /// The server at this URL.
    #[cfg(feature = "postgres")]
    pub(in crate::store) fn server(url: &str, durability: Durability) -> Result<Self, sqlx::Error> {
        Ok(Self::Postgres(Box::new(postgres::options(url)?), durability))
    }

    /// A connection that can write.
    pub(in crate::store) async fn connect(&self) -> Result<Connection, sqlx::Error> {
        match self {
            Self::Sqlite(options) => {
                Ok(Connection::Sqlite(Held::Alone(Box::new(options.connect().await?))))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(options, durability) => {
                let connection = postgres::connect(options, *durability).await?;
                Ok(Connection::Postgres(Held::Alone(Box::new(connection))))
            }
        }
    }

    /// How long a transaction may take: a server can fall silent.
    pub(in crate::store) fn patience(&self) -> Duration {
        match self {
            Self::Sqlite(_) => Duration::MAX,
            #[cfg(feature = "postgres")]
            Self::Postgres(..) => postgres::PATIENCE,
        }
    }

    /// A connection that can only read.
    pub(in crate::store) async fn connect_to_read(&self) -> Result<Connection, sqlx::Error> {
        match self {
            Self::Sqlite(options) => Self::Sqlite(Box::new(read_only(options))).connect().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(options, _) => {
                let connection = postgres::connect_to_read(options).await?;
                Ok(Connection::Postgres(Held::Alone(Box::new(connection))))
            }
        }
    }

    /// Connections that can only read.
    pub(in crate::store) async fn readers(&self) -> Result<Pool, sqlx::Error> {
        match self {
            Self::Sqlite(options) => {
                let pool = SqlitePoolOptions::new().max_connections(READERS);
                Ok(Pool::Sqlite(pool.connect_with(read_only(options)).await?))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(options, _) => {
                Ok(Pool::Postgres(postgres::readers(options.as_ref().clone()).await?))
            }
        }
    }
}

fn read_only(options: &SqliteConnectOptions) -> SqliteConnectOptions {
    options.clone().pragma("query_only", "ON")
}

/// A connection, by itself, of a pool, or with a transaction that ends with it.
pub(crate) enum Held<D: sqlx::Database> {
    Alone(Box<D::Connection>),
    OfPool(PoolConnection<D>),
    Reading(Transaction<'static, D>),
}

impl<D: sqlx::Database> Deref for Held<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        match self {
            Self::Alone(connection) => connection,
            Self::OfPool(connection) => connection,
            Self::Reading(transaction) => transaction,
        }
    }
}

impl<D: sqlx::Database> DerefMut for Held<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        match self {
            Self::Alone(connection) => connection,
            Self::OfPool(connection) => connection,
            Self::Reading(transaction) => transaction,
        }
    }
}

impl<D: sqlx::Database> Held<D> {
    async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Alone(connection) => connection.close().await,
            Self::OfPool(connection) => connection.close().await,
            Self::Reading(transaction) => transaction.rollback().await,
        }
    }
}

/// A connection to the database.
pub(crate) enum Connection {
    Sqlite(Held<Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(Held<Postgres>),
}

impl Connection {
    /// Runs a statement that neither takes nor gives values.
    pub(in crate::store) async fn run(
        &mut self,
        statement: &'static str,
    ) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => (**connection).execute(statement).await.map(drop),
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => (**connection).execute(statement).await.map(drop),
        }
    }

    /// Begins a transaction that writes: one at a time, over all processes.
    pub(in crate::store) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.run(match self {
            // Immediate: a transaction that reads first and then wants to write
            // would fail where another process wrote in between.
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => postgres::BEGIN,
        })
        .await
    }

    /// Commits the transaction, and tells other processes when there `is_news`.
    #[cfg_attr(not(feature = "postgres"), allow(unused_variables, reason = "others look"))]
    pub(in crate::store) async fn commit(&mut self, is_news: bool) -> Result<(), sqlx::Error> {
        self.run(match self {
            Self::Sqlite(_) => "COMMIT",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) if is_news => postgres::TELL_AND_COMMIT,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => postgres::COMMIT,
        })
        .await
    }

    /// Leaves a transaction that failed; whether the connection is still good.
    #[cfg_attr(not(feature = "postgres"), allow(unused_variables, reason = "SQLite is asked"))]
    pub(in crate::store) async fn recover(&mut self, error: &StoreError) -> bool {
        match self {
            Self::Sqlite(_) => {
                // Without a transaction under way this fails, which tells the same.
                let _ = self.run("ROLLBACK").await;
                self.run("SELECT 1").await.is_ok()
            }
            // But for what the server said, it was left in the middle of a sentence.
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => {
                let is_said =
                    matches!(error, StoreError::Database(error) if !postgres::is_goodbye(error));
                is_said && self.run("ROLLBACK").await.is_ok()
            }
        }
    }

    /// Brings the schema up to date. Boxed, since the compiler cannot see that
    /// sqlx's own future is `Send`.
    pub(in crate::store) fn migrate(
        &mut self,
    ) -> BoxFuture<'_, Result<(), sqlx::migrate::MigrateError>> {
        Box::pin(async move {
            match self {
                Self::Sqlite(connection) => {
                    sqlx::migrate!("migrations/sqlite")
                        .run_direct(None, &mut **connection, false)
                        .await
                }
                #[cfg(feature = "postgres")]
                Self::Postgres(connection) => {
                    sqlx::migrate!("migrations/postgres")
                        .run_direct(None, &mut **connection, false)
                        .await
                }
            }
        })
    }

    /// Whether there is a table of this name.
    pub(in crate::store) async fn has_table(&mut self, name: &str) -> Result<bool, sqlx::Error> {
        let known = match self {
            Self::Sqlite(_) => "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = $1)",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "SELECT to_regclass($1) IS NOT NULL",
        };
        query_scalar(known).bind(name).fetch_one(self).await
    }

    /// What the database finds damaged in itself; PostgreSQL looks as it reads.
    pub(in crate::store) async fn damage(&mut self) -> Result<Vec<String>, sqlx::Error> {
        if !matches!(self, Self::Sqlite(_)) {
            return Ok(Vec::new());
        }
        let found: Vec<(String,)> =
            super::query_as("PRAGMA quick_check(10)").fetch_all(self).await?;
        Ok(found.into_iter().map(|(line,)| line).filter(|line| line != "ok").collect())
    }

    /// Has what was erased overwritten where the database keeps copies.
    pub(in crate::store) async fn forget_erased(&mut self) -> Result<(), sqlx::Error> {
        self.run(match self {
            // The write-ahead log has the erased pages too, until it is emptied.
            Self::Sqlite(_) => "PRAGMA wal_checkpoint(TRUNCATE)",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "VACUUM audit, actions, policy_inputs, shadow_decisions",
        })
        .await
    }

    pub(in crate::store) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.close().await,
        }
    }
}

/// Connections that read.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(sqlx::Pool<Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::Pool<Postgres>),
}

impl Pool {
    pub(in crate::store) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Connection::Sqlite(Held::OfPool(pool.acquire().await?)),
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => Connection::Postgres(Held::OfPool(pool.acquire().await?)),
        })
    }

    /// A connection for which nothing changes any more.
    pub(in crate::store) async fn snapshot(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Connection::Sqlite(Held::Reading(pool.begin().await?)),
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                Connection::Postgres(Held::Reading(pool.begin_with(begin).await?))
            }
        })
    }

    pub(in crate::store) fn is_closed(&self) -> bool {
        match self {
            Self::Sqlite(pool) => pool.is_closed(),
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => pool.is_closed(),
        }
    }

    pub(in crate::store) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Where a query runs.
pub(crate) enum On<'c> {
    Connection(&'c mut Connection),
    Pool(&'c Pool),
}

impl<'c> From<&'c mut Connection> for On<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        Self::Connection(connection)
    }
}

impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        Self::Pool(pool)
    }
}

impl<'c> On<'c> {
    /// The connection; `place` is for one that is of a pool.
    pub(super) async fn connection(
        self,
        place: &'c mut Option<Connection>,
    ) -> Result<&'c mut Connection, sqlx::Error> {
        match self {
            Self::Connection(connection) => Ok(connection),
            Self::Pool(pool) => Ok(place.insert(pool.acquire().await?)),
        }
    }
}
