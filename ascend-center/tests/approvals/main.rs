//! Who approves: rules, votes, groups, escalation and grants.
#![allow(clippy::unwrap_used, reason = "tests")]

mod grants;
mod guide;
mod processes;
mod rules;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use std::{path::Path, time::Duration};

use ascend_center::{Approver, AuditKind, AuditQuery, Center, CenterConfig, Record, Role};
use ascend_sdk::{Action, Authority as _, Evaluation};
use secrecy::ExposeSecret as _;
use support::{action_json, database, number};
use tempfile::TempDir;

pub(crate) const POLICIES: &str = r#"
@id("all")
permit (principal, action, resource);

@id("drops")
forbid (principal, action, resource) when { context.verb == "drop" };

@id("deletes")
@decision("require_approval")
@reason("two database administrators look at each deletion")
@approvers("dba")
@quorum("2")
@within("1h")
@escalate_to("managers")
forbid (principal, action, resource) when { context.verb == "delete" };

@id("exports")
@decision("require_approval")
@approvers("security")
@within("2h")
@escalate_to("managers")
forbid (principal, action, resource) when { context.verb == "export" };

@id("exports-of-data")
@decision("require_approval")
@approvers("dba")
forbid (principal, action, resource) when { context.verb == "export" };

@id("refunds")
@decision("require_approval")
forbid (principal, action, resource) when { context.verb == "refund" };

@id("transfers")
@decision("require_approval")
@grants("deny")
forbid (principal, action, resource) when { context.verb == "transfer" };

@id("wipes")
@decision("require_approval")
@grants("allow")
@risk("95")
forbid (principal, action, resource) when { context.verb == "wipe" };

@id("burns")
@decision("require_approval")
@risk("95")
forbid (principal, action, resource) when { context.verb == "burn" };
"#;

const TOOLS: &str = r#"{"tools": [{"name": "refund", "inputSchema": {
    "type": "object", "properties": {"cents": {"type": "integer"}}, "required": ["cents"]
}}]}"#;

/// A center with people in groups.
pub(crate) struct Town {
    pub(crate) directory: TempDir,
    pub(crate) center: Center,
    /// The owner of the directory, in no group.
    pub(crate) alice: Approver,
    /// Of `dba`.
    pub(crate) bob: Approver,
    pub(crate) carol: Approver,
    /// Of `managers`.
    pub(crate) dan: Approver,
}

pub(crate) fn config(directory: &Path) -> CenterConfig {
    support::config(&directory.join("center")).policies(directory.join("policies"))
}

impl Town {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("policies");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("own.cedar"), POLICIES).unwrap();
        std::fs::write(folder.join("tools.json"), TOOLS).unwrap();
        let center = Center::open(config(directory.path())).await.unwrap();
        let alice = center.local_approver().await.unwrap();
        let bob = person(&center, "bob", Role::Approver, &["dba"]).await;
        let carol = person(&center, "carol", Role::Approver, &["dba"]).await;
        let dan = person(&center, "dan", Role::Approver, &["managers"]).await;
        Self { directory, center, alice, bob, carol, dan }
    }

    pub(crate) async fn ask(&self, verb: &str) -> (i64, Evaluation) {
        self.ask_for(&action(verb, "crm://orders/7", 500)).await
    }

    pub(crate) async fn ask_for(&self, action: &Action) -> (i64, Evaluation) {
        let answer = self.center.evaluate(action).await.unwrap();
        (number(&answer.action_id), answer)
    }

    pub(crate) async fn pending(&self, verb: &str) -> i64 {
        let (id, _) = self.ask(verb).await;
        assert_eq!(self.record(id).await.state.as_str(), "pending");
        id
    }

    pub(crate) async fn record(&self, id: i64) -> Record {
        self.center.action(id).await.unwrap().unwrap()
    }

    pub(crate) async fn state(&self, id: i64) -> &'static str {
        self.record(id).await.state.as_str()
    }

    /// Changes the database as time does.
    pub(crate) async fn sql(&self, statement: &'static str) {
        let changed = database::sql(&self.directory.path().join("center"), statement).await;
        assert!(changed > 0, "{statement}");
    }

    /// What happened to the action, by whom.
    pub(crate) async fn told(&self, id: i64) -> Vec<String> {
        let entries = self.center.audit_entries(&AuditQuery::new().action(id)).await.unwrap();
        let told = entries
            .iter()
            .map(|(entry, _)| format!("{} {}", entry.event.actor.name, entry.event.kind));
        told.collect()
    }

    pub(crate) async fn count(&self, kind: AuditKind) -> usize {
        self.center.audit_entries(&AuditQuery::new().kind(kind)).await.unwrap().len()
    }
}

pub(crate) async fn person(center: &Center, name: &str, role: Role, groups: &[&str]) -> Approver {
    let owner = center.local_approver().await.unwrap();
    center.create_user(&owner, name, role, None).await.unwrap();
    for group in groups {
        assert!(center.add_to_group(&owner, name, group).await.unwrap());
    }
    let token = token(center, name).await;
    center.approver(&token.into()).await.unwrap()
}

pub(crate) async fn token(center: &Center, name: &str) -> String {
    let owner = center.local_approver().await.unwrap();
    let hour = Duration::from_secs(3600);
    let issued = center.create_token(&owner, name, "cli", hour).await.unwrap();
    issued.token.expose_secret().to_owned()
}

pub(crate) fn action(verb: &str, resource: &str, cents: i64) -> Action {
    let mut json = action_json("crm", verb, resource);
    json["tool"] = "refund".into();
    json["parameters"] = serde_json::json!({ "cents": cents });
    serde_json::from_value(json).unwrap()
}
