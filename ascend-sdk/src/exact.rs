//! JSON that says all that the value says.
//!
//! serde_json writes numbers that are not finite as `null`, and of two equal
//! keys keeps the last. Whoever approves such JSON approves something else than
//! what runs, so these are errors here.

use std::collections::HashSet;

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Value;

/// `value` as JSON.
///
/// # Errors
///
/// When JSON cannot say it, or would say less.
pub(crate) fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, serde_json::Error> {
    Exact(value).serialize(serde_json::value::Serializer)
}

/// A value, written through [`Checked`].
struct Exact<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for Exact<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Checked(serializer))
    }
}

/// Passes everything on to another serializer, but for what JSON would lose.
struct Checked<S>(S);

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {
        $(fn $method(self $(, $argument: $type)*) -> Result<S::Ok, S::Error> {
            self.0.$method($($argument),*)
        })*
    };
}

macro_rules! pass_on_parts {
    ($($method:ident($($argument:ident: $type:ty),*) -> $parts:ident)*) => {
        $(fn $method(self $(, $argument: $type)*) -> Result<Self::$parts, S::Error> {
            self.0.$method($($argument),*).map(Checked)
        })*
    };
}

impl<S: Serializer> Serializer for Checked<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Checked<S::SerializeSeq>;
    type SerializeTuple = Checked<S::SerializeTuple>;
    type SerializeTupleStruct = Checked<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Checked<S::SerializeTupleVariant>;
    type SerializeMap = CheckedMap<S::SerializeMap>;
    type SerializeStruct = Checked<S::SerializeStruct>;
    type SerializeStructVariant = Checked<S::SerializeStructVariant>;

    pass_on! {
        serialize_bool(value: bool)
        serialize_i8(value: i8)
        serialize_i16(value: i16)
        serialize_i32(value: i32)
        serialize_i64(value: i64)
        serialize_i128(value: i128)
        serialize_u8(value: u8)
        serialize_u16(value: u16)
        serialize_u32(value: u32)
        serialize_u64(value: u64)
        serialize_u128(value: u128)
        serialize_char(value: char)
        serialize_str(value: &str)
        serialize_bytes(value: &[u8])
        serialize_none()
        serialize_unit()
        serialize_unit_struct(name: &'static str)
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str)
    }

    pass_on_parts! {
        serialize_seq(len: Option<usize>) -> SerializeSeq
        serialize_tuple(len: usize) -> SerializeTuple
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeTupleVariant
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeStructVariant
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        Ok(CheckedMap { inner: self.0.serialize_map(len)?, keys: HashSet::new() })
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        finite(value.is_finite())?;
        self.0.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        finite(value.is_finite())?;
        self.0.serialize_f64(value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Exact(value))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &Exact(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &Exact(value))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

fn finite<E: serde::ser::Error>(is_finite: bool) -> Result<(), E> {
    if is_finite { Ok(()) } else { Err(E::custom("JSON cannot say what is not a finite number")) }
}

macro_rules! pass_on_items {
    ($($part:ident: $method:ident)*) => {
        $(impl<S: $part> $part for Checked<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$method(&Exact(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

pass_on_items! {
    SerializeSeq: serialize_element
    SerializeTuple: serialize_element
    SerializeTupleStruct: serialize_field
    SerializeTupleVariant: serialize_field
}

macro_rules! pass_on_fields {
    ($($part:ident)*) => {
        $(impl<S: $part> $part for Checked<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.0.serialize_field(key, &Exact(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

pass_on_fields! { SerializeStruct SerializeStructVariant }

/// A map whose keys must differ. A struct with a flattened part is one too.
struct CheckedMap<S> {
    inner: S,
    keys: HashSet<String>,
}

impl<S: SerializeMap> SerializeMap for CheckedMap<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        // As text, which is what JSON makes of every key: 1 and "1" are equal.
        let text = match to_value(key).map_err(S::Error::custom)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        if self.keys.contains(&text) {
            let shown = text.chars().take(64).collect::<String>();
            return Err(S::Error::custom(format_args!("a map has the key `{shown}` twice")));
        }
        self.keys.insert(text);
        self.inner.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.inner.serialize_value(&Exact(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[derive(serde::Serialize)]
    enum Shape {
        Unit,
        Newtype(f64),
        Tuple(u8, Option<char>),
        Struct { map: BTreeMap<u8, (f32, ())>, list: Vec<Shape> },
    }

    fn shape(number: f64) -> Shape {
        Shape::Struct {
            map: [(1, (0.5, ()))].into(),
            list: vec![Shape::Unit, Shape::Newtype(number), Shape::Tuple(1, Some('x'))],
        }
    }

    #[test]
    fn it_writes_what_serde_json_writes() {
        let value = (shape(1e300), json!({"a": [null, -1, "x"]}), u64::MAX, "é");
        assert_eq!(to_value(&value).ok(), serde_json::to_value(&value).ok());
        assert!(to_value(&u128::MAX).is_err() && serde_json::to_value(u128::MAX).is_err());
    }

    #[test]
    fn nothing_is_lost_at_any_depth() {
        assert!(to_value(&shape(f64::NAN)).is_err());
        assert!(serde_json::to_value(shape(f64::NAN)).is_ok(), "else this is not needed");
    }
}
