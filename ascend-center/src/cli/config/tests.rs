use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use super::*;

/// As `serve` with these flags, in a directory with this file.
fn load(directory: &Path, file: &str, flags: &[&str]) -> anyhow::Result<Config> {
    fs::write(directory.join(FILE_NAME), file).expect("a file");
    let path = directory.join(FILE_NAME);
    let matches = command().try_get_matches_from(flags.iter().map(OsString::from))?;
    let file = File::read(&path, false, &command())?;
    let directory = (directory.to_owned(), From::Default);
    Config::resolve(command(), Some(&matches), file.as_ref(), Some(directory))
}

fn refused(file: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let error = load(directory.path(), file, &[]).expect_err("refused").to_string();
    error.replace(&directory.path().display().to_string(), "DIR")
}

#[test]
fn a_flag_counts_before_the_file_and_that_before_the_default() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = "agent_rate = 7\n\nallow_host = [\"a\", \"b\"]\nretention = \"30d\"\n\
                policies = \"policies\"\nmetrics_agents = true\ntenant_rate = 1_000\n";
    let config = load(directory.path(), file, &["--agent-rate", "9"]).expect("a configuration");
    let settings = &config.settings;
    assert_eq!((settings.agent_rate, settings.tenant_rate), (9, 1000));
    assert_eq!(settings.allow_host, ["a", "b"]);
    assert_eq!(settings.retention.map(|time| time.as_secs()), Some(30 * 24 * 3600));
    assert!(settings.metrics_agents);
    let told: BTreeMap<_, _> =
        config.told.iter().map(|it| (it.name.as_str(), (it.value.as_deref(), &it.from))).collect();
    let path = directory.path().join(FILE_NAME);
    assert_eq!(told["agent_rate"], (Some("9"), &From::Flag("--agent-rate".to_owned())));
    assert_eq!(told["allow_host"], (Some("a, b"), &From::File(path.clone(), 3)));
    assert_eq!(told["listen"], (Some("127.0.0.1:8787"), &From::Default));
    assert_eq!(told["tls_cert"], (None, &From::Default));
    let policies = directory.path().join("policies").display().to_string();
    assert_eq!(told["policies"], (Some(policies.as_str()), &From::File(path, 5)));
    let replaced = load(directory.path(), file, &["--allow-host", "c,d"]).expect("one");
    assert_eq!(replaced.settings.allow_host, ["c", "d"]);
}

#[test]
fn every_mistake_in_the_file_is_told_with_its_place() {
    let file = "agent_rat = 5\nlisten = 8787\n  agent-rate = \"often\"\nlog_format = \"xml\"\n\
                allow_host = \"a\"\nbehind_proxy = [\"10.0.0.0/8\", \"proxy\"]\n\
                retention = \"long\"\ndirectory = \"x\"\nagent_rate = -1\n[tls]\ncert = \"x\"\n";
    expect_test::expect![[r#"
        DIR/ascend-center.toml:1:1: there is no setting `agent_rat`; did you mean `agent_rate`?
        DIR/ascend-center.toml:2:10: `listen` takes text in quotes, and this is a number
        DIR/ascend-center.toml:3:3: there is no setting `agent-rate`; did you mean `agent_rate`?
        DIR/ascend-center.toml:4:14: `log_format` cannot be "xml"; expected "text" or "json"
        DIR/ascend-center.toml:5:14: `allow_host` takes a list, as in `allow_host = ["…"]`, and this is text
        DIR/ascend-center.toml:6:31: `behind_proxy` cannot be "proxy": expected an address or a network, such as 10.0.0.1 or 10.0.0.0/8
        DIR/ascend-center.toml:7:13: `retention` cannot be "long": expected a time such as 90d, 24h or 30m
        DIR/ascend-center.toml:8:1: `directory` stands only in a file that is named with --config; this one lies in the center's directory
        DIR/ascend-center.toml:9:14: `agent_rate` cannot be "-1": -1 is not in 0..=4294967295
        DIR/ascend-center.toml:10:2: there is no setting `tls`; `ascend-center doctor` lists all"#]]
    .assert_eq(&refused(file));
    expect_test::expect![[
        "DIR/ascend-center.toml:2:10: string values must be quoted, expected literal string"
    ]]
    .assert_eq(&refused("# first\nlisten = here\n"));
}

#[cfg(feature = "oidc")]
#[test]
fn a_secret_does_not_stand_in_the_file_and_is_not_told() {
    let refused = refused("oidc_client_secret = \"hunter2\"\n");
    assert!(refused.contains("oidc_client_secret_file"), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");
    let directory = tempfile::tempdir().expect("a directory");
    let flags = ["--oidc-client-secret=hunter2"];
    let config = load(directory.path(), "", &flags).expect("a configuration");
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
}

#[test]
fn every_setting_has_one_name() {
    for argument in command().get_arguments() {
        let name = argument.get_id().as_str();
        assert_eq!(argument.get_long(), Some(&*name.replace('_', "-")));
        let variable = argument.get_env().and_then(OsStr::to_str).expect("a variable");
        let expected = format!("ASCEND_CENTER_{}", name.to_uppercase());
        assert!(variable == expected || name == "log_level" && variable == "RUST_LOG", "{name}");
    }
}

#[test]
fn settings_that_do_not_fit_together_are_all_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let mistakes = |file: &str| load(directory.path(), file, &[]).expect("one").mistakes();
    assert!(mistakes("").is_empty());
    assert!(mistakes("listen = \"0.0.0.0:1\"\n")[0].contains("behind_proxy"));
    assert!(mistakes("tls_cert = \"a\"\n")[0].contains("set `tls_key` too"));
    let open = "listen = \"0.0.0.0:1\"\nbehind_proxy = [\"10.0.0.1\"]\n";
    assert!(mistakes(open)[0].contains("allow_host"));
    assert!(mistakes(&format!("{open}allow_host = [\"center.example\"]\n")).is_empty());
}

#[test]
fn the_docs_have_every_setting() {
    let docs = include_str!("../../../docs/settings.md");
    let rows: Vec<_> = docs.lines().filter(|line| line.contains("| `")).collect();
    let described = documented().into_iter().map(|setting| {
        let Documented { name, variable, help, example, is_secret } = setting;
        let file =
            if is_secret { "not in the file".to_owned() } else { format!("`{name} = {example}`") };
        format!("| {file} | `{variable}` | {} |", help.replace('\n', " "))
    });
    let described: Vec<String> = described.collect();
    let missing: Vec<_> =
        described.iter().filter(|row| !rows.contains(&row.as_str())).map(String::as_str).collect();
    assert!(missing.is_empty(), "not in docs/settings.md:\n{}", missing.join("\n"));
    // Without the feature its settings are not there, and described all the same.
    let elsewhere = |row: &str| {
        !cfg!(feature = "oidc") && row.contains("ASCEND_CENTER_OIDC_")
            || !cfg!(feature = "postgres") && row.contains("ASCEND_CENTER_ADOPT_KEYS")
    };
    for row in rows {
        assert!(elsewhere(row) || described.iter().any(|it| it == row), "no setting: {row}");
    }
}

#[test]
fn the_file_that_init_writes_is_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let template = crate::init::template(true);
    let config = load(directory.path(), &template, &[]).expect("the comments are comments");
    assert!(config.settings.policies.enforced().is_err(), "there is no such folder here");
    // Each comment with a default is a setting that changes nothing.
    let defaults: String = template
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|line| line.contains(" = ")))
        .filter(|line| documented().iter().any(|it| line.starts_with(&format!("{} = ", it.name))))
        .filter(|line| !line.chars().any(char::is_uppercase))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(defaults.lines().count() > 8, "{defaults}");
    let uncommented = load(directory.path(), &defaults, &[]).expect("settings");
    let values = |config: &Config| -> Vec<_> {
        config.told.iter().map(|told| (told.name.clone(), told.value.clone())).collect()
    };
    let plain = load(directory.path(), "", &[]).expect("nothing");
    assert_eq!(values(&uncommented), values(&plain));
}
