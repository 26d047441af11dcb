//! One line from a client, read as JSON-RPC.
//!
//! rmcp reads a line straight into its typed message and drops what does not
//! fit. Here each line becomes either a message or a complaint that can be
//! answered.

use rmcp::model::{
    CallToolRequest, CallToolRequestMethod, CallToolRequestParams, CancelledNotification,
    ClientNotification, ClientRequest, ClientResult, ErrorCode, ErrorData, InitializeRequestParams,
    JsonRpcVersion2_0, ProtocolVersion, RequestId, RequestMetaObject,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::salvage::{IdScanner, is_id, repair_surrogates};

/// What a line says.
#[derive(Debug)]
pub(crate) enum Incoming {
    Request(Box<Request>),
    /// A notification that rmcp knows. Cancellations stand apart: they name a request.
    Notification(ClientNotification),
    Cancelled {
        id: Value,
        notification: CancelledNotification,
    },
    Response {
        id: RequestId,
        result: Result<ClientResult, ErrorData>,
    },
    /// It asks for nothing and means nothing to this server; for the log.
    Ignored(&'static str),
    /// It must be answered with an error, under its id if it has one.
    Complaint(Complaint),
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: Value,
    pub(crate) request: ClientRequest,
    pub(crate) arguments: Option<HiddenArguments>,
}

#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) id: Option<Value>,
    pub(crate) error: ErrorData,
}

/// A call's arguments, taken out of the message so that nothing which logs the
/// message logs them.
#[derive(Clone)]
pub(crate) struct HiddenArguments(pub(crate) Map<String, Value>);

impl std::fmt::Debug for HiddenArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HiddenArguments(..)")
    }
}

/// Reads a line. `None` for an empty one.
pub(crate) fn read(mut line: Vec<u8>) -> Option<Incoming> {
    const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
    let start = if line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let text = &mut line[start..];
    if text.trim_ascii().is_empty() {
        return None;
    }
    if let Ok(call) = serde_json::from_slice::<Call>(text)
        && is_id(&call.id)
    {
        return Some(Incoming::Request(Box::new(call.into())));
    }
    let parsed = serde_json::from_slice::<Value>(text).or_else(|error| {
        // A cut emoji is no reason to refuse a call: its arguments are read
        // with U+FFFD there, and those are evaluated, shown and run.
        if repair_surrogates(text) { serde_json::from_slice(text) } else { Err(error) }
    });
    Some(match parsed {
        Ok(Value::Object(message)) => of_object(message),
        Ok(Value::Array(_)) => complain(
            None,
            ErrorData::invalid_request(
                "batches are not supported; send one message per line",
                None,
            ),
        ),
        Ok(_) => complain(None, ErrorData::invalid_request("a message is a JSON object", None)),
        Err(error) => {
            let mut scanner = IdScanner::default();
            scanner.feed(text);
            // serde_json's texts quote no input beyond single characters.
            complain(scanner.finish(), ErrorData::parse_error(unreadable(&error), None))
        }
    })
}

/// The usual message, a plain call, read without a detour: what has more in it,
/// or something wrong, is read as any other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    #[expect(dead_code, reason = "only the one version is a call")]
    jsonrpc: JsonRpcVersion2_0,
    id: Value,
    method: CallToolRequestMethod,
    params: CallParams,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallParams {
    name: String,
    arguments: Option<Map<String, Value>>,
    _meta: Option<RequestMetaObject>,
}

impl From<Call> for Request {
    fn from(call: Call) -> Self {
        let Call { id, method, params, .. } = call;
        let CallParams { name, arguments, _meta } = params;
        let mut request = CallToolRequest::new(CallToolRequestParams::new(name));
        request.method = method;
        if let Some(meta) = _meta {
            request.extensions.insert(meta);
        }
        let request = ClientRequest::CallToolRequest(request);
        Self { id, request, arguments: arguments.map(HiddenArguments) }
    }
}

/// The complaint about a line that was too long to read.
pub(crate) fn too_long(id: Option<Value>, limit: usize) -> Complaint {
    let text = format!("the message is longer than {limit} bytes; send less in one call");
    Complaint { id, error: ErrorData::new(ErrorCode::PARSE_ERROR, text, None) }
}

fn unreadable(error: &serde_json::Error) -> String {
    if error.to_string().starts_with("recursion limit exceeded") {
        "the message is nested more than 127 levels deep".to_owned()
    } else {
        format!("the message is not JSON: {error}")
    }
}

fn complain(id: Option<Value>, error: ErrorData) -> Incoming {
    Incoming::Complaint(Complaint { id, error })
}

fn of_object(mut message: Map<String, Value>) -> Incoming {
    let id = message.remove("id");
    let method = message.remove("method");
    let known_id = id.clone().filter(is_id);
    let invalid =
        |text: &str| complain(known_id.clone(), ErrorData::invalid_request(text.to_owned(), None));
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return invalid("a message has `\"jsonrpc\": \"2.0\"`");
    }
    let params = message.remove("params");
    match (method, id) {
        (Some(Value::String(method)), None) => notification(method, params),
        (Some(Value::String(method)), Some(id)) if is_id(&id) => request(id, method, params),
        (Some(Value::String(_)), Some(_)) => invalid("the id of a request is a string or a number"),
        (Some(_), _) => invalid("the method of a request is a string"),
        (None, id) => match (message.remove("result"), message.remove("error")) {
            (None, None) => invalid("a message has a `method`, a `result` or an `error`"),
            (result, error) => response(id, result, error),
        },
    }
}

fn response(id: Option<Value>, result: Option<Value>, error: Option<Value>) -> Incoming {
    let Some(id) = id.and_then(|id| serde_json::from_value(id).ok()) else {
        return Incoming::Ignored("a response without an id");
    };
    let malformed =
        |_| ErrorData::internal_error("the client's response cannot be understood", None);
    let result = match (result, error) {
        (Some(result), None) => serde_json::from_value(result).map_err(malformed),
        (_, error) => {
            Err(serde_json::from_value(error.unwrap_or_default()).unwrap_or_else(malformed))
        }
    };
    Incoming::Response { id, result }
}

fn notification(method: String, params: Option<Value>) -> Incoming {
    let cancelled = (method == "notifications/cancelled")
        .then(|| params.as_ref()?.get("requestId").cloned())
        .flatten();
    let mut message = json!({ "method": method });
    if let Some(mut params) = params {
        // The id is this client's, and may be one that rmcp has no type for.
        if cancelled.is_some() {
            params["requestId"] = Value::from(0);
        }
        message["params"] = params;
    }
    match (serde_json::from_value(message), cancelled) {
        (Ok(ClientNotification::CancelledNotification(notification)), Some(id)) => {
            Incoming::Cancelled { id, notification }
        }
        (Ok(ClientNotification::CancelledNotification(_)), None) => {
            Incoming::Ignored("a cancellation that names no request")
        }
        (Ok(ClientNotification::CustomNotification(_)) | Err(_), _) => {
            Incoming::Ignored("an unknown or malformed notification")
        }
        (Ok(notification), _) => Incoming::Notification(notification),
    }
}

fn request(id: Value, method: String, mut params: Option<Value>) -> Incoming {
    if let Some(fault) = fault_of_request(&method, params.as_ref()) {
        return complain(Some(id), ErrorData::invalid_params(fault, None));
    }
    let arguments = (method == "tools/call")
        .then(|| params.as_mut()?.as_object_mut()?.remove("arguments"))
        .flatten();
    let is_call = method == "tools/call";
    let mut message = Map::from_iter([("method".to_owned(), Value::String(method))]);
    if let Some(params) = params {
        message.insert("params".to_owned(), params);
    }
    let message = Value::Object(message);
    let request = if is_call {
        // Straight to the one type: the union below tries its members in turn.
        serde_json::from_value::<CallToolRequest>(message).map(ClientRequest::CallToolRequest)
    } else {
        serde_json::from_value::<ClientRequest>(message)
    };
    match request {
        Ok(request) => {
            let arguments = match arguments {
                Some(Value::Object(arguments)) => Some(HiddenArguments(arguments)),
                _ => None,
            };
            Incoming::Request(Box::new(Request { id, request, arguments }))
        }
        Err(error) => complain(
            Some(id),
            ErrorData::invalid_params(format!("malformed params: {error}"), None),
        ),
    }
}

/// What is wrong with the params of a request, where rmcp would take it for a
/// method that it does not know.
pub(crate) fn fault_of_request(method: &str, params: Option<&Value>) -> Option<String> {
    let params = match params {
        Some(Value::Object(params)) => Some(params),
        None => None,
        Some(_) => return Some(format!("`params` of `{method}` must be an object")),
    };
    match method {
        "tools/call" => {
            let Some(params) = params else {
                return Some("`tools/call` needs `params` with the `name` of a tool".to_owned());
            };
            match params.get("name") {
                Some(Value::String(_)) => {}
                Some(_) => return Some("`name` of `tools/call` must be a string".to_owned()),
                None => return Some("`tools/call` needs the `name` of a tool".to_owned()),
            }
            match params.get("arguments") {
                None | Some(Value::Object(_) | Value::Null) => {}
                Some(_) => {
                    return Some("`arguments` of `tools/call` must be an object".to_owned());
                }
            }
            fault_of_meta(method, params)
        }
        "initialize" => {
            let params = params.cloned().unwrap_or_default();
            fault_of_meta(method, &params).or_else(|| {
                serde_path_to_error::deserialize::<_, InitializeRequestParams>(Value::Object(
                    params,
                ))
                .err()
                .map(|error| {
                    let path = error.path().to_string();
                    let place = if path == "." { String::new() } else { format!("`{path}`: ") };
                    format!("malformed params of `initialize`: {place}{}", error.inner())
                })
            })
        }
        "tools/list"
            if params.is_some_and(|params| {
                params.get("cursor").is_some_and(|cursor| !cursor.is_string() && !cursor.is_null())
            }) =>
        {
            Some("`cursor` of `tools/list` must be a string".to_owned())
        }
        _ => params.and_then(|params| fault_of_meta(method, params)),
    }
}

fn fault_of_meta(method: &str, params: &Map<String, Value>) -> Option<String> {
    let sound = params.get("_meta").is_none_or(|meta| meta.is_object() || meta.is_null());
    (!sound).then(|| format!("`_meta` of `{method}` must be an object"))
}

/// The version that a request names for itself.
pub(crate) fn inline_version(request: &ClientRequest) -> Option<ProtocolVersion> {
    use rmcp::model::GetMeta as _;
    request.get_meta().protocol_version()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Incoming {
        read(line.as_bytes().to_vec()).expect("not empty")
    }

    fn complaint(line: &str) -> (Option<Value>, i32, String) {
        match of(line) {
            Incoming::Complaint(Complaint { id, error }) => {
                (id, error.code.0, error.message.into_owned())
            }
            other => panic!("not a complaint: {other:?}"),
        }
    }

    #[test]
    fn a_call_is_read_without_its_arguments() {
        let line = r#"{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"t","arguments":{"secret":"hunter2"},"_meta":{"progressToken":0}}}"#;
        let incoming = of(line);
        assert!(!format!("{incoming:?}").contains("hunter2"));
        let Incoming::Request(request) = incoming else { panic!("{incoming:?}") };
        assert_eq!(request.id, json!(1.5));
        assert_eq!(
            request.arguments.map(|arguments| arguments.0["secret"].clone()),
            Some(json!("hunter2"))
        );
        let ClientRequest::CallToolRequest(call) = request.request else { panic!("a call") };
        assert_eq!(call.params.name, "t");
        assert!(call.params.arguments.is_none());
    }

    /// What rmcp is given, and the arguments beside it.
    fn call(line: &str) -> (Value, Value) {
        let Incoming::Request(request) = of(line) else { panic!("a request: {line}") };
        let arguments = request.arguments.map(|arguments| arguments.0);
        (serde_json::to_value(&request.request).expect("JSON"), json!(arguments))
    }

    #[test]
    fn a_plain_call_reads_as_any_other() {
        for params in [
            r#""name":"t""#,
            r#""name":"t","arguments":null,"_meta":null"#,
            r#""arguments":{"a":{"b":[1,"é"]},"a":2},"name":"t""#,
            r#""name":"t","_meta":{"progressToken":7,"x":{}},"arguments":{}"#,
        ] {
            let line = |more: &str| {
                format!(
                    r#" {{"id":"a","jsonrpc":"2.0","method":"tools/call","params":{{{params}}}{more}}}"#
                )
            };
            // A field that nobody knows is passed over, and takes the long way.
            assert_eq!(call(&line("")), call(&line(r#","unknown":1"#)), "{params}");
        }
    }

    #[test]
    fn every_fault_is_named() {
        for (line, id, code, words) in [
            ("{", None, -32700, "not JSON"),
            (r#"{"jsonrpc":"2.0","id":3,"method":"ping","#, Some(json!(3)), -32700, "not JSON"),
            ("[]", None, -32600, "batches"),
            ("17", None, -32600, "JSON object"),
            (r#"{"id":3,"method":"ping"}"#, Some(json!(3)), -32600, "jsonrpc"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None, -32600, "string or a number"),
            (r#"{"jsonrpc":"2.0","id":"a","method":5}"#, Some(json!("a")), -32600, "method"),
            (r#"{"jsonrpc":"2.0","id":"a"}"#, Some(json!("a")), -32600, "`method`, a `result`"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, Some(json!(1)), -32602, "params"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}"#,
                Some(json!(1)),
                -32602,
                "object",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#,
                Some(json!(1)),
                -32602,
                "`name`",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":"x"}}"#,
                Some(json!(1)),
                -32602,
                "`arguments`",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#,
                Some(json!(1)),
                -32602,
                "clientInfo",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x"}}}"#,
                Some(json!(1)),
                -32602,
                "`clientInfo`: missing field `version`",
            ),
        ] {
            let (found_id, found_code, message) = complaint(line);
            assert_eq!((found_id, found_code), (id, code), "{line}");
            assert!(message.contains(words), "{line}: {message}");
        }
    }

    #[test]
    fn what_asks_for_nothing_is_ignored() {
        for line in [
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t"}}"#,
            r#"{"jsonrpc":"2.0","method":"$/setTrace","params":[]}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#,
        ] {
            assert!(matches!(of(line), Incoming::Ignored(_)), "{line}");
        }
        assert!(read(b"  \r".to_vec()).is_none());
    }

    #[test]
    fn a_cancellation_names_any_id() {
        let line = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1.5,"reason":"r"}}"#;
        let Incoming::Cancelled { id, notification } = of(line) else { panic!("a cancellation") };
        assert_eq!(id, json!(1.5));
        assert_eq!(notification.params.reason.as_deref(), Some("r"));
    }
}
