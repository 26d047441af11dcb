//! A self-hosted authorization center for governed agent tools.
//!
//! A library first: [`Center`] is an [`Authority`](ascend_sdk::Authority) that
//! decides by policies, keeps every decision in a database before it is
//! answered, and waits for people, all inside the server's process. The
//! binary `ascend-center` is the same engine for approvers and over HTTP.

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

pub use center::{Center, CenterConfig, Changes, OpenError};
pub use credential::{Approver, CredentialError};
#[cfg(feature = "http")]
pub use http::ServeConfig;
pub use life::{State, UnknownState};
pub use policy::{PolicyError, PolicySummary, Problem, check_policies};
pub use record::{Effect, Matched, Record};
pub use store::{DecideError, KillSwitch, StoreError};
