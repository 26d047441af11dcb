//! What is bound to a query.

use std::borrow::Cow;

use sqlx::{Arguments, Database, Encode, Type};

/// A value that both databases know. A flag is an integer, 0 or 1.
#[derive(Debug, Clone)]
pub(crate) enum Value<'q> {
    Integer(Option<i64>),
    Text(Option<Cow<'q, str>>),
    Bytes(Option<Cow<'q, [u8]>>),
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl From<$type> for Value<'_> {
            fn from(value: $type) -> Self {
                Self::Integer(Some(value.into()))
            }
        }

        impl From<Option<$type>> for Value<'_> {
            fn from(value: Option<$type>) -> Self {
                Self::Integer(value.map(Into::into))
            }
        }
    )+};
}
integers!(i64, i32, u32, u8, bool);

impl<'q> From<&'q str> for Value<'q> {
    fn from(value: &'q str) -> Self {
        Self::Text(Some(value.into()))
    }
}

impl<'q> From<&'q String> for Value<'q> {
    fn from(value: &'q String) -> Self {
        Self::Text(Some(value.into()))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Text(Some(value.into()))
    }
}

impl<'q> From<Option<&'q str>> for Value<'q> {
    fn from(value: Option<&'q str>) -> Self {
        Self::Text(value.map(Cow::from))
    }
}

impl<'q> From<&'q Option<String>> for Value<'q> {
    fn from(value: &'q Option<String>) -> Self {
        Self::Text(value.as_ref().map(Cow::from))
    }
}

impl From<Option<String>> for Value<'_> {
    fn from(value: Option<String>) -> Self {
        Self::Text(value.map(Cow::from))
    }
}

impl<'q> From<&'q [u8]> for Value<'q> {
    fn from(value: &'q [u8]) -> Self {
        Self::Bytes(Some(value.into()))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value.into()))
    }
}

/// The values as a database takes them.
pub(super) fn arguments<D: Database>(values: Vec<Value<'_>>) -> Result<D::Arguments, sqlx::Error>
where
    Option<i64>: for<'t> Encode<'t, D> + Type<D>,
    Option<String>: for<'t> Encode<'t, D> + Type<D>,
    Option<Vec<u8>>: for<'t> Encode<'t, D> + Type<D>,
{
    let mut arguments = D::Arguments::default();
    for value in values {
        match value {
            Value::Integer(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value.map(Cow::into_owned)),
            Value::Bytes(value) => arguments.add(value.map(Cow::into_owned)),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
