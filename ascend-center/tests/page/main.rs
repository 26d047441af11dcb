//! The page: what the server sends, and what a browser makes of it.
#![cfg(feature = "page")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod browser;
#[path = "../identity/house.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod house;
mod keys;
mod live;
mod looks;
mod many;
mod served;
mod site;
#[path = "../support/mod.rs"]
mod support;
