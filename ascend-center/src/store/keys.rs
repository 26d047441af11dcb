//! The keys of agents.

use ascend_sdk::BoxFuture;

use super::{
    Store, StoreError, identity_event::IdentityEvent, moment, sql, users::is_disabled, votes, word,
    writer::Transaction,
};
#[cfg(feature = "http")]
use crate::identity::Identity;
use crate::identity::{
    AgentKey, CredentialStanding, IdentityError, NewKey, NotAllowed, Origin, Permission, Person,
    Role,
};

/// Id, agent, name, owner, and when it was created, expires, was revoked;
/// what replaced it; when it was last used.
type Row =
    (i64, String, String, Option<String>, i64, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, agent, name, owner, created_at, expires_at, revoked_at, replaced_by, \
             last_used_at FROM agent_keys ",
            $condition
        )
    };
}

fn key(row: Row) -> Result<AgentKey, StoreError> {
    let (id, agent, name, owner, created_at, expires_at, revoked_at, replaced_by, used) = row;
    Ok(AgentKey {
        id,
        agent,
        name,
        owner,
        created_at: moment(created_at)?,
        expires_at: expires_at.map(moment).transpose()?,
        revoked_at: revoked_at.map(moment).transpose()?,
        replaced_by,
        last_used_at: used.map(moment).transpose()?,
    })
}

impl Store {
    /// Runs `work` when the person still has the permission; what it refuses
    /// leaves no trace.
    pub(super) async fn permitted<T, F>(
        &self,
        by: Person,
        permission: impl FnOnce(&Person) -> Permission + Send + 'static,
        work: F,
    ) -> Result<T, IdentityError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(
                &'t mut Transaction,
                &'t Person,
            ) -> BoxFuture<'t, Result<T, IdentityError>>
            + Send
            + 'static,
    {
        self.write(move |transaction| {
            Box::pin(async move {
                if let Err(refused) = confirm(transaction, &by, permission(&by)).await? {
                    return Ok(Err(refused.into()));
                }
                match work(transaction, &by).await {
                    Err(IdentityError::Store(error)) => Err(error),
                    result => Ok(result),
                }
            })
        })
        .await?
    }

    pub(crate) async fn create_key(
        &self,
        by: Person,
        key: NewKey,
        lifetime: Option<i64>,
        hash: String,
    ) -> Result<i64, IdentityError> {
        self.permitted(
            by,
            |_| Permission::Administer,
            move |transaction, by| {
                Box::pin(async move {
                    if let Some(owner) = &key.owner {
                        is_disabled(transaction, owner).await?;
                    }
                    let taken: Option<i64> = sql::query_scalar(
                    "SELECT id FROM agent_keys WHERE agent = $1 AND name = $2 AND revoked_at IS NULL \
                     AND replaced_by IS NULL AND (expires_at IS NULL OR expires_at > $3)",
                )
                .bind(&key.agent)
                .bind(&key.name)
                .bind(transaction.now)
                .fetch_optional(&mut transaction.connection)
                .await?;
                    let NewKey { agent, name, owner, .. } = key;
                    let owned_by = owner.clone();
                    if taken.is_some() {
                        return Err(IdentityError::KeyExists { agent, name });
                    }
                    let expires_at =
                        lifetime.map(|lifetime| transaction.now.saturating_add(lifetime));
                    let id = insert(transaction, &agent, &name, owner, expires_at, &hash).await?;
                    let about = format!("key {id} of agent {agent}, {name}");
                    transaction
                        .record_identity(IdentityEvent::KeyCreated, by.actor(), &about)
                        .await?;
                    if let Some(owner) = owned_by {
                        // What is asked with it is their own.
                        votes::recount_of(transaction, &owner).await?;
                    }
                    Ok(id)
                })
            },
        )
        .await
    }

    pub(crate) async fn keys(&self) -> Result<Vec<AgentKey>, StoreError> {
        let rows: Vec<Row> = sql::query_as(select!("ORDER BY id")).fetch_all(&self.readers).await?;
        rows.into_iter().map(key).collect()
    }

    pub(crate) async fn revoke_key(&self, by: Person, id: i64) -> Result<bool, IdentityError> {
        self.permitted(
            by,
            |_| Permission::Administer,
            move |transaction, by| {
                Box::pin(async move {
                    let key = find(transaction, id).await?;
                    let revoked = sql::query(
                    "UPDATE agent_keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL \
                     AND (expires_at IS NULL OR expires_at > $1)",
                )
                .bind(transaction.now)
                .bind(id)
                .execute(&mut transaction.connection)
                .await?
                .rows_affected()
                    > 0;
                    if revoked {
                        let about = format!("key {id} of agent {}, {}", key.agent, key.name);
                        transaction
                            .record_identity(IdentityEvent::KeyRevoked, by.actor(), &about)
                            .await?;
                        if let Some(owner) = key.owner {
                            votes::recount_of(transaction, &owner).await?;
                        }
                    }
                    Ok(revoked)
                })
            },
        )
        .await
    }

    pub(crate) async fn rotate_key(
        &self,
        by: Person,
        id: i64,
        grace: i64,
        hash: String,
    ) -> Result<i64, IdentityError> {
        self.permitted(
            by,
            |_| Permission::Administer,
            move |transaction, by| {
                Box::pin(async move {
                    let old = find(transaction, id).await?;
                    let now = moment(transaction.now)?;
                    let active = old.standing(now) == CredentialStanding::Active;
                    if !active || old.replaced_by.is_some() {
                        return Err(IdentityError::KeyEnded(id));
                    }
                    // The new one lasts as long as the old one was made for.
                    let lifetime = old.expires_at.map(|end| {
                        end.as_millisecond().saturating_sub(old.created_at.as_millisecond())
                    });
                    let expires_at =
                        lifetime.map(|lifetime| transaction.now.saturating_add(lifetime));
                    let new =
                        insert(transaction, &old.agent, &old.name, old.owner, expires_at, &hash)
                            .await?;
                    sql::query(
                        "UPDATE agent_keys SET replaced_by = $1, \
                     expires_at = CASE WHEN expires_at < $2 THEN expires_at ELSE $2 END WHERE id = $3",
                    )
                    .bind(new)
                    .bind(transaction.now.saturating_add(grace))
                    .bind(id)
                    .execute(&mut transaction.connection)
                    .await?;
                    let about =
                        format!("key {id} of agent {}, {}, by key {new}", old.agent, old.name);
                    transaction
                        .record_identity(IdentityEvent::KeyRotated, by.actor(), &about)
                        .await?;
                    Ok(new)
                })
            },
        )
        .await
    }

    pub(crate) async fn touch_key(&self, id: i64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            Box::pin(async move {
                sql::query("UPDATE agent_keys SET last_used_at = $1 WHERE id = $2")
                    .bind(transaction.now)
                    .bind(id)
                    .execute(&mut transaction.connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}

/// Whether the person has the permission now: their account could have changed
/// since they showed their credential.
pub(super) async fn confirm(
    transaction: &mut Transaction,
    person: &Person,
    permission: Permission,
) -> Result<Result<(), NotAllowed>, StoreError> {
    if person.origin == Origin::Directory {
        return Ok(person.allow(permission));
    }
    let role: Option<String> =
        sql::query_scalar("SELECT role FROM users WHERE name = $1 AND disabled_at IS NULL")
            .bind(&person.name)
            .fetch_optional(&mut transaction.connection)
            .await?;
    let Some(role) = role else {
        return Ok(Err(NotAllowed::Disabled { name: person.name.clone() }));
    };
    let role: Role = word(&role)?;
    Ok(Person { role, ..person.clone() }.allow(permission))
}

/// The same for whoever calls: an agent may what is its own.
#[cfg(feature = "http")]
pub(super) async fn confirm_caller(
    transaction: &mut Transaction,
    caller: &Identity,
    permission: Permission,
) -> Result<Result<(), NotAllowed>, StoreError> {
    match caller {
        Identity::Agent(_) => Ok(Ok(())),
        Identity::Person(person) => confirm(transaction, person, permission).await,
    }
}

async fn find(transaction: &mut Transaction, id: i64) -> Result<AgentKey, IdentityError> {
    let row: Option<Row> = sql::query_as(select!("WHERE id = $1"))
        .bind(id)
        .fetch_optional(&mut transaction.connection)
        .await?;
    Ok(key(row.ok_or(IdentityError::UnknownKey(id))?)?)
}

async fn insert(
    transaction: &mut Transaction,
    agent: &str,
    name: &str,
    owner: Option<String>,
    expires_at: Option<i64>,
    hash: &str,
) -> Result<i64, StoreError> {
    Ok(sql::query(
        "INSERT INTO agent_keys (agent, name, owner, hash, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(agent)
    .bind(name)
    .bind(owner)
    .bind(hash)
    .bind(transaction.now)
    .bind(expires_at)
    .insert(&mut transaction.connection)
    .await?)
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use secrecy::SecretString;
    use serde_json::Map;

    use super::*;
    use crate::{
        Center, CenterConfig,
        identity::Agent,
        store::{NewWebhook, RegisterError, ServerError, ServerState, WebhookChange, WebhookError},
    };

    /// Over HTTP the same is tested of requests with a body, which can be held
    /// up on the way. Those without one arrive whole.
    #[tokio::test]
    async fn who_was_demoted_since_they_were_let_in_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let center = Center::open(CenterConfig::new(directory.path())).await.expect("a center");
        let owner = center.local_approver().await.expect("the owner");
        center.create_user(&owner, "bob", Role::Admin, None).await.expect("an account");
        let bob = Person { name: "bob".to_owned(), role: Role::Admin, origin: Origin::Account };
        let caller = || Identity::Person(bob.clone());
        let store = center.store();

        let webhook = || NewWebhook {
            url: "https://hooks.example".to_owned(),
            events: Vec::new(),
            agent_id: None,
            secret: SecretString::from("a secret"),
            of_agent: None,
            created_by: caller(),
        };
        let id = store.add_webhook(webhook()).await.expect("an admin may");
        let agent = Agent { name: "billing".to_owned(), owner: None };
        store.register_agent("one".to_owned(), Map::new(), agent).await.expect("it may");
        let server = || ("files".to_owned(), Map::new());
        let (name, about) = server();
        store.register_server(name, about, caller()).await.expect("an admin may");

        center.set_role(&owner, "bob", Role::Viewer).await.expect("another role");
        let added = store.add_webhook(webhook()).await;
        assert!(matches!(added, Err(WebhookError::NotAllowed(_))), "{added:?}");
        let url = Some("https://evil.example".to_owned());
        let change = WebhookChange { url, ..WebhookChange::default() };
        let changed = store.change_webhook(id, change, caller()).await;
        assert!(matches!(changed, Err(WebhookError::NotAllowed(_))), "{changed:?}");
        let deleted = store.delete_webhook(id, caller()).await;
        assert!(matches!(deleted, Err(WebhookError::NotAllowed(_))), "{deleted:?}");
        let forgotten = store.deregister_agent("one".to_owned(), caller()).await;
        assert!(matches!(forgotten, Err(RegisterError::NotAllowed(_))), "{forgotten:?}");
        let (_, about) = server();
        let registered = store.register_server("other".to_owned(), about, caller()).await;
        assert!(matches!(registered, Err(ServerError::NotAllowed(_))), "{registered:?}");
        for state in [ServerState::Active, ServerState::Deactivated] {
            let set = store.set_server("files".to_owned(), state, None, bob.clone()).await;
            assert!(matches!(set, Err(ServerError::NotAllowed(_))), "{set:?}");
        }
        let deleted = store.delete_server("files".to_owned(), bob.clone()).await;
        assert!(matches!(deleted, Err(ServerError::NotAllowed(_))), "{deleted:?}");

        let kept = store.webhooks(None, None).await.expect("webhooks");
        assert_eq!(kept.iter().map(|it| &*it.url).collect::<Vec<_>>(), ["https://hooks.example"]);
        assert!(store.registered_agent("one").await.expect("agents").is_some());
        let servers = store.servers().await.expect("servers");
        let standing: Vec<_> = servers.iter().map(|it| (&*it.name, it.state)).collect();
        assert_eq!(standing, [("files", ServerState::Registered)]);
    }
}
