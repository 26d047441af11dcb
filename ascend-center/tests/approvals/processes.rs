//! Real processes: the command line, and a center that is killed between two votes.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use ascend_center::{AuditKind, Center, VerifyAudit};
use ascend_sdk::Decision;
use serde_json::{Value, json};

use crate::{
    Town, action, config,
    support::{database, digest, served::token as credential},
    token,
};

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let mut child = binary(directory)
            .args(["serve", "--listen", "127.0.0.1:0", "--policies"])
            .arg(directory.join("policies"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ascend-center"));
    command
        .env("ASCEND_CENTER_DIR", directory.join("center"))
        .envs(database::variable(&directory.join("center")))
        .env("RUST_LOG", "error")
        .env("USER", "alice");
    for variable in ["ASCEND_CENTER_URL", "ASCEND_CENTER_TOKEN", "ASCEND_CENTER_POLICIES"] {
        command.env_remove(variable);
    }
    command
}

async fn run(mut command: Command, arguments: &[&str]) -> (i32, String, String) {
    command.args(arguments);
    let output: Output = tokio::process::Command::from(command).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// As a person at another machine.
async fn at(
    server: &Server,
    directory: &Path,
    token: &str,
    arguments: &[&str],
) -> (i32, String, String) {
    let mut command = binary(directory);
    command.env("ASCEND_CENTER_URL", &server.url).env("ASCEND_CENTER_TOKEN", token);
    run(command, arguments).await
}

#[tokio::test]
async fn a_center_killed_between_two_votes_still_has_the_first() {
    let town = Town::new().await;
    let (bob, carol) = (token(&town.center, "bob").await, token(&town.center, "carol").await);
    town.center.close().await;
    let directory = town.directory.path();
    let mut server = Server::start(directory);
    let agent = credential(&directory.join("center"), "agent.key");
    let evaluate = json!({
        "server_id": "srv", "namespace": "crm", "verb": "delete", "resource": "x",
        "digest": digest(1),
    });
    let post = async |server: &Server, path: &str, body: &Value| -> Value {
        let request = reqwest::Client::new().post(format!("{}{path}", server.url));
        request.bearer_auth(&agent).json(body).send().await.unwrap().json().await.unwrap()
    };
    let id = post(&server, "/mcp/governance/evaluate", &evaluate).await["action_id"].to_string();

    let (status, out, error) = at(&server, directory, &bob, &["approve", &id]).await;
    assert_eq!(
        (status, out.as_str()),
        (0, &*format!("your approval counts; action {id} has 1 of 2 approvals by `dba`\n")),
        "{error}"
    );
    server.kill();
    let server = Server::start(directory);
    let (_, out, _) = at(&server, directory, &carol, &["pending"]).await;
    assert!(out.contains("needs      1 of 2 approvals by `dba`: bob\n"), "{out}");
    assert!(out.contains("also from `managers`"), "{out}");
    let (status, out, _) = at(&server, directory, &carol, &["approve", &id]).await;
    assert_eq!((status, out), (0, format!("action {id} approved by bob, carol\n")));
    let claim = format!("/api/v1/actions/{id}/claim");
    let claim = post(&server, &claim, &json!({ "digest": digest(1) })).await;
    assert_eq!(claim["granted"], true);
    drop(server);

    let center = Center::open(config(directory)).await.unwrap();
    center.verify_audit(&VerifyAudit::new()).await.unwrap();
    let voted = ascend_center::AuditQuery::new().kind(AuditKind::Voted);
    assert_eq!(center.audit_entries(&voted).await.unwrap().len(), 1);
}

#[tokio::test]
async fn people_decide_at_the_command_line() {
    let town = Town::new().await;
    let directory = town.directory.path();
    let server = Server::start(directory);
    let (bob, dan) = (token(&town.center, "bob").await, token(&town.center, "dan").await);
    let here = async |arguments: &[&str]| run(binary(directory), arguments).await;

    let (status, _, error) =
        here(&["users", "create", "erin", "--role", "approver", "--group", "dba", "--no-password"])
            .await;
    assert_eq!((status, error.as_str()), (0, "erin is approver\nerin is in dba\n"));
    let (_, out, _) = here(&["users", "group", "add", "erin", "dba", "ops"]).await;
    assert_eq!(out, "erin is already in dba\nerin is in ops\n");
    let (_, out, _) = here(&["users", "group", "remove", "erin", "ops"]).await;
    assert_eq!(out, "erin is no longer in ops\n");
    let (_, out, _) = here(&["users", "list"]).await;
    assert!(out.lines().any(|line| line.starts_with("erin") && line.contains("dba")), "{out}");
    assert_eq!(here(&["users", "group", "add", "nobody", "dba"]).await.0, 3);

    let id = town.pending("delete").await;
    let number = id.to_string();
    let (status, _, error) = here(&["approve", &number]).await;
    assert_eq!(status, 1);
    assert!(error.contains("is for `dba` to decide; alice is in no group"), "{error}");
    let (status, _, error) = at(&server, directory, &dan, &["approve", &number]).await;
    assert_eq!(status, 1);
    assert!(error.contains("(403 Forbidden)") && error.contains("on `managers`"), "{error}");
    at(&server, directory, &bob, &["approve", &number]).await;
    let (status, out, _) = at(&server, directory, &bob, &["approve", &number, "--take-back"]).await;
    assert_eq!((status, out), (0, format!("action {id} has 0 of 2 approvals by `dba`\n")));
    let (_, out, _) = here(&["pending", "--json"]).await;
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed[0]["rules"][0]["approvers"], "dba");

    let refund = town.pending("refund").await.to_string();
    let (policies, when) = (directory.join("policies"), "context.arguments.refund.cents <= 500");
    let policies = policies.to_str().unwrap();
    let bad =
        ["approve", &refund, "--also-for", "30m", "--when", "context.arguments.refund.sents < 1"];
    let (status, _, error) = at(&server, directory, &bob, &bad).await;
    assert_eq!(status, 1);
    assert!(error.contains("did you mean `cents`?"), "{error}");
    let good = ["approve", &refund, "--also-for", "30m", "--calls", "10", "--when", when];
    let (status, out, error) = at(&server, directory, &bob, &good).await;
    assert_eq!(status, 0, "{error}");
    let (first, second) = out.trim_end().split_once('\n').unwrap();
    assert_eq!(first, format!("action {refund} approved by bob"));
    let expected = format!(
        "grant 1 of bob: refund (crm.refund) on crm://orders/7 by embedded, when {when}, \
         10 calls until "
    );
    assert!(second.starts_with(&expected), "{second}");
    let cheap = action("refund", "crm://orders/7", 500);
    assert_eq!(town.ask_for(&cheap).await.1.decision, Decision::Allow);

    // At the directory, by its owner: with the policies in use.
    let add = [
        "grants",
        "add",
        "--tool",
        "refund",
        "--resource",
        "crm://customers/*",
        "--for",
        "1h",
        "--when",
        when,
        "--policies",
        policies,
    ];
    let (status, out, error) = here(&add).await;
    assert_eq!(status, 0, "{error}");
    assert!(out.starts_with("grant 2 of alice: refund on crm://customers/*, when "), "{out}");
    let (_, out, _) = here(&["grants", "list"]).await;
    assert!(
        out.contains("1 of 10") && out.contains("0 of 1000") && out.lines().count() == 3,
        "{out}"
    );
    let (_, out, _) = here(&["grants", "revoke", "1"]).await;
    assert_eq!(out, "grant 1 is revoked\n");
    let (_, out, _) = here(&["grants", "revoke", "1"]).await;
    assert_eq!(out, "grant 1 was not good any more\n");
    let (_, out, _) = at(&server, directory, &bob, &["grants", "list", "--all", "--json"]).await;
    let grants: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&grants[0]["id"], &grants[1]["revoked_by"]), (&json!(2), &json!("alice")));
    assert_eq!(here(&["grants", "add", "--tool", "x", "--resource", "y"]).await.0, 2);
    assert_eq!(here(&["grants", "revoke", "9"]).await.0, 3);

    let (status, out, _) = here(&["policy", "check", policies]).await;
    assert_eq!(status, 0);
    assert!(out.contains("policy `exports` asks for 1 of `security`"), "{out}");
}
