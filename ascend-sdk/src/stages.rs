//! The stages of a call, one by one, for the project's benches. Not for anyone
//! else: what is here changes with what it measures.

use serde_json::{Map, Value};

use crate::{Tool, server::message, tool};

/// Reads a line of a client: the arguments of the call, if it is one.
#[must_use]
pub fn read(line: Vec<u8>) -> Option<Map<String, Value>> {
    match message::read(line)? {
        message::Incoming::Request(request) => request.arguments.map(|arguments| arguments.0),
        _ => None,
    }
}

/// Makes a tool's arguments of them, and JSON again, which is what is evaluated.
#[must_use]
pub fn decode<T: Tool>(arguments: Map<String, Value>) -> Option<(T, Value)> {
    let arguments = tool::decode::<T>(arguments).ok()?;
    let value = arguments.write().ok()?;
    Some((arguments, value))
}
