//! What is told of calls: by real processes to a collector, and joined.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod collector;
mod joined;
mod malformed;
mod passed_on;
mod unreachable;
