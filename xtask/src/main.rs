//! The project's own commands.
//!
//! `cargo xtask test` sets up what the tests with real MCP clients, with ASCEND's
//! Python SDK, with the official conformance suite and with a browser need (Python environments
//! and node packages, under `target/clients`), builds the servers that they drive,
//! and runs every test, those of what the center keeps also over PostgreSQL. Nothing is
//! skipped: what is missing is an error that says what to install.

mod compile_time;

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [ARG…]   set up the official clients and run every test, and those of the center
                over PostgreSQL too; ARGs go to `cargo test`
  postgres      only run the tests of the center over PostgreSQL
  clients       only set up the official clients
";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let result = match arguments.next().as_deref() {
        Some("test") => test(&arguments.collect::<Vec<_>>()),
        Some("clients") => clients().map(drop),
        Some("postgres") => over_postgres(),
        Some("compile-time") => compile_time::measure(&arguments.collect::<Vec<_>>()),
        _ => Err(format!("{USAGE}{}", compile_time::USAGE).into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn test(arguments: &[String]) -> Result {
    let cargo = cargo();
    // The end-to-end tests drive the built programs, as users do; built as the
    // tests are, so that nothing is compiled for it twice.
    let mut build = Command::new(&cargo);
    build.args(["build", "--workspace", "--all-features", "--bins"]);
    // What the one waits for, the network, the other does not use.
    let (clients, built) = thread::scope(|scope| {
        let clients = scope.spawn(|| clients().map_err(|error| error.to_string()));
        let built = run(&mut build);
        (clients.join(), built)
    });
    built?;
    let clients = clients.map_err(|_| "setting up the clients panicked")??;
    run(Command::new(&cargo)
        .args(["test", "--workspace", "--all-features"])
        .args(arguments)
        .env("ASCEND_TEST_CLIENTS", clients))?;
    // Who chose some of the tests has had them.
    if arguments.is_empty() { over_postgres() } else { Ok(()) }
}

/// The center's tests that are about what it keeps, over its other database.
const OVER_POSTGRES: [&str; 11] = [
    "approvals",
    "audit",
    "center",
    "cli",
    "events",
    "http",
    "identity",
    "policies",
    "statuses",
    "webhooks",
    "wire",
];

fn over_postgres() -> Result {
    let run_again = |suites: &[&str], filter: &[&str]| {
        let suites = suites.iter().flat_map(|name| ["--test", name]);
        run(Command::new(cargo())
            // As they were built before.
            .args(["test", "--workspace", "--all-features"])
            .args(suites)
            .args(["--"])
            .args(filter)
            .env("ASCEND_TEST_DATABASE", "postgres"))
    };
    run_again(&OVER_POSTGRES, &[])?;
    // Without the browser, to which the database is all one.
    run_again(&["page"], &["served::"])
}

/// Sets up the official clients and returns the folder they are in.
fn clients() -> Result<PathBuf> {
    let root = root();
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let clients = target.join("clients");
    let sources = root.join("tests/clients");

    for name in ["v1", "v2", "fastmcp", "ascend"] {
        let environment = clients.join(format!("python-{name}"));
        let requirements = sources.join(format!("python/requirements-{name}.txt"));
        once(&environment, &requirements, || {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment)).map_err(
                |error| format!("{error}\nThe tests need Python 3.10 or newer with its venv module (Debian: python3-venv)."),
            )?;
            run(Command::new(environment.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
                .arg(&requirements))
        })?;
    }

    node_packages(&sources, &clients, "typescript", Some("drive.mjs"))?;
    node_packages(&sources, &clients, "conformance", Some("run.mjs"))?;
    node_packages(&sources, &clients, "page", None)?;
    for driver in ["drive.py", "drive_fastmcp.py", "ascend_sdk.py"] {
        fs::copy(sources.join("python").join(driver), clients.join(driver))?;
    }
    Ok(clients)
}

/// Installs the node packages of `name`, and puts its driver, if any, beside them.
fn node_packages(sources: &Path, clients: &Path, name: &str, driver: Option<&str>) -> Result {
    let (source, packages) = (sources.join(name), clients.join(name));
    once(&packages, &source.join("package-lock.json"), || {
        fs::create_dir_all(&packages)?;
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            fs::copy(source.join(file), packages.join(file))?;
        }
        run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&packages))
            .map_err(|error| {
                format!(
                    "{error}\nThe tests need Node.js 20 or newer with npm (Debian: nodejs, npm)."
                )
                .into()
            })
    })?;
    if let Some(driver) = driver {
        // It may have changed since the packages were installed.
        fs::copy(source.join(driver), packages.join(driver))?;
    }
    Ok(())
}

/// Sets up `folder` unless it was set up for this very `specification`.
fn once(folder: &Path, specification: &Path, set_up: impl FnOnce() -> Result) -> Result {
    let wanted = fs::read(specification)?;
    let stamp = folder.join(".installed");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("setting up {}", folder.display());
    set_up()?;
    Ok(fs::write(stamp, wanted)?)
}

fn run(command: &mut Command) -> Result {
    let status = command.status().map_err(|error| {
        format!("could not start `{}`: {error}", command.get_program().display())
    })?;
    if status.success() { Ok(()) } else { Err(format!("failed ({status}): {command:?}").into()) }
}
