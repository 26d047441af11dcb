//! How a center's sessions on PostgreSQL are set up.

use std::time::Duration;

use sqlx::{
    ConnectOptions, Executor,
    postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions},
};
use tokio::time::timeout;

use crate::center::Durability;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How many connections read.
const READERS: u32 = 8;

/// Of all replicas one writes at a time, so that the log is one chain and what
/// is read for a decision stands until it is made. Read committed: what is read
/// after the lock is what the last writer left.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
     SELECT pg_advisory_xact_lock(x'61736364'::bigint << 32 | 'audit_state'::regclass::oid::bigint)";

/// A writer that is cut off must not hold up the others: the server ends its
/// transaction then.
const WRITER: &str = "SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '10s'";
/// A server can be set not to wait for its disk; but more than that stays.
const DISK: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') = 'off'";
const SYSTEM: &str = "SET synchronous_commit = off";
const READER: &str = "SET default_transaction_read_only = on";

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

/// A session that reads.
pub(super) async fn connect_to_read(
    options: &PgConnectOptions,
) -> Result<PgConnection, sqlx::Error> {
    within(async {
        let mut connection = options.connect().await?;
        connection.execute(READER).await?;
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
