use std::fs;

use ascend_sdk::Authority as _;
use serde_json::Value;

use crate::{
    run,
    support::{delete, open, served::Served},
    text,
};

fn checks(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The standing of a check.
fn standing<'a>(checks: &'a Value, name: &str) -> &'a str {
    let all = checks["checks"].as_array().unwrap();
    let check = all.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("{name} in {checks}"))["standing"].as_str().unwrap()
}

#[tokio::test]
async fn a_sound_center_is_well_and_a_running_one_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path());
    let address = served.url.strip_prefix("http://").unwrap().to_owned();
    let output = run(directory.path(), &["doctor", "--full", "--json", "--listen", &address]);
    let told = checks(&output);
    assert!(output.status.success(), "{told}");
    assert_eq!(told["well"], true);
    for name in [
        "configuration",
        "directory",
        "disk",
        "database",
        "clock",
        "audit log",
        "policies",
        "server",
    ] {
        assert_eq!(standing(&told, name), "ok", "{name}: {told}");
    }
    assert_eq!(standing(&told, "people"), "warning", "nobody has an account: {told}");
    let listen = &told["settings"].as_array().unwrap()[1..];
    let listen = listen.iter().find(|it| it["name"] == "listen").unwrap();
    assert_eq!((&listen["value"], &listen["from"]), (&address.as_str().into(), &"--listen".into()));
    drop(served);
    let quiet = run(directory.path(), &["doctor", "--listen", &address]);
    assert!(quiet.status.success(), "a center that is not served is well");
    assert!(text(&quiet.stdout).contains("nothing is served"), "{}", text(&quiet.stdout));
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = run(&directory.path().join("nowhere"), &["doctor"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stdout).contains("ascend-center init"), "{}", text(&nowhere.stdout));

    let center = open(directory.path()).await;
    center.evaluate(&delete()).await.unwrap();
    let owner = center.local_approver().await.unwrap();
    center.kill("an incident", &owner).await.unwrap();
    center.close().await;
    let policies = directory.path().join("policies");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("a.cedar"), "permit (principal, action, resource;").unwrap();
    let database = directory.path().join("center.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    for statement in [
        "DROP TRIGGER audit_is_not_changed",
        "UPDATE audit SET entry = replace(entry, 'an incident', 'no incident')",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    sqlx::Connection::close(connection).await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let policies = policies.to_str().unwrap();
    let listen = ["--listen", "0.0.0.0:1"];
    let output = run(
        directory.path(),
        &[["doctor", "--json", "--policies", policies].as_slice(), &listen].concat(),
    );
    assert_eq!(output.status.code(), Some(1));
    let told = checks(&output);
    assert_eq!(told["well"], false);
    for name in ["configuration", "directory", "policies", "audit log"] {
        assert_eq!(standing(&told, name), "error", "{name}: {told}");
    }
    assert_eq!(standing(&told, "kill switch"), "warning", "{told}");
    let advised = told["checks"].as_array().unwrap().iter().all(|check| {
        check["standing"] == "ok" || check["advice"].as_str().is_some_and(|text| !text.is_empty())
    });
    assert!(advised, "{told}");
}

#[test]
fn a_certificate_that_ends_soon_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let told = |days: i64| {
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let day = std::time::Duration::from_secs(24 * 3600);
        let now = std::time::SystemTime::now();
        let offset = day * u32::try_from(days.abs()).unwrap();
        let end = if days < 0 { now - offset } else { now + offset };
        parameters.not_after = end.into();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let path = directory.path().join("cert.pem");
        fs::write(&path, certificate.pem()).unwrap();
        fs::write(directory.path().join("key.pem"), key.serialize_pem()).unwrap();
        let key = directory.path().join("key.pem");
        let arguments = [
            "doctor",
            "--json",
            "--listen",
            "127.0.0.1:1",
            "--tls-cert",
            path.to_str().unwrap(),
            "--tls-key",
            key.to_str().unwrap(),
        ];
        checks(&run(directory.path(), &arguments))
    };
    for (days, expected) in [(-1, "error"), (7, "warning"), (300, "ok")] {
        let told = told(days);
        assert_eq!(standing(&told, "certificate"), expected, "{told}");
    }
}

#[test]
fn a_mistake_in_the_file_stops_every_command() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ascend-center.toml"), "\nlissten = \"x\"\n").unwrap();
    for command in [["serve"].as_slice(), &["doctor"], &["pending"]] {
        let output = run(directory.path(), command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let told = text(&output.stderr);
        let expected =
            "ascend-center.toml:2:1: there is no setting `lissten`; did you mean `listen`?";
        assert!(told.contains(expected), "{told}");
    }
    let elsewhere = directory.path().join("elsewhere.toml");
    fs::write(&elsewhere, "directory = \"center\"\nagent_rate = 5\n").unwrap();
    let output = crate::command(&["init", "--no-admin", "--config"]).arg(&elsewhere).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(directory.path().join("center/center.db").exists(), "relative to the file");
}

#[tokio::test]
async fn groups_that_policies_ask_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let center = open(directory.path()).await;
    let policies = directory.path().join("policies");
    fs::create_dir(&policies).unwrap();
    let asks = "@id(\"a\") @decision(\"require_approval\") @approvers(\"dba\") \
                forbid (principal, action, resource);";
    fs::write(policies.join("a.cedar"), asks).unwrap();
    let look = |policies: &std::path::Path| {
        let policies = policies.to_str().unwrap();
        checks(&run(directory.path(), &["doctor", "--json", "--policies", policies]))
    };
    let told = look(&policies);
    let all = told["checks"].as_array().unwrap();
    let group = all.iter().find(|check| check["name"] == "groups").unwrap();
    assert_eq!(group["standing"], "warning");
    let found = group["found"].as_str().unwrap();
    assert!(
        found.ends_with("asks for 1 of `dba`, in which there is nobody who may approve"),
        "{found}"
    );
    assert!(group["advice"].as_str().unwrap().contains("users group add NAME GROUP"), "{group}");

    let owner = center.local_approver().await.unwrap();
    center.add_to_group(&owner, "alice", "dba").await.unwrap();
    assert_eq!(standing(&look(&policies), "groups"), "ok");
}

#[tokio::test]
async fn the_limits_of_grants_are_set_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).await.close().await;
    let file = directory.path().join("ascend-center.toml");
    fs::write(&file, "grant_time = \"30m\"\ngrant_calls = 7\n").unwrap();
    let told = checks(&run(directory.path(), &["doctor", "--json", "--grant-calls", "5"]));
    let setting = |name: &str| {
        let all = told["settings"].as_array().unwrap();
        let found = all.iter().find(|it| it["name"] == name).unwrap();
        (found["value"].as_str().unwrap().to_owned(), found["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("grant_time"), ("30m".to_owned(), format!("{}:1", file.display())));
    assert_eq!(setting("grant_calls"), ("5".to_owned(), "--grant-calls".to_owned()));

    let add = |bounds: &[&str]| {
        let add = ["grants", "add", "--tool", "refund", "--resource", "*"];
        run(directory.path(), &[&add, bounds].concat())
    };
    let long = add(&["--for", "1h"]);
    assert_eq!(long.status.code(), Some(1));
    assert!(text(&long.stderr).contains("at most 1800 s here"), "{}", text(&long.stderr));
    let many = add(&["--calls", "8"]);
    assert!(text(&many.stderr).contains("at most 7 here"), "{}", text(&many.stderr));
    assert!(add(&["--for", "30m", "--calls", "7"]).status.success());
    let served = Served::start(directory.path());
    let approver = crate::support::served::token(directory.path(), "approver.key");
    let grant = |calls: u32| {
        let body = serde_json::json!({ "tool": "refund", "resource": "*", "calls": calls });
        let http = reqwest::Client::new().post(format!("{}/api/v1/grants", served.url));
        http.bearer_auth(&approver).json(&body).send()
    };
    assert_eq!(grant(8).await.unwrap().status(), 422);
    assert_eq!(grant(7).await.unwrap().status(), 201);
}
