//! `ascend-center watch`: a line for everything that happens.

use std::io::{self, Write as _};

use ascend_center::{ActionState, AuditEntry, AuditKind};

use crate::{
    card::{self, ascii_json, shown},
    desk::Desk,
};

pub(crate) async fn watch(desk: &Desk, after: Option<i64>, json: bool) -> anyhow::Result<()> {
    let mut following = desk.follow(after).await?;
    loop {
        let entry = following.next().await?;
        let line = if json {
            ascii_json(&serde_json::to_string(&entry)?)
        } else {
            shown(&told(desk, &entry).await?)
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
    }
}

async fn told(desk: &Desk, entry: &AuditEntry) -> anyhow::Result<String> {
    let event = &entry.event;
    let at = card::moment(entry.at);
    let by = &event.actor.name;
    let said = [&event.comment, &event.reason, &event.detail]
        .into_iter()
        .flatten()
        .next()
        .map_or_else(String::new, |text| format!(": {text}"));
    let Some(id) = event.action else {
        let about = event.subject.as_ref().map_or_else(String::new, |about| format!(" {about}"));
        let what = match event.kind {
            AuditKind::Killed => format!("the kill switch is raised by {by}"),
            AuditKind::Released => format!("the kill switch is released by {by}"),
            _ => format!("{}{about}, by {by}", event.kind.as_str().replace('_', " ")),
        };
        return Ok(format!("{at}  {what}{said}"));
    };
    let what = match event.kind {
        AuditKind::Evaluated => {
            let record = desk.action(id).await?;
            let what = record.map_or_else(String::new, |record| {
                format!(": {}.{} on {}", record.namespace, record.verb, record.resource)
            });
            let state = event.state.map_or("evaluated", |state| match state {
                ActionState::Pending => "waits for a person",
                state => state.as_str(),
            });
            let risk = event.risk_score.map_or_else(String::new, |risk| format!(", risk {risk}"));
            format!("{state}{what}, asked by {by}{risk}")
        }
        AuditKind::Expired => "expired".to_owned(),
        AuditKind::ClaimRefused => {
            let refusal = event.refusal.as_deref().unwrap_or("refused");
            format!("claim refused ({refusal}), by {by}")
        }
        _ => format!("{}, by {by}", event.kind.as_str().replace('_', " ")),
    };
    Ok(format!("{at}  action {id} {what}{said}"))
}
