#![doc = include_str!("../README.md")]

mod center;
mod credential;
mod directory;
#[cfg(feature = "http")]
mod http;
mod life;
mod policy;
mod record;
mod store;
mod submission;
#[cfg(feature = "http")]
mod webhook;

pub use center::{Center, CenterConfig, Changes, OpenError};
pub use credential::{Approver, CredentialError};
#[cfg(feature = "http")]
pub use http::ServeConfig;
pub use life::{ActionState, UnknownState};
pub use policy::{PolicyError, PolicySummary, Problem, check_policies};
pub use record::{Effect, Matched, Record};
pub use store::{DecideError, KillSwitch, StoreError};
