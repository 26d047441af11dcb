//! Who was promised an action.

use ascend_sdk::Holder;

use super::{StoreError, sql, writer::Transaction};

/// Remembers that `holder` was promised the action, once.
pub(super) async fn add(
    transaction: &mut Transaction,
    id: i64,
    holder: &Holder,
) -> Result<(), StoreError> {
    sql::query("INSERT INTO promises (action_id, holder) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(id)
        .bind(holder.as_str())
        .execute(&mut transaction.connection)
        .await?;
    Ok(())
}

/// `holder` gives the action up. Whether another was promised it too.
pub(super) async fn give_up(
    transaction: &mut Transaction,
    id: i64,
    holder: &Holder,
) -> Result<bool, StoreError> {
    sql::query("DELETE FROM promises WHERE action_id = $1 AND holder = $2")
        .bind(id)
        .bind(holder.as_str())
        .execute(&mut transaction.connection)
        .await?;
    Ok(sql::query_scalar("SELECT EXISTS (SELECT 1 FROM promises WHERE action_id = $1)")
        .bind(id)
        .fetch_one(&mut transaction.connection)
        .await?)
}
