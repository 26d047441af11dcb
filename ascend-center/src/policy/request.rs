//! A submission in Cedar's terms, built from typed values.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    asked::Asked,
    parts::Parts,
    recent::{Needs, Recent, Scope},
    tools::ToolTypes,
};

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

/// A namespace or a verb, however it is written.
pub(super) fn plain_word(text: &str) -> String {
    text.trim().to_ascii_lowercase()
}

/// The id of what a call does. A dot in the verb would make `a` + `b.c` pass for
/// `a.b` + `c`; such an id is of no action that can be declared or granted.
pub(crate) fn action_id(namespace: &str, verb: &str) -> String {
    let (namespace, verb) = (plain_word(namespace), plain_word(verb));
    let dot = if verb.contains('.') { ".." } else { "." };
    format!("{namespace}{dot}{verb}")
}

/// Why a submission could not be put into Cedar's terms; it is denied then.
pub(super) type Unfit = Box<dyn std::error::Error + Send + Sync>;

type Pairs = Vec<(String, RestrictedExpression)>;

pub(super) fn request(
    types: &Types,
    asked: &Asked<'_>,
    action: EntityUid,
    ancestors: HashSet<EntityUid>,
    tools: &ToolTypes,
    needs: &Needs,
) -> Result<(Request, Entities), Unfit> {
    let parts = &needs.parts;
    let principal = uid(&types.agent, asked.server_id);
    let resource = uid(&types.resource, asked.resource);
    let arguments = Arguments::of(asked.parameters)?;
    let (recent, sums) = recent(types, asked.recent, needs, &arguments.numbers)?;
    let mut pairs = Pairs::new();
    let mut entities = vec![Entity::new_no_attrs(action.clone(), ancestors)];
    entities.extend(sums);
    if parts.has_attributes() {
        let id = [("id".to_owned(), string(asked.server_id))];
        entities.push(Entity::new_with_tags(principal.clone(), id, [], [])?);
        let attributes = resource_attributes(asked.resource);
        entities.push(Entity::new_with_tags(resource.clone(), attributes, [], [])?);
    }
    let mut tagged = |name: &str, uid: EntityUid, tags: Pairs| -> Result<(), Unfit> {
        entities.push(Entity::new_with_tags(uid.clone(), [], [], tags)?);
        pairs.push((name.to_owned(), RestrictedExpression::new_entity_uid(uid)));
        Ok(())
    };
    if parts.has("text") {
        tagged("text", uid(&types.texts, "arguments"), tags(arguments.texts, string))?;
    }
    if parts.has("number") {
        tagged("number", uid(&types.numbers, "arguments"), longs(arguments.numbers))?;
    }
    if parts.has("flag") {
        tagged("flag", uid(&types.flags, "arguments"), tags(arguments.flags, flag))?;
    }
    let user = Arguments::of(asked.user_context)?;
    if parts.has("user") {
        tagged("user", uid(&types.texts, "user"), tags(user.texts, string))?;
    }
    if parts.has("metadata") {
        let metadata = asked.metadata.iter().map(|(key, value)| (key.clone(), string(value)));
        tagged("metadata", uid(&types.texts, "metadata"), metadata.collect())?;
    }
    let entities = Entities::from_entities(entities, None)?;

    // As the action has them: a spelling that is the same action has the same policies.
    let (namespace, verb) = (plain_word(asked.namespace), plain_word(asked.verb));
    let texts = [
        ("server", asked.server_id),
        ("credential", asked.credential),
        ("tool", asked.tool),
        ("namespace", &namespace),
        ("verb", &verb),
    ];
    let read = texts.into_iter().filter(|(name, _)| parts.has(name));
    pairs.extend(read.map(|(name, text)| (name.to_owned(), string(text))));
    if parts.has("high_risk") {
        pairs.push(("high_risk".to_owned(), flag(asked.floor.require_human_approval)));
    }
    if parts.has("now") {
        let now = RestrictedExpression::new_datetime(datetime(asked.now));
        pairs.push(("now".to_owned(), now));
    }
    if parts.has("session") {
        let mut session = vec![("id".to_owned(), string(asked.session_id))];
        push_text(&mut session, "client_name", asked.client_name);
        push_text(&mut session, "client_version", asked.client_version);
        pairs.push(("session".to_owned(), RestrictedExpression::new_record(session)?));
    }
    facts(&mut pairs, asked, parts)?;
    if !needs.arguments.is_nothing() {
        // Where no policy reads this tool's, it need not fit.
        let tool = if needs.arguments.contains(asked.tool) { asked.tool } else { "" };
        pairs.push(("arguments".to_owned(), tools.arguments(tool, asked.parameters)?));
    }
    pairs.extend(recent.map(|recent| ("recent".to_owned(), recent)));
    let request = Request::new(principal, action, resource, Context::from_pairs(pairs)?, None)?;
    Ok((request, entities))
}

/// What a parser found in the arguments.
fn facts(pairs: &mut Pairs, asked: &Asked<'_>, parts: &Parts) -> Result<(), Unfit> {
    if let Some(sql) = asked.facts.sql.as_ref().filter(|_| parts.has("sql")) {
        let record = RestrictedExpression::new_record([
            ("kinds".to_owned(), strings(&sql.kinds)),
            ("tables".to_owned(), strings(&sql.tables)),
            ("statements".to_owned(), RestrictedExpression::new_long(sql.statements.into())),
            ("parsed".to_owned(), flag(sql.parsed)),
            ("unbounded".to_owned(), flag(sql.unbounded)),
        ])?;
        pairs.push(("sql".to_owned(), record));
    }
    if let Some(shell) = asked.facts.shell.as_ref().filter(|_| parts.has("shell")) {
        let mut record = vec![
            ("program".to_owned(), string(&shell.program)),
            ("argv".to_owned(), strings(&shell.argv)),
            ("literal".to_owned(), flag(shell.literal)),
            ("wrapper".to_owned(), flag(shell.wrapper)),
        ];
        push_text(&mut record, "cwd", shell.cwd.as_deref());
        pairs.push(("shell".to_owned(), RestrictedExpression::new_record(record)?));
    }
    if let Some(file) = asked.facts.file.as_ref().filter(|_| parts.has("file")) {
        let record = RestrictedExpression::new_record([
            ("path".to_owned(), string(&file.path)),
            ("escapes".to_owned(), flag(file.escapes)),
            ("exists".to_owned(), flag(file.exists)),
        ])?;
        pairs.push(("file".to_owned(), record));
    }
    Ok(())
}

/// The facts that a call may bring along, by their names in the context.
pub(super) const FACTS: [&str; 3] = ["sql", "shell", "file"];

/// What is the same for every call of a tool.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) server: &'a str,
    pub(super) tool: &'a str,
    pub(super) namespace: &'a str,
    pub(super) verb: Option<&'a str>,
    pub(super) high_risk: bool,
    pub(super) resource: Option<&'a str>,
    pub(super) metadata: &'a BTreeMap<String, String>,
    /// Which of the [`FACTS`] come along.
    pub(super) facts: [bool; FACTS.len()],
}

/// A request with all that is known, and unknowns for the rest, each by the name
/// under which policies read it. What may be absent is not unknown but left out, or
/// there: Cedar would take an unknown attribute for one that is there.
pub(super) fn partial(
    types: &Types,
    known: &Known<'_>,
    action: EntityUid,
    ancestors: HashSet<EntityUid>,
) -> Result<(Request, Entities), Unfit> {
    let unknown = |name: &str| {
        let value = RestrictedExpression::new_unknown(format!("context.{name}"));
        (name.to_owned(), value)
    };
    let principal = uid(&types.agent, known.server);
    let metadata = uid(&types.texts, "metadata");
    let tags: Pairs =
        known.metadata.iter().map(|(key, value)| (key.clone(), string(value))).collect();
    let id = [("id".to_owned(), string(known.server))];
    let mut entities = vec![
        Entity::new_no_attrs(action.clone(), ancestors),
        Entity::new_with_tags(principal.clone(), id, [], [])?,
        Entity::new_with_tags(metadata.clone(), [], [], tags)?,
    ];
    let mut pairs = vec![
        ("server".to_owned(), string(known.server)),
        ("tool".to_owned(), string(known.tool)),
        ("namespace".to_owned(), string(&plain_word(known.namespace))),
        known
            .verb
            .map_or_else(|| unknown("verb"), |verb| ("verb".to_owned(), string(&plain_word(verb)))),
        ("high_risk".to_owned(), flag(known.high_risk)),
        ("metadata".to_owned(), RestrictedExpression::new_entity_uid(metadata)),
    ];
    let others = ["credential", "now", "session", "text", "number", "flag", "user", "recent"];
    pairs.extend(others.map(unknown));
    // A call has the arguments of its own tool alone.
    let is_word = known.tool.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let name = match known.tool {
        tool if is_word => format!("arguments.{tool}"),
        tool => format!("arguments[\"{tool}\"]"),
    };
    let own = [(known.tool.to_owned(), unknown(&name).1)];
    pairs.push(("arguments".to_owned(), RestrictedExpression::new_record(own)?));
    let facts = FACTS.into_iter().zip(known.facts);
    pairs.extend(facts.filter(|(_, is_there)| *is_there).map(|(fact, _)| unknown(fact)));

    let request =
        Request::builder().principal(principal).action(action).context(Context::from_pairs(pairs)?);
    let request = match known.resource {
        Some(resource) => {
            let id = uid(&types.resource, resource);
            let attributes = resource_attributes(resource);
            entities.push(Entity::new_with_tags(id.clone(), attributes, [], [])?);
            request.resource(id)
        }
        None => request.unknown_resource_with_type(types.resource.clone()),
    };
    Ok((request.build(), Entities::from_entities(entities, None)?))
}

/// `context.recent`, as far as the policies read it, and the sums that it names.
fn recent(
    types: &Types,
    recent: &Recent,
    needs: &Needs,
    numbers: &BTreeMap<String, i64>,
) -> Result<(Option<RestrictedExpression>, Vec<Entity>), Unfit> {
    if needs.counts_nothing() {
        return Ok((None, Vec::new()));
    }
    let mut scopes: BTreeMap<Scope, Pairs> = BTreeMap::new();
    let mut entities = Vec::new();
    for (&(scope, window), &needs_sums) in &needs.windows {
        let counts = recent.of(scope);
        let pairs = scopes.entry(scope).or_default();
        let calls = RestrictedExpression::new_long(counts.calls(window));
        pairs.push((window.calls().to_owned(), calls));
        if needs_sums {
            // What nobody counted before is this call's alone.
            let mut sums: BTreeMap<String, i64> =
                numbers.iter().map(|(name, value)| (name.clone(), (*value).max(0))).collect();
            sums.extend(counts.sums(window).iter().map(|(name, sum)| (name.clone(), *sum)));
            let sum = format!("recent.{}.{}", scope.as_str(), window.sum());
            let sum = uid(&types.numbers, &sum);
            entities.push(Entity::new_with_tags(sum.clone(), [], [], longs(sums))?);
            pairs.push((window.sum().to_owned(), RestrictedExpression::new_entity_uid(sum)));
        }
    }
    let mut pairs = Pairs::new();
    for (scope, counts) in scopes {
        pairs.push((scope.as_str().to_owned(), RestrictedExpression::new_record(counts)?));
    }
    Ok((Some(RestrictedExpression::new_record(pairs)?), entities))
}

/// The numeric arguments by their dotted names, as policies see them.
pub(crate) fn numbers(parameters: &serde_json::Map<String, Value>) -> BTreeMap<String, i64> {
    // Arguments of one name are refused where the call is evaluated.
    Arguments::of(parameters).map(|arguments| arguments.numbers).unwrap_or_default()
}

fn longs(numbers: BTreeMap<String, i64>) -> Pairs {
    numbers.into_iter().map(|(name, value)| (name, RestrictedExpression::new_long(value))).collect()
}

fn tags<T>(values: Vec<(String, T)>, write: impl Fn(T) -> RestrictedExpression) -> Pairs {
    values.into_iter().map(|(name, value)| (name, write(value))).collect()
}

pub(super) fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

pub(super) fn flag(value: bool) -> RestrictedExpression {
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
struct Arguments<'a> {
    texts: Vec<(String, &'a str)>,
    numbers: BTreeMap<String, i64>,
    flags: Vec<(String, bool)>,
    names: HashSet<String>,
}

/// Two values would go by one name, and a policy would see only one of them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("two arguments are named `{0}`")]
struct SharedName(String);

impl<'a> Arguments<'a> {
    fn of(object: &'a serde_json::Map<String, Value>) -> Result<Self, SharedName> {
        let mut arguments = Self::default();
        for (name, value) in object {
            arguments.add(name.clone(), value)?;
        }
        Ok(arguments)
    }

    fn add(&mut self, name: String, value: &'a Value) -> Result<(), SharedName> {
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
            Value::Bool(value) => self.flags.push((name, *value)),
            Value::String(value) => self.texts.push((name, value)),
            Value::Number(value) => {
                self.numbers.insert(name, long(value));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Away from zero, so that 100.5 is more than 100 also for a policy.
#[expect(clippy::cast_possible_truncation, reason = "saturates, which is what is wanted")]
pub(super) fn long(number: &serde_json::Number) -> i64 {
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
