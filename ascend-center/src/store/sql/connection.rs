//! How the database is reached, and connections to it.

use std::{fmt, path::Path, time::Duration};

use ascend_sdk::BoxFuture;
#[cfg(feature = "postgres")]
use sqlx::{Executor, postgres::PgConnectOptions};
use tokio::task::JoinHandle;

#[cfg(feature = "postgres")]
use super::postgres;
use super::{
    query, query_scalar,
    sqlite::{self, Access, Place},
};
use crate::{center::Durability, store::StoreError};

/// How the database is reached.
#[derive(Clone)]
pub(in crate::store) enum Database {
    Sqlite(sqlite::Options),
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
        Self::Sqlite(sqlite::Options::new(path, durability))
    }

    /// The server at this URL.
    #[cfg(feature = "postgres")]
    pub(in crate::store) fn server(url: &str, durability: Durability) -> Result<Self, sqlx::Error> {
        Ok(Self::Postgres(Box::new(postgres::options(url)?), durability))
    }

    /// A connection that can write.
    pub(in crate::store) async fn connect(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(options) => {
                Connection::Sqlite(options.connect(Access::Write, Place::Aside).await?)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(options, durability) => {
                let connection = postgres::connect(options, *durability).await?;
                Connection::Postgres(postgres::Held::Alone(Box::new(connection)))
            }
        })
    }

    /// How long a transaction may take: a server can fall silent.
    pub(in crate::store) fn patience(&self) -> Option<Duration> {
        match self {
            Self::Sqlite(_) => None,
            #[cfg(feature = "postgres")]
            Self::Postgres(..) => Some(postgres::PATIENCE),
        }
    }

    /// Has SQLite's write-ahead log copied into the file, while others write, by the
    /// `copier` that did so before.
    pub(in crate::store) fn copy_log(
        &self,
        copier: Option<sqlite::Copier>,
    ) -> Option<JoinHandle<Option<sqlite::Copier>>> {
        match self {
            Self::Sqlite(options) => Some(options.copy_log(copier)),
            #[cfg(feature = "postgres")]
            Self::Postgres(..) => None,
        }
    }

    /// Connections that can only read.
    pub(in crate::store) async fn readers(&self) -> Result<Pool, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(options) => Pool::Sqlite(sqlite::Pool::new(options.clone())),
            #[cfg(feature = "postgres")]
            Self::Postgres(options, _) => {
                Pool::Postgres(postgres::readers(options.as_ref().clone()).await?)
            }
        })
    }
}

/// A connection to the database.
pub(crate) enum Connection {
    Sqlite(sqlite::Connection),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Held),
}

impl Connection {
    /// Runs a statement that neither takes nor gives values.
    pub(in crate::store) async fn run(
        &mut self,
        statement: &'static str,
    ) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => query(statement).execute(self).await.map(drop),
            // Without values, PostgreSQL takes several statements at once.
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
                    connection.migrate(sqlx::migrate!("migrations/sqlite")).await
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

    /// Has statements of SQLite run on the thread that asks for them: for who has
    /// one to itself, or asks for what takes microseconds.
    pub(in crate::store) fn here(self) -> Self {
        match self {
            Self::Sqlite(connection) => Self::Sqlite(connection.at(Place::Here)),
            #[cfg(feature = "postgres")]
            other => other,
        }
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
    pub(in crate::store) async fn forget_erased(&mut self) -> Result<(), StoreError> {
        match self {
            // The write-ahead log has the erased pages too, until it is emptied.
            Self::Sqlite(connection) => connection.empty_log().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => {
                Ok(self.run("VACUUM audit, actions, policy_inputs, shadow_decisions, grants, webhook_deliveries").await?)
            }
        }
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
    Sqlite(sqlite::Pool),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
}

impl Pool {
    pub(in crate::store) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Connection::Sqlite(pool.acquire().await?),
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => {
                Connection::Postgres(postgres::Held::OfPool(pool.acquire().await?))
            }
        })
    }

    /// A connection for a few rows by their keys, which are read where they are asked
    /// for: a way to another thread and back takes longer.
    pub(in crate::store) async fn here(&self) -> Result<Connection, sqlx::Error> {
        Ok(self.acquire().await?.here())
    }

    /// A connection for which nothing changes any more.
    pub(in crate::store) async fn snapshot(&self) -> Result<Connection, sqlx::Error> {
        match self {
            Self::Sqlite(_) => {
                let mut connection = self.acquire().await?;
                connection.run("BEGIN").await?;
                Ok(connection)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                let reading = pool.begin_with(begin).await?;
                Ok(Connection::Postgres(postgres::Held::Reading(reading)))
            }
        }
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
