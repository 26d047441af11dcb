//! ASCEND's webhook deliveries, which wake those who wait.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Ascend, Core, answer::action_id, config::ConfigError, signature};

/// How far a delivery's time may be from ours, in seconds.
const TOLERANCE: u64 = 300;
/// The most bytes of a delivery that are read.
const BODY_LIMIT: usize = 1 << 20;
/// How many deliveries are remembered, so that each wakes once.
const REMEMBERED: usize = 16_384;

/// The headers of ASCEND's versions: a signature, and the time that it covers.
const HEADERS: [[&str; 2]; 2] =
    [["x-ascend-signature", "x-ascend-timestamp"], ["x-owkai-signature", "x-owkai-timestamp"]];

/// Takes ASCEND's webhook deliveries from your own HTTP server, so that a
/// waiting call hears of its decision at once, not at its next question.
///
/// A delivery wakes, and nothing else: the call then asks ASCEND itself how its
/// action stands. Whoever forges one or sends it again can cause one question more.
///
/// ```no_run
/// # use ascend_sdk::{Governor, authority::{Ascend, ConfigError, Webhook}};
/// # fn example(secret: secrecy::SecretString) -> Result<(), ConfigError> {
/// let ascend = Ascend::builder("owkai_…".into()).build()?;
/// let webhook = ascend.webhook(secret)?;
/// let governor = Governor::new(ascend);
/// # Ok(())
/// # }
///
/// /// In the handler of a `POST`: the headers and the body as they came. With
/// /// axum, actix-web or hyper the headers are `headers.iter()`.
/// fn on_delivery(webhook: &Webhook, headers: &[(String, Vec<u8>)], body: &[u8]) -> u16 {
///     let headers = headers.iter().map(|(name, value)| (name, value));
///     match webhook.receive(headers, body) {
///         Ok(_) => 204,
///         Err(error) => error.http_status(),
///     }
/// }
/// ```
///
/// Taken is `X-ASCEND-Signature` or `X-OWkai-Signature`, `sha256=` or `v1=` and
/// the hexadecimal HMAC-SHA256, under the webhook's secret, over the header
/// `X-ASCEND-Timestamp` or `X-OWkai-Timestamp`, a dot, and the body, within 300 s.
#[derive(Clone)]
pub struct Webhook {
    core: Arc<Core>,
    secret: SecretString,
    accepts_body_only: bool,
    seen: Arc<Mutex<Seen>>,
}

/// What a sound delivery came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// A call waits for the action, and asks for it now.
    Woke,
    /// No call of this client waits for what it is about.
    NobodyWaits,
    /// It came before.
    Repeated,
}

/// Why a delivery was not taken. Nobody was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// It has no signature, or none in a known form.
    #[error("the delivery has no signature; expected `X-ASCEND-Signature: sha256=…`")]
    Unsigned,
    /// It has a signature and no time that the signature covers.
    #[error(
        "the delivery has no timestamp; if ASCEND signs only the body for you, say `.accept_body_only()`"
    )]
    Undated,
    /// A header of it is there twice.
    #[error("the delivery has a header twice")]
    Ambiguous,
    /// The signature does not fit: another secret, or a body that was changed
    /// or parsed and written anew on its way.
    #[error(
        "the delivery's signature does not fit; check the webhook's secret, and give the body as it came"
    )]
    Forged,
    /// It is more than 300 s old, or from the future.
    #[error("the delivery is not of these five minutes; check the clocks")]
    Stale,
    /// It is signed, and no JSON object.
    #[error("the delivery is no JSON object")]
    Malformed,
    /// It is longer than 1 MiB.
    #[error("the delivery is longer than 1 MiB")]
    TooLong,
}

impl WebhookError {
    /// The HTTP status that says so.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLong => 413,
            Self::Unsigned | Self::Undated | Self::Ambiguous | Self::Forged | Self::Stale => 401,
        }
    }
}

impl Ascend {
    /// Takes webhook deliveries that are signed with this secret, to wake the
    /// calls that wait for this client. Polling goes on beside it.
    ///
    /// # Errors
    ///
    /// When the secret is empty.
    pub fn webhook(&self, secret: SecretString) -> Result<Webhook, ConfigError> {
        if secret.expose_secret().is_empty() {
            return Err(ConfigError::WebhookSecret);
        }
        Ok(Webhook {
            core: self.core.clone(),
            secret,
            accepts_body_only: false,
            seen: Arc::default(),
        })
    }
}

impl Webhook {
    /// Also takes signatures over the body alone, which one version of ASCEND
    /// makes. They never grow old.
    #[must_use]
    pub fn accept_body_only(mut self) -> Self {
        self.accepts_body_only = true;
        self
    }

    /// Takes one delivery: its headers, in any order and case, and its body,
    /// byte for byte.
    ///
    /// # Errors
    ///
    /// When it is not shown to come from ASCEND, or cannot be read. Answer with
    /// [`WebhookError::http_status`]; else with a 2xx, or it is sent again.
    pub fn receive<N, V>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
    ) -> Result<Delivery, WebhookError>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        self.receive_at(headers, body, Timestamp::now().as_second())
    }

    fn receive_at<N, V>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
        now: i64,
    ) -> Result<Delivery, WebhookError>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        if body.len() > BODY_LIMIT {
            return Err(WebhookError::TooLong);
        }
        let signature = self.verify(headers, body, now)?;
        let Ok(Value::Object(payload)) = serde_json::from_slice(body) else {
            return Err(WebhookError::Malformed);
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let name = text(payload.get("id"))
            .or_else(|| text(payload.get("metadata").and_then(|data| data.get("idempotency_key"))));
        let key = match &name {
            Some(name) => Sha256::digest(name),
            None => Sha256::digest(&signature),
        };
        let is_new = self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key.into());
        if !is_new {
            return Ok(Delivery::Repeated);
        }
        let about = payload
            .get("data")
            .and_then(|data| data.get("action_id"))
            .or_else(|| payload.get("action_id"));
        let woke = about
            .and_then(|id| action_id(id, &self.core.client.quoter))
            .is_some_and(|id| self.core.waiting.wake(&id));
        Ok(if woke { Delivery::Woke } else { Delivery::NobodyWaits })
    }

    /// The signature that fits.
    fn verify<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
        now: i64,
    ) -> Result<Vec<u8>, WebhookError> {
        let mut found: [[Option<Vec<u8>>; 2]; 2] = Default::default();
        for (name, value) in headers {
            let name = name.as_ref().trim();
            for (known, place) in HEADERS.iter().flatten().zip(found.iter_mut().flatten()) {
                if name.eq_ignore_ascii_case(known)
                    && place.replace(value.as_ref().trim_ascii().to_owned()).is_some()
                {
                    return Err(WebhookError::Ambiguous);
                }
            }
        }
        let mut fault = WebhookError::Unsigned;
        for [signature, timestamp] in found {
            let Some(signature) = signature.as_deref().and_then(digits) else { continue };
            let dated = timestamp.as_deref().is_some_and(|timestamp| {
                signature::fits(&self.secret, &[timestamp, b".", body], &signature)
            });
            fault = match &timestamp {
                Some(timestamp) if dated && is_fresh(timestamp, now) => return Ok(signature),
                Some(_) if dated => WebhookError::Stale,
                Some(_) => WebhookError::Forged,
                None => WebhookError::Undated,
            };
            if self.accepts_body_only {
                if signature::fits(&self.secret, &[body], &signature) {
                    return Ok(signature);
                }
                if timestamp.is_none() {
                    fault = WebhookError::Forged;
                }
            }
        }
        Err(fault)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("accepts_body_only", &self.accepts_body_only)
            .finish_non_exhaustive()
    }
}

/// The deliveries that came, the oldest forgotten first.
#[derive(Default)]
struct Seen {
    keys: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Seen {
    fn insert(&mut self, key: [u8; 32]) -> bool {
        if !self.keys.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }
}

/// The bytes of `sha256=…` or `v1=…`.
fn digits(signature: &[u8]) -> Option<Vec<u8>> {
    let digits = signature.strip_prefix(b"sha256=").or_else(|| signature.strip_prefix(b"v1="))?;
    hex::decode(digits).ok()
}

/// Seconds since 1970, or a date as in RFC 3339.
fn is_fresh(timestamp: &[u8], now: i64) -> bool {
    std::str::from_utf8(timestamp)
        .ok()
        .and_then(|text| {
            text.parse().ok().or_else(|| Some(text.parse::<Timestamp>().ok()?.as_second()))
        })
        .is_some_and(|at: i64| at.abs_diff(now) <= TOLERANCE)
}

#[cfg(test)]
mod tests;
