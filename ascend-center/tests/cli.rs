//! The `ascend-center` binary, beside a center in this process.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use ascend_center::{ActionState, Center};
use ascend_sdk::{Authority, Claim, RefusalKind, Review};
use serde_json::{Value, json};
use support::{action_json, database, delete, digest, number, open, served::token, state};

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ascend-center"));
    command.arg("--directory").arg(directory).args(arguments).env("RUST_LOG", "warn");
    command.envs(database::variable(directory));
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

async fn pending(center: &Center) -> i64 {
    number(&center.evaluate(&delete()).await.unwrap().action_id)
}

// The center's own work goes on while a program runs.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_by_the_cli_reaches_the_waiting_call() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let id = center.evaluate(&delete()).await.unwrap().action_id;
    let waiting = tokio::spawn({
        let (center, id) = (center.clone(), id.clone());
        async move {
            let review = center.await_review(&id).await;
            (Instant::now(), review)
        }
    });
    let arguments = ["approve", id.as_str(), "--comment", "looks right"];
    let output = tokio::process::Command::from(command(directory.path(), &arguments))
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("action {id} approved by alice\n"));
    let (woken, review) = waiting.await.unwrap();
    let Review::Approved(approval) = review.unwrap() else { panic!("approved") };
    assert_eq!(approval.reviewed_by.as_deref(), Some("alice"));
    assert_eq!(approval.comments.as_deref(), Some("looks right"));
    let reviewed_at = center.action(number(&id)).await.unwrap().unwrap().reviewed_at.unwrap();
    let took = jiff::Timestamp::now().duration_since(reviewed_at);
    let took = Duration::try_from(took).unwrap().saturating_sub(woken.elapsed());
    println!("from the decision in the other process to the call: {took:?}");
    assert!(took < Duration::from_secs(1));
    assert_eq!(center.claim(&id, &digest(1)).await.unwrap(), Claim::Granted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_by_the_cli_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let id = pending(&center).await;
    let output = run(directory.path(), &["reject", &id.to_string(), "-c", "too broad"]);
    assert!(output.status.success());
    let record = center.action(id).await.unwrap().unwrap();
    assert_eq!(record.state, ActionState::Rejected);
    assert_eq!(record.comments.as_deref(), Some("too broad"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decided_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let unknown = run(directory.path(), &["approve", "77"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert_eq!(text(&unknown.stderr), "error: there is no action 77\n");

    let id = pending(&center).await.to_string();
    assert!(run(directory.path(), &["reject", &id]).status.success());
    let decided = run(directory.path(), &["approve", &id]);
    assert_eq!(decided.status.code(), Some(4));
    assert!(text(&decided.stderr).contains("it was rejected by alice"));

    let mut action = delete();
    action.approval_timeout = Duration::from_millis(1);
    let answer = center.evaluate(&action).await.unwrap();
    center.await_review(&answer.action_id).await.unwrap();
    let expired = run(directory.path(), &["approve", answer.action_id.as_str()]);
    assert_eq!(expired.status.code(), Some(4));
    assert!(text(&expired.stderr).contains("it expired at"));

    std::fs::write(directory.path().join("approver.key"), "{}").unwrap();
    let id = pending(&center).await;
    let without = run(directory.path(), &["approve", &id.to_string()]);
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("approver.key"), "{}", text(&without.stderr));
    assert_eq!(state(&center, id).await, ActionState::Pending);

    let nowhere = run(&directory.path().join("nowhere"), &["pending"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("there is no center in"));
    assert!(!directory.path().join("nowhere").exists());
    assert_eq!(run(directory.path(), &["approve", "x"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_shows_all_and_nothing_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let quiet = run(directory.path(), &["pending"]);
    assert_eq!(text(&quiet.stdout), "Nothing waits for approval.\n");

    let long = format!("{}END", "x".repeat(5_000));
    let mut json = action_json("database", "delete", "production_db\u{202e}");
    json["summary"] = "Delete \u{1b}[2J\u{1b}]0;owned\u{7} everything\r\nAction 1 approved".into();
    json["parameters"] = json!({
        "where\u{200b}": "a\u{1b}[31mred\u{9b}1m",
        "long": long,
        "nested": { "list": ["\u{2066}hidden\u{2069}", 7] },
    });
    json["session_context"] = json!({ "session_id": "s\u{1}1", "client_name": "evil\ncard" });
    json["user_context"] = json!({ "user": "bob\u{feff}" });
    let action = serde_json::from_value(json).unwrap();
    let id = number(&center.evaluate(&action).await.unwrap().action_id);

    let output = run(directory.path(), &["pending"]);
    let shown = text(&output.stdout);
    let hostile = |c: char| c != '\n' && ascend_sdk::is_invisible(c);
    assert_eq!(shown.chars().find(|c| hostile(*c)), None, "{shown}");
    for expected in [
        "1 action waits for approval.",
        &format!("Action {id}  risk 85 HIGH"),
        r"Delete \u{1b}[2J\u{1b}]0;owned\u{7} everything\u{d}\u{a}Action 1 approved",
        r"production_db\u{202e}",
        r#""where\u{200b}": "a\u001b[31mred\u{9b}1m""#,
        &long,
        r#""\u{2066}hidden\u{2069}","#,
        "why        deleting needs a person's approval (policy `deletes-need-approval`)",
        "also matched: policy `production-deletes`, risk 85",
        r"mcp-server-001, session s\u{1}1, client evil\u{a}card, by the credential `embedded`",
        r#"for        "user": "bob\u{feff}""#,
        "left)",
        &format!("approve {id}"),
    ] {
        assert!(shown.contains(expected), "{expected}\nis not in\n{shown}");
    }

    let output = run(directory.path(), &["pending", "--json"]);
    assert_eq!(text(&output.stdout).chars().find(|c| hostile(*c)), None);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed[0]["id"], id);
    assert_eq!(listed[0]["parameters"]["nested"]["list"][0], "\u{2066}hidden\u{2069}");
    assert_eq!(listed[0]["state"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_shows_what_waits_comes_and_goes() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let earlier = pending(&center).await;
    let mut watching =
        command(directory.path(), &["watch", "--pending"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut until = tokio::task::spawn_blocking(move || {
        assert_eq!(lines.next().unwrap().unwrap(), "1 action waits for approval.");
        assert!(lines.any(|line| line.unwrap() == format!("Action {earlier}  risk 85 HIGH")));
        lines
    })
    .await
    .unwrap();
    // What nobody is asked about is not shown.
    let read = center.evaluate(&support::action("database", "read", "x")).await.unwrap();
    let id = pending(&center).await;
    let alice = center.local_approver().await.unwrap();
    let heading = format!("Action {id}  risk 85 HIGH");
    until = tokio::task::spawn_blocking(move || {
        let before: Vec<String> =
            until.by_ref().map(Result::unwrap).take_while(|line| *line != heading).collect();
        let read = format!("action {} ", read.action_id);
        assert!(!before.iter().any(|line| line.contains(&read)), "{before:#?}");
        until
    })
    .await
    .unwrap();
    center.reject(id, &alice, Some("no".to_owned())).await.unwrap();
    let ended = format!("action {id} rejected, by alice: no");
    tokio::task::spawn_blocking(move || assert!(until.any(|line| line.unwrap().ends_with(&ended))))
        .await
        .unwrap();
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_works_from_the_cli() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let id = center.evaluate(&support::action("database", "read", "x")).await.unwrap().action_id;
    assert!(run(directory.path(), &["kill", "an incident"]).status.success());
    let Claim::Refused(rejection) = center.claim(&id, &digest(1)).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(rejection.kind, RefusalKind::KillSwitch);
    let shown = run(directory.path(), &["pending"]);
    assert!(text(&shown.stdout).starts_with("The kill switch is raised since"));
    let released = run(directory.path(), &["release"]);
    assert_eq!(text(&released.stdout), "the kill switch is released\n");
    let again = run(directory.path(), &["release"]);
    assert_eq!(text(&again.stdout), "the kill switch was not raised\n");
    assert_eq!(center.claim(&id, &digest(1)).await.unwrap(), Claim::Granted);
}

#[test]
fn policies_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let check = |path: &Path| {
        let path = path.to_str().unwrap();
        run(directory.path(), &["policy", "check", path])
    };
    let built_in = run(directory.path(), &["policy", "check"]);
    assert!(built_in.status.success());
    assert!(text(&built_in.stdout).ends_with("policies, no mistakes\n"));

    let file = directory.path().join("mine.cedar");
    std::fs::write(&file, "@id(\"a\")\npermit (principal, action in Action::\"wriet\", resource);")
        .unwrap();
    let broken = check(&file);
    assert_eq!(broken.status.code(), Some(1));
    let told = text(&broken.stderr);
    assert!(told.contains("mine.cedar:2:30: unrecognized action `Action::\"wriet\"`"), "{told}");
    assert!(told.contains("help: did you mean `Action::\"write\"`?"), "{told}");
    assert_eq!(check(directory.path()).status.code(), Some(1));

    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(text(&check(&empty).stderr).contains("there is no policy file"));
}

#[test]
fn policies_are_those_of_the_center_where_no_others_are_named() {
    let directory = tempfile::tempdir().unwrap();
    assert!(run(directory.path(), &["init", "--no-admin"]).status.success());
    let file = directory.path().join("policies/default.cedar");
    let built_in = std::fs::read_to_string(&file).unwrap();
    let policy = |arguments: &[&str]| run(directory.path(), &[&["policy"], arguments].concat());
    assert!(text(&policy(&["check"]).stdout).ends_with("policies, no mistakes\n"));

    let own = "@id(\"own\")\npermit (principal, action, resource);\n";
    std::fs::write(&file, format!("{built_in}\n{own}")).unwrap();
    let call = directory.path().join("call.toml");
    std::fs::write(&call, "action = \"database.read\"\nresource = \"database://x\"\n").unwrap();
    let explained = policy(&["explain", call.to_str().unwrap()]);
    assert!(text(&explained.stdout).contains("matched   permit `own`"), "{explained:?}");

    let case = "[[case]]\nname = \"never\"\nexpect = { decision = \"deny\" }\n\
                call = { action = \"database.read\", resource = \"database://x\" }\n";
    std::fs::write(directory.path().join("policies/own.test.toml"), case).unwrap();
    let failed = policy(&["test"]);
    assert_eq!(failed.status.code(), Some(5), "{failed:?}");
    assert!(text(&failed.stdout).contains("never"), "{failed:?}");

    std::fs::write(&file, "permit (principal, action in Action::\"wriet\", resource);").unwrap();
    let broken = policy(&["check"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(text(&broken.stderr).contains("policies/default.cedar:1:"), "{broken:?}");

    // Others can be named all the same.
    let other = directory.path().join("other.cedar");
    std::fs::write(&other, built_in).unwrap();
    assert!(policy(&["check", other.to_str().unwrap()]).status.success());
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(directory.path(), &["policy", "check"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn serving_other_machines_takes_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let listen = ["serve", "--listen", "0.0.0.0:0"];
    let refused = |more: &[&str]| {
        let output = run(directory.path(), &[&listen, more].concat());
        assert_eq!(output.status.code(), Some(1));
        // Nobody is told that it serves.
        assert_eq!(text(&output.stdout), "");
        text(&output.stderr).to_owned()
    };
    assert!(refused(&["--allow-host", "center.example"]).contains("--behind-proxy"));
    assert!(refused(&["--behind-proxy", "10.0.0.1"]).contains("--allow-host"));
    let missing = ["--tls-cert", "no.pem", "--tls-key", "no.pem", "--allow-host", "center.example"];
    assert!(refused(&missing).contains("no.pem cannot be used for TLS"));
}

#[cfg(unix)]
#[test]
fn serve_tells_no_token_and_stops_on_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(directory.path(), &["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("RUST_LOG", "trace")
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut told = String::new();
    for _ in 0..3 {
        out.read_line(&mut told).unwrap();
    }
    assert!(told.contains("listening on http://127.0.0.1:"), "{told}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let logged = text(&output.stderr);
    for file in ["agent.key", "approver.key"] {
        let token = token(directory.path(), file);
        assert!(!told.contains(&token) && !logged.contains(&token), "{file}");
    }
}
