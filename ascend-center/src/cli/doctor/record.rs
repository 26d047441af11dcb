//! What the center keeps.

use ascend_center::{AuditError, AuditQuery, Center, PolicySet, Role, StoreError, VerifyAudit};
use jiff::Timestamp;

use super::Checks;
use crate::card;

/// How many entries are verified, when not all are.
const LAST: i64 = 1000;

pub(super) async fn record(checks: &mut Checks, center: &Center, full: bool) {
    if let Err(error) = look(checks, center, full).await {
        checks.error("database", error, "its log and `ascend-center audit verify` may say more");
    }
}

async fn look(checks: &mut Checks, center: &Center, full: bool) -> Result<(), StoreError> {
    let condition = center.condition().await?;
    if condition.damage.is_empty() {
        checks.ok("database", format!("sound, schema {}", condition.schema));
    } else {
        checks.error("database", condition.damage.join("\n"), "bring back a copy that was good");
    }
    let newest = center.audit_entries(&AuditQuery::new().newest_first().limit(1)).await?;
    let newest = newest.first().map(|(entry, _)| (entry.seq, entry.at));
    clock(checks, newest.map(|(_, at)| at));
    audit(checks, center, newest.map_or(0, |(seq, _)| seq), full).await;
    match condition.dead_deliveries {
        0 => checks.ok("webhooks", "no message was given up"),
        dead => checks.warn(
            "webhooks",
            format!("messages that were given up: {dead}"),
            "GET /api/webhooks/deliveries?state=dead says which and why",
        ),
    }
    match center.kill_switch().await? {
        None => checks.ok("kill switch", "not raised"),
        Some(switch) => checks.warn(
            "kill switch",
            format!(
                "raised since {} by {}: {}",
                card::moment(switch.raised_at),
                switch.raised_by,
                switch.reason
            ),
            "nothing is allowed until `ascend-center release`",
        ),
    }
    people(checks, center).await
}

fn clock(checks: &mut Checks, newest: Option<Timestamp>) {
    let now = Timestamp::now();
    match newest {
        Some(at) if at > now => checks.error(
            "clock",
            format!(
                "it says {}, before the newest entry of {}",
                card::moment(now),
                card::moment(at)
            ),
            "set the clock: expiries and signatures go by it",
        ),
        _ => checks.ok("clock", card::moment(now)),
    }
}

async fn audit(checks: &mut Checks, center: &Center, newest: i64, full: bool) {
    let mut what = VerifyAudit::new();
    if !full && newest > LAST {
        what = what.from(newest - LAST + 1);
    }
    let verified = match center.verify_audit(&what).await {
        // What retention removed is not there to be verified.
        Err(AuditError::NoSuchEntry { first, .. }) => {
            center.verify_audit(&VerifyAudit::new().from(first)).await
        }
        verified => verified,
    };
    match verified {
        Ok(report) => checks.ok(
            "audit log",
            format!(
                "entries {} to {} stand as they were written, signed by {}",
                report.from,
                report.to,
                center.audit_key()
            ),
        ),
        Err(error) => checks.error(
            "audit log",
            error,
            "keep a copy of the directory as it is; docs/audit.md says how to go on",
        ),
    }
}

async fn people(checks: &mut Checks, center: &Center) -> Result<(), StoreError> {
    let users = center.users().await?;
    let active = |least: Role| {
        users.iter().filter(|user| user.disabled_at.is_none() && user.role >= least).count()
    };
    let (admins, deciders) = (active(Role::Admin), active(Role::Approver));
    if admins == 0 {
        checks.warn(
            "people",
            "no account is an admin's: only the owner of the directory can manage keys and people",
            "`ascend-center users create NAME --role admin`",
        );
    } else {
        checks.ok("people", format!("{admins} can administer, {deciders} can approve"));
    }
    Ok(())
}

/// Whether enough people are in the groups that policies ask for approvals.
pub(super) async fn groups(checks: &mut Checks, center: &Center, set: &PolicySet) {
    if !set.names_groups() {
        return;
    }
    match center.rules_of_without_people(set).await {
        Ok(unmet) if unmet.is_empty() => {
            checks.ok("groups", "each that a policy asks has people enough who may approve");
        }
        Ok(unmet) => {
            for sentence in unmet {
                checks.warn(
                    "groups",
                    sentence,
                    "`ascend-center users group add NAME GROUP`; until then nobody can approve it",
                );
            }
        }
        Err(error) => checks.error("groups", error, "its log may say more"),
    }
}
