//! A server's JSON answer, read without trust.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

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

/// The fields of an answer, out of their envelope: few, so that each is sought among all.
/// Of a body without an envelope the names stay where they were read.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, Value)>);

impl<'a> Fields<'a> {
    /// Reads a body. An envelope `{"status":"success","data":{…}}` is opened;
    /// its `status` is no verdict.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words that quote nothing.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| {
            let wrong = if error.is_data() { "it has a key twice" } else { "it is no JSON" };
            wrong.to_owned()
        };
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Self::from_value(serde_json::from_slice(body).map_err(wrong)?);
        }
        let outer: Outer<'a> = serde_json::from_slice(body).map_err(wrong)?;
        let mut fields = Vec::with_capacity(outer.0.len());
        for (name, value) in outer.0 {
            let text = value.get();
            if text.starts_with(['{', '[']) {
                serde_json::from_str::<UniqueKeys>(text).map_err(wrong)?;
            }
            fields.push((name, serde_json::from_str(text).map_err(wrong)?));
        }
        Self::open(fields)
    }

    pub(super) fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(fields) => Self::open(owned(fields)),
            _ => Err("it is no JSON object".to_owned()),
        }
    }

    fn open(mut outer: Vec<(Cow<'a, str>, Value)>) -> Result<Self, String> {
        let place = |name| outer.iter().position(|(field, _)| field == name);
        let status = place("status").and_then(|at| outer[at].1.as_str());
        let is_success = status.map(fold).as_deref() == Some("success");
        let Some(data) = place("data").filter(|at| is_success && outer[*at].1.is_object()) else {
            return Ok(Self(outer));
        };
        let (_, Value::Object(inner)) = outer.swap_remove(data) else {
            return Err("it is no JSON object".to_owned());
        };
        let says = |(field, _): &(Cow<'_, str>, Value)| {
            field != "status" && VERDICT_FIELDS.contains(&&**field)
        };
        if outer.iter().any(says) {
            return Err("it gives a verdict both inside and outside of `data`".to_owned());
        }
        Ok(Self(owned(inner)))
    }

    /// The field, unless it is missing or `null`.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        let (_, value) = self.0.iter().find(|(field, _)| field == name)?;
        Some(value).filter(|value| !value.is_null())
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

fn owned(fields: Map<String, Value>) -> Vec<(Cow<'static, str>, Value)> {
    fields.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// The id that a value is.
pub(super) fn action_id(value: &Value, quoter: &Quoter) -> Option<ActionId> {
    match value {
        Value::String(text) if !quoter.holds_secret(text) => ActionId::new(&**text),
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

/// A JSON object that has no key twice: the last one would win, and another reader might
/// take the first, so that it says two things.
struct Outer<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Outer<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OuterVisitor)
    }
}

struct OuterVisitor;

impl<'de> Visitor<'de> for OuterVisitor {
    type Value = Outer<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        entries(map).map(Outer)
    }
}

/// Under this key serde_json reads a text as the JSON in it, where keys could be twice.
const HIDING: &str = "$serde_json::private::RawValue";

/// The entries of an object that has no key twice, nor one that hides others, by their
/// keys: sorted, as a server may send very many.
fn entries<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    mut map: A,
) -> Result<Vec<(Cow<'de, str>, T)>, A::Error> {
    let mut entries = Vec::with_capacity(16);
    while let Some((Key(key), value)) = map.next_entry::<Key<'de>, T>()? {
        entries.push((key, value));
    }
    entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if entries.is_sorted_by(|(a, _), (b, _)| a < b) && entries.iter().all(|(key, _)| key != HIDING)
    {
        Ok(entries)
    } else {
        Err(A::Error::custom("a key twice"))
    }
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

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self, A::Error> {
        entries::<A, Self>(map).map(|_| self)
    }
}

/// A key, which is copied only where it has an escape in it.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
