//! The settings of a governor.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{FailMode, Governor, Inner};
use crate::{Authority, DigestKey};

/// ASCEND's time for an approval.
const DEFAULT_APPROVAL_TIMEOUT: Duration = Duration::from_secs(300);

/// Settings of a [`Governor`].
#[must_use = "call `build`"]
pub struct GovernorBuilder {
    authority: Arc<dyn Authority>,
    server_id: String,
    fail_mode: FailMode,
    approval_timeout: Duration,
    user_context: Map<String, Value>,
    digest_key: Option<DigestKey>,
}

impl GovernorBuilder {
    pub(super) fn new(authority: Arc<dyn Authority>) -> Self {
        Self {
            authority,
            server_id: "ascend-sdk".to_owned(),
            fail_mode: FailMode::default(),
            approval_timeout: DEFAULT_APPROVAL_TIMEOUT,
            user_context: Map::new(),
            digest_key: None,
        }
    }

    /// The id that the authority knows this server by. Default: `ascend-sdk`.
    pub fn server_id(mut self, id: impl Into<String>) -> Self {
        self.server_id = id.into();
        self
    }

    /// What happens when the authority cannot be reached. Default: [`FailMode::Closed`].
    pub fn fail_mode(mut self, mode: FailMode) -> Self {
        self.fail_mode = mode;
        self
    }

    /// How long calls wait for a person, unless the tool says otherwise.
    /// Default: 300 s.
    pub fn approval_timeout(mut self, timeout: Duration) -> Self {
        self.approval_timeout = timeout;
        self
    }

    /// On whose behalf the server runs, for the authority's policies.
    pub fn user_context(mut self, context: Map<String, Value>) -> Self {
        self.user_context = context;
        self
    }

    /// Lets a call with sensitive arguments that is made again after a restart
    /// join the action that waits for a person; see [`DigestKey`]. Default:
    /// such a call asks anew. Calls without sensitive arguments join anyway.
    pub fn digest_key(mut self, key: DigestKey) -> Self {
        self.digest_key = Some(key);
        self
    }

    /// The governor.
    #[must_use]
    pub fn build(self) -> Governor {
        Governor(Arc::new(Inner {
            authority: self.authority,
            server_id: self.server_id,
            fail_mode: self.fail_mode,
            approval_timeout: self.approval_timeout,
            user_context: self.user_context,
            digest_key: self.digest_key,
            reports: TaskTracker::new(),
            promises: TaskTracker::new(),
            closing: CancellationToken::new(),
            executed: Arc::default(),
            room: Arc::default(),
        }))
    }
}

impl fmt::Debug for GovernorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GovernorBuilder")
            .field("server_id", &self.server_id)
            .field("fail_mode", &self.fail_mode)
            .finish_non_exhaustive()
    }
}
