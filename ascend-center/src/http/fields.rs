//! Reads a request's JSON field by field, so that each that does not fit is
//! named. The same code describes the request: reading nothing, it notes what
//! it looks for.

use std::{str::FromStr, time::Duration};

use axum::{
    extract::Request,
    http::Uri,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use utoipa::openapi::{
    Object, RefOr, Schema,
    schema::{ArrayBuilder, SchemaType, Type},
};

use super::Problem;
use crate::identity::InvalidName;

/// What a text is that can be kept as it is.
pub(super) const WITHOUT_NUL: &str = "text without U+0000";

/// A JSON object that is being read, and what did not fit so far. A `null` is
/// as good as nothing.
pub(super) struct Fields {
    object: Map<String, Value>,
    errors: Vec<Value>,
    /// Where the object is in the body.
    path: Vec<Value>,
    /// The fields that were looked for, when the request is only described.
    described: Option<Object>,
}

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let whole = |message: String, kind: &str| {
            Problem::unprocessable(vec![json!({ "loc": ["body"], "msg": message, "type": kind })])
        };
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Ok(Self::of(object)),
            Ok(_) => Err(whole("expected a JSON object".to_owned(), "dict_type")),
            Err(error) => Err(whole(format!("no JSON: {error}"), "json_invalid")),
        }
    }

    /// Those of an object that was read already.
    pub(super) fn of(object: Map<String, Value>) -> Self {
        Self { object, errors: Vec::new(), path: vec!["body".into()], described: None }
    }

    /// No body stands for an empty object.
    pub(super) fn parse_optional(body: &[u8]) -> Result<Self, Problem> {
        if body.iter().all(u8::is_ascii_whitespace) {
            Self::parse(b"{}")
        } else {
            Self::parse(body)
        }
    }

    /// The schema of the requests that `read` reads. Fields that it does not
    /// know are welcome, and kept with the request.
    pub(super) fn schema_of<T>(read: impl FnOnce(&mut Self) -> T) -> RefOr<Schema> {
        let mut fields = Self {
            object: Map::new(),
            errors: Vec::new(),
            path: vec!["body".into()],
            described: Some(Object::new()),
        };
        read(&mut fields);
        Schema::Object(fields.described.unwrap_or_default()).into()
    }

    fn describe(&mut self, name: &str, schema: impl FnOnce() -> Schema) {
        if let Some(described) = &mut self.described {
            described.properties.entry(name.to_owned()).or_insert_with(|| schema().into());
        }
    }

    pub(super) fn error(&mut self, name: &str, message: &str, kind: &str) {
        let mut place = self.path.clone();
        place.push(name.into());
        let error = json!({ "loc": place, "msg": message, "type": kind });
        // A field may be looked at twice.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Any JSON.
    pub(super) fn value(&mut self, name: &'static str) -> Option<Value> {
        self.describe(name, any);
        self.find(name).cloned()
    }

    /// Notes that the field is missing, when it is.
    pub(super) fn require(&mut self, name: &'static str) {
        if let Some(described) = &mut self.described {
            described.required.push(name.to_owned());
        }
        if self.find(name).is_none() {
            self.error(name, "field required", "missing");
        }
    }

    /// The field, where `read` can make something of it.
    fn read<T>(
        &mut self,
        name: &'static str,
        kind: Type,
        (expected, error): (&str, &str),
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        self.describe(name, || of_type(kind));
        let value = self.find(name)?;
        let value = read(value);
        if value.is_none() {
            self.error(name, &format!("expected {expected}"), error);
        }
        value
    }

    /// A text that is kept as it is, so without U+0000: not every database takes it.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let text = self.told(name)?;
        if !text.contains('\0') {
            return Some(text);
        }
        self.error(name, &format!("expected {WITHOUT_NUL}"), "value_error");
        None
    }

    /// Any text, of which the record may keep less.
    pub(super) fn told(&mut self, name: &'static str) -> Option<String> {
        self.read(name, Type::String, ("text", "string_type"), |value| {
            value.as_str().map(str::to_owned)
        })
    }

    /// A text that says something, of at most `limit` bytes.
    pub(super) fn bounded_text(&mut self, name: &'static str, limit: usize) -> Option<String> {
        let text = self.text(name)?;
        if text.trim().is_empty() {
            self.error(name, "expected text that is not empty", "string_too_short");
        } else if text.len() > limit {
            self.error(name, &format!("expected at most {limit} bytes"), "string_too_long");
        }
        Some(text)
    }

    /// The same, where it must be there.
    pub(super) fn required_text(&mut self, name: &'static str, limit: usize) -> String {
        self.require(name);
        self.bounded_text(name, limit).unwrap_or_default()
    }

    /// A name, of which `check` says whether it can be used.
    pub(super) fn name(
        &mut self,
        name: &'static str,
        check: fn(&str) -> Result<(), InvalidName>,
    ) -> Option<String> {
        let text = self.text(name)?;
        if let Err(unfit) = check(&text) {
            self.error(name, &unfit.to_string(), "value_error");
        }
        Some(text)
    }

    /// The same, where it must be there.
    pub(super) fn required_name(
        &mut self,
        name: &'static str,
        check: fn(&str) -> Result<(), InvalidName>,
    ) -> String {
        self.require(name);
        self.name(name, check).unwrap_or_default()
    }

    pub(super) fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        self.describe(name, || {
            let items = ArrayBuilder::new().items(Object::with_type(Type::String));
            Schema::Array(items.build())
        });
        let value = self.find(name)?;
        let items = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        if items.is_none() {
            self.error(name, "expected a list of texts", "list_type");
        }
        items
    }

    pub(super) fn object(&mut self, name: &'static str) -> Map<String, Value> {
        let read = |value: &Value| value.as_object().cloned();
        self.read(name, Type::Object, ("an object", "dict_type"), read).unwrap_or_default()
    }

    /// Reads an object within this one.
    pub(super) fn within<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        let object = self.object(name);
        let mut path = self.path.clone();
        path.push(name.into());
        let described = self.described.as_ref().map(|_| Object::new());
        let mut inner = Self { object, errors: Vec::new(), path, described };
        let value = read(&mut inner);
        self.errors.append(&mut inner.errors);
        if let (Some(described), Some(inner)) = (&mut self.described, inner.described)
            && let Some(RefOr::T(Schema::Object(known))) = described.properties.get_mut(name)
        {
            known.properties.extend(inner.properties);
            known.required.extend(inner.required);
        }
        value
    }

    /// Reads each object of a list of 1 to `most`, which must be there.
    pub(super) fn each<T>(
        &mut self,
        name: &'static str,
        most: usize,
        read: impl Fn(&mut Self) -> T,
    ) -> Vec<T> {
        self.require(name);
        self.describe(name, || {
            let items = ArrayBuilder::new().items(Self::schema_of(&read));
            Schema::Array(items.min_items(Some(1)).max_items(Some(most)).build())
        });
        let Some(value) = self.find(name) else { return Vec::new() };
        let items = value.as_array().cloned().filter(|items| (1..=most).contains(&items.len()));
        let Some(items) = items else {
            self.error(name, &format!("expected a list of 1 to {most} objects"), "list_type");
            return Vec::new();
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let mut path = self.path.clone();
            path.extend([name.into(), index.into()]);
            let Value::Object(object) = item else {
                let error =
                    json!({ "loc": path, "msg": "expected an object", "type": "dict_type" });
                self.errors.push(error);
                continue;
            };
            let mut inner = Self { object, errors: Vec::new(), path, described: None };
            values.push(read(&mut inner));
            self.errors.append(&mut inner.errors);
        }
        values
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.read(name, Type::Boolean, ("true or false", "bool_type"), Value::as_bool)
    }

    pub(super) fn whole_number(&mut self, name: &'static str) -> Option<i64> {
        self.read(name, Type::Integer, ("a whole number", "int_type"), Value::as_i64)
    }

    /// A text that is read as a `T`.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &'static str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.error(name, &format!("expected {expected}"), "value_error");
        }
        value
    }

    /// Any JSON that is read as a `T`.
    pub(super) fn typed<T: DeserializeOwned + Default>(&mut self, name: &'static str) -> T {
        let Some(value) = self.value(name) else { return T::default() };
        match serde_json::from_value(value) {
            Ok(value) => value,
            Err(error) => {
                self.error(name, &error.to_string(), "value_error");
                T::default()
            }
        }
    }

    pub(super) fn seconds(&mut self, name: &'static str) -> Option<Duration> {
        self.duration(name, Duration::try_from_secs_f64)
    }

    pub(super) fn milliseconds(&mut self, name: &'static str) -> Option<Duration> {
        self.duration(name, |number| Duration::try_from_secs_f64(number / 1000.0))
    }

    fn duration<E>(
        &mut self,
        name: &'static str,
        read: impl Fn(f64) -> Result<Duration, E>,
    ) -> Option<Duration> {
        let expected = ("a number that is not negative", "float_type");
        self.read(name, Type::Number, expected, |value| {
            value.as_f64().and_then(|number| read(number).ok())
        })
    }

    /// All that was sent, fields unknown to the center included.
    pub(super) fn whole(&self) -> &Map<String, Value> {
        &self.object
    }

    /// # Errors
    ///
    /// When anything did not fit.
    pub(super) fn finish(&mut self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::unprocessable(std::mem::take(&mut self.errors)))
        }
    }
}

/// Turns away a request whose address has U+0000: it names nothing that is here.
pub(super) async fn check_address(request: Request, next: Next) -> Response {
    match nul_in(request.uri()) {
        None => next.run(request).await,
        Some(place) => {
            let message = format!("expected {WITHOUT_NUL}");
            let error = json!({ "loc": place, "msg": message, "type": "value_error" });
            Problem::unprocessable(vec![error]).into_response()
        }
    }
}

/// Where U+0000 is, in the words of a problem.
fn nul_in(uri: &Uri) -> Option<Vec<&str>> {
    // A percent sign is itself encoded, so this is nothing else.
    const NUL: &str = "%00";
    if uri.path().contains(NUL) {
        return Some(vec!["path"]);
    }
    let pair = uri.query()?.split('&').find(|pair| pair.contains(NUL))?;
    Some(vec!["query", pair.split('=').next().unwrap_or(pair)])
}

fn any() -> Schema {
    Schema::Object(Object::with_type(SchemaType::AnyValue))
}

/// A `null` is as good as nothing.
fn of_type(kind: Type) -> Schema {
    Schema::Object(Object::with_type(SchemaType::from_iter([kind, Type::Null])))
}

/// Names the schema of a request's body by the function that reads it.
macro_rules! body {
    ($(#[$meta:meta])* $name:ident = $read:expr) => {
        $(#[$meta])*
        pub(super) struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::http::fields::Fields::schema_of($read)
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(super) use body;
