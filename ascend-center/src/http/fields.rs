//! Reads a request's JSON field by field, so that each that does not fit is named.

use std::{str::FromStr, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Problem;

/// A JSON object that is being read, and what did not fit so far. A `null` is
/// as good as nothing.
pub(super) struct Fields {
    object: Map<String, Value>,
    errors: Vec<Value>,
}

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let whole = |message: String, kind: &str| {
            Problem::unprocessable(vec![json!({ "loc": ["body"], "msg": message, "type": kind })])
        };
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Ok(Self { object, errors: Vec::new() }),
            Ok(_) => Err(whole("expected a JSON object".to_owned(), "dict_type")),
            Err(error) => Err(whole(format!("no JSON: {error}"), "json_invalid")),
        }
    }

    /// No body stands for an empty object.
    pub(super) fn parse_optional(body: &[u8]) -> Result<Self, Problem> {
        if body.iter().all(u8::is_ascii_whitespace) {
            Self::parse(b"{}")
        } else {
            Self::parse(body)
        }
    }

    pub(super) fn error(&mut self, path: &[&str], message: &str, kind: &str) {
        let mut place = vec!["body"];
        place.extend(path);
        self.errors.push(json!({ "loc": place, "msg": message, "type": kind }));
    }

    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.object.get(name).filter(|value| !value.is_null()).cloned()
    }

    /// Notes that the field is missing, when it is.
    pub(super) fn require(&mut self, name: &str) {
        if self.value(name).is_none() {
            self.error(&[name], "field required", "missing");
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text),
            _ => {
                self.error(&[name], "expected text", "string_type");
                None
            }
        }
    }

    /// A text that must be there and say something, of at most `limit` bytes.
    pub(super) fn required_text(&mut self, name: &str, limit: usize) -> String {
        self.require(name);
        let text = self.text(name).unwrap_or_default();
        if self.object.get(name).is_some_and(Value::is_string) {
            if text.trim().is_empty() {
                self.error(&[name], "expected text that is not empty", "string_too_short");
            } else if text.len() > limit {
                self.error(&[name], &format!("expected at most {limit} bytes"), "string_too_long");
            }
        }
        text
    }

    pub(super) fn object(&mut self, name: &str) -> Map<String, Value> {
        match self.value(name) {
            None => Map::new(),
            Some(Value::Object(object)) => object,
            Some(_) => {
                self.error(&[name], "expected an object", "dict_type");
                Map::new()
            }
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.value(name) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.error(&[name], "expected true or false", "bool_type");
                false
            }
        }
    }

    /// A text that is read as a `T`.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.error(&[name], &format!("expected {expected}"), "value_error");
        }
        value
    }

    /// Any JSON that is read as a `T`.
    pub(super) fn typed<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let Some(value) = self.value(name) else { return T::default() };
        match serde_json::from_value(value) {
            Ok(value) => value,
            Err(error) => {
                self.error(&[name], &error.to_string(), "value_error");
                T::default()
            }
        }
    }

    pub(super) fn seconds(&mut self, name: &str) -> Option<Duration> {
        self.duration(name, Duration::try_from_secs_f64)
    }

    pub(super) fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        self.duration(name, |number| Duration::try_from_secs_f64(number / 1000.0))
    }

    fn duration<E>(
        &mut self,
        name: &str,
        read: impl Fn(f64) -> Result<Duration, E>,
    ) -> Option<Duration> {
        let value = self.value(name)?;
        let duration = value.as_f64().and_then(|number| read(number).ok());
        if duration.is_none() {
            self.error(&[name], "expected a number that is not negative", "float_type");
        }
        duration
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
