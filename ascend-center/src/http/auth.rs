//! Who sends a request: an agent by its key, a person by a token, or by the
//! session that a login opened.

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Face, Problem,
    access::{self, Caller},
    origin::{Client, once},
};
use crate::{
    Approver, CredentialError,
    identity::{Agent, Identity, Person, Session},
};

const API_KEY: &str = "x-api-key";
pub(super) const CSRF_TOKEN: &str = "x-csrf-token";
/// Sent back to this host alone, over TLS alone (browsers take loopback for
/// safe), to every path.
pub(super) const COOKIE: &str = "__Host-ascend-session";

/// An agent, by its API key.
pub(super) struct AgentCaller(pub(super) Agent);

/// A person, by a token or a session.
pub(super) struct PersonCaller(pub(super) Person);

/// A person who may approve.
pub(super) struct ApproverCaller(pub(super) Approver);

/// An agent or a person.
pub(super) struct AnyCaller(pub(super) Identity);

/// An agent, a person, or nobody that is known.
pub(super) struct MaybeCaller(pub(super) Option<Identity>);

/// A person in a browser.
pub(super) struct SessionCaller {
    pub(super) token: SecretString,
    pub(super) session: Session,
}

/// A session that a request may have.
pub(super) struct MaybeSession(pub(super) Option<SessionCaller>);

/// Whom [`admit`] let in.
#[derive(Clone)]
struct Admitted {
    identity: Identity,
    session: Option<(SecretString, Session)>,
}

/// Who sent a request, for the log: their kind and name.
#[derive(Debug, Clone)]
pub(super) struct Principal(pub(super) String);

impl Principal {
    fn of(identity: &Identity) -> Self {
        Self(match identity {
            Identity::Agent(agent) => format!("agent {}", agent.name),
            Identity::Person(person) => format!("{} {}", person.role, person.name),
        })
    }
}

/// What a caller may know of: agents know only what is their own.
pub(super) trait Scope {
    /// The agent, when it is one.
    fn agent(&self) -> Option<&str>;
}

impl Scope for Agent {
    fn agent(&self) -> Option<&str> {
        Some(&self.name)
    }
}

impl Scope for Identity {
    fn agent(&self) -> Option<&str> {
        match self {
            Self::Agent(agent) => agent.agent(),
            Self::Person(_) => None,
        }
    }
}

/// Lets a request through to its endpoint when the table of who may call says so.
pub(super) async fn admit(State(face): State<Face>, request: Request, next: Next) -> Response {
    #[cfg(feature = "page")]
    let request = match super::page::lift_token(request).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let (mut parts, body) = request.into_parts();
    match check(&face, &parts).await {
        Ok(None) => next.run(Request::from_parts(parts, body)).await,
        Ok(Some(admitted)) => {
            let principal = Principal::of(&admitted.identity);
            parts.extensions.insert(admitted);
            let mut response = next.run(Request::from_parts(parts, body)).await;
            response.extensions_mut().insert(principal);
            response
        }
        #[cfg(feature = "page")]
        Err(problem) if super::page::is_page(&parts) => super::page::turned_away(problem, &parts),
        Err(problem) => problem.into_response(),
    }
}

async fn check(face: &Face, parts: &Parts) -> Result<Option<Admitted>, Problem> {
    // Without one there is no such endpoint.
    let Some(path) = parts.extensions.get::<MatchedPath>() else { return Ok(None) };
    let rule = access::rule(&parts.method, path.as_str())?;
    if rule == Caller::Anyone && !has_credential(&parts.headers) {
        return Ok(None);
    }
    let admitted = identify(face, parts).await?;
    rule.check(&admitted.identity, admitted.session.is_some())?;
    Ok(Some(admitted))
}

pub(super) fn has_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key(API_KEY)
}

/// Whose credential the request carries: `Authorization: Bearer`, or for agents
/// `X-API-Key`, or a session's cookie. Where both headers are sent, they must
/// be the same; next to a header, a cookie does not count.
async fn identify(face: &Face, parts: &Parts) -> Result<Admitted, Problem> {
    let client = client(parts)?;
    let Some((token, as_key)) = token(&parts.headers)? else {
        let (token, session) = session(face, &parts.headers).await?.ok_or_else(|| {
            Problem::unauthorized("send the API key as `Authorization: Bearer …` or `X-API-Key`")
        })?;
        if !is_safe(&parts.method) {
            check_intent(&parts.headers, client, &token)?;
        }
        let identity = Identity::Person(session.person.clone());
        return Ok(Admitted { identity, session: Some((token, session)) });
    };
    let identity = match face.center.identify(&token).await {
        Ok(identity) => identity,
        Err(CredentialError::Unknown) => {
            return Err(match face.center.gate().unknown_token(client.address) {
                Some(wait) => Problem::too_many("too many unknown credentials; wait", wait),
                None => Problem::unauthorized("the credential is not known"),
            });
        }
        Err(error) => return Err(error.into()),
    };
    if as_key && matches!(identity, Identity::Person(_)) {
        return Err(Problem::unauthorized("people send `Authorization: Bearer …`"));
    }
    Ok(Admitted { identity, session: None })
}

/// The token in a header, and whether it is sent as an API key alone.
fn token(headers: &HeaderMap) -> Result<Option<(SecretString, bool)>, Problem> {
    let unreadable = || Problem::unauthorized("the credential cannot be read");
    let read = |name: &str| match (headers.contains_key(name), once(headers, name)) {
        (true, None) => Err(unreadable()),
        (_, value) => Ok(value),
    };
    let bearer = read(header::AUTHORIZATION.as_str())?
        .map(|value| match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
            _ => Err(unreadable()),
        })
        .transpose()?;
    let key = read(API_KEY)?.map(str::trim);
    let token = match (bearer, key) {
        (None, None) => return Ok(None),
        (Some(bearer), Some(key)) if bearer != key => return Err(unreadable()),
        (Some(token), _) | (None, Some(token)) => token,
    };
    if token.is_empty() { Err(unreadable()) } else { Ok(Some((token.into(), bearer.is_none()))) }
}

/// What stands in a cookie that is sent once.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<SecretString> {
    let mut found = None;
    for value in headers.get_all(header::COOKIE) {
        for pair in value.to_str().ok()?.split(';') {
            match pair.trim().split_once('=') {
                Some((known, _)) if known == name && found.is_some() => return None,
                Some((known, value)) if known == name => found = Some(value.to_owned().into()),
                _ => {}
            }
        }
    }
    found
}

async fn session(
    face: &Face,
    headers: &HeaderMap,
) -> Result<Option<(SecretString, Session)>, Problem> {
    let Some(token) = cookie(headers, COOKIE) else { return Ok(None) };
    match face.center.resume(&token).await? {
        Some(session) => Ok(Some((token, session))),
        None => Err(Problem::unauthorized("the session is over; log in again")),
    }
}

pub(super) fn is_safe(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Browsers send a cookie along with what other pages make them send. So a
/// change by a session takes what only a page of this origin can give: the
/// browser's own word, and the session's CSRF token.
fn check_intent(headers: &HeaderMap, client: &Client, token: &SecretString) -> Result<(), Problem> {
    if is_own_page(headers, client) != Some(true) {
        return Err(Problem::forbidden("the request does not come from a page of this center"));
    }
    let sent = once(headers, CSRF_TOKEN).unwrap_or_default();
    if bool::from(sent.as_bytes().ct_eq(csrf_token(token).as_bytes())) {
        Ok(())
    } else {
        Err(Problem::forbidden("send the session's CSRF token as `X-CSRF-Token`"))
    }
}

/// What the browser says: whether a page of this origin sent it; `None` when
/// nothing was said, as by programs that are no browsers.
pub(super) fn is_own_page(headers: &HeaderMap, client: &Client) -> Option<bool> {
    let (site, origin) = ("sec-fetch-site", header::ORIGIN.as_str());
    if !headers.contains_key(site) && !headers.contains_key(origin) {
        return None;
    }
    let is =
        |name, expected: &str| !headers.contains_key(name) || once(headers, name) == Some(expected);
    Some(is(site, "same-origin") && is(origin, &client.origin))
}

/// Follows from the session's token, which pages cannot read, and does not lead
/// back to it.
pub(super) fn csrf_token(token: &SecretString) -> String {
    let mut hash = Sha256::new();
    hash.update(b"ascend csrf\0");
    hash.update(token.expose_secret());
    hex::encode(hash.finalize())
}

pub(super) fn client(parts: &Parts) -> Result<&Client, Problem> {
    parts.extensions.get::<Client>().ok_or_else(|| Problem::internal("the client is not known"))
}

fn admitted(parts: &Parts) -> Result<Admitted, Problem> {
    let admitted = parts.extensions.get::<Admitted>().cloned();
    admitted.ok_or_else(|| Problem::unauthorized("this takes a credential"))
}

impl FromRequestParts<Face> for AnyCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Problem> {
        Ok(Self(admitted(parts)?.identity))
    }
}

impl FromRequestParts<Face> for MaybeCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Problem> {
        Ok(Self(parts.extensions.get::<Admitted>().map(|admitted| admitted.identity.clone())))
    }
}

impl FromRequestParts<Face> for AgentCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Problem> {
        let identity = admitted(parts)?.identity;
        Caller::Agent.check(&identity, false)?;
        match identity {
            Identity::Agent(agent) => Ok(Self(agent)),
            Identity::Person(_) => Err(Problem::internal("a person passed for an agent")),
        }
    }
}

impl FromRequestParts<Face> for PersonCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Problem> {
        match admitted(parts)?.identity {
            Identity::Person(person) => Ok(Self(person)),
            Identity::Agent(_) => Err(CredentialError::NotAnApprover.into()),
        }
    }
}

impl FromRequestParts<Face> for ApproverCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Problem> {
        let PersonCaller(person) = PersonCaller::from_request_parts(parts, face).await?;
        Ok(Self(person.try_into()?))
    }
}

impl FromRequestParts<Face> for MaybeSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Problem> {
        let session = admitted(parts)?.session;
        Ok(Self(session.map(|(token, session)| SessionCaller { token, session })))
    }
}

impl FromRequestParts<Face> for SessionCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Problem> {
        let MaybeSession(session) = MaybeSession::from_request_parts(parts, face).await?;
        session.ok_or_else(|| Problem::forbidden("this takes a login in a browser, not a token"))
    }
}

/// Where a request comes from, and the session that its browser had, if any,
/// good or not.
pub(super) struct Visitor {
    pub(super) client: Client,
    pub(super) earlier: Option<SecretString>,
}

impl FromRequestParts<Face> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Problem> {
        Ok(Self { client: client(parts)?.clone(), earlier: cookie(&parts.headers, COOKIE) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: header::HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn one_session_cookie_counts() {
        let good = headers(&[("cookie", "a=1; __Host-ascend-session=xyz; b=2")]);
        assert_eq!(cookie(&good, COOKIE).expect("a cookie").expose_secret(), "xyz");
        for other in [
            "ascend-session=xyz",
            "__Host-ascend-session=a; __Host-ascend-session=b",
            "__host-ascend-session=x",
        ] {
            assert!(cookie(&headers(&[("cookie", other)]), COOKIE).is_none(), "{other}");
        }
    }

    #[test]
    fn only_a_page_of_this_origin_is_its_own() {
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let client = Client { address, origin: "https://center.example".to_owned() };
        let says = |pairs: &[(&str, &str)]| is_own_page(&headers(pairs), &client);
        let own = ("origin", "https://center.example");
        assert_eq!(says(&[]), None);
        assert_eq!(says(&[own]), Some(true));
        assert_eq!(says(&[("sec-fetch-site", "same-origin")]), Some(true));
        for pairs in [
            [("origin", "https://evil.example")].as_slice(),
            &[("origin", "http://center.example")],
            &[("origin", "null")],
            &[("sec-fetch-site", "same-site"), own],
            &[("sec-fetch-site", "cross-site"), own],
            &[("sec-fetch-site", "none")],
            &[own, own],
        ] {
            assert_eq!(says(pairs), Some(false), "{pairs:?}");
        }
    }
}
