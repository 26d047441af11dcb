//! A served center with people and agents.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use ascend_center::{
    Approver, AuditEvent, AuditKind, AuditQuery, Center, NewKey, Role, ServeConfig,
};
use reqwest::{Method, Response, StatusCode, header, redirect};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::OnceCell,
};

use crate::support::{self, contract::Contract, database};

pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct House {
    pub(crate) directory: TempDir,
    pub(crate) center: Center,
    pub(crate) owner: Approver,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) contract: OnceCell<Contract>,
}

/// What a request is sent with.
#[derive(Clone)]
pub(crate) enum Credential {
    Nothing,
    Token(String),
    Session { cookie: String, csrf: String },
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(ServeConfig::new()).await
    }

    pub(crate) async fn with(config: ServeConfig) -> Self {
        Self::by(None, config).await
    }

    /// By these policies, where there are any.
    pub(crate) async fn by(policies: Option<&str>, config: ServeConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut center = support::config(directory.path());
        if let Some(policies) = policies {
            let file = directory.path().join("own.cedar");
            std::fs::write(&file, policies).unwrap();
            center = center.policies(file);
        }
        let center = Center::open(center).await.unwrap();
        let owner = center.local_approver().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn({
            let center = center.clone();
            async move { center.serve(listener, config, std::future::pending()).await.unwrap() }
        });
        let http = reqwest::Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { directory, center, owner, url, http, contract: OnceCell::new() }
    }

    /// A key of an agent.
    pub(crate) async fn agent(&self, name: &str) -> String {
        self.key(NewKey::of(name)).await.1
    }

    pub(crate) async fn key(&self, key: NewKey) -> (i64, String) {
        let issued = self.center.create_key(&self.owner, key).await.unwrap();
        (issued.id, issued.token.expose_secret().to_owned())
    }

    /// An account with a password and a token.
    pub(crate) async fn person(&self, name: &str, role: Role) -> String {
        let password = Some(PASSWORD.to_owned().into());
        self.center.create_user(&self.owner, name, role, password).await.unwrap();
        let issued = self.center.create_token(&self.owner, name, "cli", DAY).await.unwrap();
        issued.token.expose_secret().to_owned()
    }

    /// The API's own description.
    async fn contract(&self) -> &Contract {
        self.contract.get_or_init(async || Contract::fetch(&self.http, &self.url).await).await
    }

    pub(crate) async fn login(&self, body: Value) -> Response {
        self.http.post(format!("{}/api/v1/login", self.url)).json(&body).send().await.unwrap()
    }

    pub(crate) async fn session(&self, name: &str) -> Credential {
        let answer = self.login(json!({ "name": name, "password": PASSWORD })).await;
        assert_eq!(answer.status(), 200);
        session_of(answer).await
    }

    /// An answer of the API is checked against its own description.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        credential: &Credential,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        request = match credential {
            Credential::Nothing => request,
            Credential::Token(token) => request.bearer_auth(token),
            Credential::Session { cookie, csrf } => request
                .header(header::COOKIE, cookie)
                .header(header::ORIGIN, &self.url)
                .header("x-csrf-token", csrf),
        };
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        // A stream does not end.
        let kind = answer.headers().get(header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind == "text/event-stream") {
            return (status, Value::Null);
        }
        let answer = answer.json().await.unwrap_or_default();
        // The login by an identity provider is a page.
        if path.starts_with("/api/") && !path.starts_with("/api/v1/oidc/") {
            self.contract().await.check(&method, path, body.as_ref(), status, &answer);
        }
        (status, answer)
    }

    /// A request whose body follows `between`: the center asks for it once it has
    /// let the caller in.
    pub(crate) async fn held_up(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: &Value,
        between: impl AsyncFnOnce(),
    ) -> String {
        let host = self.url.strip_prefix("http://").unwrap();
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut told = vec![0; go_on.len()];
        stream.read_exact(&mut told).await.unwrap();
        assert_eq!(text(&told), text(go_on), "let in");
        between().await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A pending action of the agent whose key it is.
    pub(crate) async fn pending(&self, key: &str) -> i64 {
        let body = json!({
            "server_id": "srv", "namespace": "database", "verb": "delete", "resource": "x",
        });
        let key = Credential::Token(key.to_owned());
        let (status, answer) =
            self.send(Method::POST, "/mcp/governance/evaluate", &key, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["decision"], "REQUIRE_APPROVAL");
        answer["action_id"].as_i64().unwrap()
    }

    /// Whether the key is good.
    pub(crate) async fn knows(&self, key: &str) -> bool {
        let key = Credential::Token(key.to_owned());
        match self.send(Method::GET, "/health", &key, None).await.0 {
            StatusCode::OK => true,
            StatusCode::UNAUTHORIZED => false,
            status => panic!("{status}"),
        }
    }

    /// Changes the database as time does.
    pub(crate) async fn sql(&self, statement: &'static str) {
        let changed = database::sql(self.directory.path(), statement).await;
        assert!(changed > 0, "{statement}");
    }

    /// What the audit log has of a kind: by whom, and about what.
    pub(crate) async fn events(&self, kind: AuditKind) -> Vec<(String, String)> {
        let entries = self.center.audit_entries(&AuditQuery::new().kind(kind)).await.unwrap();
        let told = entries.into_iter().map(|(entry, _)| {
            let AuditEvent { actor, subject, detail, .. } = entry.event;
            let about = [subject, detail].into_iter().flatten().collect::<Vec<_>>().join(": ");
            (actor.name, about)
        });
        told.collect()
    }

    pub(crate) async fn cli(&self, arguments: &[&str]) -> Output {
        cli(self.directory.path(), arguments).await
    }

    /// The command line as from another machine, with a personal token.
    pub(crate) fn remote(&self, token: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ascend-center"));
        command.args(["--url", &self.url]).args(arguments).env("ASCEND_CENTER_TOKEN", token);
        command.env_remove("ASCEND_CENTER_DIR").env_remove("ASCEND_CENTER_CA");
        command.env("RUST_LOG", "warn");
        command
    }

    pub(crate) async fn remote_cli(&self, token: &str, arguments: &[&str]) -> Output {
        let command = self.remote(token, arguments);
        tokio::process::Command::from(command).output().await.unwrap()
    }
}

pub(crate) async fn session_of(answer: Response) -> Credential {
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    Credential::Session { cookie, csrf: body["csrf_token"].as_str().unwrap().to_owned() }
}

pub(crate) async fn cli(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ascend-center"));
    command.arg("--directory").arg(directory).args(arguments).env("RUST_LOG", "warn");
    command.envs(database::variable(directory));
    for variable in ["ASCEND_CENTER_URL", "ASCEND_CENTER_TOKEN", "ASCEND_CENTER_CA"] {
        command.env_remove(variable);
    }
    tokio::process::Command::from(command).output().await.unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
