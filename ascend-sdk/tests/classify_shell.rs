//! Hostile and ordinary shell commands.

#![cfg(feature = "classify")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ascend_sdk::{
    RiskLevel, ShellFacts, Verb,
    classify::{self, Command, Effect, NotLiteral},
};
use proptest::prelude::*;

fn facts(command: &str) -> ShellFacts {
    classify::shell(command).facts.shell.unwrap()
}

fn assert_not_literal(commands: &[&str]) {
    for command in commands {
        let found = classify::shell(command);
        assert_eq!(
            (found.effect, found.risk_level),
            (Effect::Execute, RiskLevel::Critical),
            "{command:?}"
        );
        let shell = found.facts.shell.unwrap();
        assert!(!shell.literal && shell.argv.is_empty() && shell.program.is_empty(), "{command:?}");
        assert!(found.why.is_some() && Command::parse(command).is_err(), "{command:?}");
    }
}

fn assert_wrappers(commands: &[&str]) {
    for command in commands {
        let found = classify::shell(command);
        assert_eq!(found.risk_level, RiskLevel::Critical, "{command}");
        let shell = found.facts.shell.unwrap();
        assert!(shell.literal && shell.wrapper, "{command}: {shell:?}");
    }
}

#[test]
fn one_literal_command_is_split_as_a_shell_does() {
    for (text, argv) in [
        ("ls", vec!["ls"]),
        ("  ls   -l\tx ", vec!["ls", "-l", "x"]),
        ("echo 'a b' \"c d\" e\\ f", vec!["echo", "a b", "c d", "e f"]),
        ("echo '$HOME `id` * ; |'", vec!["echo", "$HOME `id` * ; |"]),
        ("echo \"a;b|c&d>e*f?\"", vec!["echo", "a;b|c&d>e*f?"]),
        ("echo \\$HOME \\* \\;", vec!["echo", "$HOME", "*", ";"]),
        ("echo a#b a~b a!b a=b", vec!["echo", "a#b", "a~b", "a!b", "a=b"]),
        ("echo ''", vec!["echo", ""]),
        ("grep -n 'two words' notes.txt", vec!["grep", "-n", "two words", "notes.txt"]),
    ] {
        let command = Command::parse(text).unwrap();
        assert_eq!(command.argv(), argv, "{text}");
        assert_eq!(facts(text).argv, argv, "{text}");
    }
}

#[test]
fn expansions_are_not_literal() {
    assert_not_literal(&[
        "echo $(id)",
        "echo \"$(id)\"",
        "echo `id`",
        "echo \"`id`\"",
        "echo $HOME",
        "echo \"$HOME\"",
        "echo ${HOME}",
        "echo $((1+1))",
        "echo $'a\\nb'",
        "$SHELL",
        "rm *",
        "ls ?",
        "ls [ab]",
        "echo {a,b}",
        "ls ~",
        "ls ~root/x",
        "cat # comment",
        "! true",
    ]);
    assert_eq!(Command::parse("echo $HOME"), Err(NotLiteral::Expansion('$')));
}

#[test]
fn redirections_are_not_literal() {
    assert_not_literal(&[
        "echo x > /etc/passwd",
        "echo x>>y",
        "cat < /etc/shadow",
        "cat <<EOF",
        "cat <(id)",
        "ls 2>/dev/null",
        "echo x >&2",
    ]);
    assert_eq!(Command::parse("a > b"), Err(NotLiteral::Redirection('>')));
}

#[test]
fn lists_and_pipes_are_not_literal() {
    assert_not_literal(&[
        "ls; rm x",
        "ls && rm x",
        "ls || rm x",
        "ls | sh",
        "ls & rm x",
        "ls\nrm x",
        "ls\rrm x",
        "'ls\nrm'",
        "ls \\\n rm",
        "(ls)",
        "f() { ls",
        "ls;",
    ]);
    assert_eq!(Command::parse("a | b"), Err(NotLiteral::List('|')));
    assert_eq!(Command::parse("a\nb"), Err(NotLiteral::Control('\n')));
}

#[test]
fn unreadable_texts_are_not_literal() {
    let long = format!("echo {}", "x".repeat(16 * 1024));
    assert_not_literal(&[
        "",
        "   ",
        "''",
        "'' ls",
        "'unclosed",
        "\"unclosed",
        "end\\",
        "ls \0",
        "ls \u{1b}[2J",
        "ls \u{7f}",
        "ls \u{9b}",
        &long,
    ]);
}

#[test]
fn variables_before_the_program_are_not_literal() {
    assert_not_literal(&["LD_PRELOAD=/tmp/x.so ls", "X=1 ls", "'X=1' ls", "PATH=/tmp"]);
    assert_eq!(Command::parse("X=1 ls"), Err(NotLiteral::Assignment));
}

#[test]
fn shells_and_interpreters_are_wrappers() {
    assert_wrappers(&[
        "sh -c 'rm x'",
        "/bin/bash -c id",
        "bash script.sh",
        "zsh -ic id",
        "busybox rm x",
        "python -c 'import os'",
        "python3.13 -c 1",
        "/usr/bin/python3 x.py",
        "perl -e 'system(1)'",
        "ruby -e 1",
        "node -e 1",
        "php -r 1",
        "awk 'BEGIN{system(\"id\")}'",
        "gawk -f x",
        "sed 1e x",
        "osascript -e 1",
        "PYTHON3 -c 1",
        "cmd.exe /c dir",
    ]);
}

#[test]
fn programs_that_run_programs_are_wrappers() {
    assert_wrappers(&[
        "env X=1 rm x",
        "/usr/bin/env rm x",
        "xargs rm",
        "sudo ls",
        "nice ls",
        "timeout 5 ls",
        "nohup ls",
        "setsid ls",
        "stdbuf -o0 ls",
        "ssh host ls",
        "ssh -oProxyCommand=id host",
        "make",
        "docker run x",
        "npx x",
        "cargo run",
        "vim -c '!id'",
        "man -P id ls",
        "flock x id",
        "strace id",
        "watch id",
        "tmux new id",
        "systemd-run id",
        "ld-linux-x86-64.so.2 /bin/sh",
        "command rm x",
        "eval ls",
        "arch -x86_64 rm -rf x",
        "arch rm -rf x",
        "x86_64 rm -rf /",
        "i386 sh -c id",
        "/lib/ld-musl-aarch64.so.1 /bin/sh -c id",
        "ld-linux-armhf.so.3 /bin/sh",
        "coreutils --coreutils-prog=rm x",
        "ssh-agent rm x",
        "sg grp -c id",
        "yash -c id",
        "ldd ./evil",
        "trap 'rm -rf x' EXIT",
        "coproc rm -rf x",
        "noglob rm x",
        "gtimeout 5 rm x",
        "genv rm x",
    ]);
}

#[test]
fn options_that_run_programs_make_a_wrapper() {
    assert_wrappers(&[
        "find . -exec rm '{}' \\;",
        "find . -execdir id \\;",
        "find . -ok id \\;",
        "find . -name x -delete",
        "find . -fprintf /tmp/x a",
        "git -c core.pager=id log",
        "git -c alias.x='!id' x",
        "git --exec-path=/tmp status",
        "git --config-env=core.pager=X log",
        "git x",
        "git",
        "git log --output=/tmp/x",
        "git diff --ext-diff",
        "git -C /tmp status",
        "git push",
        "tar xf x --to-command=id",
        "tar xf x --to-com id",
        "tar cf x y --checkpoint=1 --checkpoint-action=exec=id",
        "tar -I id -xf x",
        "tar xIf id x",
        "tar --use-compress-program id -xf x",
        "rsync -e id a b",
        "sort --compress-program=id x",
        "split --filter=id x",
        "rg --pre id x",
        "fd -x id",
        "zip x y -T -TT id",
        "openssl speed -engine /tmp/x.so",
        "openssl speed --engine /tmp/x.so",
        "openssl speed -engine=/tmp/x.so",
        "ip netns exec ns id",
        "ip netn exec ns id",
        "install -s --strip-program=/tmp/x a b",
        "tcpdump -z id",
        "gsort --compress-program=id x",
    ]);
    for command in [
        "find . -name x -print",
        "git status",
        "git log --oneline",
        "git diff HEAD",
        "tar tf x",
        "tar xzf x",
        "sort x",
        "rsync a b",
    ] {
        assert!(!facts(command).wrapper, "{command}");
    }
}

#[test]
fn risk_follows_the_program() {
    for (command, risk) in [
        ("ls -la", RiskLevel::Medium),
        ("cat notes.txt", RiskLevel::Medium),
        ("pwd", RiskLevel::Medium),
        ("echo hello", RiskLevel::Medium),
        ("date", RiskLevel::Medium),
        ("date -u", RiskLevel::Medium),
        ("find . -name x", RiskLevel::Medium),
        ("sort x", RiskLevel::Medium),
        ("date -u +%s", RiskLevel::Medium),
        ("date -d yesterday", RiskLevel::Medium),
        ("arch", RiskLevel::Medium),
        ("date 010100002030", RiskLevel::High),
        ("date -d now 010100002030", RiskLevel::High),
        ("date -f %Y 2030", RiskLevel::High),
        ("grm -rf x", RiskLevel::Critical),
        ("gdd if=a of=b", RiskLevel::Critical),
        ("date --set=now", RiskLevel::High),
        ("date -s now", RiskLevel::High),
        ("sort x -o y", RiskLevel::High),
        ("sort x --outp=y", RiskLevel::High),
        ("hostname evil", RiskLevel::High),
        ("./ls", RiskLevel::High),
        ("/tmp/cat x", RiskLevel::High),
        ("unknown", RiskLevel::High),
        ("curl https://example.com", RiskLevel::High),
        ("cp a b", RiskLevel::High),
        ("rm -rf /", RiskLevel::Critical),
        ("/bin/rm x", RiskLevel::Critical),
        ("dd if=a of=b", RiskLevel::Critical),
        ("mkfs.ext4 /dev/sda", RiskLevel::Critical),
        ("chmod 777 x", RiskLevel::Critical),
        ("kill 1", RiskLevel::Critical),
        ("sudo ls", RiskLevel::Critical),
        ("ls; ls", RiskLevel::Critical),
    ] {
        let found = classify::shell(command);
        assert_eq!((found.effect, found.risk_level), (Effect::Execute, risk), "{command}");
    }
}

#[test]
fn the_facts_name_program_and_directory() {
    let verb = Verb::from(classify::shell("/bin/ls -l").in_directory(Some("src")));
    assert_eq!((verb.name.as_ref(), verb.facts.risk_level), ("execute", Some(RiskLevel::High)));
    let shell = verb.facts.shell.unwrap();
    assert_eq!((shell.program.as_str(), shell.cwd.as_deref()), ("ls", Some("src")));
    assert_eq!(shell.argv, ["/bin/ls", "-l"]);
    assert!(shell.literal && !shell.wrapper);
    assert_eq!(classify::shell("ls").in_directory(None::<&str>).facts.shell.unwrap().cwd, None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_never_panics(command in any::<String>()) {
        let found = classify::shell(&command);
        prop_assert_eq!(found.effect, Effect::Execute);
        prop_assert!(found.risk_level >= RiskLevel::Medium);
        prop_assert_eq!(found.facts.shell.unwrap().literal, Command::parse(&command).is_ok());
    }

    /// What a real shell makes of a literal command is what we make of it.
    #[test]
    fn a_real_shell_agrees_on_the_words(
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", "-b", " ", "  ", "'", "\"", "\\", "$", "`", ";", "|", "*", "?", "[", "]", "{", "}", ",", "~", "#", "!",
            "=", "'c d'", "\"e f\"", "\\ ", "%", "^", "@", "é", ":", "/",
        ]), 0..12),
    ) {
        let text: String = parts.concat();
        let text = format!("echo x{text}");
        let Ok(command) = Command::parse(&text) else { return Ok(()) };
        let shown = std::process::Command::new("sh")
            .args(["-c", &format!("printf '%s\\0' {text}")])
            .current_dir("/")
            .output()
            .unwrap();
        let expected: Vec<u8> =
            command.argv().iter().flat_map(|word| word.bytes().chain([0])).collect();
        prop_assert_eq!(
            String::from_utf8_lossy(&shown.stdout),
            String::from_utf8_lossy(&expected),
            "{}", text
        );
    }
}
