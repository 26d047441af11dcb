//! Lists of actions for those who may see only some of them.

use jiff::Timestamp;

use super::{Store, StoreError, actions::select, sql};
use crate::{life::ActionState, record::Record};

/// Which actions to list.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Only those that this credential asked for.
    pub(crate) requested_by: Option<String>,
    /// Only those of this server or agent.
    pub(crate) server_id: Option<String>,
    pub(crate) state: Option<ActionState>,
    pub(crate) limit: u32,
    pub(crate) offset: u32,
}

/// What expired unseen still stands as open in the table.
macro_rules! matching {
    () => {
        "WHERE ($1 IS NULL OR requested_by = $1) AND ($2 IS NULL OR server_id = $2) AND \
         ($3 IS NULL OR $3 = CASE WHEN state IN ('pending', 'allowed', 'approved') AND \
         expires_at <= $4 THEN 'expired' ELSE state END) "
    };
}

impl Store {
    /// The request that opened the action, as JSON.
    pub(crate) async fn request(&self, id: i64) -> Result<Option<String>, StoreError> {
        Ok(sql::query_scalar("SELECT request FROM actions WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The actions that match, newest first, and how many do in all.
    pub(crate) async fn activity(&self, wanted: Wanted) -> Result<(Vec<Record>, i64), StoreError> {
        const ALL: &str = concat!("SELECT count(*) FROM actions ", matching!());
        let now = Timestamp::now();
        let state = wanted.state.map(ActionState::as_str);
        let records: Vec<Record> =
            sql::query_as(select!(matching!(), "ORDER BY id DESC LIMIT $5 OFFSET $6"))
                .bind(&wanted.requested_by)
                .bind(&wanted.server_id)
                .bind(state)
                .bind(now.as_millisecond())
                .bind(wanted.limit)
                .bind(wanted.offset)
                .fetch_all(&self.readers)
                .await?;
        let total: i64 = sql::query_scalar(ALL)
            .bind(&wanted.requested_by)
            .bind(&wanted.server_id)
            .bind(state)
            .bind(now.as_millisecond())
            .fetch_one(&self.readers)
            .await?;
        Ok((records.into_iter().map(|record| record.at(now)).collect(), total))
    }
}
