//! How a center's sessions on PostgreSQL are set up.

use std::{
    net::IpAddr,
    ops::{Deref, DerefMut},
    time::Duration,
};

use futures_util::TryStreamExt;
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Executor, SqlStr, Transaction,
    pool::PoolConnection,
    postgres::{
        PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode, Postgres,
    },
};
use tokio::time::timeout;

use super::{FromRow, Row, Value};
use crate::center::Durability;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How many connections read; one of them listens.
const READERS: u32 = 9;

/// Of all replicas one writes at a time, so that the log is one chain and what
/// is read for a decision stands until it is made. Read committed: what is read
/// after the lock is what the last writer left.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
     SELECT pg_advisory_xact_lock(x'61736364'::bigint << 32 | 'audit_state'::regclass::oid::bigint)";

/// Other processes listen here.
pub(super) const CHANNEL: &str = "SELECT 'ascend_center_' || 'audit_state'::regclass::oid";

/// The statement before makes a transaction that failed unseen fail here too: by
/// itself, its `COMMIT` would be a rollback without an error.
pub(super) const COMMIT: &str = "SELECT 1; COMMIT";
pub(super) const TELL_AND_COMMIT: &str =
    "SELECT pg_notify('ascend_center_' || 'audit_state'::regclass::oid, ''); COMMIT";

/// How long a transaction may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A writer that is cut off must not hold up the others: the server ends its
/// transaction then.
const WRITER: &str = "SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = warning";
/// A server can be set not to wait for its disk; but more than that stays.
const DISK: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') = 'off'";
const SYSTEM: &str = "SET synchronous_commit = off";
const READER: &str = "SET default_transaction_read_only = on";

/// How the database at this URL is reached.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let mut options: PgConnectOptions = url.parse()?;
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let chooses_mode = std::env::var_os("PGSSLMODE").is_some()
        || query
            .split('&')
            .any(|pair| pair.starts_with("sslmode=") || pair.starts_with("ssl-mode="));
    let host = options.get_host();
    let is_local = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !chooses_mode && !is_local {
        options = options.ssl_mode(PgSslMode::VerifyFull);
    }
    Ok(options.disable_statement_logging())
}

/// Whether what the server said ends the connection.
pub(super) fn is_goodbye(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_none_or(|code| code.starts_with("08") || code.starts_with("57P") || code == "25P03")
}

async fn within<T>(future: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    timeout(CONNECT, future).await.map_err(late)?
}

/// A session that writes.
pub(super) async fn connect(
    options: &PgConnectOptions,
    durability: Durability,
) -> Result<PgConnection, sqlx::Error> {
    within(async {
        let mut connection = options.connect().await?;
        connection.execute(WRITER).await?;
        let durability = match durability {
            Durability::Disk => DISK,
            Durability::System => SYSTEM,
        };
        connection.execute(durability).await?;
        Ok(connection)
    })
    .await
}

/// Sessions that read.
pub(super) async fn readers(options: PgConnectOptions) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(CONNECT)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(READER).await.map(drop) })
        })
        .connect_with(options)
        .await
}

/// A connection, by itself, of a pool, or with a transaction that ends with it.
pub(crate) enum Held {
    Alone(Box<PgConnection>),
    OfPool(PoolConnection<Postgres>),
    Reading(Transaction<'static, Postgres>),
}

impl Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Alone(connection) => connection,
            Self::OfPool(connection) => connection,
            Self::Reading(transaction) => transaction,
        }
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Alone(connection) => connection,
            Self::OfPool(connection) => connection,
            Self::Reading(transaction) => transaction,
        }
    }
}

impl Held {
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Alone(connection) => connection.close().await,
            Self::OfPool(connection) => connection.close().await,
            Self::Reading(transaction) => transaction.rollback().await,
        }
    }
}

/// Runs a statement; how many rows it changed.
pub(super) async fn execute(
    connection: &mut PgConnection,
    text: SqlStr,
    values: Vec<Value<'_>>,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query_with(text, arguments(values)?);
    Ok(query.execute(connection).await?.rows_affected())
}

/// Runs a statement that inserts one row; its id.
pub(super) async fn insert(
    connection: &mut PgConnection,
    text: SqlStr,
    values: Vec<Value<'_>>,
) -> Result<i64, sqlx::Error> {
    let text = AssertSqlSafe(format!("{} RETURNING id", text.as_str()));
    sqlx::query_scalar_with(text, arguments(values)?).fetch_one(connection).await
}

/// The first `limit` rows.
pub(super) async fn fetch<T: FromRow>(
    connection: &mut PgConnection,
    text: SqlStr,
    values: Vec<Value<'_>>,
    limit: usize,
) -> Result<Vec<T>, sqlx::Error> {
    let mut rows = sqlx::query_with(text, arguments(values)?).fetch(connection);
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.try_next().await?
    {
        found.push(T::from_row(&Row::from(&row))?);
    }
    Ok(found)
}

fn arguments(values: Vec<Value<'_>>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Integer(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value.map(std::borrow::Cow::into_owned)),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
