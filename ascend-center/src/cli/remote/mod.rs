//! A center elsewhere, over its HTTP API.

mod events;
mod people;

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::Context as _;
use ascend_center::{Grant, Progress, Record};
use jiff::Timestamp;
use reqwest::{
    Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url, redirect::Policy,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{
    desk::{Approved, Raised},
    grants::{Bounds, Terms},
};
pub(crate) use events::Events;

const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Remote {
    http: Client,
    url: Url,
    token: SecretString,
}

/// Why a center elsewhere did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the center refuses ({status}): {detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("the center cannot be reached: {0:#}")]
    Unreachable(anyhow::Error),
    #[error("the answer is none of an authorization center: {0}")]
    Unreadable(String),
}

impl Remote {
    pub(crate) fn new(
        url: &str,
        token: Option<SecretString>,
        authority: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let url: Url = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        let loopback = url.host_str().is_some_and(is_loopback);
        anyhow::ensure!(
            url.scheme() == "https" || url.scheme() == "http" && loopback,
            "a token is sent to https:// alone, or to this machine: {url} is neither"
        );
        let token = token.context(
            "give a personal token with ASCEND_CENTER_TOKEN; an admin makes one with \
             `ascend-center users token create`",
        )?;
        let mut builder = Client::builder().timeout(TIMEOUT).redirect(Policy::none());
        if loopback {
            builder = builder.no_proxy();
        }
        if let Some(file) = authority {
            let unusable = || format!("{} cannot be used", file.display());
            let pem = std::fs::read(file).with_context(unusable)?;
            let certificates = Certificate::from_pem_bundle(&pem).with_context(unusable)?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self { http: builder.build()?, url, token })
    }

    pub(crate) fn command(&self) -> String {
        format!("ascend-center --url {}", self.url)
    }

    pub(crate) async fn pending(&self, limit: u32) -> Result<Vec<Record>, RemoteError> {
        let path = format!("api/v1/actions?status=pending&limit={limit}");
        let mut answer = self.send(Method::GET, &path, None).await?;
        read(answer["actions"].take())
    }

    pub(crate) async fn action(&self, id: i64) -> Result<Option<Record>, RemoteError> {
        match self.send(Method::GET, &format!("api/v1/actions/{id}"), None).await {
            Ok(answer) => read(answer).map(Some),
            Err(RemoteError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn kill_switch(&self) -> Result<Option<Raised>, RemoteError> {
        let mut answer = self.send(Method::GET, "api/sdk/kill-switch/status", None).await?;
        if answer["blocked"] == false {
            return Ok(None);
        }
        let at: Timestamp = read(answer["activated_at"].take())?;
        let (reason, by) = (read(answer["reason"].take())?, read(answer["activated_by"].take())?);
        Ok(Some(Raised { reason, at, by }))
    }

    pub(crate) async fn approve(
        &self,
        id: i64,
        comment: Option<String>,
        also: Option<Bounds>,
    ) -> Result<Approved, RemoteError> {
        let path = format!("api/v1/actions/{id}/approve");
        let body = json!({ "comment": comment, "also_for": also.as_ref().map(Bounds::to_json) });
        approved(self.send(Method::POST, &path, Some(body)).await?)
    }

    pub(crate) async fn take_back(&self, id: i64) -> Result<Approved, RemoteError> {
        approved(self.send(Method::DELETE, &format!("api/v1/actions/{id}/approve"), None).await?)
    }

    pub(crate) async fn reject(
        &self,
        id: i64,
        comment: Option<String>,
    ) -> Result<String, RemoteError> {
        let path = format!("api/v1/actions/{id}/reject");
        let body = json!({ "comment": comment });
        read(self.send(Method::POST, &path, Some(body)).await?["reviewed_by"].take())
    }

    pub(crate) async fn grants(&self) -> Result<Vec<Grant>, RemoteError> {
        read(self.send(Method::GET, "api/v1/grants", None).await?["grants"].take())
    }

    pub(crate) async fn grant(&self, terms: &Terms) -> Result<Grant, RemoteError> {
        read(self.send(Method::POST, "api/v1/grants", Some(terms.to_json())).await?)
    }

    pub(crate) async fn revoke_grant(&self, id: i64) -> Result<bool, RemoteError> {
        self.revoke(&format!("api/v1/grants/{id}")).await
    }

    /// Ends what the path names; whether it was good.
    async fn revoke(&self, path: &str) -> Result<bool, RemoteError> {
        read(self.send(Method::DELETE, path, None).await?["revoked"].take())
    }

    pub(crate) async fn kill(&self, reason: String) -> Result<(), RemoteError> {
        let body = json!({ "reason": reason });
        self.send(Method::POST, "api/v1/kill-switch", Some(body)).await.map(drop)
    }

    pub(crate) async fn release(&self) -> Result<bool, RemoteError> {
        let mut answer = self.send(Method::DELETE, "api/v1/kill-switch", None).await?;
        read(answer["released"].take())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, RemoteError> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(RemoteError::unreachable)?;
        if !answer.status().is_success() {
            return Err(Self::refusal(answer).await);
        }
        Self::json(answer).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.url.as_str().trim_end_matches('/');
        let request = self.http.request(method, format!("{base}/{path}"));
        request.bearer_auth(self.token.expose_secret())
    }

    async fn json(answer: Response) -> Result<Value, RemoteError> {
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(RemoteError::unreachable)?;
        serde_json::from_slice(&bytes)
            .map_err(|_| RemoteError::Unreadable(format!("{status}, and no JSON")))
    }

    async fn refusal(answer: Response) -> RemoteError {
        let status = answer.status();
        let answer = match Self::json(answer).await {
            Ok(answer) => answer,
            // What stands before the center says so in its own form.
            Err(RemoteError::Unreadable(_)) if status.is_server_error() => {
                let detail = "it is not the center that answers".to_owned();
                return RemoteError::Refused { status, detail };
            }
            Err(error) => return error,
        };
        let detail = match &answer["detail"] {
            Value::String(detail) => detail.clone(),
            Value::Array(fields) => fields.iter().map(unfit).collect::<Vec<_>>().join("; "),
            other => other.to_string(),
        };
        match status {
            StatusCode::NOT_FOUND => RemoteError::NotFound(detail),
            StatusCode::CONFLICT => RemoteError::Conflict(detail),
            status => RemoteError::Refused { status, detail },
        }
    }
}

impl RemoteError {
    /// Whether it may be better soon.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }

    fn unreachable(error: reqwest::Error) -> Self {
        Self::Unreachable(anyhow::Error::new(error))
    }
}

/// A field that does not fit, and why.
fn unfit(field: &Value) -> String {
    let name = field["loc"].as_array().and_then(|place| place.last()).and_then(Value::as_str);
    match (name, field["msg"].as_str()) {
        (Some(name), Some(message)) => format!("{name}: {message}"),
        _ => field.to_string(),
    }
}

fn approved(mut answer: Value) -> Result<Approved, RemoteError> {
    let is_approved = answer["state"] == "approved";
    let by: Option<String> = read(answer["reviewed_by"].take())?;
    let progress: Vec<Progress> = read(answer["approvals"].take())?;
    let told: Vec<String> = progress.iter().map(ToString::to_string).collect();
    let grant = match answer["grant"].take() {
        Value::Null => None,
        grant => Some(read(grant)?),
    };
    Ok(Approved { by: by.filter(|_| is_approved), approvals: told.join(", "), grant })
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, RemoteError> {
    serde_json::from_value(value).map_err(|error| RemoteError::Unreadable(error.to_string()))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_tls_or_this_machine_alone() {
        let token = || Some(SecretString::from("ascend_user_00"));
        for url in [
            "https://center.example",
            "http://localhost:8787",
            "http://[::1]:1",
            "http://127.0.0.1",
        ] {
            assert!(Remote::new(url, token(), None).is_ok(), "{url}");
        }
        for url in [
            "http://center.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "ftp://localhost",
            "localhost:8787",
            "",
        ] {
            assert!(Remote::new(url, token(), None).is_err(), "{url}");
        }
        assert!(Remote::new("https://center.example", None, None).is_err());
    }
}
