//! A submission in Cedar's terms, built from typed values.

use std::collections::{BTreeSet, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::submission::Submission;

/// The names of the entity types, parsed once.
#[derive(Debug, Clone)]
pub(super) struct Types {
    agent: EntityTypeName,
    action: EntityTypeName,
    resource: EntityTypeName,
    texts: EntityTypeName,
    numbers: EntityTypeName,
    flags: EntityTypeName,
}

impl Types {
    pub(super) fn new() -> Option<Self> {
        let name = |text: &str| text.parse().ok();
        Some(Self {
            agent: name("Agent")?,
            action: name("Action")?,
            resource: name("Resource")?,
            texts: name("Texts")?,
            numbers: name("Numbers")?,
            flags: name("Flags")?,
        })
    }

    pub(super) fn action(&self, id: &str) -> EntityUid {
        uid(&self.action, id)
    }
}

fn uid(type_name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(type_name.clone(), EntityId::new(id))
}

/// Why a submission could not be put into Cedar's terms; it is denied then.
pub(super) type Unfit = Box<dyn std::error::Error + Send + Sync>;

type Pairs = Vec<(String, RestrictedExpression)>;

pub(super) fn request(
    types: &Types,
    submission: &Submission,
    action: EntityUid,
    ancestors: HashSet<EntityUid>,
    now: Timestamp,
) -> Result<(Request, Entities), Unfit> {
    let principal = uid(&types.agent, &submission.server_id);
    let resource = uid(&types.resource, &submission.resource);
    let arguments = Arguments::of(&submission.parameters)?;
    let user = Arguments::of(&submission.user_context)?;
    let texts = uid(&types.texts, "arguments");
    let numbers = uid(&types.numbers, "arguments");
    let flags = uid(&types.flags, "arguments");
    let user_texts = uid(&types.texts, "user");
    let metadata = uid(&types.texts, "metadata");
    let metadata_tags: Pairs =
        submission.metadata.iter().map(|(key, value)| (key.clone(), string(value))).collect();

    let tagged = |uid: &EntityUid, tags: Pairs| -> Result<Entity, Unfit> {
        Ok(Entity::new_with_tags(uid.clone(), [], [], tags)?)
    };
    let entities = Entities::from_entities(
        [
            Entity::new_no_attrs(action.clone(), ancestors),
            Entity::new_with_tags(
                principal.clone(),
                [("id".to_owned(), string(&submission.server_id))],
                [],
                [],
            )?,
            Entity::new_with_tags(
                resource.clone(),
                resource_attributes(&submission.resource),
                [],
                [],
            )?,
            tagged(&texts, arguments.texts)?,
            tagged(&numbers, arguments.numbers)?,
            tagged(&flags, arguments.flags)?,
            tagged(&user_texts, user.texts)?,
            tagged(&metadata, metadata_tags)?,
        ],
        None,
    )?;

    let session = &submission.session;
    let mut session_pairs = vec![("id".to_owned(), string(&session.session_id))];
    push_text(&mut session_pairs, "client_name", session.client_name.as_deref());
    push_text(&mut session_pairs, "client_version", session.client_version.as_deref());
    let mut pairs = vec![
        ("server".to_owned(), string(&submission.server_id)),
        ("tool".to_owned(), string(&submission.tool)),
        ("namespace".to_owned(), string(&submission.namespace)),
        ("verb".to_owned(), string(&submission.verb)),
        ("high_risk".to_owned(), flag(submission.floor.require_human_approval)),
        ("now".to_owned(), RestrictedExpression::new_datetime(datetime(now))),
        ("session".to_owned(), RestrictedExpression::new_record(session_pairs)?),
        ("text".to_owned(), RestrictedExpression::new_entity_uid(texts)),
        ("number".to_owned(), RestrictedExpression::new_entity_uid(numbers)),
        ("flag".to_owned(), RestrictedExpression::new_entity_uid(flags)),
        ("user".to_owned(), RestrictedExpression::new_entity_uid(user_texts)),
        ("metadata".to_owned(), RestrictedExpression::new_entity_uid(metadata)),
    ];
    if let Some(sql) = &submission.facts.sql {
        let record = RestrictedExpression::new_record([
            ("kinds".to_owned(), strings(&sql.kinds)),
            ("tables".to_owned(), strings(&sql.tables)),
            ("statements".to_owned(), RestrictedExpression::new_long(sql.statements.into())),
            ("parsed".to_owned(), flag(sql.parsed)),
            ("unbounded".to_owned(), flag(sql.unbounded)),
        ])?;
        pairs.push(("sql".to_owned(), record));
    }
    if let Some(shell) = &submission.facts.shell {
        let mut record = vec![
            ("program".to_owned(), string(&shell.program)),
            ("argv".to_owned(), strings(&shell.argv)),
            ("literal".to_owned(), flag(shell.literal)),
            ("wrapper".to_owned(), flag(shell.wrapper)),
        ];
        push_text(&mut record, "cwd", shell.cwd.as_deref());
        pairs.push(("shell".to_owned(), RestrictedExpression::new_record(record)?));
    }
    if let Some(file) = &submission.facts.file {
        let record = RestrictedExpression::new_record([
            ("path".to_owned(), string(&file.path)),
            ("escapes".to_owned(), flag(file.escapes)),
            ("exists".to_owned(), flag(file.exists)),
        ])?;
        pairs.push(("file".to_owned(), record));
    }
    let request = Request::new(principal, action, resource, Context::from_pairs(pairs)?, None)?;
    Ok((request, entities))
}

fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn flag(value: bool) -> RestrictedExpression {
    RestrictedExpression::new_bool(value)
}

fn strings<'a, S: AsRef<str> + 'a>(items: impl IntoIterator<Item = &'a S>) -> RestrictedExpression {
    RestrictedExpression::new_set(items.into_iter().map(|item| string(item.as_ref())))
}

fn push_text(pairs: &mut Pairs, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        pairs.push((key.to_owned(), string(value)));
    }
}

/// Cedar reads milliseconds, always three digits.
fn datetime(now: Timestamp) -> String {
    format!("{now:.3}")
}

fn resource_attributes(uri: &str) -> Pairs {
    let (scheme, path) = uri.split_once("://").unwrap_or(("", uri));
    let name = path.split('/').next().unwrap_or_default();
    vec![
        ("uri".to_owned(), string(uri)),
        ("scheme".to_owned(), string(scheme)),
        ("path".to_owned(), string(path)),
        ("name".to_owned(), string(name)),
        ("words".to_owned(), strings(&words(uri))),
    ]
}

/// The lower-case words of a uri, its percent-escapes read.
fn words(uri: &str) -> BTreeSet<String> {
    let mut bytes = Vec::with_capacity(uri.len());
    let mut rest = uri.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| tail.get(..2)).flatten();
        let decoded = escaped.and_then(|digits| hex::decode(digits).ok());
        match decoded.as_deref() {
            Some([decoded]) => {
                bytes.push(*decoded);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes)
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// JSON by dotted names, split by type.
#[derive(Default)]
struct Arguments {
    texts: Pairs,
    numbers: Pairs,
    flags: Pairs,
    names: HashSet<String>,
}

/// Two values would go by one name, and a policy would see only one of them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("two arguments are named `{0}`")]
struct SharedName(String);

impl Arguments {
    fn of(object: &serde_json::Map<String, Value>) -> Result<Self, SharedName> {
        let mut arguments = Self::default();
        for (name, value) in object {
            arguments.add(name.clone(), value)?;
        }
        Ok(arguments)
    }

    fn add(&mut self, name: String, value: &Value) -> Result<(), SharedName> {
        match value {
            Value::Array(items) => {
                return items
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, item)| self.add(format!("{name}.{index}"), item));
            }
            Value::Object(entries) => {
                return entries
                    .iter()
                    .try_for_each(|(key, item)| self.add(format!("{name}.{key}"), item));
            }
            _ => {}
        }
        if !self.names.insert(name.clone()) {
            return Err(SharedName(name));
        }
        match value {
            Value::Bool(value) => self.flags.push((name, flag(*value))),
            Value::String(value) => self.texts.push((name, string(value))),
            Value::Number(value) => {
                self.numbers.push((name, RestrictedExpression::new_long(long(value))));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Away from zero, so that 100.5 is more than 100 also for a policy.
#[expect(clippy::cast_possible_truncation, reason = "saturates, which is what is wanted")]
fn long(number: &serde_json::Number) -> i64 {
    if let Some(number) = number.as_i64() {
        return number;
    }
    if number.is_u64() {
        return i64::MAX;
    }
    let number = number.as_f64().unwrap_or(f64::INFINITY);
    if number < 0.0 { number.floor() as i64 } else { number.ceil() as i64 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_of_a_uri_are_read_through_its_escapes() {
        let expected = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(words("production_db"), expected(&["production", "db"]));
        assert_eq!(words("database://Production"), expected(&["database", "production"]));
        assert_eq!(words("file:///srv/%70rod%"), expected(&["file", "srv", "prod"]));
    }

    #[test]
    fn numbers_are_rounded_away_from_zero() {
        let read = |value: Value| long(value.as_number().expect("a number"));
        assert_eq!(read(json!(7)), 7);
        assert_eq!(read(json!(100.5)), 101);
        assert_eq!(read(json!(-0.5)), -1);
        assert_eq!(read(json!(u64::MAX)), i64::MAX);
        assert_eq!(read(json!(1e300)), i64::MAX);
    }

    #[test]
    fn a_value_cannot_hide_behind_the_name_of_another() {
        let arguments = json!({ "a.b": "harmless", "a": { "b": "harmful" } });
        let Value::Object(arguments) = arguments else { panic!("an object") };
        assert_eq!(Arguments::of(&arguments).err(), Some(SharedName("a.b".to_owned())));
    }

    #[test]
    fn a_moment_is_written_as_cedar_reads_it() {
        let now: Timestamp = "2026-11-22T10:00:00.5Z".parse().expect("a time");
        assert_eq!(datetime(now), "2026-11-22T10:00:00.500Z");
    }
}
