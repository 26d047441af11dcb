//! Who is in which group.

use std::collections::BTreeMap;

use super::{
    Store, StoreError, identity_event::IdentityEvent, sql, users::is_disabled, votes, word,
    writer::Transaction,
};
use crate::{
    identity::{IdentityError, Permission, Person, Role},
    quorum::same_person,
};

impl Store {
    /// Adds a person to a group, or takes them out; whether that changed anything.
    pub(crate) async fn set_member(
        &self,
        by: Person,
        name: String,
        group: String,
        is_member: bool,
    ) -> Result<bool, IdentityError> {
        self.permitted(
            by,
            |_| Permission::Administer,
            move |transaction, by| {
                Box::pin(async move {
                    known(transaction, &name).await?;
                    let changed = if is_member {
                        join(transaction, &name, &group, "admin").await?
                    } else {
                        leave(transaction, &name, &group).await?
                    };
                    if changed {
                        let event = if is_member {
                            IdentityEvent::GroupJoined
                        } else {
                            IdentityEvent::GroupLeft
                        };
                        let about = format!("{name}, {group}");
                        transaction.record_identity(event, by.actor(), &about).await?;
                        votes::recount_of(transaction, &name).await?;
                    }
                    Ok(changed)
                })
            },
        )
        .await
    }

    /// The groups of everybody who is in one, by name in lower case.
    pub(crate) async fn groups(&self) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let rows: Vec<(String, String)> =
            sql::query_as("SELECT person, group_name FROM memberships ORDER BY person, group_name")
                .fetch_all(&self.readers)
                .await?;
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (person, group) in rows {
            groups.entry(person).or_default().push(group);
        }
        Ok(groups)
    }

    /// How many of a group may approve now.
    pub(crate) async fn approvers_in(&self, group: &str) -> Result<u32, StoreError> {
        let members: Vec<String> =
            sql::query_scalar("SELECT person FROM memberships WHERE group_name = $1")
                .bind(group)
                .fetch_all(&self.readers)
                .await?;
        let owner: Option<String> =
            sql::query_scalar("SELECT name FROM credentials WHERE role = 'approver'")
                .fetch_optional(&self.readers)
                .await?;
        let mut count = 0;
        for member in members {
            let role: Option<String> =
                sql::query_scalar("SELECT role FROM users WHERE name = $1 AND disabled_at IS NULL")
                    .bind(&member)
                    .fetch_optional(&self.readers)
                    .await?;
            let role: Option<Role> = role.map(|role| word(&role)).transpose()?;
            let is_owner = owner.as_ref().is_some_and(|owner| same_person(owner, &member));
            if is_owner || role.is_some_and(|role| role.may(Permission::Decide)) {
                count += 1;
            }
        }
        Ok(count)
    }
}

/// That there is such an account, or that it is the owner of the directory.
async fn known(transaction: &mut Transaction, name: &str) -> Result<(), IdentityError> {
    if votes::is_owner(transaction, name).await? {
        return Ok(());
    }
    is_disabled(transaction, name).await.map(drop)
}

pub(super) async fn join(
    transaction: &mut Transaction,
    person: &str,
    group: &str,
    given_by: &str,
) -> Result<bool, StoreError> {
    let joined = sql::query(
        "INSERT INTO memberships (person, group_name, given_by) VALUES ($1, $2, $3) \
         ON CONFLICT (person, group_name) DO NOTHING",
    )
    .bind(person.to_lowercase())
    .bind(group)
    .bind(given_by)
    .execute(&mut transaction.connection)
    .await?;
    Ok(joined.rows_affected() > 0)
}

async fn leave(
    transaction: &mut Transaction,
    person: &str,
    group: &str,
) -> Result<bool, StoreError> {
    let left = sql::query("DELETE FROM memberships WHERE person = $1 AND group_name = $2")
        .bind(person.to_lowercase())
        .bind(group)
        .execute(&mut transaction.connection)
        .await?;
    Ok(left.rows_affected() > 0)
}

/// Makes `groups` all those that an identity provider put the person into.
#[cfg(feature = "oidc")]
pub(super) async fn provided(
    transaction: &mut Transaction,
    person: &str,
    groups: &std::collections::BTreeSet<String>,
    by: crate::audit::Actor,
) -> Result<(), StoreError> {
    let before: Vec<String> = sql::query_scalar(
        "SELECT group_name FROM memberships WHERE person = $1 AND given_by = 'provider'",
    )
    .bind(person.to_lowercase())
    .fetch_all(&mut transaction.connection)
    .await?;
    let mut changed = false;
    for group in before.iter().filter(|group| !groups.contains(*group)) {
        leave(transaction, person, group).await?;
        let about = format!("{person}, {group}");
        transaction.record_identity(IdentityEvent::GroupLeft, by.clone(), &about).await?;
        changed = true;
    }
    for group in groups.iter().filter(|group| !before.contains(group)) {
        if join(transaction, person, group, "provider").await? {
            let about = format!("{person}, {group}");
            transaction.record_identity(IdentityEvent::GroupJoined, by.clone(), &about).await?;
            changed = true;
        }
    }
    if changed {
        votes::recount_of(transaction, person).await?;
    }
    Ok(())
}
