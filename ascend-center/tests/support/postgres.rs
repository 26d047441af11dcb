//! A private PostgreSQL server, gone with the process that started it.
//!
//! With `ASCEND_TEST_DATABASE=postgres` the tests of the center run over it, but for
//! those that are about SQLite's file; `cargo xtask postgres` runs those that matter.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

pub(crate) struct Server {
    programs: PathBuf,
    directory: PathBuf,
    /// The user that it runs as, where this process is root: it refuses to.
    user: Option<&'static str>,
    /// Where it listens, beside its socket; with TLS and a password alone.
    port: Option<u16>,
    made: AtomicUsize,
}

/// Of tests alone, which name it.
static ALL: LazyLock<bool> =
    LazyLock::new(|| std::env::var("ASCEND_TEST_DATABASE").is_ok_and(|name| name == "postgres"));
/// The databases of the centers in these directories; `None` where it is SQLite's.
static CENTERS: Mutex<BTreeMap<PathBuf, Option<String>>> = Mutex::new(BTreeMap::new());
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

fn centers() -> MutexGuard<'static, BTreeMap<PathBuf, Option<String>>> {
    CENTERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the center in this directory use a database of its own.
pub(crate) fn choose(directory: &Path) {
    SERVER.choose(directory);
}

/// Has the center in `other` be a replica of that in `first`.
pub(crate) fn share(first: &Path, other: &Path) {
    let url = of(first).unwrap();
    centers().insert(other.to_owned(), Some(url));
}

/// Has the center in this directory use SQLite, whatever the tests run over.
pub(crate) fn leave(directory: &Path) {
    centers().insert(directory.to_owned(), None);
}

/// The database of the center in this directory; `None` where it is SQLite's.
pub(crate) fn of(directory: &Path) -> Option<String> {
    if *ALL && !centers().contains_key(directory) {
        choose(directory);
    }
    centers().get(directory).cloned().flatten()
}

/// All that is in the database at this URL.
pub(crate) fn content(url: &str) -> Vec<u8> {
    output(SERVER.program("pg_dump").arg(url)).into_bytes()
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Where a server is installed with all of its programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let of_debian = versions.map(|version| version.unwrap().path().join("bin"));
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let is_whole = |programs: &PathBuf| {
        ["initdb", "pg_ctl", "postgres", "psql", "pg_dump"]
            .iter()
            .all(|name| programs.join(name).exists())
    };
    of_debian
        .chain(std::env::split_paths(&in_path))
        .find(is_whole)
        .expect("the tests need PostgreSQL 14 or newer (Debian: postgresql)")
}

/// A server's certificate and its key as PEM, and the password that it wants.
pub(crate) struct Secured<'a> {
    pub(crate) certificate: &'a str,
    pub(crate) key: &'a str,
    pub(crate) password: &'a str,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::starting(None)
    }

    /// One that is reached by TCP too, with TLS and a password alone.
    pub(crate) fn secured(secured: &Secured<'_>) -> Self {
        Self::starting(Some(secured))
    }

    fn starting(secured: Option<&Secured<'_>>) -> Self {
        let is_root = output(Command::new("id").arg("-u")).trim() == "0";
        let directory = tempfile::Builder::new().prefix("pg").tempdir().unwrap().keep();
        let user = is_root.then_some("postgres");
        if let Some(user) = user {
            output(Command::new("chown").arg(user).arg(&directory));
        }
        // Free a moment ago, and nobody else's yet.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = secured.map(|_| free());
        let made = AtomicUsize::new(0);
        let server = Self { programs: programs(), directory, user, port, made };
        // It lives as long as this process holds its end of the pipe.
        let mut guard = server.command("sh");
        guard
            .args(["-c", "trap '' INT TERM; read -r _; \"$1\" -D \"$2/data\" -m immediate stop; rm -rf \"$2\"", "sh"])
            .arg(server.programs.join("pg_ctl"))
            .arg(&server.directory);
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::mem::forget(guard);
        let data = server.directory.join("data");
        output(
            server
                .program("initdb")
                .args(["--username=center", "--auth=trust", "--no-sync", "--encoding=UTF8"])
                .args(["--locale=C.UTF-8", "--pgdata"])
                .arg(&data),
        );
        if let Some(secured) = secured {
            server.keep("server.crt", secured.certificate);
            server.keep("server.key", secured.key);
            server.keep("pg_hba.conf", "local all all trust\nhostssl all all all scram-sha-256\n");
        }
        server.pg_ctl(&["start", "--options", &server.options()]);
        if let Some(secured) = secured {
            let password = secured.password.replace('\'', "''");
            server.run("postgres", &format!("ALTER ROLE center PASSWORD '{password}'"));
        }
        server
    }

    /// A file among its data, for itself alone.
    fn keep(&self, name: &str, content: &str) {
        let path = self.directory.join("data").join(name);
        std::fs::write(&path, content).unwrap();
        output(Command::new("chmod").arg("600").arg(&path));
        if let Some(user) = self.user {
            output(Command::new("chown").arg(user).arg(&path));
        }
    }

    /// Runs a statement in one of its databases, by the socket; what it prints.
    pub(crate) fn run(&self, database: &str, statement: &str) -> String {
        let mut psql = self.program("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--username=center", "--host"]);
        psql.arg(&self.directory).args(["--port", &self.socket_port(), "--command", statement]);
        output(psql.arg(database)).trim().to_owned()
    }

    /// Its socket goes by the number of a port.
    fn socket_port(&self) -> String {
        self.port.unwrap_or(5432).to_string()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap()
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap()
    }

    /// No wait for the disk: what is killed is processes.
    fn options(&self) -> String {
        let socket = self.directory.display();
        let reached = match self.port {
            None => "-c listen_addresses=".to_owned(),
            Some(port) => {
                format!(
                    "-c listen_addresses=127.0.0.1 -c port={port} -c ssl=on -c log_connections=on"
                )
            }
        };
        format!("{reached} -c unix_socket_directories={socket} -c fsync=off -c max_connections=500")
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(program);
                command
            }
        };
        command.current_dir("/");
        command
    }

    fn program(&self, name: &str) -> Command {
        self.command(self.programs.join(name))
    }

    fn pg_ctl(&self, arguments: &[&str]) {
        let log = self.directory.join("log");
        let mut command = self.program("pg_ctl");
        command
            .arg("--pgdata")
            .arg(self.directory.join("data"))
            .arg("--wait")
            .arg("--log")
            .arg(log);
        // The server would keep a pipe open.
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().unwrap();
        let log = || std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        assert!(status.success(), "{command:?}: {}", log());
    }

    /// As after a crash of the server: nothing is finished, nobody is told.
    pub(crate) fn restart(&self) {
        self.pg_ctl(&["--mode", "immediate", "restart"]);
    }

    pub(crate) fn stop(&self) {
        self.pg_ctl(&["--mode", "immediate", "stop"]);
    }

    pub(crate) fn go_on(&self) {
        self.pg_ctl(&["start", "--options", &self.options()]);
    }

    /// A new database.
    pub(crate) fn create(&self) -> String {
        let name = format!("center_{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Has the center in this directory use a database of its own.
    pub(crate) fn choose(&self, directory: &Path) {
        let name = self.create();
        let url = format!("postgres://center@localhost/{name}?host={}", self.directory.display());
        centers().insert(directory.to_owned(), Some(url));
    }
}
