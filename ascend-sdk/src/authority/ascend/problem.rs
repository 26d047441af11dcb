//! Answers that are no success.

use serde_json::Value;

use super::{
    answer::Fields,
    text::{ERROR_LIMIT, Quoter, REASON_LIMIT},
};
use crate::{ActionId, AuthorityError};

/// What an HTTP status other than 2xx, 429 and 5xx means.
#[derive(Debug)]
pub(super) enum Problem {
    /// A denial by governance in the dress of a 403: an unregistered or
    /// deactivated server, a blocked tool or model.
    Governance {
        reason: Option<String>,
        /// The server's name for the request.
        correlation: Option<ActionId>,
    },
    Error(AuthorityError),
}

impl Problem {
    pub(super) fn read(status: u16, body: &[u8], quoter: &Quoter) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        if status == 403
            && let Some(denial) = governance(&value, quoter)
        {
            return denial;
        }
        let text = describe(status, &value, quoter);
        Self::Error(match status {
            401 | 403 => AuthorityError::Unauthorized(text),
            300..=399 => AuthorityError::InvalidRequest(format!(
                "HTTP {status}, a redirect, which is not followed: set the base URL to where it leads"
            )),
            400..=499 => AuthorityError::InvalidRequest(text),
            _ => AuthorityError::Malformed(text),
        })
    }
}

fn governance(value: &Value, quoter: &Quoter) -> Option<Problem> {
    let detail = value.get("detail")?;
    let error = detail.get("error")?.as_str()?.to_lowercase();
    if !["governance", "violation"].iter().any(|word| error.contains(word)) {
        return None;
    }
    let fields = Fields::from_value(detail.clone()).ok()?;
    let correlation = fields.field("correlation_id").and_then(Value::as_str);
    Some(Problem::Governance {
        reason: fields.text(&["detail", "message", "error"], quoter),
        correlation: correlation.filter(|id| !quoter.holds_secret(id)).and_then(ActionId::new),
    })
}

/// `HTTP 422: verb: field required`, from any of the error bodies that
/// ASCEND's API has.
pub(super) fn describe(status: u16, value: &Value, quoter: &Quoter) -> String {
    match message(value) {
        Some(message) => format!("HTTP {status}: {}", quoter.quote(&message, ERROR_LIMIT)),
        None => format!("HTTP {status}"),
    }
}

fn message(value: &Value) -> Option<String> {
    const MOST: usize = 5;
    match value {
        Value::String(text) => Some(text.chars().take(REASON_LIMIT * 4).collect()),
        // Validation errors: which field, and what is wrong with it. Their
        // `input`, a value of ours, is left out.
        Value::Array(errors) => {
            let errors: Vec<_> = errors.iter().take(MOST).filter_map(validation_error).collect();
            (!errors.is_empty()).then(|| errors.join("; "))
        }
        Value::Object(object) => ["detail", "error", "message", "msg"]
            .iter()
            .find_map(|key| object.get(*key).and_then(message)),
        _ => None,
    }
}

fn validation_error(error: &Value) -> Option<String> {
    let text = error.get("msg")?.as_str()?;
    let place: Vec<_> = error
        .get("loc")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
        .skip_while(|part| part == "body")
        .collect();
    Some(if place.is_empty() { text.to_owned() } else { format!("{}: {text}", place.join(".")) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(status: u16, body: Value) -> Problem {
        Problem::read(status, body.to_string().as_bytes(), &Quoter::new(vec!["sesame".into()]))
    }

    fn error(status: u16, body: Value) -> AuthorityError {
        match read(status, body) {
            Problem::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn validation_errors_name_the_fields() {
        let body = json!({"detail": [
            {"loc": ["body", "session_id"], "msg": "Field required", "type": "missing", "input": {"secret": 1}},
            {"loc": ["body", "parameters", 0], "msg": "not a string", "type": "type"},
        ]});
        assert_eq!(
            error(422, body),
            AuthorityError::InvalidRequest(
                "HTTP 422: session_id: Field required; parameters.0: not a string".to_owned()
            )
        );
    }

    #[test]
    fn every_error_body_is_read() {
        for body in [
            json!({"detail": "no such thing"}),
            json!({"detail": "no such thing", "error_code": "X", "status": 404}),
            json!({"status": "error", "error": {"code": "X", "message": "no such thing"}}),
            json!({"detail": {"error": "no such thing", "retry_after": 1}}),
        ] {
            let expected = AuthorityError::InvalidRequest("HTTP 404: no such thing".to_owned());
            assert_eq!(error(404, body), expected);
        }
        assert_eq!(error(409, json!(null)), AuthorityError::InvalidRequest("HTTP 409".to_owned()));
    }

    #[test]
    fn credentials_and_governance_are_told_apart() {
        assert!(matches!(error(401, json!({"detail": "who?"})), AuthorityError::Unauthorized(_)));
        assert!(matches!(error(403, json!({"detail": "no"})), AuthorityError::Unauthorized(_)));
        let body = json!({"detail": {
            "error": "MCP Governance Violation", "detail": "tool blocked", "correlation_id": "c-1",
        }});
        let Problem::Governance { reason, correlation } = read(403, body.clone()) else {
            panic!("a denial");
        };
        assert_eq!(reason.as_deref(), Some("tool blocked"));
        assert_eq!(correlation.map(String::from).as_deref(), Some("c-1"));
        assert!(matches!(error(401, body), AuthorityError::Unauthorized(_)));
    }

    #[test]
    fn an_echoed_secret_is_not_quoted() {
        let text = error(400, json!({"detail": "bad key sesame"})).to_string();
        assert!(!text.contains("sesame"), "{text}");
    }
}
