//! How a center's sessions on PostgreSQL are set up.

use std::{net::IpAddr, time::Duration};

use sqlx::{
    ConnectOptions, Executor,
    postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode},
};
use tokio::time::timeout;

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
