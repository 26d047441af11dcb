//! A guide, followed: its files are written, its commands run, and what they
//! print compared.

use std::{fmt::Write as _, path::Path, process::Command};

pub(crate) struct Guide {
    name: &'static str,
    blocks: Vec<Block>,
}

/// A fenced block.
struct Block {
    line: usize,
    info: &'static str,
    text: String,
}

impl Guide {
    pub(crate) fn read(name: &'static str, text: &'static str) -> Self {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (line, text) in (1..).zip(text.lines()) {
            match (&mut open, text.strip_prefix("```")) {
                (None, Some(info)) => open = Some(Block { line, info, text: String::new() }),
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => writeln!(block.text, "{text}").unwrap(),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "a block is not closed");
        Self { name, blocks }
    }

    /// How many files there are now.
    pub(crate) fn write(&self, directory: &Path) -> usize {
        let mut files = 0;
        for block in &self.blocks {
            if let Some(file) = block.info.split_once("file=").map(|(_, file)| file) {
                let file = directory.join(file);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, &block.text).unwrap();
                files += 1;
            }
        }
        files
    }

    /// How many commands were run.
    pub(crate) fn follow(&self, directory: &Path) -> usize {
        let consoles = self.blocks.iter().filter(|block| block.info == "console");
        consoles.map(|block| self.run(block, directory)).sum()
    }

    fn run(&self, block: &Block, directory: &Path) -> usize {
        let commands: Vec<&str> = block.text.split("$ ").skip(1).collect();
        for command in &commands {
            let (line, expected) = command.split_once('\n').unwrap();
            let (status, expected) = match expected.strip_prefix("? ") {
                Some(rest) => rest.split_once('\n').unwrap(),
                None => ("0", expected),
            };
            let output = Command::new(env!("CARGO_BIN_EXE_ascend-center"))
                .args(words(line.strip_prefix("ascend-center ").unwrap()))
                .current_dir(directory)
                .env("ASCEND_CENTER_DIR", directory.join("center"))
                .env("RUST_LOG", "error")
                .output()
                .unwrap();
            let printed = [output.stdout, output.stderr].concat();
            let printed = String::from_utf8(printed).unwrap();
            let name = self.name;
            assert!(
                is_like(&printed, expected),
                "{name}:{}: `{line}` prints\n{printed}\nand not\n{expected}",
                block.line
            );
            assert_eq!(output.status.code().unwrap().to_string(), status, "{line}");
        }
        commands.len()
    }
}

/// As a shell: what stands between `'` is one word.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words
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
