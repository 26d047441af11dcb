//! Who may do what: agents' keys, people, logins, and every endpoint's rule.
#![allow(clippy::unwrap_used, reason = "tests")]

mod agents;
mod house;
mod keys;
mod login;
mod matrix;
#[cfg(feature = "oidc")]
mod oidc;
#[path = "../support/mod.rs"]
mod support;
mod tls;
