//! How a server on another machine is reached: with TLS, and a password.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::LazyLock,
};

use ascend_center::{Center, CenterConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    postgres::{Secured, Server},
    served::token,
};

/// With what a URL or a password file writes otherwise.
const PASSWORD: &str = "p@ss:w0rd/50%\\ more";
const IN_URL: &str = "p%40ss%3Aw0rd%2F50%25%5C%20more";
const IN_FILE: &str = "p@ss\\:w0rd/50%\\\\ more";

/// An address that leads to this machine and does not say so, for what holds of
/// servers elsewhere.
const ELSEWHERE: &str = "0.0.0.0";

/// A variable of the environment, where one is set.
type Variable<'a> = Option<(&'a str, &'a str)>;

struct Setting {
    server: Server,
    files: TempDir,
}

/// One server for all of these tests.
static SETTING: LazyLock<Setting> = LazyLock::new(|| {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let names = [ELSEWHERE.to_owned(), "db.example".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let secured =
        Secured { certificate: &certificate.pem(), key: &key.serialize_pem(), password: PASSWORD };
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(files.path().join("other.pem"), self::authority().pem()).unwrap();
    Setting { server: Server::secured(&secured), files }
});

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Setting {
    fn url(&self, user: &str, host: &str, database: &str, query: &str) -> String {
        format!("postgres://{user}@{host}:{}/{database}?{query}", self.server.port())
    }

    fn root(&self, file: &str) -> String {
        format!("sslrootcert={}", self.files.path().join(file).display())
    }

    /// A password file with these rights.
    fn password_file(&self, name: &str, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.files.path().join(name);
        std::fs::write(&path, format!("*:*:*:center:{IN_FILE}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// How many connections to the database are encrypted, and how many are not.
    fn connections(&self, database: &str) -> (usize, usize) {
        let count = |ssl: bool| {
            let statement = format!(
                "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE datname = '{database}' AND client_addr IS NOT NULL AND ssl = {ssl}"
            );
            self.server.run("postgres", &statement).parse().unwrap()
        };
        (count(true), count(false))
    }
}

/// The program, with nothing of this process's environment that leads to a database.
fn command(directory: &Path, url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ascend-center"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
        command.env_remove(name);
    }
    command
        .arg("--directory")
        .arg(directory)
        .env("HOME", directory)
        .env("ASCEND_CENTER_DATABASE", url)
        .env("USER", "alice")
        .env("RUST_LOG", "trace");
    command
}

fn assert_no_password(output: &Output, what: &str) -> String {
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8(said).unwrap();
    for secret in [PASSWORD, IN_URL, IN_FILE, "w0rd"] {
        assert!(!said.contains(secret), "{what}: {said}");
    }
    said
}

/// Ends the process as an administrator does, and reads what it said.
fn end(mut child: Child, mut out: impl std::io::Read) -> Output {
    let mut errors = child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut said = Vec::new();
        errors.read_to_end(&mut said).unwrap();
        said
    });
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut stdout = Vec::new();
    out.read_to_end(&mut stdout).unwrap();
    Output { status: child.wait().unwrap(), stdout, stderr: reading.join().unwrap() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_and_a_password_from_wherever_it_is_kept() {
    let setting = &*SETTING;
    let private = setting.password_file("pgpass", 0o600);
    let user = format!("center:{IN_URL}");
    let sources: [(&str, &str, Variable<'_>); 3] = [
        ("the URL", &user, None),
        ("PGPASSWORD", "center", Some(("PGPASSWORD", PASSWORD))),
        ("the password file", "center", Some(("PGPASSFILE", private.to_str().unwrap()))),
    ];
    for (what, user, variable) in sources {
        let directory = tempfile::tempdir().unwrap();
        let database = setting.server.create();
        let url = setting.url(user, ELSEWHERE, &database, &setting.root("ca.pem"));
        let mut child = command(directory.path(), &url)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .envs(variable)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let Some(served) = line.trim().strip_prefix("listening on ") else {
            panic!("{what}: {:?}", child.wait_with_output())
        };
        let body = json!({
            "server_id": "srv", "namespace": "database", "verb": "read", "resource": "x",
        });
        let request = reqwest::Client::new().post(format!("{served}/mcp/governance/evaluate"));
        let agent = token(directory.path(), "agent.key");
        let answer = request.bearer_auth(agent).json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["decision"], "ALLOW", "{what}: {answer}");
        let (encrypted, plain) = setting.connections(&database);
        assert!(encrypted >= 2 && plain == 0, "{what}: {encrypted} encrypted, {plain} not");
        let output = tokio::task::spawn_blocking(move || end(child, out)).await.unwrap();
        assert!(output.status.success());
        assert_no_password(&output, what);

        for arguments in [&["doctor"][..], &["doctor", "--json"], &["audit", "verify"]] {
            let output = command(directory.path(), &url).args(arguments).envs(variable).output();
            let output = output.unwrap();
            let said = assert_no_password(&output, what);
            assert!(output.status.success(), "{what}: {said}");
        }
    }
}

#[test]
fn who_cannot_be_trusted_gets_no_password_and_nobody_learns_it() {
    let setting = &*SETTING;
    let database = setting.server.create();
    let user = format!("center:{IN_URL}");
    let root = setting.root("ca.pem");
    let url = |host: &str, query: &str| setting.url(&user, host, &database, query);
    let open = setting.password_file("open", 0o644);
    let by_file = Some(("PGPASSFILE", open.to_str().unwrap()));
    let cases: [(&str, String, Variable<'_>, &str); 9] = [
        ("a foreign authority", url(ELSEWHERE, &setting.root("other.pem")), None, "certificate"),
        ("no authority", url(ELSEWHERE, ""), None, "certificate"),
        ("no authority file", url(ELSEWHERE, &setting.root("none.pem")), None, "No such file"),
        (
            "another name",
            url("127.0.0.1", &format!("sslmode=verify-full&{root}")),
            None,
            "certificate",
        ),
        ("no TLS", url(ELSEWHERE, "sslmode=disable"), None, "no encryption"),
        (
            "another password",
            setting.url("center:w0rd2", ELSEWHERE, &database, &root),
            None,
            "password authentication failed",
        ),
        ("no password", setting.url("center", ELSEWHERE, &database, &root), None, "password"),
        (
            "a file that others can read",
            setting.url("center", ELSEWHERE, &database, &root),
            by_file,
            "password",
        ),
        (
            "a URL that is none",
            format!("postgres://{user}@{ELSEWHERE}:port/{database}"),
            None,
            "port",
        ),
    ];
    for (what, url, variable, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["doctor"]] {
            let output = command(directory.path(), &url).args(arguments).envs(variable).output();
            let output = output.unwrap();
            assert_eq!(output.status.code(), Some(1), "{what}");
            let said = assert_no_password(&output, what);
            // Before anything was made there is nothing that `doctor` opens.
            let opens = arguments[0] == "serve" || directory.path().join("audit.key").exists();
            assert!(!opens || said.contains(expected), "{what}: {said}");
        }
    }
    // None of them came in.
    let authorized = format!("connection authorized: user=center database={database}");
    assert!(!setting.server.log().contains(&authorized));
}

#[tokio::test]
async fn an_embedded_center_keeps_the_password_to_itself() {
    let setting = &*SETTING;
    let directory = tempfile::tempdir().unwrap();
    let user = format!("center:{IN_URL}");
    let url = setting.url(&user, ELSEWHERE, &setting.server.create(), &setting.root("other.pem"));
    let config = CenterConfig::new(directory.path()).database(url);
    assert!(!format!("{config:?}").contains("w0rd"));
    let error = Center::open(config).await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(!told.contains("w0rd"), "{told}");
}
