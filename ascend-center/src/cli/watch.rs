//! `ascend-center watch`: what waits, and from then on a line for everything
//! that happens.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
};

use ascend_center::{ActionState, AuditEntry, AuditKind, Record};
use jiff::Timestamp;

use crate::{
    card::{self, ascii_json, shown},
    desk::Desk,
    pending, say,
};

/// What to show.
#[derive(clap::Args)]
pub(crate) struct WatchArguments {
    /// Begin after this entry of the audit log [default: with what waits, and what is new]
    #[arg(long, value_name = "N")]
    after: Option<i64>,
    /// Only what waits for a person, and what becomes of it
    #[arg(long)]
    pending: bool,
    /// As JSON: an entry of the audit log a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn watch(desk: &Desk, arguments: WatchArguments) -> anyhow::Result<()> {
    let WatchArguments { after, pending, json } = arguments;
    let mut following = desk.follow(after).await?;
    // What waits or did, as far as it was shown.
    let mut known = BTreeSet::new();
    if after.is_none() {
        let waiting = desk.pending().await?;
        if !json {
            pending::write(desk, &waiting).await?;
            if !waiting.is_empty() {
                say("")?;
            }
        }
        known.extend(waiting.iter().map(|record| record.id));
    }
    let command = shown(&desk.command());
    loop {
        let entry = following.next().await?;
        let event = &entry.event;
        let waits = event.kind == AuditKind::Evaluated && event.state == Some(ActionState::Pending);
        let asked = event.action.filter(|_| waits);
        if asked.is_some_and(|id| !known.insert(id)) && !json {
            // It was in the list: this entry is older.
            continue;
        }
        let concerns = match event.action {
            Some(id) => known.contains(&id),
            None => matches!(event.kind, AuditKind::Killed | AuditKind::Released),
        };
        if pending && !concerns {
            continue;
        }
        let record = match event.action {
            Some(id) if event.kind == AuditKind::Evaluated && !json => {
                // The line is told in any case.
                desk.action(id).await.unwrap_or_else(|error| {
                    tracing::warn!("action {id} cannot be shown: {error:#}");
                    None
                })
            }
            _ => None,
        };
        let line = if json {
            ascii_json(&serde_json::to_string(&entry)?)
        } else {
            shown(&told(&entry, record.as_ref()))
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        if let Some(record) = record.filter(|record| record.state == ActionState::Pending) {
            card::write(&mut out, &record, &command, Timestamp::now())?;
            writeln!(out)?;
        }
        out.flush()?;
    }
}

/// What happened, in a line; of an action that was asked for with what it is.
fn told(entry: &AuditEntry, record: Option<&Record>) -> String {
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
        return format!("{at}  {what}{said}");
    };
    let what = match event.kind {
        AuditKind::Evaluated => {
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
    format!("{at}  action {id} {what}{said}")
}
