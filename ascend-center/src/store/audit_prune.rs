//! Retention: what is old is removed from the log behind a signed checkpoint,
//! and the arguments of old actions are erased.

use jiff::Timestamp;

use super::{Store, StoreError, keys::confirm, sql, writer::Transaction};
use crate::{
    audit::{
        self, Actor, AuditError, AuditEvent, AuditKind, Checkpoint, EntryHash, Pruned, Signed,
        written,
    },
    identity::{Permission, Person},
};

/// How much goes in one transaction: others wait for it, and PostgreSQL's is given up
/// when it takes too long.
const ENTRIES: i64 = 4_096;
const ACTIONS: i64 = 1_024;

impl Store {
    /// Removes what is older than `before`. The log is to be proved first:
    /// what a checkpoint stands for cannot be looked at any more.
    pub(crate) async fn prune_audit(
        &self,
        before: Timestamp,
        by: Person,
    ) -> Result<Pruned, AuditError> {
        let mut pruned = Pruned::new(0, 0, 0);
        // Those that were erased earlier are looked through where nobody waits for it.
        let mut erased: i64 = sql::query_scalar(
            "SELECT coalesce((SELECT min(id) - 1 FROM actions WHERE erased_at IS NULL), \
             (SELECT max(id) FROM actions), 0)",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(StoreError::from)?;
        let removed = loop {
            let by = by.clone();
            let slice = self.write(move |transaction| {
                Box::pin(async move {
                    match confirm(transaction, &by, Permission::Administer).await? {
                        Ok(()) => prune(transaction, before, erased, by.actor()).await.map(Ok),
                        Err(refused) => Ok(Err(refused)),
                    }
                })
            });
            let slice = match slice.await {
                Ok(Ok(slice)) => slice,
                Ok(Err(refused)) => break Err(AuditError::from(refused)),
                Err(error) => break Err(error.into()),
            };
            let Pruned { through, entries, actions } = slice.pruned;
            pruned = Pruned::new(through, pruned.entries + entries, pruned.actions + actions);
            erased = slice.erased;
            if slice.is_last {
                break Ok(pruned);
            }
        };
        // Also of what was removed before something went wrong.
        let mut connection = self.database.connect().await?;
        connection.forget_erased().await?;
        connection.close().await?;
        removed
    }
}

/// What one transaction removed.
struct Slice {
    pruned: Pruned,
    /// Actions up to this one were looked at.
    erased: i64,
    is_last: bool,
}

/// Removes a slice of what is older than `before`: entries first, the oldest of them, then
/// what actions after number `erased` say. It looks at no more than it may remove.
async fn prune(
    transaction: &mut Transaction,
    before: Timestamp,
    erased: i64,
    by: Actor,
) -> Result<Slice, StoreError> {
    let tail = transaction.tail().await?;
    let first: Option<i64> = sql::query_scalar("SELECT min(seq) FROM audit")
        .fetch_one(&mut transaction.connection)
        .await?;
    // One more than is removed, which tells whether there are more.
    let end = first.map_or(tail.seq, |first| tail.seq.min(first + ENTRIES));
    let kept: Option<i64> =
        sql::query_scalar("SELECT min(seq) FROM audit WHERE seq <= $1 AND entry ->> 'at' >= $2")
            .bind(end)
            .bind(written(before))
            .fetch_one(&mut transaction.connection)
            .await?;
    let last = kept.map_or(end, |seq| seq - 1);
    let through = first.map_or(last, |first| last.min(first + ENTRIES - 1));
    let entries = first.map_or(0, |first| (through - first + 1).max(0));
    if entries > 0 {
        let checkpoint = checkpoint(transaction, through).await?;
        sql::query(
            "INSERT INTO audit_checkpoint (id, seq, checkpoint, signature) \
             VALUES (1, $1, $2, $3) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, \
             checkpoint = excluded.checkpoint, signature = excluded.signature",
        )
        .bind(through)
        .bind(&checkpoint.text)
        .bind(checkpoint.signature.as_bytes().as_slice())
        .execute(&mut transaction.connection)
        .await?;
        for statement in
            ["DELETE FROM audit WHERE seq <= $1", "DELETE FROM audit_heads WHERE seq <= $1"]
        {
            sql::query(statement).bind(through).execute(&mut transaction.connection).await?;
        }
    }
    let mut slice =
        Slice { pruned: Pruned::new(through, entries.unsigned_abs(), 0), erased, is_last: false };
    if through == last {
        erase(transaction, before, &mut slice).await?;
    }
    let actions = slice.pruned.actions;
    if entries > 0 || actions > 0 {
        let detail = format!(
            "what is older than {}: {entries} entries, the arguments of {actions} actions",
            written(before)
        );
        transaction.note(AuditEvent::new(AuditKind::Pruned, by).detail(detail)).await?;
        transaction.seal(true).await?;
    }
    Ok(slice)
}

/// Erases what the next actions, and what was made of them, say.
async fn erase(
    transaction: &mut Transaction,
    before: Timestamp,
    slice: &mut Slice,
) -> Result<(), StoreError> {
    let after = slice.erased;
    let next: Vec<(i64, i64)> =
        sql::query_as("SELECT id, created_at FROM actions WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(ACTIONS)
            .fetch_all(&mut transaction.connection)
            .await?;
    let is_old = |(_, created_at): &&(i64, i64)| *created_at < before.as_millisecond();
    // In the order of their ids they are in that of their times, but for a clock that is set.
    let end = next.iter().rev().find(is_old).map_or(after, |(id, _)| *id);
    let are_more = next.len() as u64 == ACTIONS.unsigned_abs()
        && next.last().is_some_and(|last| last.0 == end);
    slice.erased = end;
    slice.is_last = !are_more;
    slice.pruned.actions = sql::query(
        "UPDATE actions SET erased_at = $1, resource = '', reason = '', summary = NULL, parameters = '{}', \
         user_context = '{}', request = '', comments = NULL, votes = '[]', outcome = NULL, \
         numbers = NULL WHERE id > $3 AND id <= $4 AND erased_at IS NULL AND created_at < $2 \
         AND (state NOT IN ('pending', 'allowed', 'approved') OR expires_at <= $1)",
    )
    .bind(transaction.now)
    .bind(before.as_millisecond())
    .bind(after)
    .bind(end)
    .execute(&mut transaction.connection)
    .await?
    .rows_affected();
    // What policies saw and said of them can quote the arguments too.
    for statement in [
        "DELETE FROM policy_inputs WHERE action_id IN \
         (SELECT id FROM actions WHERE id > $1 AND id <= $2 AND erased_at IS NOT NULL)",
        "DELETE FROM shadow_decisions WHERE action_id IN \
         (SELECT id FROM actions WHERE id > $1 AND id <= $2 AND erased_at IS NOT NULL)",
        "DELETE FROM promises WHERE action_id IN \
         (SELECT id FROM actions WHERE id > $1 AND id <= $2 AND erased_at IS NOT NULL)",
    ] {
        sql::query(statement).bind(after).bind(end).execute(&mut transaction.connection).await?;
    }
    if are_more {
        return Ok(());
    }
    // A grant that was given with an approval names the same resource.
    sql::query(
        "UPDATE grants SET resource = '', condition = NULL, comment = NULL WHERE created_at < $1 \
         AND (expires_at <= $2 OR used >= calls OR revoked_at IS NOT NULL)",
    )
    .bind(before.as_millisecond())
    .bind(transaction.now)
    .execute(&mut transaction.connection)
    .await?;
    // What was sent of them, or given up, says so too.
    sql::query("DELETE FROM webhook_deliveries WHERE state <> 'queued' AND created_at < $1")
        .bind(before.as_millisecond())
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}

/// What stands for the entries up to `seq`.
async fn checkpoint(transaction: &mut Transaction, seq: i64) -> Result<Signed, StoreError> {
    let hash: Vec<u8> = sql::query_scalar("SELECT hash FROM audit WHERE seq = $1")
        .bind(seq)
        .fetch_one(&mut transaction.connection)
        .await?;
    // Actions of earlier checkpoints are older than any in the log.
    let last_action: i64 = sql::query_scalar(
        "SELECT coalesce(max(action), (SELECT CAST(checkpoint ->> 'last_action' AS BIGINT) \
         FROM audit_checkpoint), 0) FROM audit WHERE seq <= $1 AND entry ->> 'kind' = 'evaluated'",
    )
    .bind(seq)
    .fetch_one(&mut transaction.connection)
    .await?;
    let checkpoint = Checkpoint {
        chain: transaction.tail().await?.chain,
        seq,
        hash: EntryHash::read(&hash).ok_or(StoreError::AuditState)?,
        last_action,
        at: super::audit::time(transaction.now)?,
        public_key: transaction.log.key.public(),
    };
    Ok(audit::sign(&checkpoint, &transaction.log.key)?)
}
