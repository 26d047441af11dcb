//! The authority over HTTP, against real sockets on this machine: a server
//! that behaves ([`center`]) and one that does not ([`rogue`]). Every call goes
//! through a governor to a body that counts its runs.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test that cannot go on fails; nobody else reads its items"
)]

mod batch;
mod center;
mod evaluations;
mod flow;
mod hostile;
mod patience;
mod reports;
mod rogue;
mod tool;
mod trust;
mod webhook;
