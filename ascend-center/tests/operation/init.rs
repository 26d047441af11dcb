use std::fs;

use serde_json::Value;

use crate::{command, run, support::open, text};

#[tokio::test]
async fn a_center_is_made_ready_once() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("center");
    let password = parent.path().join("password");
    fs::write(&password, "correct horse battery staple\n").unwrap();
    let arguments =
        ["init", "--password-file", password.to_str().unwrap(), "--agent", "billing-agent"];
    let first = run(&directory, &arguments);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let told = text(&first.stdout);
    let key = told.lines().find_map(|line| line.trim().strip_prefix("ASCEND_API_KEY=")).unwrap();
    assert!(key.starts_with("ascend_agent_"), "{told}");
    for expected in ["ASCEND_BASE_URL=http://127.0.0.1:8787", "admin: made", "serve", "doctor"] {
        assert!(told.contains(expected), "{expected} in {told}");
    }
    assert!(!told.contains("correct horse"));
    for file in ["ascend-center.toml", "policies/default.cedar", "audit.key", "center.db"] {
        assert!(directory.join(file).exists(), "{file}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for file in [".", "ascend-center.toml", "audit.key", "center.db"] {
            let mode = directory.join(file).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file}");
        }
    }

    // Again: nothing is overwritten, and what is there is said.
    let policy = directory.join("policies/default.cedar");
    let changed = format!("{}\n// mine\n", fs::read_to_string(&policy).unwrap());
    fs::write(&policy, &changed).unwrap();
    let before = fs::read_to_string(directory.join("ascend-center.toml")).unwrap();
    let again = run(&directory, &arguments);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let told = text(&again.stdout);
    assert_eq!(told.matches("there already, left as it is").count(), 5, "{told}");
    assert!(!told.contains("ascend_agent_"), "no other key: {told}");
    assert_eq!(fs::read_to_string(&policy).unwrap(), changed);
    assert_eq!(fs::read_to_string(directory.join("ascend-center.toml")).unwrap(), before);

    let center = open(&directory).await;
    let users = center.users().await.unwrap();
    assert_eq!((users.len(), users[0].name.as_str()), (1, "admin"));
    assert_eq!(center.keys().await.unwrap().len(), 1);
    center.close().await;

    // The file is used as it stands, and says so.
    let doctor = run(&directory, &["doctor", "--json", "--listen", "127.0.0.1:1"]);
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let settings = doctor["settings"].as_array().unwrap();
    let policies = settings.iter().find(|it| it["name"] == "policies").unwrap();
    assert!(policies["from"].as_str().unwrap().contains("ascend-center.toml:"), "{policies}");
}

#[test]
fn a_center_without_an_account_asks_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let refused = command(&["init", "--directory"])
        .arg(directory.path().join("a"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("--no-admin"), "{}", text(&refused.stderr));
    assert!(!directory.path().join("a").exists(), "nothing is half done");
    let made = run(&directory.path().join("b"), &["init", "--no-admin"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("agent.key"), "{}", text(&made.stdout));
}
