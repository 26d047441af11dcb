//! SQL that runs on both databases. A query is written once, in the dialect that
//! SQLite and PostgreSQL share (`migrations/README.md` has its rules), and runs
//! on whichever the connection is of.

mod connection;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
mod sqlite;
mod value;
mod watch;

use std::marker::PhantomData;

use sqlx::{SqlSafeStr, SqlStr};

pub(super) use connection::{Connection, Database, On, Pool};
pub(super) use row::Raw;
pub(crate) use row::{FromRow, Row, from_row};
pub(super) use sqlite::Copier;
pub(crate) use value::Value;
pub(super) use watch::Watch;

/// Whether the database cannot be reached at present.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Of PostgreSQL: connection exceptions, insufficient resources, operator
        // intervention, a lock that was not given. SQLite has short numbers.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.len() == 5
                && ["08", "53", "57P", "55P03"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// A query whose rows are not read.
pub(crate) fn query<'q>(text: impl SqlSafeStr) -> Query<'q> {
    Query { text: text.into_sql_str(), values: Vec::new() }
}

/// A query whose rows are read as `T`.
pub(crate) fn query_as<'q, T: FromRow>(text: impl SqlSafeStr) -> QueryAs<'q, T> {
    QueryAs { query: query(text), of: PhantomData }
}

/// A query with one column.
pub(crate) fn query_scalar<'q, T>(text: impl SqlSafeStr) -> QueryScalar<'q, T>
where
    (T,): FromRow + Send + 'static,
{
    QueryScalar(query_as(text))
}

#[must_use = "nothing runs before `execute`"]
pub(crate) struct Query<'q> {
    text: SqlStr,
    values: Vec<Value<'q>>,
}

/// What a query did that was executed.
#[derive(Debug)]
pub(crate) struct Executed(u64);

impl Executed {
    pub(crate) fn rows_affected(&self) -> u64 {
        self.0
    }
}

impl<'q> Query<'q> {
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(crate) async fn execute(self, on: impl Into<On<'_>>) -> Result<Executed, sqlx::Error> {
        let mut place = None;
        Ok(Executed(match on.into().connection(&mut place).await? {
            Connection::Sqlite(connection) => connection.execute(self.text, self.values).await?,
            #[cfg(feature = "postgres")]
            Connection::Postgres(connection) => {
                postgres::execute(connection, self.text, self.values).await?
            }
        }))
    }

    /// Inserts one row into a table whose key is an `id` that the database gives; the id.
    pub(crate) async fn insert(self, on: impl Into<On<'_>>) -> Result<i64, sqlx::Error> {
        let mut place = None;
        match on.into().connection(&mut place).await? {
            Connection::Sqlite(connection) => connection.insert(self.text, self.values).await,
            #[cfg(feature = "postgres")]
            Connection::Postgres(connection) => {
                postgres::insert(connection, self.text, self.values).await
            }
        }
    }

    /// The first `limit` rows.
    async fn fetch<T: FromRow + Send + 'static>(
        self,
        on: impl Into<On<'_>>,
        limit: usize,
    ) -> Result<Vec<T>, sqlx::Error> {
        let mut place = None;
        match on.into().connection(&mut place).await? {
            Connection::Sqlite(connection) => connection.fetch(self.text, self.values, limit).await,
            #[cfg(feature = "postgres")]
            Connection::Postgres(connection) => {
                postgres::fetch(connection, self.text, self.values, limit).await
            }
        }
    }
}

#[must_use = "nothing runs before one of `fetch_…`"]
pub(crate) struct QueryAs<'q, T> {
    query: Query<'q>,
    of: PhantomData<fn() -> T>,
}

impl<'q, T: FromRow + Send + 'static> QueryAs<'q, T> {
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.query = self.query.bind(value);
        self
    }

    /// The first row; an error when there is none.
    pub(crate) async fn fetch_one(self, on: impl Into<On<'_>>) -> Result<T, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The first row, if there is one.
    pub(crate) async fn fetch_optional(
        self,
        on: impl Into<On<'_>>,
    ) -> Result<Option<T>, sqlx::Error> {
        Ok(self.query.fetch(on, 1).await?.pop())
    }

    /// All rows.
    pub(crate) async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<T>, sqlx::Error> {
        self.query.fetch(on, usize::MAX).await
    }
}

#[must_use = "nothing runs before one of `fetch_…`"]
pub(crate) struct QueryScalar<'q, T>(QueryAs<'q, (T,)>);

impl<'q, T> QueryScalar<'q, T>
where
    (T,): FromRow + Send + 'static,
{
    pub(crate) fn bind(self, value: impl Into<Value<'q>>) -> Self {
        Self(self.0.bind(value))
    }

    /// Of the first row; an error when there is none.
    pub(crate) async fn fetch_one(self, on: impl Into<On<'_>>) -> Result<T, sqlx::Error> {
        Ok(self.0.fetch_one(on).await?.0)
    }

    /// Of the first row, if there is one.
    pub(crate) async fn fetch_optional(
        self,
        on: impl Into<On<'_>>,
    ) -> Result<Option<T>, sqlx::Error> {
        Ok(self.0.fetch_optional(on).await?.map(|(value,)| value))
    }

    /// Of all rows.
    pub(crate) async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<T>, sqlx::Error> {
        Ok(self.0.fetch_all(on).await?.into_iter().map(|(value,)| value).collect())
    }
}
