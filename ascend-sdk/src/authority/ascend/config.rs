//! Where ASCEND is, who asks, and how patiently.

use std::{borrow::Cow, fmt, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use super::{Ascend, wire::Agent};
use crate::LONGEST;

/// Where ASCEND is when nothing else is said.
pub(super) const DEFAULT_BASE_URL: &str = "https://pilot.owkai.app";

const API_KEY: [&str; 2] = ["ASCEND_API_KEY", "OWKAI_API_KEY"];
const BASE_URL: [&str; 3] = ["ASCEND_BASE_URL", "ASCEND_API_URL", "OWKAI_API_URL"];

/// The paths of the endpoints, below the base URL. `{id}` stands for the
/// action's id. ASCEND's versions differ in them (`docs/ascend-api.md`, rows 1 and 4).
///
/// ```
/// use ascend_sdk::authority::Paths;
/// let paths = Paths { evaluate: "/gateway/evaluate".into(), ..Paths::default() };
/// assert_eq!(paths.health, "/health");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `POST`: asks whether an action may run.
    pub evaluate: Cow<'static, str>,
    /// `POST`: the same of several actions. Called only while several calls come at once,
    /// and only where the server has claims; one that does not have it is asked about each.
    pub evaluations: Cow<'static, str>,
    /// `GET`, with `{id}`: how a pending action stands.
    pub status: Cow<'static, str>,
    /// `GET`, with a query `ids=7,8,9`: how many pending actions stand. Called only
    /// while several calls wait; a server that does not have it is asked about each.
    pub statuses: Cow<'static, str>,
    /// `POST`, with `{id}`: the body returned a value.
    pub complete: Cow<'static, str>,
    /// `POST`, with `{id}`: the body failed.
    pub fail: Cow<'static, str>,
    /// `POST`: how several bodies went. Called only where the server has claims; a
    /// server that does not have it is told of each.
    pub outcomes: Cow<'static, str>,
    /// `POST`, with `{id}`: claims the decision. Called only where the server says that it has it.
    pub claim: Cow<'static, str>,
    /// `POST`, with `{id}`: withdraws the action. Called only where the server has claims.
    pub withdraw: Cow<'static, str>,
    /// `POST`, with `{id}`: promises the action to its agent. Called only where the server has claims.
    pub promise: Cow<'static, str>,
    /// `POST`, with `{id}`: tells what the client's user decided. Called only
    /// where the server has claims, and takes their word for the action.
    pub confirm: Cow<'static, str>,
    /// `GET`: whether the kill switch is raised. Called only where
    /// [`check_kill_switch`](AscendBuilder::check_kill_switch) asks for it.
    pub kill_switch: Cow<'static, str>,
    /// `GET`: whether the server is there.
    pub health: Cow<'static, str>,
}

impl Default for Paths {
    /// Those of ASCEND's MCP example.
    fn default() -> Self {
        Self {
            evaluate: "/mcp/governance/evaluate".into(),
            evaluations: "/api/v1/actions/evaluations".into(),
            status: "/api/v1/actions/{id}/status".into(),
            statuses: "/api/v1/actions/status".into(),
            complete: "/api/agent-action/{id}/complete".into(),
            fail: "/api/agent-action/{id}/fail".into(),
            outcomes: "/api/v1/actions/outcomes".into(),
            claim: "/api/v1/actions/{id}/claim".into(),
            withdraw: "/api/v1/actions/{id}/withdraw".into(),
            promise: "/api/v1/actions/{id}/promise".into(),
            confirm: "/api/v1/actions/{id}/confirm".into(),
            kill_switch: "/api/sdk/kill-switch/status".into(),
            health: "/health".into(),
        }
    }
}

impl Paths {
    /// Those of a server that has the MCP routes below `/api/mcp-governance`.
    #[must_use]
    pub fn mcp_governance() -> Self {
        Self { evaluate: "/api/mcp-governance/evaluate".into(), ..Self::default() }
    }

    /// Those that ASCEND's Python SDK uses.
    #[must_use]
    pub fn python_sdk() -> Self {
        Self {
            evaluate: "/api/v1/mcp/actions/submit".into(),
            status: "/api/sdk/approval/{id}".into(),
            ..Self::default()
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let plain = [
            &self.evaluate,
            &self.evaluations,
            &self.statuses,
            &self.outcomes,
            &self.kill_switch,
            &self.health,
        ];
        let with_id = [
            &self.status,
            &self.complete,
            &self.fail,
            &self.claim,
            &self.withdraw,
            &self.promise,
            &self.confirm,
        ];
        let sound = |path: &str| {
            path.starts_with('/')
                && !path.starts_with("//")
                && !path.contains(['?', '#', '\\'])
                && path.bytes().all(|byte| byte.is_ascii_graphic())
        };
        for (path, ids) in
            plain.map(|path| (path, 0)).into_iter().chain(with_id.map(|path| (path, 1)))
        {
            if !sound(path) || path.matches("{id}").count() != ids {
                return Err(ConfigError::Path(path.to_string()));
            }
        }
        Ok(())
    }
}

/// How patient the client is.
#[derive(Debug, Clone)]
pub(super) struct Timing {
    pub(super) connect: Duration,
    pub(super) request: Duration,
    pub(super) deadline: Duration,
    pub(super) attempts: u32,
    pub(super) backoff: (Duration, Duration),
    pub(super) polling: (Duration, Duration),
    pub(super) breaker: (u32, Duration),
}

impl Timing {
    /// The same, with nothing longer than a clock goes.
    pub(super) fn bounded(&self) -> Self {
        let pair = |(first, most): (Duration, Duration)| (first.min(LONGEST), most.min(LONGEST));
        Self {
            connect: self.connect.min(LONGEST),
            request: self.request.min(LONGEST),
            deadline: self.deadline.min(LONGEST),
            attempts: self.attempts,
            backoff: pair(self.backoff),
            polling: pair(self.polling),
            breaker: (self.breaker.0, self.breaker.1.min(LONGEST)),
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            // ASCEND's MCP example: 60 s in all, and polls every 5 s.
            request: Duration::from_secs(60),
            deadline: Duration::from_secs(60),
            attempts: 3,
            backoff: (Duration::from_millis(250), Duration::from_secs(5)),
            polling: (Duration::from_millis(250), Duration::from_secs(5)),
            // ASCEND's SDK.
            breaker: (5, Duration::from_secs(30)),
        }
    }
}

/// Settings of an [`Ascend`].
#[must_use = "call `build`"]
pub struct AscendBuilder {
    pub(super) api_key: SecretString,
    pub(super) signing_secret: Option<SecretString>,
    pub(super) base_url: String,
    pub(super) agent: Agent,
    pub(super) paths: Paths,
    pub(super) timing: Timing,
    pub(super) checks_kill_switch: bool,
}

impl AscendBuilder {
    pub(super) fn new(api_key: SecretString) -> Self {
        Self {
            api_key,
            signing_secret: None,
            base_url: DEFAULT_BASE_URL.to_owned(),
            agent: Agent::default(),
            paths: Paths::default(),
            timing: Timing::default(),
            checks_kill_switch: false,
        }
    }

    /// Settings from the environment; `None` when it has no API key. See
    /// [`Ascend::from_env`] for the variables.
    ///
    /// # Errors
    ///
    /// When a variable is set to something that is not text, or the key to nothing.
    pub fn from_env() -> Result<Option<Self>, ConfigError> {
        Self::from_variables(|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(ConfigError::NotText(name)),
        })
    }

    fn from_variables(
        read: impl Fn(&'static str) -> Result<Option<String>, ConfigError>,
    ) -> Result<Option<Self>, ConfigError> {
        let first = |names: &[&'static str]| {
            names
                .iter()
                .map(|name| Ok((*name, read(name)?.map(|value| value.trim().to_owned()))))
                .filter_map(|read| match read {
                    Ok((name, value)) => value.map(|value| Ok((name, value))),
                    Err(error) => Some(Err(error)),
                })
                .collect::<Result<Vec<(&'static str, String)>, ConfigError>>()
        };
        // Whoever sets an empty key meant to have one: going on without would
        // quietly change who decides.
        let Some((name, key)) = first(&API_KEY)?.into_iter().next() else {
            if !first(&BASE_URL)?.is_empty() {
                tracing::warn!(
                    "ASCEND's URL is set and ASCEND_API_KEY is not: ASCEND is not asked"
                );
            }
            return Ok(None);
        };
        if key.is_empty() {
            return Err(ConfigError::EmptyKey(name));
        }
        let filled = |names: &[&'static str]| {
            Ok::<_, ConfigError>(
                first(names)?.into_iter().map(|(_, value)| value).find(|value| !value.is_empty()),
            )
        };
        let mut builder = Self::new(key.into());
        if let Some(url) = filled(&BASE_URL)? {
            builder.base_url = url;
        }
        builder.signing_secret = filled(&["ASCEND_SIGNING_SECRET"])?.map(SecretString::from);
        builder.agent =
            Agent { id: filled(&["ASCEND_AGENT_ID"])?, name: filled(&["ASCEND_AGENT_NAME"])? };
        Ok(Some(builder))
    }

    /// Where ASCEND is. Default: `https://pilot.owkai.app`. `http` is taken
    /// for `localhost`, `127.0.0.1` and `[::1]` alone.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Signs every request with this secret: header `X-Signature`, `v1=` and
    /// the hexadecimal HMAC-SHA256 over `X-Request-Timestamp`, a dot, and the
    /// bytes sent.
    pub fn signing_secret(mut self, secret: SecretString) -> Self {
        self.signing_secret = Some(secret);
        self
    }

    /// The agent's id. Default: the governor's server id.
    pub fn agent_id(mut self, id: impl Into<String>) -> Self {
        self.agent.id = Some(id.into());
        self
    }

    /// The agent's name for people. Default: its id.
    pub fn agent_name(mut self, name: impl Into<String>) -> Self {
        self.agent.name = Some(name.into());
        self
    }

    /// The endpoints. Default: those of ASCEND's MCP example.
    pub fn paths(mut self, paths: Paths) -> Self {
        self.paths = paths;
        self
    }

    /// How long one request may take, its answer included. Default: 60 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.timing.request = timeout;
        self
    }

    /// How long a connection may take to open. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timing.connect = timeout;
        self
    }

    /// How long an evaluation or a claim may take in all, retries and the
    /// pauses between them included. Default: 60 s.
    ///
    /// So is the wait for its turn: 256 requests are under way at once, besides the
    /// questions that a server holds while calls wait for a person.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.timing.deadline = deadline;
        self
    }

    /// How often a request is sent before it is given up: at least once.
    /// Default: 3.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.timing.attempts = attempts.max(1);
        self
    }

    /// The pause before the first retry, which doubles up to `most`; half of it
    /// is left to chance. Default: 250 ms to 5 s.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.timing.backoff = (first, most.max(first));
        self
    }

    /// The pause between questions about a pending action, which grows by half
    /// up to `most`. Default: 250 ms to 5 s. A server that holds the question
    /// until there is news is not polled.
    pub fn polling(mut self, first: Duration, most: Duration) -> Self {
        self.timing.polling = (first, most.max(first));
        self
    }

    /// After how many failures in a row (5xx, timeouts, no connection) the
    /// server is left alone, and for how long. Default: 5, 30 s.
    pub fn circuit_breaker(mut self, failures: u32, pause: Duration) -> Self {
        self.timing.breaker = (failures, pause);
        self
    }

    /// Asks for the kill switch immediately before every run. For servers
    /// without claims of their own; one more request per call.
    pub fn check_kill_switch(mut self) -> Self {
        self.checks_kill_switch = true;
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the URL breaks a rule, or the key or a path cannot be sent.
    pub fn build(self) -> Result<Ascend, ConfigError> {
        Ascend::new(self)
    }

    pub(super) fn checked_url(&self) -> Result<Url, ConfigError> {
        self.paths.check()?;
        checked_url(&self.base_url)
    }

    pub(super) fn check_secrets(&self) -> Result<(), ConfigError> {
        let visible =
            |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible(self.api_key.expose_secret()) {
            return Err(ConfigError::Key);
        }
        if self.signing_secret.as_ref().is_some_and(|secret| secret.expose_secret().is_empty()) {
            return Err(ConfigError::SigningSecret);
        }
        Ok(())
    }
}

impl fmt::Debug for AscendBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL is left out: before it is checked, it may hold credentials.
        f.debug_struct("AscendBuilder")
            .field("agent", &self.agent)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// Whether the URL's host is this machine: the only place where `http` goes.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    }
}

fn checked_url(text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text.trim()).map_err(|error| ConfigError::Url(error.to_string()))?;
    match url.scheme() {
        "https" => {}
        // On the parsed host: `http://localhost.evil.example` is not localhost.
        "http" if is_loopback(&url) => {}
        "http" => return Err(ConfigError::Insecure),
        _ => return Err(ConfigError::Scheme),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ConfigError::Userinfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ConfigError::Url("it has a query or a fragment".to_owned()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(ConfigError::Url("it has no host".to_owned()));
    }
    Ok(url)
}

/// Why an [`Ascend`] could not be set up. Texts hold no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The base URL is no URL.
    #[error("the base URL cannot be used: {0}; write it as in `https://pilot.owkai.app`")]
    Url(String),
    /// The base URL is neither `https` nor `http`.
    #[error("the base URL must start with `https://`")]
    Scheme,
    /// The key would travel readable.
    #[error("`http://` is only for localhost, 127.0.0.1 and [::1]; write `https://`")]
    Insecure,
    /// The base URL holds a user name or a password.
    #[error("the base URL holds a user name or password; remove it and give the key by itself")]
    Userinfo,
    /// The API key is empty, or holds characters that no header can carry.
    #[error(
        "the API key is empty or has characters other than visible ASCII; check that it was copied whole"
    )]
    Key,
    /// The variable is there and empty.
    #[error("{0} is set and empty; give it the API key, or unset it")]
    EmptyKey(&'static str),
    /// The variable is not UTF-8.
    #[error("{0} is not UTF-8 text")]
    NotText(&'static str),
    /// The signing secret is empty: anyone could sign.
    #[error("the signing secret is empty; give one, or none at all")]
    SigningSecret,
    /// The webhook's secret is empty: anyone could sign.
    #[error("the webhook's secret is empty; give the one that the webhook was set up with")]
    WebhookSecret,
    /// A path of [`Paths`] cannot be used.
    #[error(
        "the path `{0}` cannot be used; it starts with `/`, has no query, and `{{id}}` once where an action is meant"
    )]
    Path(String),
    /// The HTTP client cannot be set up, for instance for want of root certificates.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn http_is_for_this_machine_alone() {
        for url in [
            "https://pilot.owkai.app",
            "https://pilot.owkai.app:8443/ascend/",
            "http://localhost:8000",
            "http://LOCALHOST",
            "http://127.0.0.1:1",
            "http://[::1]:9",
        ] {
            assert!(checked_url(url).is_ok(), "{url}");
        }
        for (url, expected) in [
            ("http://pilot.owkai.app", ConfigError::Insecure),
            ("http://localhost.evil.example", ConfigError::Insecure),
            ("http://127.0.0.1.evil.example", ConfigError::Insecure),
            ("http://localhost:80@evil.example", ConfigError::Insecure),
            ("http://127.0.0.2", ConfigError::Insecure),
            ("http://0.0.0.0", ConfigError::Insecure),
            ("http://[::ffff:127.0.0.1]", ConfigError::Insecure),
            ("ftp://localhost", ConfigError::Scheme),
            ("file:///etc/passwd", ConfigError::Scheme),
            ("https://user:pass@pilot.owkai.app", ConfigError::Userinfo),
            ("https://user@pilot.owkai.app", ConfigError::Userinfo),
            ("http://:pass@localhost", ConfigError::Userinfo),
        ] {
            assert_eq!(checked_url(url), Err(expected), "{url}");
        }
        for url in ["pilot.owkai.app", "", "https://", "https://h/?q=1", "https://h/#f"] {
            assert!(matches!(checked_url(url), Err(ConfigError::Url(_))), "{url}");
        }
    }

    fn builder(variables: &[(&'static str, &str)]) -> Result<Option<AscendBuilder>, ConfigError> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        AscendBuilder::from_variables(|name| Ok(variables.get(name).map(|value| value.to_string())))
    }

    #[test]
    fn variables_have_an_order() {
        assert!(builder(&[]).unwrap().is_none());
        assert!(builder(&[("ASCEND_BASE_URL", "https://a")]).unwrap().is_none());

        let all = builder(&[
            ("ASCEND_API_KEY", " first\n"),
            ("OWKAI_API_KEY", "second"),
            ("ASCEND_BASE_URL", "https://a"),
            ("ASCEND_API_URL", "https://b"),
            ("ASCEND_SIGNING_SECRET", "s"),
            ("ASCEND_AGENT_ID", "agent"),
        ]);
        let all = all.unwrap().unwrap();
        assert_eq!(all.api_key.expose_secret(), "first");
        assert_eq!(all.base_url, "https://a");
        assert!(all.signing_secret.is_some());
        assert_eq!(all.agent.id.as_deref(), Some("agent"));

        let old = builder(&[("OWKAI_API_KEY", "k"), ("OWKAI_API_URL", "https://c")]);
        assert_eq!(old.unwrap().unwrap().base_url, "https://c");
        let between = builder(&[
            ("OWKAI_API_KEY", "k"),
            ("ASCEND_BASE_URL", ""),
            ("ASCEND_API_URL", "https://b"),
            ("OWKAI_API_URL", "https://c"),
        ]);
        assert_eq!(between.unwrap().unwrap().base_url, "https://b");
        let bare = builder(&[("ASCEND_API_KEY", "k")]).unwrap().unwrap();
        assert_eq!(bare.base_url, DEFAULT_BASE_URL);
    }

    #[test]
    fn an_empty_key_is_a_mistake_and_not_a_wish() {
        let empty = builder(&[("ASCEND_API_KEY", " "), ("OWKAI_API_KEY", "k")]);
        assert_eq!(empty.err(), Some(ConfigError::EmptyKey("ASCEND_API_KEY")));
    }

    #[test]
    fn paths_and_keys_are_checked() {
        let build = |paths| Ascend::builder("key".into()).paths(paths).build().err();
        for evaluate in ["", "evaluate", "/evaluate?x=1", "/e#f", "/{id}"] {
            let paths = Paths { evaluate: evaluate.into(), ..Paths::default() };
            assert_eq!(build(paths), Some(ConfigError::Path(evaluate.to_owned())));
        }
        let paths = Paths { status: "/status".into(), ..Paths::default() };
        assert_eq!(build(paths), Some(ConfigError::Path("/status".to_owned())));
        for key in ["", "a b", "key\n", "schlüssel"] {
            assert_eq!(Ascend::builder(key.into()).build().err(), Some(ConfigError::Key));
        }
        let unsigned = Ascend::builder("key".into()).signing_secret("".into()).build();
        assert_eq!(unsigned.err(), Some(ConfigError::SigningSecret));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let builder = Ascend::builder("owkai_secret".into())
            .signing_secret("other_secret".into())
            .base_url("https://user:third_secret@host");
        assert!(!format!("{builder:?}").contains("secret"));
        let error = builder.build().map(drop).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
        let ascend = Ascend::builder("owkai_secret".into()).build().unwrap();
        assert!(!format!("{ascend:?}").contains("secret"));
    }
}
