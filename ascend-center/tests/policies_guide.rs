//! docs/policies.md, followed: its files are written, its commands run, and
//! what they print compared.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use ascend_center::{Center, CenterConfig};
use ascend_sdk::Authority;
use serde_json::json;
use support::{action_json, until};

const GUIDE: &str = include_str!("../docs/policies.md");

/// A fenced block.
struct Block<'a> {
    line: usize,
    info: &'a str,
    text: String,
}

fn blocks() -> Vec<Block<'static>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (line, text) in (1..).zip(GUIDE.lines()) {
        match (&mut open, text.strip_prefix("```")) {
            (None, Some(info)) => open = Some(Block { line, info, text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => writeln!(block.text, "{text}").unwrap(),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// A center in which three refunds were asked for, under the guide's policies
/// and with the changed ones in their shadow.
async fn record(directory: &Path) {
    let config = CenterConfig::new(directory.join("center"))
        .policies(directory.join("policies"))
        .tools_file(directory.join("policies/tools.json"))
        .shadow_policies(directory.join("changed"));
    let center = Center::open(config).await.unwrap();
    for cents in [500, 15_000, 25_000] {
        let mut action = action_json("crm", "refund", "crm://orders/7");
        action["tool"] = "refund".into();
        action["parameters"] = json!({ "order": "7", "cents": cents });
        center.evaluate(&serde_json::from_value(action).unwrap()).await.unwrap();
    }
    until("the shadow policies answered", async || {
        center.shadow_report(10).await.unwrap().asked == 3
    })
    .await;
    center.close().await;
}

#[tokio::test]
async fn the_guide_is_true() {
    let directory = tempfile::tempdir().unwrap();
    let mut commands = 0;
    let mut files = 0;
    let blocks = blocks();
    for block in &blocks {
        if let Some(file) = block.info.split_once("file=").map(|(_, file)| file) {
            let file = directory.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, &block.text).unwrap();
            files += 1;
        }
    }
    record(directory.path()).await;
    for block in blocks.iter().filter(|block| block.info == "console") {
        commands += follow(block, directory.path());
    }
    assert!((files, commands) == (6, 7), "{files} files, {commands} commands");
}

fn follow(block: &Block<'_>, directory: &Path) -> usize {
    let commands: Vec<&str> = block.text.split("$ ").skip(1).collect();
    for command in &commands {
        let (line, expected) = command.split_once('\n').unwrap();
        let (status, expected) = match expected.strip_prefix("? ") {
            Some(rest) => rest.split_once('\n').unwrap(),
            None => ("0", expected),
        };
        let arguments = line.strip_prefix("ascend-center ").unwrap().split(' ');
        let output = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_ascend-center")))
            .args(arguments)
            .current_dir(directory)
            .env("ASCEND_CENTER_DIR", directory.join("center"))
            .env("RUST_LOG", "warn")
            .output()
            .unwrap();
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8(printed).unwrap();
        assert!(
            is_like(&printed, expected),
            "docs/policies.md:{}: `{line}` prints\n{printed}\nand not\n{expected}",
            block.line
        );
        assert_eq!(output.status.code().unwrap().to_string(), status, "{line}");
    }
    commands.len()
}

/// Line by line, where `[..]` stands for anything.
fn is_like(printed: &str, expected: &str) -> bool {
    let like = |(printed, expected): (&str, &str)| match expected.split_once("[..]") {
        Some((start, end)) => printed.starts_with(start) && printed.ends_with(end),
        None => printed == expected,
    };
    printed.lines().count() == expected.lines().count()
        && printed.lines().zip(expected.lines()).all(like)
}
