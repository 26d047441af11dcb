//! The digest that binds a decision to exactly one call.

use std::{borrow::Cow, collections::HashMap, fmt, sync::LazyLock};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
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
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
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
        serializer.collect_str(self)
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
    /// A new secret.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give: nothing that must
    /// stay unguessable can be done then.
    #[expect(clippy::expect_used, reason = "no safe answer exists without randomness")]
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system gives randomness");
        Self(bytes)
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
    let salts: HashMap<&str, String> = arguments
        .iter()
        .filter(|(name, _)| is_sensitive(name))
        .map(|(name, value)| (name.as_str(), hex::encode(salted(salt, value))))
        .collect();
    let plain = Call { tool, resource, arguments: Arguments { arguments, salts: None } };
    if salts.is_empty() {
        let digest = sha256(&canonical(&plain));
        return (Digest(digest), CallKey::of_hash(digest));
    }
    let key = CallKey::of_hash(sha256(&canonical(&plain)));
    let arguments = Arguments { arguments, salts: Some(&salts) };
    (Digest(sha256(&canonical(&Call { arguments, ..plain }))), key)
}

/// A call as it is hashed.
#[derive(Serialize)]
struct Call<'a> {
    tool: &'a str,
    resource: &'a str,
    arguments: Arguments<'a>,
}

struct Arguments<'a> {
    arguments: &'a Map<String, Value>,
    /// What stands for the sensitive ones; `None`: they themselves.
    salts: Option<&'a HashMap<&'a str, String>>,
}

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.arguments.len()))?;
        for (name, value) in self.arguments {
            match self.salts.and_then(|salts| salts.get(name.as_str())) {
                Some(salted) => map.serialize_entry(name, &Tagged("$sensitive", salted))?,
                None => map.serialize_entry(name, &Injective(value))?,
            }
        }
        map.end()
    }
}

/// The digest of a JSON value that holds no secret.
pub(crate) fn of_value(value: &Value) -> Digest {
    Digest(sha256(&canonical(&Injective(value))))
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
    #[derive(Serialize)]
    struct Request<'a> {
        server_id: &'a str,
        tool: &'a str,
        principal: &'a str,
        arguments: Arguments<'a>,
    }
    let arguments = Arguments { arguments, salts: None };
    sha256(&canonical(&Request { server_id, tool, principal, arguments }))
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
    let inner = sha256(&canonical(&Injective(value)));
    Sha256::new().chain_update(salt.0).chain_update(inner).finalize().into()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[expect(clippy::expect_used, reason = "string keys, finite numbers, and memory takes any write")]
fn canonical(value: &impl Serialize) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).expect("a JSON value has a canonical form")
}

/// RFC 8785 writes every number as a double, so 2^53 and 2^53 + 1 would share
/// a form. Integers past that become `{"$integer": "…"}`, and a key that
/// starts with `$` gets another one, so that no argument can imitate this.
/// So do other numbers that no double holds, which there are when some crate
/// of the program turns on serde_json's `arbitrary_precision`.
struct Injective<'a>(&'a Value);

impl Serialize for Injective<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EXACT: u64 = 1 << 53;
        match self.0 {
            Value::Number(number) => {
                let magnitude = number.as_u64().or(number.as_i64().map(i64::unsigned_abs));
                match magnitude {
                    Some(magnitude) if magnitude > EXACT => {
                        Tagged("$integer", &number.to_string()).serialize(serializer)
                    }
                    None if number.as_f64().and_then(Number::from_f64).as_ref() != Some(number) => {
                        Tagged("$number", &number.to_string()).serialize(serializer)
                    }
                    _ => number.serialize(serializer),
                }
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Injective)),
            Value::Object(entries) => serializer.collect_map(entries.iter().map(|(key, value)| {
                let key: Cow<'_, str> =
                    if key.starts_with('$') { format!("${key}").into() } else { key.into() };
                (key, Injective(value))
            })),
            value => value.serialize(serializer),
        }
    }
}

/// A value that no argument can be: its only key has one `$`.
struct Tagged<'a>(&'static str, &'a str);

impl Serialize for Tagged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, self.1)])
    }
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

    proptest! {
        #[test]
        fn equal_digests_mean_equal_arguments(a in json_value(), b in json_value()) {
            let same = digest(json!({ "v": a })) == digest(json!({ "v": b }));
            prop_assert_eq!(same, a == b);
        }
    }
}
