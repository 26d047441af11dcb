//! What policies are asked, wherever it comes from.

use std::collections::BTreeMap;

use ascend_sdk::{Facts, Floor};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::recent::Recent;
use crate::submission::Submission;

/// All that a decision depends on beside the policies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) server_id: &'a str,
    /// Whose key it was asked with. What else stands here is the caller's word.
    pub(crate) credential: &'a str,
    pub(crate) tool: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) verb: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) parameters: &'a Map<String, Value>,
    pub(crate) floor: Floor,
    pub(crate) facts: &'a Facts,
    pub(crate) metadata: &'a BTreeMap<String, String>,
    pub(crate) user_context: &'a Map<String, Value>,
    pub(crate) session_id: &'a str,
    pub(crate) client_name: Option<&'a str>,
    pub(crate) client_version: Option<&'a str>,
    pub(crate) now: Timestamp,
    /// What was called before; read by policies that limit.
    pub(crate) recent: &'a Recent,
}

impl Submission {
    pub(crate) fn asked<'a>(&'a self, now: Timestamp, recent: &'a Recent) -> Asked<'a> {
        Asked {
            server_id: &self.server_id,
            credential: &self.requested_by,
            tool: &self.tool,
            namespace: &self.namespace,
            verb: &self.verb,
            resource: &self.resource,
            parameters: &self.parameters,
            floor: self.floor,
            facts: &self.facts,
            metadata: &self.metadata,
            user_context: &self.user_context,
            session_id: &self.session.session_id,
            client_name: self.session.client_name.as_deref(),
            client_version: self.session.client_version.as_deref(),
            now,
            recent,
        }
    }
}
