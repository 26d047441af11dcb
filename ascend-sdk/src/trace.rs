//! W3C Trace Context: which trace a call belongs to.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The trace that a call belongs to, as its client told: W3C's `traceparent`
/// with its `tracestate` and `baggage`.
///
/// MCP reserves the keys of these names in a request's `_meta`
/// ([SEP-414](https://modelcontextprotocol.io/seps/414)). What is not as
/// [W3C](https://www.w3.org/TR/trace-context/) says is as if it were not there:
/// it is never a reason to refuse a call.
///
/// ```
/// use ascend_sdk::TraceContext;
/// let told = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = TraceContext::new(told).unwrap();
/// assert_eq!(trace.parent().trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(trace.parent().to_string(), told);
/// assert!(TraceContext::new("00-0-0-01").is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    parent: TraceParent,
    state: Option<Arc<str>>,
    baggage: Option<Arc<str>>,
}

/// The most bytes of a `tracestate` that are passed on: those that W3C asks
/// everybody to pass on.
const STATE_LIMIT: usize = 512;
/// The most members of a `tracestate`, by W3C.
const MEMBERS_LIMIT: usize = 32;
/// The most bytes of a `baggage`, by W3C.
const BAGGAGE_LIMIT: usize = 8192;

impl TraceContext {
    /// A context from the text of a `traceparent`; `None` where it is malformed.
    #[must_use]
    pub fn new(parent: &str) -> Option<Self> {
        Some(Self::from(TraceParent::parse(parent)?))
    }

    /// Adds a `tracestate`, unless it is malformed or longer than 512 bytes.
    #[must_use]
    pub fn with_state(mut self, state: &str) -> Self {
        let is_member = |member: &str| {
            let member = member.trim();
            member.is_empty()
                || member.split_once('=').is_some_and(|(key, value)| {
                    !key.is_empty() && !value.is_empty() && !value.contains('=')
                })
        };
        let is_sound = is_visible(state, STATE_LIMIT)
            && state.split(',').count() <= MEMBERS_LIMIT
            && state.split(',').all(is_member);
        self.state = is_sound.then(|| state.into());
        self
    }

    /// Adds a `baggage`, unless it is malformed or longer than 8192 bytes.
    #[must_use]
    pub fn with_baggage(mut self, baggage: &str) -> Self {
        self.baggage = is_visible(baggage, BAGGAGE_LIMIT).then(|| baggage.into());
        self
    }

    /// The span that the call was made in.
    #[must_use]
    pub fn parent(&self) -> TraceParent {
        self.parent
    }

    /// The `tracestate`, for whoever is asked on behalf of the call.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The `baggage`: what the client wants those to know who work for it. It
    /// can hold anything, so this crate passes it on to nobody but the body.
    #[must_use]
    pub fn baggage(&self) -> Option<&str> {
        self.baggage.as_deref()
    }
}

impl From<TraceParent> for TraceContext {
    fn from(parent: TraceParent) -> Self {
        Self { parent, state: None, baggage: None }
    }
}

fn is_visible(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// One span of a trace: W3C's `traceparent`. As JSON it is a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// Reads a `traceparent`; `None` where it is malformed. Of versions to come
    /// the part is read that version 00 knows, as W3C asks.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        const LENGTH: usize = 55;
        let bytes = text.as_bytes();
        let known = bytes.get(..LENGTH)?;
        let version = byte(&known[..2])?;
        let ends = match version {
            0 => bytes.len() == LENGTH,
            0xff => false,
            _ => bytes.get(LENGTH).is_none_or(|&next| next == b'-'),
        };
        if !ends || [2, 35, 52].iter().any(|&dash| known[dash] != b'-') {
            return None;
        }
        let mut parent = Self { trace_id: [0; 16], span_id: [0; 8], flags: byte(&known[53..])? };
        read(&known[3..35], &mut parent.trace_id)?;
        read(&known[36..52], &mut parent.span_id)?;
        let is_sound = parent.trace_id != [0; 16] && parent.span_id != [0; 8];
        is_sound.then_some(parent)
    }

    #[cfg(feature = "opentelemetry")]
    pub(crate) fn of(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Self {
        Self { trace_id, span_id, flags }
    }

    #[cfg(feature = "opentelemetry")]
    pub(crate) fn parts(self) -> ([u8; 16], [u8; 8], u8) {
        (self.trace_id, self.span_id, self.flags)
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace_id)
    }

    /// The span's id: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        hex::encode(self.span_id)
    }
}

/// As a `traceparent` of version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, span_id, flags } = self;
        write!(f, "00-{}-{}-{flags:02x}", hex::encode(trace_id), hex::encode(span_id))
    }
}

impl TryFrom<String> for TraceParent {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a traceparent is `00-`, 32, 16 and 2 hexadecimal digits")
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({self})")
    }
}

/// W3C has lower case only.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn byte(pair: &[u8]) -> Option<u8> {
    Some(digit(pair[0])? << 4 | digit(pair[1])?)
}

fn read(text: &[u8], into: &mut [u8]) -> Option<()> {
    for (pair, place) in text.chunks_exact(2).zip(into) {
        *place = byte(pair)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_w3c_calls_malformed_is_not_read() {
        let sound = |text: &str| TraceParent::parse(text).is_some();
        assert!(sound(PARENT));
        for (text, is_sound) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", false),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what-comes", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01", false),
            ("", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01", false),
        ] {
            assert_eq!(sound(text), is_sound, "{text}");
        }
    }

    #[test]
    fn a_state_that_no_header_can_carry_is_left_out() {
        let with = |state: &str| {
            TraceContext::from(TraceParent::parse(PARENT).expect("sound"))
                .with_state(state)
                .state()
                .map(str::to_owned)
        };
        let sound = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
        assert_eq!(with(sound).as_deref(), Some(sound));
        for state in ["", "a", "=b", "a=b\r\nx-api-key: c", "é=1", &"a=b,".repeat(33)] {
            assert_eq!(with(state), None, "{state:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not_and_what_is_read_is_written_the_same(text in ".{0,80}") {
            if let Some(parent) = TraceParent::parse(&text) {
                prop_assert_eq!(&parent.to_string()[2..], &text[2..55]);
            }
        }

        #[test]
        fn a_sound_one_survives(trace in "[0-9a-f]{31}[1-9a-f]", span in "[1-9a-f][0-9a-f]{15}", flags in "[0-9a-f]{2}") {
            let text = format!("00-{trace}-{span}-{flags}");
            prop_assert_eq!(TraceParent::parse(&text).expect("sound").to_string(), text);
        }
    }
}
