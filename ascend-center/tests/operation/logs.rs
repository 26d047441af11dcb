use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{command, support::served::token};

#[tokio::test]
async fn a_request_is_logged_once_and_no_secret_with_it() {
    const SECRETS: [&str; 5] =
        ["in-an-argument", "in-a-header", "in-a-body", "in-a-url", "in-a-resource"];
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .args(["--log-level", "debug,ascend_center=trace", "--directory"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    let mut errors = child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        text
    });

    let http = reqwest::Client::new();
    let agent = token(directory.path(), "agent.key");
    let body = json!({
        "server_id": "srv", "namespace": "database", "verb": "delete", "resource": "in-a-resource",
        "parameters": { "card": "in-an-argument" }, "summary": "in-a-body",
    });
    let request = http.post(format!("{url}/mcp/governance/evaluate?key=in-a-url")).json(&body);
    let request = request.header("x-api-key", &agent).header("x-correlation-id", "find-me");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let unknown = http.get(format!("{url}/api/v1/actions/in-a-url/status"));
    assert_eq!(unknown.bearer_auth("in-a-header").send().await.unwrap().status(), 401);
    let login = json!({ "name": "in-a-body", "password": "in-a-body" });
    let login = http.post(format!("{url}/api/v1/login")).json(&login);
    assert_eq!(login.send().await.unwrap().status(), 401);

    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let log = reading.join().unwrap();
    for secret in SECRETS.into_iter().chain([agent.as_str()]) {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "answered").collect();
    assert_eq!(answered.len(), 3, "{answered:?}");
    let evaluated = answered[0];
    assert_eq!(evaluated["route"], "/mcp/governance/evaluate");
    assert_eq!((&evaluated["status"], &evaluated["level"]), (&200.into(), &"DEBUG".into()));
    assert_eq!(evaluated["span"]["correlation_id"], "find-me");
    assert_eq!(evaluated["by"], "agent local-agent");
    assert!(evaluated["duration_ms"].as_f64().unwrap() > 0.0);
    assert_eq!((&answered[1]["status"], &answered[1]["by"]), (&401.into(), &"nobody".into()));
}

#[tokio::test]
async fn a_reload_warns_of_groups_with_too_few_people() {
    let directory = tempfile::tempdir().unwrap();
    let policies = directory.path().join("policies");
    let mut child = command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .arg("--policies")
        .arg(&policies)
        .arg("--directory")
        .arg(directory.path().join("center"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on "), "{line}");
    let asks = "@id(\"own\") @decision(\"require_approval\") @approvers(\"dba\") @quorum(\"2\") \
                forbid (principal, action, resource);";
    std::fs::write(policies.join("own.cedar"), asks).unwrap();
    let said = "asks for 2 of `dba`, in which there is nobody who may approve";
    let errors = BufReader::new(child.stderr.take().unwrap());
    let found = tokio::task::spawn_blocking(move || {
        let mut lines = errors.lines().map(|line| line.unwrap());
        lines.find(|line| line.contains(said))
    });
    let found = tokio::time::timeout(std::time::Duration::from_secs(60), found).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let found = found.expect("no warning in a minute").unwrap().expect("no warning");
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["level"], "WARN");
    assert!(
        found["message"].as_str().unwrap().contains("own.cedar:1:1: policy `own` asks"),
        "{found}"
    );
}
