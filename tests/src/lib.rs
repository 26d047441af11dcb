//! What the tests share.

pub mod fixture;
pub mod raw_client;
