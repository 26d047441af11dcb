//! Login by a company's identity provider: OpenID Connect, by authorization
//! code with PKCE and a nonce.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use openidconnect::{
    AdditionalClaims, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest,
    HttpResponse, IdTokenFields, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, Scope, StandardErrorResponse, StandardTokenResponse, TokenResponse,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType,
        CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken,
        CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
    },
};
use reqwest::{Url, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::{InvalidName, Role, name};

/// How long the provider's description and keys are good.
const FRESH: Duration = Duration::from_secs(300);
/// How long the provider may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The largest answer of the provider, in bytes.
const LARGEST: usize = 1024 * 1024;

/// A company's identity provider, and what its groups may do here.
///
/// ```
/// use ascend_center::{OidcConfig, Role};
/// let config = OidcConfig::new("https://login.example", "ascend", "https://center.example")
///     .role("ops", Role::Approver)
///     .role("security", Role::Admin);
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to `ServeConfig::oidc`"]
pub struct OidcConfig {
    issuer: String,
    client_id: String,
    public_url: String,
    secret: Option<SecretString>,
    claim: String,
    roles: Vec<(String, Role)>,
}

impl OidcConfig {
    /// The provider's issuer, the center's client id there, and the address at
    /// which browsers reach the center. To be registered at the provider:
    /// `{public_url}/api/v1/oidc/callback`.
    pub fn new(
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        public_url: impl Into<String>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: client_id.into(),
            public_url: public_url.into(),
            secret: None,
            claim: "groups".to_owned(),
            roles: Vec::new(),
        }
    }

    /// The client's secret, where the provider gave one.
    pub fn secret(mut self, secret: SecretString) -> Self {
        self.secret = Some(secret);
        self
    }

    /// The claim of the ID token that names a person's groups: one text or a
    /// list. Default: `groups`.
    pub fn claim(mut self, claim: impl Into<String>) -> Self {
        self.claim = claim.into();
        self
    }

    /// The role of a group's members. Who is in several has the highest; who is
    /// in none does not get in.
    pub fn role(mut self, group: impl Into<String>, role: Role) -> Self {
        self.roles.push((group.into(), role));
        self
    }
}

/// Why nobody was logged in by the provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    #[error("{0:?} is no address that can be used for logins: https, or this machine")]
    Address(String),
    #[error("the identity provider cannot be used: {0}")]
    Provider(String),
    #[error("the identity provider's answer is not accepted: {0}")]
    Answer(String),
    #[error("the identity provider names nobody: {0}")]
    Name(#[from] InvalidName),
    #[error("none of their groups has a role here")]
    NoRole {
        /// Who they are to the provider.
        subject: String,
    },
}

/// All claims that the protocol does not define.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Extra(Map<String, Value>);

impl AdditionalClaims for Extra {}

type Fields = IdTokenFields<
    Extra,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

type Protocol = Client<
    Extra,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A login under way. The browser keeps it, where no page can read it.
pub(crate) struct Attempt {
    state: CsrfToken,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

impl Attempt {
    pub(crate) fn to_cookie(&self) -> String {
        let (state, nonce, verifier) =
            (self.state.secret(), self.nonce.secret(), self.verifier.secret());
        format!("{state}.{nonce}.{verifier}")
    }

    pub(crate) fn from_cookie(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(str::to_owned);
        let attempt = Self {
            state: CsrfToken::new(parts.next()?),
            nonce: Nonce::new(parts.next()?),
            verifier: PkceCodeVerifier::new(parts.next()?),
        };
        parts.next().is_none().then_some(attempt)
    }

    pub(crate) fn state(&self) -> &str {
        self.state.secret()
    }
}

/// Whom the provider vouches for.
#[derive(Debug)]
pub(crate) struct Vouched {
    /// Never given to another: the issuer, and its id for the person.
    pub(crate) subject: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Those whose names can be groups here.
    pub(crate) groups: BTreeSet<String>,
}

pub(crate) struct Provider {
    config: OidcConfig,
    issuer: IssuerUrl,
    redirect: RedirectUrl,
    http: reqwest::Client,
    known: Mutex<Option<(Instant, CoreProviderMetadata)>>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Provider {
    pub(crate) fn new(config: OidcConfig) -> Result<Self, OidcError> {
        let address = |text: &str| match text.parse::<Url>() {
            Ok(url) if is_safe(&url) => Ok(text.trim_end_matches('/').to_owned()),
            _ => Err(OidcError::Address(text.to_owned())),
        };
        address(&config.issuer)?;
        let unusable = |error: &dyn std::fmt::Display| OidcError::Provider(error.to_string());
        // As it is written: the ID token names it so.
        let issuer = IssuerUrl::new(config.issuer.clone()).map_err(|error| unusable(&error))?;
        let redirect = format!("{}/api/v1/oidc/callback", address(&config.public_url)?);
        let redirect = RedirectUrl::new(redirect).map_err(|error| unusable(&error))?;
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .build()
            .map_err(|error| unusable(&error))?;
        Ok(Self { config, issuer, redirect, http, known: Mutex::new(None) })
    }

    /// Where the browser goes, and what it takes along.
    pub(crate) async fn start(&self) -> Result<(Url, Attempt), OidcError> {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client().await?;
        let (url, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scopes(["profile", "email"].map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(challenge)
            .url();
        Ok((url, Attempt { state, nonce, verifier }))
    }

    /// Whom the provider vouches for with this code.
    pub(crate) async fn finish(
        &self,
        attempt: Attempt,
        code: String,
    ) -> Result<Vouched, OidcError> {
        let client = self.client().await?;
        let http = |request| fetch(self.http.clone(), request);
        let tokens = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| OidcError::Provider(error.to_string()))?
            .set_pkce_verifier(attempt.verifier)
            .request_async(&http)
            .await
            .map_err(|error| OidcError::Answer(error.to_string()))?;
        let token = tokens
            .id_token()
            .ok_or_else(|| OidcError::Answer("there is no ID token in it".to_owned()))?;
        // Its signature, issuer, audience, time and nonce.
        let claims = token
            .claims(&client.id_token_verifier(), &attempt.nonce)
            .map_err(|error| OidcError::Answer(error.to_string()))?;
        let groups = self.groups(&claims.additional_claims().0);
        let subject = format!("{} {}", self.config.issuer, claims.subject().as_str());
        let Some(role) = self.role(&groups) else { return Err(OidcError::NoRole { subject }) };
        let email = claims.email().filter(|_| claims.email_verified() == Some(true));
        let name = claims
            .preferred_username()
            .map(|name| name.to_lowercase())
            .or_else(|| email.map(|email| email.to_lowercase()))
            .unwrap_or_default();
        name::user(&name)?;
        let groups = groups.into_iter().filter(|group| name::group(group).is_ok());
        let groups = groups.map(str::to_owned).collect();
        Ok(Vouched { subject, name, role, groups })
    }

    /// What the provider calls the person's groups.
    fn groups<'a>(&self, claims: &'a Map<String, Value>) -> Vec<&'a str> {
        match claims.get(&self.config.claim) {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(group)) => vec![group.as_str()],
            _ => Vec::new(),
        }
    }

    /// The highest role of the person's groups.
    fn role(&self, groups: &[&str]) -> Option<Role> {
        let roles = self.config.roles.iter();
        roles.filter(|(group, _)| groups.contains(&group.as_str())).map(|(_, role)| *role).max()
    }

    async fn client(&self) -> Result<Protocol, OidcError> {
        let mut known = self.known.lock().await;
        let metadata = match &*known {
            Some((at, metadata)) if at.elapsed() < FRESH => metadata.clone(),
            _ => {
                let http = |request| fetch(self.http.clone(), request);
                let metadata = CoreProviderMetadata::discover_async(self.issuer.clone(), &http)
                    .await
                    .map_err(|error| OidcError::Provider(error.to_string()))?;
                *known = Some((Instant::now(), metadata.clone()));
                metadata
            }
        };
        drop(known);
        let id = ClientId::new(self.config.client_id.clone());
        let secret = self.config.secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        Ok(Client::from_provider_metadata(metadata, id, secret)
            .set_redirect_uri(self.redirect.clone()))
    }
}

/// Whether secrets may be sent there.
fn is_safe(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    url.scheme() == "https" || url.scheme() == "http" && loopback
}

/// Why the provider was not heard. Without the address: it can carry a code.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the request fails: {0}")]
    Http(reqwest::Error),
    #[error("the address is neither https nor this machine's")]
    Address,
    #[error("the answer is too large")]
    Large,
    #[error("the answer cannot be read")]
    Unreadable(#[from] openidconnect::http::Error),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

async fn fetch(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let request = reqwest::Request::try_from(request)?;
    if !is_safe(request.url()) {
        return Err(FetchError::Address);
    }
    let mut answer = http.execute(request).await?;
    let mut response = openidconnect::http::Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST {
            return Err(FetchError::Large);
        }
    }
    Ok(response.body(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Provider {
        let config = OidcConfig::new("https://login.example", "ascend", "https://center.example")
            .role("ops", Role::Approver)
            .role("all", Role::Viewer)
            .role("security", Role::Admin);
        Provider::new(config).expect("a provider")
    }

    #[test]
    fn the_highest_role_of_a_persons_groups_counts() {
        let provider = provider();
        for (groups, expected) in [
            (serde_json::json!(["all", "ops"]), Some(Role::Approver)),
            (serde_json::json!("security"), Some(Role::Admin)),
            (serde_json::json!(["others"]), None),
            (serde_json::json!({ "security": true }), None),
            (serde_json::json!([["security"]]), None),
        ] {
            let claims = Map::from_iter([("groups".to_owned(), groups.clone())]);
            assert_eq!(provider.role(&provider.groups(&claims)), expected, "{groups}");
        }
        assert_eq!(provider.role(&[]), None);
    }

    #[test]
    fn secrets_go_to_tls_or_this_machine_alone() {
        for issuer in ["http://login.example", "ftp://localhost", "login.example", ""] {
            let config = OidcConfig::new(issuer, "ascend", "https://center.example");
            assert!(matches!(Provider::new(config), Err(OidcError::Address(_))), "{issuer}");
        }
        let secret = provider().config.secret("s3cret".to_owned().into());
        assert!(!format!("{secret:?}").contains("s3cret"));
    }

    #[test]
    fn an_attempt_is_kept_by_the_browser() {
        let attempt = Attempt::from_cookie("a.b.c").expect("an attempt");
        assert_eq!((attempt.state(), &*attempt.to_cookie()), ("a", "a.b.c"));
        for text in ["", "a.b", "a.b.c.d"] {
            assert!(Attempt::from_cookie(text).is_none(), "{text}");
        }
    }
}
