//! The digest that binds a decision to exactly one call.

use std::{fmt, sync::LazyLock};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};

/// SHA-256 over the canonical JSON (RFC 8785) of a call's tool, resource and
/// arguments. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn with_text<T>(&self, work: impl FnOnce(&str) -> T) -> T {
        let mut text = [0; 64];
        // It has room for 32 bytes.
        let _ = hex::encode_to_slice(self.0, &mut text);
        work(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl std::str::FromStr for Digest {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A secret of one action, so that the digest of a short sensitive value
/// cannot be guessed by trying values. It never leaves the process.
#[derive(Clone)]
pub(crate) struct Salt([u8; 32]);

impl Salt {
    /// A new secret, of a generator that the operating system's randomness seeds
    /// again and again: each call needs one, and that is no system call then.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give: nothing that must
    /// stay unguessable can be done then.
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// The secret itself, where it is to be a key.
    #[cfg(feature = "server")]
    pub(crate) fn into_secret(self) -> [u8; 32] {
        self.0
    }

    /// A value that is unique to the action and does not tell the secret.
    pub(crate) fn public(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"ascend public id of an action\0")
            .chain_update(self.0)
            .finalize()
            .into()
    }
}

/// A secret of yours that makes equal calls have equal digests, their sensitive
/// arguments included, in every process that has it.
///
/// Without one each digest is salted by a secret of its own. Then nobody can
/// tell that two calls had the same sensitive value; but an authority cannot
/// tell either that a call with sensitive arguments, made again after a restart,
/// is the one that a person approved meanwhile, and asks again.
///
/// ```
/// use ascend_sdk::DigestKey;
/// assert!(DigestKey::new("too short").is_err());
/// # let secret = [7; 32];
/// let key = DigestKey::new(secret)?;
/// # Ok::<(), ascend_sdk::ShortKey>(())
/// ```
#[derive(Clone)]
pub struct DigestKey(Salt);

/// A key that is too short to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key has {0} bytes; make one of at least 32 random bytes, as `openssl rand -hex 32` does"
)]
pub struct ShortKey(usize);

impl DigestKey {
    /// A key made of `secret`, which must be random, and stay secret.
    ///
    /// # Errors
    ///
    /// When it has less than 32 bytes.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, ShortKey> {
        let secret = secret.as_ref();
        if secret.len() < 32 {
            return Err(ShortKey(secret.len()));
        }
        let salt = Sha256::new().chain_update(b"ascend key of digests\0").chain_update(secret);
        Ok(Self(Salt(salt.finalize().into())))
    }

    pub(crate) fn salt(&self) -> &Salt {
        &self.0
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

/// The digest of a call, and its key within this process.
pub(crate) fn of_call(
    tool: &str,
    resource: &str,
    arguments: &Map<String, Value>,
    is_sensitive: impl Fn(&str) -> bool,
    salt: &Salt,
) -> (Digest, CallKey) {
    let plain = sha256(&canonical_call(tool, resource, arguments, |_, _| None));
    let key = CallKey::of_hash(plain);
    if !arguments.keys().any(|name| is_sensitive(name)) {
        return (Digest(plain), key);
    }
    let stand_in = |name: &str, value: &Value| is_sensitive(name).then(|| salted(salt, value));
    (Digest(sha256(&canonical_call(tool, resource, arguments, stand_in))), key)
}

/// A call as it is hashed, with what stands for some of its arguments.
fn canonical_call(
    tool: &str,
    resource: &str,
    arguments: &Map<String, Value>,
    stand_in: impl Fn(&str, &Value) -> Option<[u8; 32]>,
) -> Vec<u8> {
    let mut out = Canonical::new();
    out.raw(b"{\"arguments\":");
    out.arguments(arguments, stand_in);
    out.raw(b",\"resource\":");
    out.string(resource);
    out.raw(b",\"tool\":");
    out.string(tool);
    out.raw(b"}");
    out.0
}

/// The digest of a JSON value that holds no secret.
pub(crate) fn of_value(value: &Value) -> Digest {
    Digest(sha256(&canonical_json(value)))
}

/// What a secret seal of one call's state is bound to: who makes the call, and
/// all of it. Sensitive values are neither masked nor salted, so it is for use
/// under a key alone.
#[cfg(feature = "server")]
pub(crate) fn of_request(
    server_id: &str,
    tool: &str,
    principal: &str,
    arguments: &Map<String, Value>,
) -> [u8; 32] {
    let mut out = Canonical::new();
    out.raw(b"{\"arguments\":");
    out.arguments(arguments, |_, _| None);
    for (key, value) in [("principal", principal), ("server_id", server_id), ("tool", tool)] {
        out.raw(b",");
        out.string(key);
        out.raw(b":");
        out.string(value);
    }
    out.raw(b"}");
    sha256(&out.0)
}

/// Tells identical calls of this process, sensitive values included. It never
/// leaves the process, so that it tells nobody anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CallKey([u8; 32]);

impl CallKey {
    /// Of the hash of the whole call.
    fn of_hash(hash: [u8; 32]) -> Self {
        static SECRET: LazyLock<Salt> = LazyLock::new(Salt::random);
        Self(Sha256::new().chain_update(SECRET.0).chain_update(hash).finalize().into())
    }
}

impl fmt::Debug for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallKey(..)")
    }
}

fn salted(salt: &Salt, value: &Value) -> [u8; 32] {
    // Both hashes are over fixed-length input except the last part, so no
    // length extension or concatenation ambiguity is to be had.
    let inner = sha256(&canonical_json(value));
    Sha256::new().chain_update(salt.0).chain_update(inner).finalize().into()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Canonical JSON, as it is hashed: RFC 8785, but that what RFC 8785 would write alike
/// is not written alike. A number that no double holds, such as 2^53 + 1, becomes
/// `{"$integer": "9007199254740993"}` or `{"$number": "…"}`, and a key that begins with
/// `$` gets another one.
///
/// ```
/// let value = serde_json::json!({ "b": 1.0, "a": ["é", null] });
/// assert_eq!(ascend_sdk::canonical_json(&value), r#"{"a":["é",null],"b":1}"#.as_bytes());
/// ```
#[must_use]
pub fn canonical_json(value: &Value) -> Vec<u8> {
    let mut out = Canonical::new();
    out.value(value);
    out.0
}

/// Canonical JSON (RFC 8785), but injective: RFC 8785 writes every number as a
/// double, so 2^53 and 2^53 + 1 would share a form. Integers past that become
/// `{"$integer": "…"}`, and a key that starts with `$` gets another one, so that no
/// argument can imitate this. So do other numbers that no double holds, which
/// there are when some crate of the program turns on serde_json's
/// `arbitrary_precision`.
///
/// Written by hand, since each call is: a serializer of any `Serialize` reads every
/// key back to sort it, and puts each value into a buffer of its own.
struct Canonical(Vec<u8>);

impl Canonical {
    /// With room for the arguments of most calls.
    fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    fn raw(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    /// The arguments of a call, with what stands for some of them.
    fn arguments(
        &mut self,
        arguments: &Map<String, Value>,
        stand_in: impl Fn(&str, &Value) -> Option<[u8; 32]>,
    ) {
        self.object(arguments, |out, name, value| {
            out.string(name);
            out.raw(b":");
            match stand_in(name, value) {
                Some(hash) => out.tagged("$sensitive", &hex::encode(hash)),
                None => out.value(value),
            }
        });
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.raw(b"null"),
            Value::Bool(true) => self.raw(b"true"),
            Value::Bool(false) => self.raw(b"false"),
            Value::Number(number) => self.number(number),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.raw(b"[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.raw(b",");
                    }
                    self.value(item);
                }
                self.raw(b"]");
            }
            Value::Object(entries) => self.object(entries, |out, key, value| {
                if key.starts_with('$') {
                    out.string(&format!("${key}"));
                } else {
                    out.string(key);
                }
                out.raw(b":");
                out.value(value);
            }),
        }
    }

    /// The entries in RFC 8785's order: by UTF-16. A `$` more changes nothing in it.
    fn object(&mut self, entries: &Map<String, Value>, write: impl Fn(&mut Self, &str, &Value)) {
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        self.raw(b"{");
        for (index, (key, value)) in sorted.into_iter().enumerate() {
            if index > 0 {
                self.raw(b",");
            }
            write(self, key, value);
        }
        self.raw(b"}");
    }

    fn number(&mut self, number: &Number) {
        const EXACT: u64 = 1 << 53;
        let integer = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
        match integer {
            Some(integer) if integer.unsigned_abs() <= EXACT.into() => {
                self.raw(integer.to_string().as_bytes());
            }
            Some(_) => self.tagged("$integer", &number.to_string()),
            None if number.as_f64().and_then(Number::from_f64).as_ref() != Some(number) => {
                self.tagged("$number", &number.to_string());
            }
            None => written(serde_json_canonicalizer::to_writer(number, &mut self.0)),
        }
    }

    fn string(&mut self, text: &str) {
        written(serde_json::to_writer(&mut self.0, text));
    }

    /// What no argument can be: its only key has one `$`.
    fn tagged(&mut self, tag: &str, text: &str) {
        self.raw(b"{");
        self.string(tag);
        self.raw(b":");
        self.string(text);
        self.raw(b"}");
    }
}

#[expect(clippy::expect_used, reason = "texts, finite numbers, and memory takes any write")]
fn written(result: serde_json::Result<()>) {
    result.expect("a JSON value has a canonical form");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn digest(arguments: Value) -> Digest {
        let Value::Object(arguments) = arguments else { panic!("an object") };
        of_call("tool", "r://x", &arguments, |name| name == "secret", &Salt([7; 32])).0
    }

    #[test]
    fn neighbours_past_the_exact_doubles_differ() {
        let one = digest(json!({ "n": 9_007_199_254_740_993_u64 }));
        let other = digest(json!({ "n": 9_007_199_254_740_992_u64 }));
        let imitation = digest(json!({ "n": { "$integer": "9007199254740993" } }));
        assert_ne!(one, other);
        assert_ne!(one, imitation);
    }

    #[test]
    fn a_sensitive_value_is_covered_and_salted() {
        let first = digest(json!({ "secret": "1234" }));
        assert_ne!(first, digest(json!({ "secret": "1235" })));
        let Value::Object(arguments) = json!({ "secret": "1234" }) else { panic!("an object") };
        let resalted =
            of_call("tool", "r://x", &arguments, |name| name == "secret", &Salt([8; 32])).0;
        assert_ne!(first, resalted);
        let imitation = {
            let Value::Object(arguments) = json!({ "secret": { "$sensitive": "00" } }) else {
                panic!("an object")
            };
            of_call("tool", "r://x", &arguments, |_| false, &Salt([7; 32])).0
        };
        assert_ne!(first, imitation);
    }

    #[test]
    fn identical_calls_have_one_key_whatever_their_salt() {
        let key = |tool, resource, code: &str| {
            let Value::Object(arguments) = json!({ "secret": code }) else { panic!("an object") };
            let is_secret = |name: &str| name == "secret";
            of_call(tool, resource, &arguments, is_secret, &Salt::random()).1
        };
        let call = key("tool", "r://x", "1234");
        assert_eq!(call, key("tool", "r://x", "1234"));
        for other in
            [key("tool", "r://x", "1235"), key("tool", "r://y", "1234"), key("t", "r://x", "1234")]
        {
            assert_ne!(call, other);
        }
        assert_eq!(format!("{call:?}"), "CallKey(..)");
    }

    #[test]
    fn without_sensitive_values_anyone_can_recompute_it() {
        let Value::Object(arguments) = json!({ "b": 1, "a": [true, null] }) else {
            panic!("an object")
        };
        let bytes = br#"{"arguments":{"a":[true,null],"b":1},"resource":"r://x","tool":"tool"}"#;
        let expected = hex::encode(Sha256::digest(bytes));
        let digest = of_call("tool", "r://x", &arguments, |_| false, &Salt::random()).0;
        assert_eq!(digest.to_string(), expected);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            // An integral one equals the integer of its value.
            any::<f64>()
                .prop_map(|number| if number.fract() == 0.0 { 0.5 } else { number })
                .prop_map(Value::from),
            "[$a-c]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[$a-c]{0,10}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// What a canonical form says that is exact without a tag.
    fn plain_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "(?s).{0,8}".prop_map(Value::from),
        ];
        let key = "(?s).{0,8}".prop_filter("no tag", |key| !key.starts_with('$'));
        leaf.prop_recursive(3, 16, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(key.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_that_of_rfc_8785(value in plain_value()) {
            let expected = serde_json_canonicalizer::to_vec(&value).expect("JSON");
            prop_assert_eq!(canonical_json(&value), expected);
        }

        #[test]
        fn equal_digests_mean_equal_arguments(a in json_value(), b in json_value()) {
            let same = digest(json!({ "v": a })) == digest(json!({ "v": b }));
            prop_assert_eq!(same, a == b);
        }
    }
}
