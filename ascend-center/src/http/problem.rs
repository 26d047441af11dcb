//! Errors in ASCEND's shapes: `{"detail": "…"}`, and for a request that does
//! not fit `{"detail": [{"loc": […], "msg": "…", "type": "…"}]}`.

use std::time::Duration;

use axum::{
    Json,
    extract::rejection::BytesRejection,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{
    CredentialError, DecideError, StoreError,
    store::{ReportError, SubmitError},
};

/// When to come back after an outage of the database.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: Value,
    pub(super) retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Value>) -> Self {
        Self { status, detail: detail.into(), retry_after: None }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail.into())
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this endpoint does not take that method")
    }

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub(super) fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// To be tried again after `wait`.
    pub(super) fn too_many(detail: &str, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// The center is stopping.
    pub(super) fn draining() -> Self {
        let wait = Some(Duration::from_secs(1));
        let detail = "the center is stopping; ask another, or again in a moment";
        Self { retry_after: wait, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The status, and what is told: a text, or each field that does not fit.
    #[cfg(feature = "page")]
    pub(super) fn told(&self) -> (StatusCode, String) {
        let field = |error: &Value| {
            let field = error["loc"].as_array().and_then(|loc| loc.last()).and_then(Value::as_str);
            let message = error["msg"].as_str().unwrap_or_default();
            field.map_or_else(|| message.to_owned(), |field| format!("{field}: {message}"))
        };
        let text = match &self.detail {
            Value::String(text) => text.clone(),
            Value::Array(errors) => errors.iter().map(field).collect::<Vec<_>>().join("; "),
            other => other.to_string(),
        };
        (self.status, text)
    }

    /// The text is for the log; the client learns only that it failed.
    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the center failed; its log says why")
    }

    /// One field that does not fit.
    pub(super) fn invalid(place: &str, field: &str, expected: &str, kind: &str) -> Self {
        let message = format!("expected {expected}");
        Self::unprocessable(vec![json!({ "loc": [place, field], "msg": message, "type": kind })])
    }

    /// One field that does not fit, and why.
    pub(super) fn unfit(place: &str, field: &str, message: &str) -> Self {
        let place = [place, field];
        Self::unprocessable(vec![json!({ "loc": place, "msg": message, "type": "value_error" })])
    }

    /// As it is answered among others.
    pub(super) fn answer(self) -> (StatusCode, ProblemAnswer) {
        (self.status, ProblemAnswer { detail: self.detail })
    }

    pub(super) fn unprocessable(errors: Vec<Value>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, errors)
    }
}

/// Why a request was not served.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProblemAnswer {
    #[schema(value_type = Detail)]
    detail: Value,
}

/// A text, the fields that do not fit, or an object with `error`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `Problem::detail` can be")]
enum Detail {
    Text(String),
    Fields(Vec<WrongField>),
    Object(Map<String, Value>),
}

/// A field that does not fit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WrongField {
    /// Names, and places in lists.
    #[schema(value_type = Vec<Value>)]
    loc: Vec<Value>,
    msg: String,
    r#type: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(ProblemAnswer { detail: self.detail });
        if self.status == StatusCode::UNAUTHORIZED {
            return (self.status, [("www-authenticate", "Bearer")], body).into_response();
        }
        let mut response = (self.status, body).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if !error.is_outage() {
            return Self::internal(error);
        }
        tracing::error!(%error, "a request could not be served");
        let detail = "the center's database cannot be reached at present; try again";
        Self { retry_after: Some(RETRY), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        let detail = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                "the request body is larger than this center takes".to_owned()
            }
            _ => "the request body could not be read".to_owned(),
        };
        Self::new(rejection.status(), detail)
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::KeyReused(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            SubmitError::Unfit(field) => Self::unfit("body", field, &error.to_string()),
            SubmitError::Store(error) => error.into(),
        }
    }
}

impl From<DecideError> for Problem {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Unknown(_) => Self::not_found(error.to_string()),
            DecideError::NotPending(_) | DecideError::Reserved(_) | DecideError::KillSwitch => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            DecideError::NoVote(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            DecideError::NotAllowed(error) => error.into(),
            DecideError::OwnRequest(_) | DecideError::NotAmong { .. } => {
                Self::new(StatusCode::FORBIDDEN, error.to_string())
            }
            DecideError::Grant(error) => error.into(),
            DecideError::Store(error) => error.into(),
        }
    }
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Unknown(_) => Self::not_found(error.to_string()),
            ReportError::Conflict(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            ReportError::Store(error) => error.into(),
        }
    }
}

impl From<CredentialError> for Problem {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Unknown => Self::unauthorized("the credential is not known"),
            CredentialError::NotAnApprover => {
                Self::forbidden("an agent's key can neither approve nor reject")
            }
            CredentialError::NotAllowed(error) => error.into(),
            CredentialError::Store(error) => error.into(),
            error => Self::internal(error),
        }
    }
}
