//! How an action stands.

use std::time::Duration;

use crate::{Approval, Rejection};

/// How an action stands at its authority. Information, and no more: nothing
/// ever runs because of it. What may run is decided by a
/// [`Review`](crate::Review) and a [`Claim`](crate::Claim).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The server that asked for the action; `None` when the authority does
    /// not say.
    pub server_id: Option<String>,
    /// Where it stands.
    pub status: Status,
}

/// Where an action stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// A person must decide.
    Pending {
        /// How long one has to; `None` when the authority does not say.
        left: Option<Duration>,
    },
    /// It may run, and has not run yet.
    Approved {
        /// The person's approval; `None` when policy let it pass.
        approval: Option<Approval>,
        /// How long it can be run; `None` when the authority does not say.
        left: Option<Duration>,
    },
    /// Its decision was used for its one run. How that ended is not known: it
    /// still runs, or nobody told.
    Claimed,
    /// It ran.
    Completed,
    /// It ran, and failed.
    Failed,
    /// It will not run: denied, rejected, expired, withdrawn …
    Refused(Rejection),
    /// The authority knows no such action.
    Unknown,
}

impl From<Status> for Standing {
    /// Of an action whose server is not told.
    fn from(status: Status) -> Self {
        Self { server_id: None, status }
    }
}
