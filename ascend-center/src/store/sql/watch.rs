//! Whether another process wrote.

use std::time::Duration;

#[cfg(feature = "postgres")]
use sqlx::postgres::PgListener;
#[cfg(feature = "postgres")]
use tokio::time::timeout;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Connection, Pool, query_scalar, sqlite::Place};

/// How often SQLite is asked.
const POLL: Duration = Duration::from_millis(25);
/// How often PostgreSQL is looked at although it told nothing: a connection can
/// be dead without anybody knowing.
#[cfg(feature = "postgres")]
const LOOK: Duration = Duration::from_secs(15);

/// Sees what other processes write.
pub(in crate::store) enum Watch {
    /// By a number that changes when another connection has written.
    Sqlite { connection: Connection, version: i64, ticks: Interval },
    /// By what each transaction that records tells as it commits.
    #[cfg(feature = "postgres")]
    Postgres(PgListener),
}

impl Watch {
    pub(in crate::store) async fn start(readers: &Pool) -> Result<Self, sqlx::Error> {
        match readers {
            Pool::Sqlite(pool) => {
                let mut connection = Connection::Sqlite(pool.connect(Place::Here).await?);
                let version = data_version(&mut connection).await?;
                let mut ticks = interval(POLL);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Ok(Self::Sqlite { connection, version, ticks })
            }
            #[cfg(feature = "postgres")]
            Pool::Postgres(pool) => {
                let channel: String =
                    query_scalar(super::postgres::CHANNEL).fetch_one(readers).await?;
                let mut listener = PgListener::connect_with(pool).await?;
                listener.listen(&channel).await?;
                Ok(Self::Postgres(listener))
            }
        }
    }

    /// Waits for a while; whether there may be something new then.
    pub(in crate::store) async fn changed(&mut self) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite { connection, version, ticks } => {
                ticks.tick().await;
                let seen = data_version(connection).await?;
                Ok(std::mem::replace(version, seen) != seen)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(listener) => {
                let mut patience = LOOK;
                // Of what was told at once, one look is enough.
                while let Ok(told) = timeout(patience, listener.try_recv()).await {
                    told?;
                    patience = Duration::ZERO;
                }
                Ok(true)
            }
        }
    }

    pub(in crate::store) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite { connection, .. } => connection.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(mut listener) => listener.unlisten_all().await,
        }
    }
}

async fn data_version(connection: &mut Connection) -> Result<i64, sqlx::Error> {
    query_scalar("PRAGMA data_version").fetch_one(connection).await
}
