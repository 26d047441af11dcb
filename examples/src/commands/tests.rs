#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::symlink};

use super::*;

fn commands() -> (tempfile::TempDir, Commands) {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("dir")).unwrap();
    fs::write(root.join("dir/file"), "in dir").unwrap();
    symlink("..", root.join("up")).unwrap();
    let commands = Commands::open(&root).unwrap();
    (outer, commands)
}

fn script(commands: &Commands, text: &str) -> String {
    fs::write(commands.root.path().join("script"), text).unwrap();
    "sh script".to_owned()
}

/// Whether a process is there and not only waits to be reaped.
fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X']))
}

async fn assert_dies(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_runs_a_command_and_reports_its_output() {
    let (_outer, commands) = commands();
    let finished = commands.run("echo 'hello  world' \"a;b\"", None).await.unwrap();
    assert_eq!((finished.exit_code, finished.signal), (Some(0), None));
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("hello  world a;b\n", ""));
    assert!(!finished.stdout_truncated && !finished.timed_out);
    let finished = commands.run("ls not-there", None).await.unwrap();
    assert_ne!(finished.exit_code, Some(0));
    assert!(finished.stderr.contains("not-there"));
    let killed = script(&commands, "kill -TERM $$");
    let finished = commands.run(&killed, None).await.unwrap();
    assert_eq!((finished.exit_code, finished.signal), (None, Some(15)));
}

#[tokio::test]
async fn no_shell_sees_the_command() {
    let (_outer, commands) = commands();
    for command in [
        "echo $(id)",
        "echo x > y",
        "ls; ls",
        "ls | cat",
        "ls *",
        "X=1 ls",
        "ls\nls",
        "",
        "echo `id`",
    ] {
        let error = commands.run(command, None).await.unwrap_err();
        assert!(matches!(error, CommandError::NotLiteral(_)), "{command}: {error}");
    }
    let finished = commands.run("echo '$(id) > y; `id`' '*'", None).await.unwrap();
    assert_eq!(finished.stdout, "$(id) > y; `id` *\n");
    let error = commands.run("no-such-program-here", None).await.unwrap_err();
    assert!(matches!(error, CommandError::NotFound(_)), "{error}");
    assert!(!commands.root.path().join("y").exists());
}

#[tokio::test]
async fn it_runs_in_a_directory_under_the_root() {
    let (_outer, commands) = commands();
    assert_eq!(commands.run("cat file", Some("dir")).await.unwrap().stdout, "in dir");
    let finished = commands.run("pwd", None).await.unwrap();
    assert_eq!(finished.stdout.trim_end(), commands.root.path().to_str().unwrap());
    for directory in ["..", "/", "up", "dir/file", "missing", "", "dir/../..", "\0"] {
        let error = commands.run("pwd", Some(directory)).await.unwrap_err();
        assert!(matches!(error, CommandError::Directory(_)), "{directory:?}: {error}");
    }
}

#[tokio::test]
async fn it_has_hardly_any_environment_and_no_input() {
    let (_outer, commands) = commands();
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let finished = commands.run("env", None).await.unwrap();
    let mut names: Vec<_> =
        finished.stdout.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.retain(|name| !ENVIRONMENT.contains(name));
    assert_eq!(names, ["HOME"]);
    let finished = commands.run("cat", None).await.unwrap();
    assert_eq!((finished.exit_code, finished.stdout.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn outputs_are_cut_and_the_command_goes_on() {
    let (_outer, commands) = commands();
    let finished = commands.run("seq 1 200000", None).await.unwrap();
    assert_eq!((finished.stdout.len(), finished.stdout_truncated), (OUTPUT_LIMIT, true));
    assert_eq!((finished.exit_code, finished.stderr_truncated), (Some(0), false));
    let wide = script(&commands, "yes é | head -c 65537 >&2");
    let finished = commands.run(&wide, None).await.unwrap();
    assert!(finished.stderr_truncated && !finished.stderr.contains('\u{fffd}'));
}

#[tokio::test]
async fn a_command_that_runs_too_long_is_killed_with_its_children() {
    let (_outer, commands) = commands();
    let commands = commands.time_limit(Duration::from_millis(500));
    let forks = script(&commands, "sleep 600 & echo $!; exec sleep 600");
    let finished = commands.run(&forks, None).await.unwrap();
    assert!(finished.timed_out && finished.duration_ms >= 500);
    assert_eq!((finished.exit_code, finished.signal), (None, Some(9)));
    assert_dies(finished.stdout.trim()).await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_killed() {
    let (_outer, commands) = commands();
    let forks = script(&commands, "sleep 600 & echo $!");
    let finished = commands.run(&forks, None).await.unwrap();
    assert_eq!((finished.exit_code, finished.timed_out), (Some(0), false));
    assert_dies(finished.stdout.trim()).await;
}

#[tokio::test]
async fn a_command_dies_when_nobody_waits_for_it() {
    let (_outer, commands) = commands();
    let forks = script(&commands, "echo $$ > pid.new; mv pid.new pid; exec sleep 600");
    let pid_file = commands.root.path().join("pid");
    let running = tokio::spawn({
        let commands = commands.clone();
        async move { commands.run(&forks, None).await }
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    while !pid_file.exists() {
        assert!(Instant::now() < deadline, "it did not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pid = fs::read_to_string(pid_file).unwrap();
    assert!(is_alive(pid.trim()));
    running.abort();
    assert_dies(pid.trim()).await;
}
