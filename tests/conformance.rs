//! The official conformance suite against a governed server over Streamable
//! HTTP. What it need not pass, and why, is listed in `docs/conformance.md`.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Stdio,
};

use ascend_tests::client::{clients, program};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// The installed suites, and the versions of the protocol to run each at; `None`
/// for a suite's own choice, with its scenarios for extensions.
const RUNS: [(&str, Option<&str>); 6] = [
    ("@modelcontextprotocol/conformance", None),
    ("conformance-next", None),
    ("conformance-next", Some("2025-03-26")),
    ("conformance-next", Some("2025-06-18")),
    ("conformance-next", Some("2025-11-25")),
    ("conformance-next", Some("2026-07-28")),
];

/// The checks of each scenario that do not pass.
type Failures = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    id: String,
    status: String,
    error_message: Option<String>,
}

/// Starts the server and returns its URL, once it listens.
async fn serve() -> (Child, String) {
    let mut child = Command::new(program("conformance_server"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().expect("a server prints its URL");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, url)
}

/// Runs all of a suite's scenarios; every scenario that ran, with its failures.
async fn run(suite: &str, version: Option<&str>, url: &str) -> Failures {
    let results = tempfile::tempdir().unwrap();
    let mut command = Command::new("node");
    command
        .current_dir(clients().join("conformance"))
        .args(["run.mjs", suite, "server", "--suite", "all", "--url", url, "--output-dir"])
        .arg(results.path())
        .kill_on_drop(true);
    if let Some(version) = version {
        command.args(["--spec-version", version]);
    }
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let complete = text.contains("=== SUMMARY ===");
    assert!(complete, "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let failures = read(results.path());
    assert_eq!(failures.len(), text.matches("=== Running scenario").count(), "{text}");
    failures
}

/// Reads `server-SCENARIO-TIME/checks.json` of every scenario.
fn read(results: &Path) -> Failures {
    const TIME: &str = "-2026-07-28T00-00-00-000Z";
    let mut failures = Failures::new();
    for entry in fs::read_dir(results).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let scenario = &name["server-".len()..name.len() - TIME.len()];
        let checks = fs::read(entry.path().join("checks.json")).unwrap();
        let checks: Vec<Check> = serde_json::from_slice(&checks).unwrap();
        assert!(!checks.is_empty(), "{scenario} checked nothing");
        let failed = checks
            .into_iter()
            .filter(|check| !matches!(&*check.status, "SUCCESS" | "SKIPPED" | "INFO"))
            .map(|check| (check.id, check.error_message.unwrap_or(check.status)));
        failures.insert(scenario.to_owned(), failed.collect());
    }
    failures
}

/// The checks that `docs/conformance.md` lists, by scenario.
fn listed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    include_str!("../docs/conformance.md")
        .lines()
        .filter_map(|line| line.strip_prefix("- `"))
        .map(|line| {
            let mut names = line.split('`').step_by(2).filter(|name| !name.is_empty());
            let scenario = names.next().unwrap();
            let checks: BTreeSet<_> = names.collect();
            (scenario, if checks.is_empty() { [scenario].into() } else { checks })
        })
        .collect()
}

#[tokio::test]
async fn the_official_suite_passes_but_for_what_is_listed() {
    let listed = listed();
    let mut unseen: BTreeSet<_> = listed.keys().copied().collect();
    let mut problems = Vec::new();
    for (suite, version) in RUNS {
        // A call that a run leaves waiting is not to be joined by the next.
        let (_server, url) = serve().await;
        let failures = run(suite, version, &url).await;
        let run = format!("{suite} {}", version.unwrap_or_default());
        for (scenario, failed) in failures {
            let none = BTreeSet::new();
            let expected = listed.get(&*scenario).unwrap_or(&none);
            unseen.remove(&*scenario);
            for (check, message) in &failed {
                if !expected.contains(&**check) {
                    problems.push(format!("{run}: {scenario}: {check} fails: {message}"));
                }
            }
            for check in expected.iter().filter(|check| !failed.contains_key(**check)) {
                problems.push(format!("{run}: {scenario}: {check} is listed and does not fail"));
            }
        }
    }
    problems.extend(unseen.iter().map(|scenario| format!("{scenario} is listed and never ran")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
