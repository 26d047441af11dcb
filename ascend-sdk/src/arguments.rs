//! A tool's arguments, as JSON and back.
//!
//! For a function under an attribute this is one short call for each parameter, of
//! code that all parameters of a type share: three derives for each tool are half of
//! what a crate of many tools takes to compile.

use std::{fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use crate::{ToolParameter, exact, output::schema_settings};

/// The arguments of a tool: what can be read from JSON, written to it, and described.
///
/// Every type with serde's and schemars' derives is that. The attributes write it for
/// the functions under them.
pub trait Arguments: Sized + Send + 'static {
    /// The JSON Schema of what [`read`](Self::read) takes.
    #[must_use]
    fn schema() -> Schema;

    /// Takes them from a call.
    ///
    /// # Errors
    ///
    /// When they do not fit the schema.
    fn read(arguments: Map<String, Value>) -> Result<Self, ArgumentError>;

    /// As JSON, which is what is evaluated, and shown to approvers.
    ///
    /// # Errors
    ///
    /// When JSON cannot say all that they say.
    fn write(&self) -> Result<Value, serde_json::Error>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + JsonSchema + Send + 'static> Arguments for T {
    fn schema() -> Schema {
        schema_settings().for_deserialize().into_generator().into_root_schema_for::<T>()
    }

    fn read(arguments: Map<String, Value>) -> Result<Self, ArgumentError> {
        serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
            let key = error.path().iter().next().map(|segment| match segment {
                Segment::Map { key } => key.clone(),
                other => other.to_string(),
            });
            let path = key.is_some().then(|| error.path().to_string());
            ArgumentError { key, path, error: error.into_inner() }
        })
    }

    fn write(&self) -> Result<Value, serde_json::Error> {
        exact::to_value(self)
    }
}

/// Arguments that do not fit. The text may quote them, sensitive ones too.
#[derive(Debug)]
pub struct ArgumentError {
    /// The argument that does not fit; `None` when it is none of them alone.
    pub(crate) key: Option<String>,
    /// Where in the arguments.
    pub(crate) path: Option<String>,
    pub(crate) error: serde_json::Error,
}

impl ArgumentError {
    fn of_all(error: serde_json::Error) -> Self {
        Self { key: None, path: None, error }
    }

    /// An error below the argument `key`.
    fn below(key: &str, path: &Path, error: serde_json::Error) -> Self {
        let path = match path.iter().next() {
            None => key.to_owned(),
            Some(Segment::Seq { .. }) => format!("{key}{path}"),
            Some(_) => format!("{key}.{path}"),
        };
        Self { key: Some(key.to_owned()), path: Some(path), error }
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "`{path}`: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for ArgumentError {}

/// The properties of a schema of arguments, while it is made.
#[derive(Debug)]
pub struct Properties {
    generator: SchemaGenerator,
    schema: Map<String, Value>,
    required: Vec<Value>,
    properties: Map<String, Value>,
}

impl Properties {
    /// None yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "only expansions name it")]
    pub fn new() -> Self {
        Self {
            generator: schema_settings().for_deserialize().into_generator(),
            schema: Map::from_iter([
                ("type".to_owned(), "object".into()),
                ("additionalProperties".to_owned(), false.into()),
            ]),
            required: Vec::new(),
            properties: Map::new(),
        }
    }

    /// For what schemars derives.
    pub const fn generator(&mut self) -> &mut SchemaGenerator {
        &mut self.generator
    }

    /// Takes over the properties that schemars derived.
    pub fn derived(&mut self, mut schema: Schema) {
        if let Some(Value::Object(properties)) = schema.remove("properties") {
            self.properties.extend(properties);
        }
        if let Some(Value::Array(required)) = schema.remove("required") {
            self.required.extend(required);
        }
    }

    fn add(
        &mut self,
        name: &str,
        description: &str,
        mut schema: Schema,
        required: bool,
        default: Option<Value>,
    ) {
        if !description.is_empty() {
            schema.insert("description".to_owned(), description.into());
        }
        if let Some(default) = default {
            schema.insert("default".to_owned(), default);
        }
        if required {
            self.required.push(name.into());
        }
        self.properties.insert(name.to_owned(), schema.to_value());
    }

    /// The whole schema.
    #[must_use]
    pub fn finish(self) -> Schema {
        let Self { mut generator, mut schema, required, properties } = self;
        if !properties.is_empty() {
            schema.insert("properties".to_owned(), properties.into());
        }
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        let definitions = generator.take_definitions(true);
        if !definitions.is_empty() {
            schema.insert("$defs".to_owned(), definitions.into());
        }
        schema.into()
    }
}

/// The arguments of a call, while they are read.
#[derive(Debug)]
pub struct Given(Map<String, Value>);

impl Given {
    /// All of them have names that the tool knows.
    ///
    /// # Errors
    ///
    /// When one has not.
    pub fn new(
        arguments: Map<String, Value>,
        known: &'static [&'static str],
    ) -> Result<Self, ArgumentError> {
        match arguments.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Self(arguments)),
            Some(unknown) => {
                let error = serde_json::Error::unknown_field(unknown, known);
                Err(ArgumentError::of_all(error))
            }
        }
    }

    /// Takes one, by the name that the schema has for it or by another.
    fn take(
        &mut self,
        names: &[&'static str],
    ) -> Result<Option<(&'static str, Value)>, ArgumentError> {
        let mut taken = None;
        for &name in names {
            let Some(value) = self.0.remove(name) else { continue };
            if taken.replace((name, value)).is_some() {
                let name = names.first().copied().unwrap_or_default();
                let error = serde_json::Error::duplicate_field(name);
                return Err(ArgumentError::of_all(error));
            }
        }
        Ok(taken)
    }
}

/// Reads a value in a way of its own (`deserialize_with`).
pub(crate) type ReadWith<T> =
    fn(serde_path_to_error::Deserializer<'_, '_, Value>) -> Result<T, serde_json::Error>;

/// One parameter of the type `T`.
#[derive(Debug)]
pub struct Field<T>(PhantomData<T>);

impl<T: ToolParameter> Field<T> {
    /// Adds it to a schema.
    pub fn describe(
        properties: &mut Properties,
        name: &'static str,
        description: &str,
        default: Option<fn() -> T>,
    ) {
        let schema = properties.generator.subschema_for::<T>();
        let required = default.is_none() && T::deserialize(Absent(name)).is_err();
        let default = default.and_then(|default| serde_json::to_value(default()).ok());
        properties.add(name, description, schema, required, default);
    }

    /// Takes it from the arguments of a call.
    ///
    /// # Errors
    ///
    /// When it is missing, or does not fit.
    pub fn take(
        given: &mut Given,
        names: &'static [&'static str],
        default: Option<fn() -> T>,
        with: Option<ReadWith<T>>,
    ) -> Result<T, ArgumentError> {
        let Some((key, value)) = given.take(names)? else {
            return match default {
                Some(default) => Ok(default()),
                None => T::deserialize(Absent(names.first().copied().unwrap_or_default()))
                    .map_err(ArgumentError::of_all),
            };
        };
        let mut track = serde_path_to_error::Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
        match with {
            Some(with) => with(deserializer),
            None => T::deserialize(deserializer),
        }
        .map_err(|error| ArgumentError::below(key, &track.path(), error))
    }

    /// Adds it to arguments in JSON.
    ///
    /// # Errors
    ///
    /// When JSON cannot say all that it says.
    pub fn put(
        written: &mut Map<String, Value>,
        name: &'static str,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        written.insert(name.to_owned(), exact::to_value(value)?);
        Ok(())
    }
}

/// Stands in where a type lacks an ability, so that the compiler speaks of
/// that once. Code that names it never gets past the compiler.
pub trait Unchecked {
    /// The parameter's type.
    type Value;

    /// Stands in for [`Field::describe`].
    fn describe(_: &mut Properties, _: &'static str, _: &str, _: Option<fn() -> Self::Value>) {}

    /// Stands in for [`Field::take`].
    ///
    /// # Errors
    ///
    /// Always.
    fn take(
        _: &mut Given,
        _: &'static [&'static str],
        _: Option<fn() -> Self::Value>,
        _: Option<ReadWith<Self::Value>>,
    ) -> Result<Self::Value, ArgumentError> {
        Err(ArgumentError::of_all(serde_json::Error::custom("no argument")))
    }

    /// Stands in for [`Field::put`].
    ///
    /// # Errors
    ///
    /// Always.
    fn put(
        _: &mut Map<String, Value>,
        _: &'static str,
        _: &Self::Value,
    ) -> Result<(), serde_json::Error> {
        Err(serde_json::Error::custom("no argument"))
    }
}

impl<T> Unchecked for Field<T> {
    type Value = T;
}

/// An argument that was not given: for an `Option` that is `None`, as serde has it.
struct Absent(&'static str);

impl<'de> Deserializer<'de> for Absent {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde_json::Error::missing_field(self.0))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}
