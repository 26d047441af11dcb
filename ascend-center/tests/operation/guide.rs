//! What docs/operation.md gives to be copied: the alerts and systemd's unit.

use std::{collections::BTreeSet, fs, process::Command};

use ascend_center::ServeConfig;
use tokio::net::{TcpListener, UnixDatagram};

use crate::{command, support::open, text};

const GUIDE: &str = include_str!("../../docs/operation.md");

/// The one block of the guide in this language.
fn block(language: &str) -> &'static str {
    let start = format!("```{language}\n");
    let (_, block) = GUIDE.split_once(start.as_str()).unwrap();
    block.split_once("```").unwrap().0
}

/// What is called for, as a test of promtool: the alert, its series in trouble, after
/// how many minutes it is raised, and the labels that it has then.
const ALERTS: [(&str, &str, &str, u32, &str); 9] = [
    ("AscendCenterDown", r#"up{job="ascend-center"}"#, "1 0x9", 3, "job: ascend-center"),
    ("AscendCenterFails", r#"ascend_center_http_requests_total{status="503"}"#, "0+9x19", 10, ""),
    ("AscendKillSwitchRaised", "ascend_center_kill_switch_raised", "0 1x9", 1, ""),
    (
        "AscendApprovalsExpire",
        r#"ascend_center_events_total{kind="expired"}"#,
        "0 6x9",
        2,
        "kind: expired",
    ),
    (
        "AscendPoliciesRefused",
        r#"ascend_center_policy_reloads_total{result="failed"}"#,
        "0 1x9",
        2,
        "result: failed",
    ),
    (
        "AscendSlowCommits",
        r#"ascend_center_commit_duration_seconds_bucket{le="+Inf"}"#,
        "0+9x29",
        20,
        "",
    ),
    (
        "AscendGuessedLogins",
        r#"ascend_center_events_total{kind="login_failed"}"#,
        "0 30x9",
        2,
        "kind: login_failed",
    ),
    ("AscendAuditUnsigned", "ascend_center_audit_unsigned_entries", "7x19", 10, ""),
    ("AscendWebhooksGivenUp", "ascend_center_webhook_dead_deliveries", "0 1x9", 1, ""),
];

/// promtool's tests of the rules: each alert comes of its trouble, and of nothing else.
fn tests() -> String {
    const COMMITS: &str = "ascend_center_commit_duration_seconds_bucket";
    let mut out = "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n".to_owned();
    for trouble in (0..ALERTS.len()).map(Some).chain([None]) {
        out += "  - interval: 1m\n    input_series:\n";
        let mut add = |series: &str, values: &str| {
            out += &format!("      - series: '{series}'\n        values: '{values}'\n");
        };
        let mut is_slow = false;
        for (index, (_, series, values, ..)) in ALERTS.iter().enumerate() {
            let is_trouble = trouble == Some(index);
            let is_commits = series.starts_with(COMMITS);
            is_slow |= is_commits && is_trouble;
            let calm = if series.starts_with("up") { "1x29" } else { "0x29" };
            add(series, if is_trouble || is_commits { values } else { calm });
        }
        // Transactions go on; when all is well, each is quick.
        for quick in ["0.001", "8.0"] {
            let values = if is_slow { "0x29" } else { "0+9x29" };
            add(&format!("{COMMITS}{{le=\"{quick}\"}}"), values);
        }
        out += "    alert_rule_test:\n";
        for (index, (alert, _, _, minutes, labels)) in ALERTS.iter().enumerate() {
            let at = trouble.map_or(*minutes, |trouble| ALERTS[trouble].3);
            let raised = format!("[{{exp_labels: {{{labels}}}}}]");
            let expected = if trouble == Some(index) { raised.as_str() } else { "[]" };
            out += &format!(
                "      - eval_time: {at}m\n        alertname: {alert}\n        exp_alerts: {expected}\n"
            );
        }
    }
    out
}

fn promtool(arguments: &[&std::ffi::OsStr]) -> String {
    let output = Command::new("promtool").args(arguments).output();
    let output = output.expect("the tests need promtool (Debian: prometheus)");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn each_alert_comes_of_its_trouble_and_of_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (rules, tests_file) =
        (directory.path().join("rules.yml"), directory.path().join("tests.yml"));
    fs::write(&rules, block("yaml")).unwrap();
    fs::write(&tests_file, tests()).unwrap();
    let checked =
        promtool(&["check".as_ref(), "rules".as_ref(), "--lint-fatal".as_ref(), rules.as_ref()]);
    assert!(checked.contains(&format!("{} rules found", ALERTS.len())), "{checked}");
    promtool(&["test".as_ref(), "rules".as_ref(), tests_file.as_ref()]);
}

#[tokio::test]
async fn what_the_alerts_look_at_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let beside = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = ServeConfig::new().metrics_address(beside);
    tokio::spawn(
        async move { center.serve(listener, config, std::future::pending()).await.unwrap() },
    );
    let http = reqwest::Client::new();
    assert_eq!(http.get(format!("{url}/health")).send().await.unwrap().status(), 200);
    let served = http.get(format!("http://{beside}/metrics")).send().await.unwrap();
    let served = served.text().await.unwrap();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let looked_at: BTreeSet<&str> = block("yaml")
        .match_indices("ascend_center_")
        .map(|(at, _)| {
            let rest = &block("yaml")[at..];
            let name = rest.find(|c| !is_name(c)).unwrap();
            match rest[name..].strip_prefix('{').and_then(|labels| labels.split_once('}')) {
                Some((labels, _)) if !labels.contains("=~") => &rest[..name + labels.len() + 2],
                _ => &rest[..name],
            }
        })
        .collect();
    assert_eq!(looked_at.len(), 8, "{looked_at:?}");
    for series in looked_at {
        // With its labels from the beginning: an increase from nothing is none.
        assert!(served.contains(&format!("\n{series}")), "{series} in {served}");
    }
}

/// Where there is no systemd, nobody uses the unit.
#[test]
fn the_unit_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("ascend-center.service");
    let installed = "/usr/local/bin/ascend-center";
    let of_the_guide = block("ini");
    assert!(of_the_guide.contains(&format!("ExecStart={installed} ")));
    let here = env!("CARGO_BIN_EXE_ascend-center");
    fs::write(&unit, of_the_guide.replace(installed, here)).unwrap();
    let mut verify = Command::new("systemd-analyze");
    match verify.args(["verify", "--man=no"]).arg(&unit).output() {
        Ok(output) => {
            // What it does not know it only says.
            assert_eq!((output.status.success(), text(&output.stderr)), (true, ""));
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
}

#[tokio::test]
async fn systemd_is_told_when_it_serves_and_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    let hear = async || {
        let mut message = [0; 256];
        let length = told.recv(&mut message).await.unwrap();
        text(&message[..length]).trim().to_owned()
    };
    // Free a moment ago, and nobody else's yet.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let mut child = command(&["serve", "--listen", &address, "--directory"])
        .arg(directory.path().join("center"))
        .env("NOTIFY_SOCKET", &socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(hear().await, "READY=1");
    // By then it answers, at the first time of asking.
    let health = reqwest::get(format!("http://{address}/health")).await.unwrap();
    assert_eq!(health.status(), 200);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(hear().await, "STOPPING=1");
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(ended.success());
}
