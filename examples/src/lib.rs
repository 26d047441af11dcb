//! The real effects behind the example servers: databases, files, commands.
//!
//! Each module is a wall of its own. What policy decides about a call is one
//! thing; that a read cannot write, a path cannot leave its root and a command meets no shell
//! is enforced here.

pub mod commands;
pub mod database;
pub mod enterprise_tools;
pub mod files;
pub mod host;
pub mod samples;
pub mod scenarios;

/// The README's code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
