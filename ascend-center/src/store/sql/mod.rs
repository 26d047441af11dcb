//! SQL that runs on both databases. A query is written once, in the dialect that
//! SQLite and PostgreSQL share (`migrations/README.md` has its rules), and runs
//! on whichever the connection is of.

mod connection;
#[cfg(feature = "postgres")]
mod postgres;
mod value;
mod watch;

use std::marker::PhantomData;

#[cfg(feature = "postgres")]
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{
    ColumnIndex, Decode, FromRow, Row, SqlSafeStr, SqlStr, Type,
    sqlite::{Sqlite, SqliteRow},
};

pub(super) use connection::{Connection, Database, On, Pool};
pub(crate) use value::Value;
pub(super) use watch::Watch;

/// What each database can decode from a column.
#[cfg(feature = "postgres")]
pub(crate) trait Column<'r>:
    Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}
#[cfg(feature = "postgres")]
impl<'r, T> Column<'r> for T where
    T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}
/// What each database can decode from a column.
#[cfg(not(feature = "postgres"))]
pub(crate) trait Column<'r>: Decode<'r, Sqlite> + Type<Sqlite> {}
#[cfg(not(feature = "postgres"))]
impl<'r, T> Column<'r> for T where T: Decode<'r, Sqlite> + Type<Sqlite> {}

/// A row of either database, for `FromRow` that is written by hand.
pub(crate) trait Columns: Row {
    /// The column of this name.
    fn read<'r, T: Column<'r>>(&'r self, name: &str) -> Result<T, sqlx::Error>;

    /// A column that is 0 or 1.
    fn flag(&self, name: &str) -> Result<bool, sqlx::Error> {
        Ok(self.read::<i64>(name)? != 0)
    }
}

impl Columns for SqliteRow {
    fn read<'r, T: Column<'r>>(&'r self, name: &str) -> Result<T, sqlx::Error> {
        read(self, name)
    }
}

#[cfg(feature = "postgres")]
impl Columns for PgRow {
    fn read<'r, T: Column<'r>>(&'r self, name: &str) -> Result<T, sqlx::Error> {
        read(self, name)
    }
}

fn read<'r, R, T>(row: &'r R, name: &str) -> Result<T, sqlx::Error>
where
    R: Row,
    T: Decode<'r, R::Database> + Type<R::Database>,
    for<'n> &'n str: ColumnIndex<R>,
{
    row.try_get(name)
}

/// What can be made of a row of each database.
#[cfg(feature = "postgres")]
pub(crate) trait Readable:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}
#[cfg(feature = "postgres")]
impl<T> Readable for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}
/// What can be made of a row of each database.
#[cfg(not(feature = "postgres"))]
pub(crate) trait Readable: for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}
#[cfg(not(feature = "postgres"))]
impl<T> Readable for T where T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}

/// Text that is read as it is kept, whatever it is.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Type<Sqlite> for Raw {
    fn type_info() -> <Sqlite as sqlx::Database>::TypeInfo {
        <String as Type<Sqlite>>::type_info()
    }

    fn compatible(_: &<Sqlite as sqlx::Database>::TypeInfo) -> bool {
        true
    }
}

impl<'r> Decode<'r, Sqlite> for Raw {
    fn decode(
        value: <Sqlite as sqlx::Database>::ValueRef<'r>,
    ) -> Result<Self, sqlx::error::BoxDynError> {
        Decode::<Sqlite>::decode(value).map(Self)
    }
}

#[cfg(feature = "postgres")]
impl Type<Postgres> for Raw {
    fn type_info() -> <Postgres as sqlx::Database>::TypeInfo {
        <String as Type<Postgres>>::type_info()
    }
}

#[cfg(feature = "postgres")]
impl<'r> Decode<'r, Postgres> for Raw {
    fn decode(
        value: <Postgres as sqlx::Database>::ValueRef<'r>,
    ) -> Result<Self, sqlx::error::BoxDynError> {
        Decode::<Postgres>::decode(value).map(Self)
    }
}

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
pub(crate) fn query_as<'q, T: Readable>(text: impl SqlSafeStr) -> QueryAs<'q, T> {
    QueryAs { query: query(text), of: PhantomData }
}

/// A query with one column.
pub(crate) fn query_scalar<'q, T>(text: impl SqlSafeStr) -> QueryScalar<'q, T>
where
    (T,): Readable,
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
            Connection::Sqlite(connection) => {
                let values = value::arguments::<Sqlite>(self.values)?;
                sqlx::query_with(self.text, values)
                    .execute(&mut **connection)
                    .await?
                    .rows_affected()
            }
            #[cfg(feature = "postgres")]
            Connection::Postgres(connection) => {
                let values = value::arguments::<Postgres>(self.values)?;
                sqlx::query_with(self.text, values)
                    .execute(&mut **connection)
                    .await?
                    .rows_affected()
            }
        }))
    }
}

#[must_use = "nothing runs before one of `fetch_…`"]
pub(crate) struct QueryAs<'q, T> {
    query: Query<'q>,
    of: PhantomData<fn() -> T>,
}

/// Each `fetch_…` is the same but for how many rows it wants.
macro_rules! fetch {
    ($(#[$doc:meta])* $name:ident, $result:ty) => {
        $(#[$doc])*
        pub(crate) async fn $name(self, on: impl Into<On<'_>>) -> Result<$result, sqlx::Error> {
            let Query { text, values } = self.query;
            let mut place = None;
            match on.into().connection(&mut place).await? {
                Connection::Sqlite(connection) => {
                    sqlx::query_as_with(text, value::arguments::<Sqlite>(values)?)
                        .$name(&mut **connection)
                        .await
                }
                #[cfg(feature = "postgres")]
                Connection::Postgres(connection) => {
                    sqlx::query_as_with(text, value::arguments::<Postgres>(values)?)
                        .$name(&mut **connection)
                        .await
                }
            }
        }
    };
}

impl<'q, T: Readable> QueryAs<'q, T> {
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.query = self.query.bind(value);
        self
    }

    fetch!(
        /// The first row; an error when there is none.
        fetch_one, T
    );
    fetch!(
        /// The first row, if there is one.
        fetch_optional, Option<T>
    );
    fetch!(
        /// All rows.
        fetch_all, Vec<T>
    );
}

#[must_use = "nothing runs before one of `fetch_…`"]
pub(crate) struct QueryScalar<'q, T>(QueryAs<'q, (T,)>);

impl<'q, T> QueryScalar<'q, T>
where
    (T,): Readable,
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
