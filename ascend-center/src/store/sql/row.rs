//! Rows, and what is made of them.

use std::{any::type_name, borrow::Cow, cell::Cell};

use rusqlite::types::ValueRef;
#[cfg(feature = "postgres")]
use sqlx::{Column as _, Row as _, TypeInfo, postgres::PgRow};

use super::{Value, sqlite};

/// A row of either database.
pub(crate) struct Row<'r> {
    of: Of<'r>,
    /// Where the next column is looked for first: most are read in their order.
    next: Cell<usize>,
}

enum Of<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    #[cfg(feature = "postgres")]
    Postgres(&'r PgRow),
}

impl<'r> From<&'r rusqlite::Row<'r>> for Row<'r> {
    fn from(row: &'r rusqlite::Row<'r>) -> Self {
        Self { of: Of::Sqlite(row), next: Cell::new(0) }
    }
}

#[cfg(feature = "postgres")]
impl<'r> From<&'r PgRow> for Row<'r> {
    fn from(row: &'r PgRow) -> Self {
        Self { of: Of::Postgres(row), next: Cell::new(0) }
    }
}

impl<'r> Row<'r> {
    /// The column of this name.
    pub(crate) fn read<T: Column<'r>>(&self, name: &str) -> Result<T, sqlx::Error> {
        self.at(self.find(name)?)
    }

    /// A column that is 0 or 1.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, sqlx::Error> {
        Ok(self.read::<i64>(name)? != 0)
    }

    /// Of two columns with one name the first, as long as it was not read.
    fn find(&self, name: &str) -> Result<usize, sqlx::Error> {
        let (count, first) = (self.count(), self.next.get());
        let found = (first..count).chain(0..first.min(count)).find(|&at| self.name(at) == name);
        let found = found.ok_or_else(|| sqlx::Error::ColumnNotFound(name.to_owned()))?;
        self.next.set(found + 1);
        Ok(found)
    }

    fn count(&self) -> usize {
        match self.of {
            Of::Sqlite(row) => row.as_ref().column_count(),
            #[cfg(feature = "postgres")]
            Of::Postgres(row) => row.len(),
        }
    }

    fn name(&self, index: usize) -> &str {
        match self.of {
            Of::Sqlite(row) => row.as_ref().column_name(index).unwrap_or_default(),
            #[cfg(feature = "postgres")]
            Of::Postgres(row) => row.column(index).name(),
        }
    }

    fn at<T: Column<'r>>(&self, index: usize) -> Result<T, sqlx::Error> {
        T::of(self.value(index)?).map_err(|found| sqlx::Error::ColumnDecode {
            index: self.name(index).to_owned(),
            source: format!("{found} where {} is wanted", type_name::<T>()).into(),
        })
    }

    fn value(&self, index: usize) -> Result<Value<'r>, sqlx::Error> {
        match self.of {
            Of::Sqlite(row) => Ok(match row.get_ref(index).map_err(sqlite::failure)? {
                ValueRef::Null => Value::Integer(None),
                ValueRef::Integer(value) => Value::Integer(Some(value)),
                ValueRef::Text(text) => match str::from_utf8(text) {
                    Ok(text) => Value::Text(Some(text.into())),
                    Err(_) => Value::Bytes(Some(text.into())),
                },
                ValueRef::Blob(bytes) => Value::Bytes(Some(bytes.into())),
                ValueRef::Real(_) => {
                    let source = "a fraction where there is none".into();
                    return Err(sqlx::Error::ColumnDecode {
                        index: self.name(index).to_owned(),
                        source,
                    });
                }
            }),
            #[cfg(feature = "postgres")]
            Of::Postgres(row) => Ok(match row.column(index).type_info().name() {
                "BOOL" => Value::Integer(row.try_get::<Option<bool>, _>(index)?.map(Into::into)),
                "INT4" => Value::Integer(row.try_get::<Option<i32>, _>(index)?.map(Into::into)),
                "BYTEA" => Value::Bytes(row.try_get::<Option<&[u8]>, _>(index)?.map(Cow::from)),
                "INT8" => Value::Integer(row.try_get(index)?),
                _ => Value::Text(row.try_get::<Option<&str>, _>(index)?.map(Cow::from)),
            }),
        }
    }
}

/// What a column can be read as.
pub(crate) trait Column<'r>: Sized {
    /// What was found where it is no such thing.
    fn of(value: Value<'r>) -> Result<Self, &'static str>;
}

impl<'r> Column<'r> for &'r str {
    fn of(value: Value<'r>) -> Result<Self, &'static str> {
        match value {
            Value::Text(Some(Cow::Borrowed(text))) => Ok(text),
            other => Err(other.kind()),
        }
    }
}

impl Column<'_> for String {
    fn of(value: Value<'_>) -> Result<Self, &'static str> {
        match value {
            Value::Text(Some(text)) => Ok(text.into_owned()),
            other => Err(other.kind()),
        }
    }
}

impl Column<'_> for Vec<u8> {
    fn of(value: Value<'_>) -> Result<Self, &'static str> {
        match value {
            Value::Bytes(Some(bytes)) => Ok(bytes.into_owned()),
            other => Err(other.kind()),
        }
    }
}

impl Column<'_> for bool {
    fn of(value: Value<'_>) -> Result<Self, &'static str> {
        i64::of(value).map(|value| value != 0)
    }
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl Column<'_> for $type {
            fn of(value: Value<'_>) -> Result<Self, &'static str> {
                match value {
                    Value::Integer(Some(value)) => {
                        value.try_into().map_err(|_| "a number out of bounds")
                    }
                    other => Err(other.kind()),
                }
            }
        }
    )+};
}
integers!(i64, u32, u8);

impl<'r, T: Column<'r>> Column<'r> for Option<T> {
    fn of(value: Value<'r>) -> Result<Self, &'static str> {
        match value {
            Value::Integer(None) | Value::Text(None) | Value::Bytes(None) => Ok(None),
            value => T::of(value).map(Some),
        }
    }
}

/// Text that is read as it is kept, whatever it is.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Column<'_> for Raw {
    fn of(value: Value<'_>) -> Result<Self, &'static str> {
        match value {
            Value::Text(Some(text)) => Ok(Self(text.into_owned().into_bytes())),
            Value::Bytes(Some(bytes)) => Ok(Self(bytes.into_owned())),
            other => Err(other.kind()),
        }
    }
}

/// What can be made of a row.
pub(crate) trait FromRow: Sized {
    fn from_row(row: &Row<'_>) -> Result<Self, sqlx::Error>;
}

macro_rules! tuples {
    ($($($name:ident $index:tt),+;)+) => {$(
        impl<$($name: for<'r> Column<'r>),+> FromRow for ($($name,)+) {
            fn from_row(row: &Row<'_>) -> Result<Self, sqlx::Error> {
                Ok(($(row.at::<$name>($index)?,)+))
            }
        }
    )+};
}
tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, F 5;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8;
}

/// A row whose columns have the names of the fields.
macro_rules! from_row {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::store::sql::FromRow for $name {
            fn from_row(row: &$crate::store::sql::Row<'_>) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: row.read(stringify!($field))?),+ })
            }
        }
    };
}
pub(crate) use from_row;
