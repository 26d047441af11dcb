//! How often, and how much, was called before, for policies that limit.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Store, StoreError,
    sql::{self, Connection},
};
use crate::policy::{Asked, Needs, Recent, Scope, Window, numbers};

/// The most calls that are counted in a window. More than that stand for more
/// than any limit, so that counting costs no more than this.
const MOST: i64 = 10_000;

/// The calls before one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// When it is asked, in milliseconds since 1970, UTC.
    pub(super) now: i64,
    /// Only actions with smaller ids.
    pub(super) id: i64,
    /// But for this one, which is the same call.
    pub(super) but: Option<i64>,
}

/// The calls of a window that count. The first condition is that of the indexes, word
/// for word; the second is for what nobody wrote down as expired yet.
macro_rules! window {
    ($columns:literal, $condition:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM (SELECT COALESCE(numbers, parameters) AS numbers FROM actions WHERE \
             counted = 1 AND (state <> 'pending' OR expires_at > $3) AND ",
            $condition,
            " AND created_at > $4 AND id < $5 AND id <> $6 ORDER BY created_at DESC LIMIT $7) AS calls"
        )
    };
}

macro_rules! of_scope {
    ($scope:expr, $columns:literal) => {
        match $scope {
            Scope::Agent => window!($columns, "server_id = $1 AND $2 IS NOT NULL"),
            Scope::Tool => window!($columns, "server_id = $1 AND tool = $2"),
            Scope::Resource => window!($columns, "resource = $1 AND $2 IS NOT NULL"),
            Scope::Credential => window!($columns, "requested_by = $1 AND $2 IS NOT NULL"),
        }
    };
}

macro_rules! bind {
    ($query:expr, $asked:expr, $scope:expr, $window:expr, $before:expr) => {{
        let before: Before = $before;
        let subject = match $scope {
            Scope::Agent | Scope::Tool => $asked.server_id,
            Scope::Resource => $asked.resource,
            Scope::Credential => $asked.credential,
        };
        let length = i64::try_from(Window::length($window).as_millis()).unwrap_or(i64::MAX);
        $query
            .bind(subject)
            .bind($asked.tool)
            .bind(before.now)
            .bind(before.now.saturating_sub(length))
            .bind(before.id)
            .bind(before.but.unwrap_or(-1))
            .bind(MOST + 1)
    }};
}

/// What the policies need of the calls before `asked`, itself included.
pub(super) async fn recent(
    connection: &mut Connection,
    asked: &Asked<'_>,
    needs: &Needs,
    before: Before,
) -> Result<Recent, StoreError> {
    let mut recent = Recent::default();
    let own = numbers(asked.parameters);
    for (&(scope, window), &sums) in &needs.windows {
        let counts = recent.of_mut(scope);
        if sums {
            let (calls, sums) = summed(connection, asked, scope, window, before, &own).await?;
            counts.set(window, calls, sums);
        } else {
            let calls = counted(connection, asked, scope, window, before).await?;
            counts.set(window, calls, BTreeMap::new());
        }
    }
    Ok(recent)
}

async fn counted(
    connection: &mut Connection,
    asked: &Asked<'_>,
    scope: Scope,
    window: Window,
    before: Before,
) -> Result<i64, StoreError> {
    let query = of_scope!(scope, "COUNT(*)");
    let calls: i64 =
        bind!(sql::query_scalar(query), asked, scope, window, before).fetch_one(connection).await?;
    Ok(if calls > MOST { i64::MAX } else { calls + 1 })
}

async fn summed(
    connection: &mut Connection,
    asked: &Asked<'_>,
    scope: Scope,
    window: Window,
    before: Before,
    own: &BTreeMap<String, i64>,
) -> Result<(i64, BTreeMap<String, i64>), StoreError> {
    let query = of_scope!(scope, "numbers");
    let rows: Vec<(String,)> =
        bind!(sql::query_as(query), asked, scope, window, before).fetch_all(connection).await?;
    let overflowing = rows.len() > usize::try_from(MOST).unwrap_or(usize::MAX);
    let mut calls = 1;
    // What is negative does not give anything back.
    let mut sums: BTreeMap<String, i64> =
        own.iter().map(|(name, value)| (name.clone(), (*value).max(0))).collect();
    for (numbered,) in &rows {
        calls += 1;
        let numbered: Map<String, Value> = serde_json::from_str(numbered)?;
        for (name, value) in numbers(&numbered) {
            if let Some(sum) = sums.get_mut(&name) {
                *sum = sum.saturating_add(value.max(0));
            }
        }
    }
    if overflowing {
        calls = i64::MAX;
        sums.values_mut().for_each(|sum| *sum = i64::MAX);
    }
    Ok((calls, sums))
}

impl Store {
    /// What the policies need of the calls before the recorded action `id`.
    pub(crate) async fn recent_before(
        &self,
        id: i64,
        asked: &Asked<'_>,
        needs: &Needs,
    ) -> Result<Recent, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let before = Before { now: asked.now.as_millisecond(), id, but: None };
        recent(&mut connection, asked, needs, before).await
    }
}
