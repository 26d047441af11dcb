//! A server's JSON answer, read without trust.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::text::{Quoter, REASON_LIMIT};
use crate::ActionId;

/// The fields that say something about whether an action may run.
pub(super) const VERDICT_FIELDS: [&str; 10] = [
    "decision",
    "status",
    "enforcement_decision",
    "requires_approval",
    "required_approvers",
    "execution_allowed",
    "success",
    "decision_ready",
    "refusal",
    "granted",
];

/// The fields of an answer, out of their envelope.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body. An envelope `{"status":"success","data":{…}}` is opened;
    /// its `status` is no verdict.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words that quote nothing.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        // The last of two equal keys would win, and another reader might take
        // the first: such an answer says two things.
        serde_json::from_slice::<UniqueKeys>(body).map_err(|error| {
            if error.is_data() {
                "it has a key twice".to_owned()
            } else {
                "it is no JSON".to_owned()
            }
        })?;
        let value = serde_json::from_slice(body).map_err(|_| "it is no JSON".to_owned())?;
        Self::from_value(value)
    }

    pub(super) fn from_value(value: Value) -> Result<Self, String> {
        let Value::Object(mut outer) = value else {
            return Err("it is no JSON object".to_owned());
        };
        let is_success =
            outer.get("status").and_then(Value::as_str).map(fold).as_deref() == Some("success");
        if !(is_success && outer.get("data").is_some_and(Value::is_object)) {
            return Ok(Self(outer));
        }
        let Some(Value::Object(inner)) = outer.remove("data") else {
            return Err("it is no JSON object".to_owned());
        };
        outer.remove("status");
        if VERDICT_FIELDS.iter().any(|field| outer.contains_key(*field)) {
            return Err("it gives a verdict both inside and outside of `data`".to_owned());
        }
        Ok(Self(inner))
    }

    /// The field, unless it is missing or `null`.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The first of the fields that is a text with something in it, quoted.
    pub(super) fn text(&self, names: &[&str], quoter: &Quoter) -> Option<String> {
        names
            .iter()
            .filter_map(|name| self.field(name)?.as_str())
            .map(|text| quoter.quote(text, REASON_LIMIT))
            .find(|text| !text.is_empty())
    }

    /// The action's id: a text or a whole number (`docs/ascend-api.md`, row 4).
    /// `None` when it is missing, or nothing that can stand in a path.
    pub(super) fn action_id(&self, quoter: &Quoter) -> Option<ActionId> {
        action_id(self.field("action_id").or_else(|| self.field("id"))?, quoter)
    }
}

/// The id that a value is.
pub(super) fn action_id(value: &Value, quoter: &Quoter) -> Option<ActionId> {
    match value {
        Value::String(text) if !quoter.holds_secret(text) => ActionId::new(text),
        Value::Number(number) => ActionId::new(number.as_u64()?.to_string()),
        _ => None,
    }
}

/// A verdict word in its comparable form.
pub(super) fn fold(word: &str) -> String {
    let word = word.trim();
    let mut folded = if word.is_ascii() { word.to_ascii_lowercase() } else { word.to_lowercase() };
    if folded.contains('-') {
        folded = folded.replace('-', "_");
    }
    folded
}

/// JSON in which no object has a key twice.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut keys = Vec::with_capacity(16);
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            keys.push(key.0);
            entries.next_value::<Self>()?;
        }
        keys.sort_unstable();
        if keys.is_sorted_by(|a, b| a < b) {
            Ok(self)
        } else {
            Err(A::Error::custom("a key twice"))
        }
    }
}

/// A key, which is copied only where it has an escape in it.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
