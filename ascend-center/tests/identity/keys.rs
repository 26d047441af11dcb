//! Agents' keys, and who may decide on what was asked with them.

use std::process::Output;

use ascend_center::{AuditKind, DecideError, IdentityError, NewKey, NotAllowed, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    house::{Credential, House, text},
    support::{database, served::token, until},
};

#[tokio::test]
async fn a_key_lives_from_the_command_line() {
    let house = House::new().await;
    a_key_lives(&house, "alice", async |arguments: &[&str]| house.cli(arguments).await).await;
}

#[tokio::test]
async fn a_key_lives_from_another_machine() {
    let house = House::new().await;
    let carol = house.person("carol", Role::Admin).await;
    let cli = async |arguments: &[&str]| house.remote_cli(&carol, arguments).await;
    a_key_lives(&house, "carol", cli).await;
}

/// All that happens to keys, by a command line of `admin`.
async fn a_key_lives(house: &House, admin: &str, cli: impl AsyncFn(&[&str]) -> Output) {
    let bob = house.person("bob", Role::Approver).await;
    for arguments in [&["keys", "list"][..], &["keys", "create", "x"], &["users", "list"]] {
        let refused = house.remote_cli(&bob, arguments).await;
        assert_eq!(refused.status.code(), Some(1));
        let why = "bob is approver; to manage keys and users takes the role admin";
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
    let create = ["keys", "create", "billing", "--name", "staging", "--owner", "bob"];
    let created = cli(&create).await;
    assert!(created.status.success(), "{}", text(&created.stderr));
    let old = text(&created.stdout).trim().to_owned();
    assert!(old.starts_with("ascend_agent_") && old.len() == 77, "{old}");
    assert!(!text(&created.stderr).contains(&old));
    assert!(house.knows(&old).await);
    let again = cli(&create).await;
    assert!(text(&again.stderr).contains("has an active key staging already"));
    assert_eq!(again.status.code(), Some(4));
    let odd = cli(&["keys", "create", "local-agent"]).await;
    assert!(text(&odd.stderr).contains("is the center's own"), "{}", text(&odd.stderr));

    let list = async || -> Value {
        let listed = cli(&["keys", "list", "--json"]).await;
        assert!(!text(&listed.stdout).contains(&old), "shown once");
        serde_json::from_slice(&listed.stdout).unwrap()
    };
    let keys = list().await;
    assert_eq!((&keys[0]["agent"], &keys[0]["owner"]), (&json!("billing"), &json!("bob")));
    assert!(keys[0]["last_used_at"].is_string(), "{keys}");
    let table = cli(&["keys", "list"]).await;
    let table = text(&table.stdout);
    assert!(table.contains("billing") && table.contains("active") && !table.contains(&old));

    let rotated = cli(&["keys", "rotate", "1", "--grace", "1h"]).await;
    assert!(rotated.status.success(), "{}", text(&rotated.stderr));
    let new = text(&rotated.stdout).trim().to_owned();
    assert_ne!(old, new);
    assert!(house.knows(&old).await && house.knows(&new).await, "both, for the grace");
    let keys = list().await;
    assert_eq!((&keys[0]["replaced_by"], &keys[1]["owner"]), (&json!(2), &json!("bob")));
    let twice = cli(&["keys", "rotate", "1"]).await;
    assert!(text(&twice.stderr).contains("key 1 is not active any more"));
    house.sql("UPDATE agent_keys SET expires_at = 1 WHERE id = 1").await;
    assert!(!house.knows(&old).await && house.knows(&new).await);

    let at_once = cli(&["keys", "rotate", "2", "--grace", "0s"]).await;
    let newest = text(&at_once.stdout).trim().to_owned();
    assert!(!house.knows(&new).await && house.knows(&newest).await);

    assert!(cli(&["keys", "revoke", "3"]).await.status.success());
    assert!(!house.knows(&newest).await);
    let revoked = cli(&["keys", "revoke", "3"]).await;
    assert!(text(&revoked.stdout).contains("was not active any more"));
    let unknown = cli(&["keys", "revoke", "77"]).await;
    assert_eq!(unknown.status.code(), Some(3));
    assert_eq!(text(&unknown.stderr), "error: there is no key 77\n");

    for token in [&old, &new, &newest] {
        assert!(!database::holds(house.directory.path(), token), "only its hash is kept");
    }
    let made = house.events(AuditKind::CredentialCreated).await;
    let made: Vec<_> = made.iter().filter(|(_, about)| about.starts_with("key")).collect();
    let event = |about: &str| (admin.to_owned(), about.to_owned());
    assert_eq!(made, [&event("key 1 of agent billing, staging")]);
    assert_eq!(
        house.events(AuditKind::CredentialRotated).await,
        [
            event("key 1 of agent billing, staging, by key 2"),
            event("key 2 of agent billing, staging, by key 3"),
        ]
    );
    let revoked = house.events(AuditKind::CredentialRevoked).await;
    assert_eq!(revoked, [event("key 3 of agent billing, staging")]);
}

#[tokio::test]
async fn an_action_is_its_agents_with_every_key() {
    let house = House::new().await;
    let (old, key) = house.key(NewKey::of("billing")).await;
    let id = house.pending(&key).await;
    let record = house.center.action(id).await.unwrap().unwrap();
    assert_eq!(record.requested_by, "billing");
    let grace = std::time::Duration::ZERO;
    let new = house.center.rotate_key(&house.owner, old, grace).await.unwrap();
    let new = Credential::Token(secrecy::ExposeSecret::expose_secret(&new.token).to_owned());
    let path = format!("/api/v1/actions/{id}/withdraw");
    assert_eq!(house.send(Method::POST, &path, &new, None).await.0, 200);
    assert_eq!(house.center.keys().await.unwrap()[0].replaced_by, Some(2));
}

#[tokio::test]
async fn names_that_the_center_uses_itself_are_nobodys() {
    let house = House::new().await;
    for agent in ["embedded", "local-agent", "LOCAL-AGENT", "a b", ""] {
        let refused = house.center.create_key(&house.owner, NewKey::of(agent)).await;
        assert!(matches!(refused, Err(IdentityError::Name(_))), "{agent}");
    }
    let nobodys = NewKey::of("billing").owned_by("nobody");
    let refused = house.center.create_key(&house.owner, nobodys).await;
    assert!(matches!(refused, Err(IdentityError::UnknownUser(_))));
}

#[tokio::test]
async fn nobody_approves_what_was_asked_with_their_own_key() {
    let house = House::new().await;
    let bob = Credential::Token(house.person("bob", Role::Admin).await);
    let carol = Credential::Token(house.person("carol", Role::Approver).await);
    let (bobs_key, key) = house.key(NewKey::of("billing").owned_by("bob")).await;
    let decide = async |id: i64, verb: &str, who: &Credential| {
        // Whatever a request says of it, who it was comes from the credential.
        let body = json!({ "comment": "fine", "reviewed_by": "mallory", "user": "mallory" });
        house.send(Method::POST, &format!("/api/v1/actions/{id}/{verb}"), who, Some(body)).await
    };
    let id = house.pending(&key).await;
    let (status, answer) = decide(id, "approve", &bob).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(answer["detail"].as_str().unwrap().contains("a key of your own"), "{answer}");
    let (status, answer) = decide(id, "approve", &carol).await;
    assert_eq!((status, &answer["reviewed_by"]), (StatusCode::OK, &json!("carol")));

    // To reject is no harm.
    let id = house.pending(&key).await;
    let (status, answer) = decide(id, "reject", &bob).await;
    assert_eq!((status, &answer["reviewed_by"]), (StatusCode::OK, &json!("bob")));

    // Nor is it a way around that the agent has other keys, or the key is gone.
    let other = house.key(NewKey::of("billing").named("other")).await.1;
    let id = house.pending(&other).await;
    assert_eq!(decide(id, "approve", &bob).await.0, StatusCode::FORBIDDEN);
    let id = house.pending(&key).await;
    house.center.revoke_key(&house.owner, bobs_key).await.unwrap();
    assert_eq!(decide(id, "approve", &bob).await.0, StatusCode::FORBIDDEN);
    // What others asked is not held against them.
    let id = house.pending(&house.agent("shipping").await).await;
    assert_eq!(decide(id, "approve", &bob).await.0, 200);
}

#[tokio::test]
async fn the_owner_of_the_directory_named_as_an_account_is_that_person() {
    let house = House::new().await;
    house.person("alice", Role::Viewer).await;
    let key = house.key(NewKey::of("billing").owned_by("alice")).await.1;
    let id = house.pending(&key).await;
    let refused = house.center.approve(id, &house.owner, None).await;
    assert!(matches!(refused, Err(DecideError::OwnRequest(_))), "{refused:?}");
    let cli = house.cli(&["approve", &id.to_string()]).await;
    assert!(text(&cli.stderr).contains("a key of your own"), "{}", text(&cli.stderr));
}

#[tokio::test]
async fn what_a_person_may_is_looked_up_with_what_they_do() {
    let house = House::new().await;
    let token = house.person("bob", Role::Admin).await.into();
    let bob = house.center.approver(&token).await.unwrap();
    assert_eq!((bob.name(), bob.role()), ("bob", Role::Admin));
    let id = house.pending(&house.agent("billing").await).await;

    house.center.set_role(&house.owner, "bob", Role::Viewer).await.unwrap();
    let refused = house.center.approve(id, &bob, None).await.unwrap_err();
    assert_eq!(refused.to_string(), "bob is viewer; to approve and reject takes the role approver");
    assert!(house.center.kill("no", &bob).await.is_err());
    assert!(house.center.release(&bob).await.is_err());
    let refused = house.center.create_key(&bob, NewKey::of("backdoor")).await;
    assert!(matches!(refused, Err(IdentityError::NotAllowed(NotAllowed::Role { .. }))));
    assert!(house.center.create_user(&bob, "eve", Role::Admin, None).await.is_err());
    assert!(house.center.set_role(&bob, "bob", Role::Admin).await.is_err());
    assert!(house.center.approver(&token).await.is_err(), "a viewer is no approver");

    house.center.set_role(&house.owner, "bob", Role::Approver).await.unwrap();
    house.center.set_disabled(&house.owner, "bob", true).await.unwrap();
    let refused = house.center.approve(id, &bob, None).await.unwrap_err();
    assert!(matches!(refused, DecideError::NotAllowed(NotAllowed::Disabled { .. })));
    house.center.set_disabled(&house.owner, "bob", false).await.unwrap();
    assert!(house.center.approver(&token).await.is_err(), "a token that ended stays so");
    house.center.approve(id, &bob, None).await.unwrap();
}

#[tokio::test]
async fn who_is_demoted_while_they_send_changes_nothing() {
    let house = House::new().await;
    let bob = house.person("bob", Role::Admin).await;
    let admin = Credential::Token(bob.clone());
    let hook = json!({ "url": "https://hooks.example", "events": ["action.pending"] });
    let server = json!({ "server_name": "files" });
    for (path, body) in [("webhooks/configure", &hook), ("registry/mcp-servers", &server)] {
        let path = format!("/api/{path}");
        let (status, answer) = house.send(Method::POST, &path, &admin, Some(body.clone())).await;
        assert_eq!(status, 201, "{answer}");
    }
    let elsewhere = json!({ "url": "https://evil.example" });
    for (method, path, body) in [
        ("POST", "/api/webhooks/configure", &hook),
        ("PUT", "/api/webhooks/1", &elsewhere),
        ("POST", "/api/registry/mcp-servers", &json!({ "server_name": "other" })),
        ("POST", "/api/registry/mcp-servers/files/deactivate", &json!({ "reason": "mine" })),
        ("POST", "/api/v1/keys", &json!({ "agent": "backdoor" })),
        ("POST", "/api/v1/users", &json!({ "name": "eve", "role": "admin" })),
        ("PUT", "/api/v1/users/bob/role", &json!({ "role": "admin" })),
        ("POST", "/api/v1/user-tokens", &json!({ "user": "carol", "name": "x" })),
        ("POST", "/api/v1/kill-switch", &json!({ "reason": "mine" })),
    ] {
        house.center.set_role(&house.owner, "bob", Role::Admin).await.unwrap();
        let answer = house
            .held_up(method, path, &bob, body, async || {
                house.center.set_role(&house.owner, "bob", Role::Viewer).await.unwrap();
            })
            .await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{method} {path}: {answer}");
        assert!(answer.contains("bob is viewer"), "{method} {path}: {answer}");
    }
    let owner = Credential::Token(token(house.directory.path(), "approver.key"));
    let (_, hooks) = house.send(Method::GET, "/api/webhooks", &owner, None).await;
    assert_eq!((&hooks["total"], &hooks["webhooks"][0]["url"]), (&json!(1), &hook["url"]));
    let (_, servers) = house.send(Method::GET, "/api/registry/mcp-servers", &owner, None).await;
    assert_eq!(
        (&servers["total"], &servers["servers"][0]["status"]),
        (&json!(1), &json!("registered"))
    );
    assert_eq!(house.center.kill_switch().await.unwrap(), None);
    assert_eq!(house.center.keys().await.unwrap(), []);
    let role = |user: &ascend_center::User| (user.name.clone(), user.role);
    let users: Vec<_> = house.center.users().await.unwrap().iter().map(role).collect();
    assert_eq!(users, [("bob".to_owned(), Role::Viewer)]);
}

#[tokio::test]
async fn people_are_managed_from_the_command_line() {
    let house = House::new().await;
    let cli = async |arguments: &[&str]| house.cli(arguments).await;
    people_are_managed(&house, "alice", cli).await;
}

#[tokio::test]
async fn people_are_managed_from_another_machine() {
    let house = House::new().await;
    let carol = house.person("carol", Role::Admin).await;
    let cli = async |arguments: &[&str]| house.remote_cli(&carol, arguments).await;
    people_are_managed(&house, "carol", cli).await;
}

/// All that happens to people, by a command line of `admin`.
async fn people_are_managed(house: &House, admin: &str, cli: impl AsyncFn(&[&str]) -> Output) {
    let created = cli(&["users", "create", "bob", "--role", "approver", "--group", "dba"]).await;
    assert!(created.status.success(), "{}", text(&created.stderr));
    let password = text(&created.stdout).trim().to_owned();
    let login = async |password: &str| {
        house.login(json!({ "name": "bob", "password": password })).await.status()
    };
    assert_eq!(login(&password).await, 200);
    let twice = cli(&["users", "create", "bob", "--role", "admin"]).await;
    assert!(text(&twice.stderr).contains("there is a user bob already"));
    let odd = cli(&["users", "create", "Bob Jones", "--role", "admin"]).await;
    assert!(text(&odd.stderr).contains("lower-case letters"), "{}", text(&odd.stderr));

    let changed = cli(&["users", "password", "bob"]).await;
    let new = text(&changed.stdout).trim().to_owned();
    assert_eq!(login(&password).await, 401);
    assert_eq!(login(&new).await, 200);

    let token = cli(&["users", "token", "create", "bob", "--expires", "30d"]).await;
    let token = text(&token.stdout).trim().to_owned();
    assert!(house.knows(&token).await);
    let listed = cli(&["users", "token", "list", "--json"]).await;
    assert!(!text(&listed.stdout).contains(&token), "shown once");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let id = listed.as_array().unwrap().last().unwrap()["id"].to_string();
    assert!(cli(&["users", "token", "revoke", &id]).await.status.success());
    assert!(!house.knows(&token).await);
    assert_eq!(cli(&["users", "token", "revoke", "77"]).await.status.code(), Some(3));

    let group = async |verb: &str, groups: &[&str]| {
        let changed = cli(&[&["users", "group", verb, "bob"], groups].concat()).await;
        text(&changed.stdout).to_owned()
    };
    let added = group("add", &["dba", "managers"]).await;
    assert_eq!(added, "bob is already in dba\nbob is in managers\n");
    assert_eq!(group("remove", &["dba"]).await, "bob is no longer in dba\n");
    assert_eq!(group("remove", &["dba"]).await, "bob was not in dba\n");
    assert_eq!(group("add", &["D B/A"]).await, "");

    assert!(cli(&["users", "role", "bob", "viewer"]).await.status.success());
    house.key(NewKey::of("billing").owned_by("bob")).await;
    let disabled = cli(&["users", "disable", "bob"]).await;
    assert!(text(&disabled.stdout).contains("key 1 of agent billing is theirs, and still good"));
    assert_eq!(login(&new).await, 401);
    let listed = cli(&["users", "list", "--json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["role"]), (&json!("bob"), &json!("viewer")));
    assert_eq!(listed[0]["groups"], json!(["managers"]));
    assert!(listed[0]["disabled_at"].is_string() && !listed.to_string().contains("argon2"));
    assert!(cli(&["users", "enable", "bob"]).await.status.success());
    until("bob can log in", async || login(&new).await == 200).await;
    let nobody = cli(&["users", "role", "nobody", "admin"]).await;
    assert_eq!(text(&nobody.stderr), "error: there is no user nobody\n");
    let changes = house.events(AuditKind::UserChanged).await;
    assert_eq!(changes.len(), 7, "{changes:?}");
    assert!(changes.iter().all(|(by, _)| by == admin), "{changes:?}");
}
