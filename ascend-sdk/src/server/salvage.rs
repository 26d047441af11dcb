//! What can still be had from a line that is not readable JSON: the request's
//! id, so that its sender is answered, and text whose only fault is a cut emoji.

use serde_json::Value;

/// The longest id that is kept, as written in JSON.
const ID_LIMIT: usize = 256;

/// Finds the top-level `id` of a JSON object, byte by byte, without needing the
/// whole of it in memory, nor well-formed, nor shallow.
///
/// Clients differ in where they write the id (the TypeScript SDK puts it last),
/// so an over-long line has to be followed to its end.
#[derive(Debug, Default)]
pub(crate) struct IdScanner {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The string, or the bare value, that is being read at the top level.
    token: Vec<u8>,
    key: Option<Vec<u8>>,
    /// After a `:` at the top level.
    in_value: bool,
    id: Option<Value>,
    has_method: bool,
}

impl IdScanner {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.step(byte));
    }

    /// The id of what looks like a request.
    pub(crate) fn finish(mut self) -> Option<Value> {
        self.end_value();
        self.id.filter(|_| self.has_method)
    }

    fn step(&mut self, byte: u8) {
        let top = self.depth == 1;
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            if top {
                self.keep(byte);
                if !self.in_string && !self.in_value {
                    self.key = Some(std::mem::take(&mut self.token));
                }
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if top {
                    if !self.in_value {
                        self.token.clear();
                    }
                    self.keep(byte);
                }
            }
            b'{' | b'[' => {
                if top && self.in_value {
                    self.keep(byte);
                }
                self.depth = self.depth.saturating_add(1);
            }
            b'}' | b']' => {
                if top {
                    self.end_value();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if top => {
                self.in_value = true;
                self.token.clear();
            }
            b',' if top => self.end_value(),
            _ if top && self.in_value => self.keep(byte),
            _ => {}
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.token.len() <= ID_LIMIT {
            self.token.push(byte);
        }
    }

    fn end_value(&mut self) {
        let token = std::mem::take(&mut self.token);
        let key = self.key.take();
        if !std::mem::take(&mut self.in_value) {
            return;
        }
        match key.as_deref() {
            Some(b"\"method\"") => self.has_method = true,
            Some(b"\"id\"") if token.len() <= ID_LIMIT => {
                self.id = serde_json::from_slice(&token).ok().filter(is_id);
            }
            _ => {}
        }
    }
}

/// Whether JSON-RPC lets `value` be the id of a request. MCP forbids `null`.
pub(crate) fn is_id(value: &Value) -> bool {
    value.is_string() || value.is_number()
}

/// Replaces escapes of lone surrogates (`\ud83d` without its other half, which
/// `JSON.stringify` writes for a cut emoji) by the replacement character.
/// Returns whether there were any.
pub(crate) fn repair_surrogates(json: &mut [u8]) -> bool {
    let mut repaired = false;
    let mut at = 0;
    while at < json.len() {
        if json[at] != b'\\' {
            at += 1;
            continue;
        }
        match escaped_unit(json, at) {
            Some(0xD800..=0xDBFF)
                if matches!(escaped_unit(json, at + 6), Some(0xDC00..=0xDFFF)) =>
            {
                at += 12;
            }
            Some(0xD800..=0xDFFF) => {
                json[at + 2..at + 6].copy_from_slice(b"fffd");
                repaired = true;
                at += 6;
            }
            _ => at += 2,
        }
    }
    repaired
}

/// The code unit of the `\uXXXX` at `at`, if there is one.
fn escaped_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn id_of(line: &str) -> Option<Value> {
        let mut scanner = IdScanner::default();
        scanner.feed(line.as_bytes());
        scanner.finish()
    }

    #[test]
    fn the_id_is_found_wherever_it_stands() {
        assert_eq!(id_of(r#"{"id":7,"method":"x","params":{"id":8"#), Some(json!(7)));
        assert_eq!(
            id_of(r#"{"method":"x","params":{"id":8,"a":[{"id":9}]},"id":"a\"b"}"#),
            Some(json!("a\"b"))
        );
        assert_eq!(id_of(r#"{"method" : "tools/call" , "id" : 12 "#), Some(json!(12)));
        let deep = format!(
            r#"{{"method":"x","params":{}{},"id":3}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(id_of(&deep), Some(json!(3)));
    }

    #[test]
    fn what_is_no_request_has_none() {
        assert_eq!(id_of(r#"{"id":7,"result":{}"#), None);
        assert_eq!(id_of(r#"{"id":null,"method":"x""#), None);
        assert_eq!(id_of(r#"{"id":[1],"method":"x""#), None);
        assert_eq!(id_of(r#"[{"id":7,"method":"x"}]"#), None);
        assert_eq!(id_of(r#"{"params":"\"id\":7,\"method\":1"}"#), None);
        assert_eq!(id_of("\u{0}garbage"), None);
    }

    #[test]
    fn only_lone_surrogates_are_replaced() {
        let mut text =
            br#"["\ud83d","\ud83d\ude00","\ude00x","\\ud83d","\ud83d\ud83d\ude00"]"#.to_vec();
        assert!(repair_surrogates(&mut text));
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value, json!(["\u{fffd}", "😀", "\u{fffd}x", "\\ud83d", "\u{fffd}😀"]));
        let mut sound = br#"{"a":"\ud83d\ude00\\"}"#.to_vec();
        assert!(!repair_surrogates(&mut sound));
    }

    proptest! {
        #[test]
        fn any_sound_request_gives_its_id(
            id in prop_oneof![any::<i64>().prop_map(Value::from), ".{0,20}".prop_map(Value::from)],
            text in ".{0,40}",
            id_first in any::<bool>(),
        ) {
            let params = json!({ "id": 1, "method": text, "nested": [{ "id": "x" }] });
            let line = if id_first {
                format!(r#"{{"id":{id},"method":"m","params":{params}}}"#)
            } else {
                format!(r#"{{"params":{params},"method":"m","id":{id}}}"#)
            };
            prop_assert_eq!(id_of(&line), Some(id));
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut scanner = IdScanner::default();
            scanner.feed(&bytes);
            let _ = scanner.finish();
            let mut bytes = bytes;
            repair_surrogates(&mut bytes);
        }
    }
}
