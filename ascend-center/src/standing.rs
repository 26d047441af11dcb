//! How an action stands, in the SDK's words.

use std::time::Duration;

use ascend_sdk::{Standing, Status};
use jiff::Timestamp;

use crate::{ActionState, Record};

impl Record {
    pub(crate) fn standing(&self) -> Standing {
        let left = self.expires_at.duration_since(Timestamp::now());
        let left = Some(Duration::try_from(left).unwrap_or_default());
        let status = match self.state {
            ActionState::Pending => Status::Pending { left },
            ActionState::Allowed | ActionState::Approved => {
                Status::Approved { approval: self.approval(), left }
            }
            ActionState::Executing => Status::Claimed,
            ActionState::Completed => Status::Completed,
            ActionState::Failed => Status::Failed,
            ActionState::Rejected
            | ActionState::Expired
            | ActionState::Withdrawn
            | ActionState::Denied => Status::Refused(self.rejection()),
        };
        Standing { server_id: Some(self.server_id.clone()), status }
    }
}
