//! Who sends a request, and to which host.

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};

use super::{Face, Problem};
use crate::{
    Approver,
    credential::{Identity, Role},
};

const API_KEY: &str = "x-api-key";

/// An agent, by its API key.
pub(super) struct AgentCaller(pub(super) Identity);

/// An approver, by their own credential.
pub(super) struct ApproverCaller(pub(super) Approver);

/// Either of them.
pub(super) struct AnyCaller(pub(super) Identity);

impl FromRequestParts<Face> for AnyCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Problem> {
        identify(face, &parts.headers).await.map(Self)
    }
}

impl FromRequestParts<Face> for AgentCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Problem> {
        let caller = identify(face, &parts.headers).await?;
        match caller.role {
            Role::Agent => Ok(Self(caller)),
            Role::Approver => Err(Problem::forbidden(
                "an approver's credential cannot act for an agent; use the agent's API key",
            )),
        }
    }
}

impl FromRequestParts<Face> for ApproverCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Problem> {
        Ok(Self(identify(face, &parts.headers).await?.approver()?))
    }
}

pub(super) fn has_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key(API_KEY)
}

/// Whose credential the request carries: `Authorization: Bearer`, or for agents
/// `X-API-Key`. Where both are sent, they must be the same.
pub(super) async fn identify(face: &Face, headers: &HeaderMap) -> Result<Identity, Problem> {
    let unreadable = || Problem::unauthorized("the credential cannot be read");
    let once = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| unreadable()),
            (Some(_), Some(_)) => Err(unreadable()),
        }
    };
    let bearer = once(header::AUTHORIZATION.as_str())?
        .map(|value| match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
            _ => Err(unreadable()),
        })
        .transpose()?;
    let key = once(API_KEY)?.map(str::trim);
    let token: SecretString = match (bearer, key) {
        (None, None) => {
            return Err(Problem::unauthorized(
                "send the API key as `Authorization: Bearer …` or `X-API-Key`",
            ));
        }
        (Some(bearer), Some(key)) if bearer != key => return Err(unreadable()),
        (Some(token), _) | (None, Some(token)) => token.into(),
    };
    if token.expose_secret().is_empty() {
        return Err(unreadable());
    }
    let caller = face.center.identify(&token).await?;
    if bearer.is_none() && caller.role == Role::Approver {
        return Err(Problem::unauthorized("approvers send `Authorization: Bearer …`"));
    }
    Ok(caller)
}

/// The names by which the center may be addressed.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    pub(super) fn new(more: Vec<String>) -> Self {
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let more = more.into_iter().map(|host| host.to_ascii_lowercase());
        Self(loopback.into_iter().chain(more).collect())
    }

    fn allow(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port))
                if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                name
            }
            _ => host,
        };
        let name = name.to_ascii_lowercase();
        self.0.contains(&name)
    }
}

/// A page in a browser can have its own name resolve to this machine; the
/// `Host` header tells.
pub(super) async fn check_host(State(face): State<Face>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    // A request line in absolute form carries a host of its own.
    let named = request.uri().host();
    let allowed = host.is_some_and(|host| face.hosts.allow(host))
        && named.is_none_or(|name| face.hosts.allow(name));
    if allowed {
        next.run(request).await
    } else {
        Problem::forbidden("the request is for a host that this center does not serve")
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_hosts_are_served() {
        let hosts = Hosts::new(vec!["Center.example".to_owned()]);
        for host in ["localhost", "127.0.0.1:8787", "[::1]:80", "LOCALHOST:1", "center.example"] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "::1",
            "localhost:x",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }
}
