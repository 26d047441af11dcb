//! What happened, in order, by the audit log.

use jiff::Timestamp;

use super::{
    Store, StoreError,
    sql::{self, Connection},
    word,
};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    /// `None` when it concerns all.
    pub(crate) action: Option<ActionName>,
    pub(crate) kind: String,
    pub(crate) at: Timestamp,
    pub(crate) by: String,
    pub(crate) detail: Option<String>,
    /// The standing grant that it concerns.
    pub(crate) grant: Option<i64>,
}

/// The action that something happened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActionName {
    pub(crate) id: i64,
    /// Namespace and verb.
    pub(crate) name: String,
    pub(crate) resource: String,
}

/// How many entries are looked through for an agent: more would keep the readers from
/// others.
const LOOKED_THROUGH: i64 = 100_000;

struct Row {
    id: i64,
    action_id: Option<i64>,
    name: Option<String>,
    resource: Option<String>,
    kind: String,
    at: String,
    by: String,
    detail: Option<String>,
    grant_id: Option<i64>,
}

sql::from_row!(Row { id, action_id, name, resource, kind, at, by, detail, grant_id });

impl TryFrom<Row> for Entry {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let action = row.action_id.map(|id| ActionName {
            id,
            name: row.name.unwrap_or_default(),
            resource: row.resource.unwrap_or_default(),
        });
        Ok(Self {
            id: row.id,
            action,
            kind: row.kind,
            at: word(&row.at)?,
            by: row.by,
            detail: row.detail,
            grant: row.grant_id,
        })
    }
}

/// `SELECT` of entries with their actions, with this condition. What opened an
/// action goes by the state that it was given.
macro_rules! entries {
    ($condition:literal) => {
        concat!(
            "SELECT audit.seq AS id, audit.action AS action_id, namespace || '.' || verb AS name, \
             resource, CASE WHEN entry ->> 'kind' = 'evaluated' THEN entry ->> 'state' \
             ELSE entry ->> 'kind' END AS kind, entry ->> 'at' AS at, \
             entry -> 'actor' ->> 'name' AS by, coalesce(entry ->> 'comment', \
             entry ->> 'reason', entry ->> 'detail', entry ->> 'subject') AS detail, \
             CAST(entry ->> 'grant' AS BIGINT) AS grant_id \
             FROM audit LEFT JOIN actions ON actions.id = audit.action ",
            $condition
        )
    };
}

/// The number of the last thing that happened; 0 when nothing did.
pub(super) async fn newest(connection: &mut Connection) -> Result<i64, StoreError> {
    Ok(sql::query_scalar("SELECT coalesce(max(seq), 0) FROM audit").fetch_one(connection).await?)
}

/// What happened after number `seen`, oldest first.
pub(super) async fn after(
    connection: &mut Connection,
    seen: i64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let rows: Vec<Row> = sql::query_as(entries!("WHERE seq > $1 ORDER BY seq LIMIT $2"))
        .bind(seen)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(Entry::try_from).collect()
}

impl Store {
    /// What happened to one action, oldest first.
    pub(crate) async fn history(&self, action: i64) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<Row> = sql::query_as(entries!("WHERE audit.action = $1 ORDER BY seq"))
            .bind(action)
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(Entry::try_from).collect()
    }

    /// What happened, newest first, and how much there is in all: at all, or among the
    /// last [`LOOKED_THROUGH`] entries to the actions that `requested_by` asked for.
    pub(crate) async fn log(
        &self,
        requested_by: Option<&str>,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<Entry>, i64), StoreError> {
        let after = match requested_by {
            Some(_) => newest(&mut self.readers.acquire().await?).await? - LOOKED_THROUGH,
            None => 0,
        };
        let rows: Vec<Row> = sql::query_as(entries!(
            "WHERE seq > $4 AND ($1 IS NULL OR requested_by = $1) ORDER BY seq DESC \
             LIMIT $2 OFFSET $3"
        ))
        .bind(requested_by)
        .bind(limit)
        .bind(offset)
        .bind(after)
        .fetch_all(&self.readers)
        .await?;
        let total: i64 = match requested_by {
            None => {
                sql::query_scalar("SELECT count(*) FROM audit").fetch_one(&self.readers).await?
            }
            Some(requested_by) => {
                sql::query_scalar(
                    "SELECT count(*) FROM audit JOIN actions ON actions.id = audit.action \
                     WHERE seq > $1 AND requested_by = $2",
                )
                .bind(after)
                .bind(requested_by)
                .fetch_one(&self.readers)
                .await?
            }
        };
        let entries = rows.into_iter().map(Entry::try_from).collect::<Result<_, _>>()?;
        Ok((entries, total))
    }

    /// The last time that the kill switch was released, as far as the log goes back.
    pub(crate) async fn last_release(&self) -> Result<Option<Entry>, StoreError> {
        // The condition is that of the index.
        let row: Option<Row> = sql::query_as(entries!(
            "WHERE entry ->> 'kind' = 'released' ORDER BY seq DESC LIMIT 1"
        ))
        .fetch_optional(&self.readers)
        .await?;
        row.map(Entry::try_from).transpose()
    }
}
