//! What waits for a person.

use std::collections::HashMap;

use axum::{
    extract::{Path, Query, State},
    http::header,
    response::{Html, IntoResponse, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Refused,
    card::{Around, Earlier, card as card_of, gone},
    shell::{Tab, Visit, notice},
    text::visible,
    words::{counted, outcome},
};
use crate::{
    ActionState, Permission, Record,
    http::{Face, LIST_LIMIT, Problem, number},
    store::Waiting,
};

/// In which order the queue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    /// The highest risk first, and of equals the oldest.
    #[default]
    Risk,
    /// The oldest first.
    Oldest,
}

impl Order {
    const ALL: [(Self, &'static str, &'static str); 2] =
        [(Self::Risk, "risk", "Highest risk first"), (Self::Oldest, "oldest", "Oldest first")];

    pub(super) fn sort(self, waiting: &mut [Waiting]) {
        match self {
            Self::Risk => {
                waiting.sort_by_key(|waiting| (std::cmp::Reverse(waiting.risk_score), waiting.id));
            }
            Self::Oldest => waiting.sort_by_key(|waiting| waiting.id),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct QueueQuery {
    #[serde(default)]
    pub(super) order: Order,
    /// An action that was just decided.
    done: Option<i64>,
}

pub(super) async fn show(
    State(face): State<Face>,
    visit: Visit,
    Query(query): Query<QueueQuery>,
) -> Result<Response, Refused> {
    let done = match query.done {
        Some(id) => face.center.action(id).await?,
        None => None,
    };
    let now = Timestamp::now();
    let mut records = face.center.actions(Some(ActionState::Pending), LIST_LIMIT).await?;
    match query.order {
        Order::Risk => {
            records.sort_by_key(|record| (std::cmp::Reverse(record.risk_score), record.id));
        }
        Order::Oldest => records.sort_by_key(|record| record.id),
    }
    let earlier = earlier(&face, &records).await?;
    let nothing = Earlier::default();
    let content = html! {
        @if let Some(record) = &done {
            (notice(true, &html! {
                "Action " a href=(format!("/actions/{}", record.id)) { (record.id) } " " (outcome(record)) "."
                @if record.state == ActionState::Pending { " " (visible(&record.approvals())) }
            }))
        }
        div.bar {
            h1 #queue-title tabindex="-1" { span #count { (waits(records.len())) } }
            (orders(query.order))
            p.keys.live { "Press " kbd { "?" } " for the keys" }
        }
        p #announce.sr role="status" aria-live="polite" {}
        p #connection.notice.bad role="status" hidden {}
        @if !visit.may(Permission::Decide) {
            p.notice { "You are " (visit.person.role) ": you see what waits; approvers decide." }
        }
        div #queue data-events="/queue/events" data-order=(name(query.order)) {
            @for record in &records {
                (card_of(record, &Around { visit: &visit, earlier: earlier.get(&record.server_id).unwrap_or(&nothing), now }))
            }
        }
        p #empty.empty hidden[!records.is_empty()] { "Nothing waits for approval. What arrives appears here by itself." }
        (keys())
    };
    Ok(visit.page("Queue", Tab::Queue, content))
}

fn name(order: Order) -> &'static str {
    Order::ALL.into_iter().find(|(known, ..)| *known == order).map_or("risk", |(_, name, _)| name)
}

pub(super) fn waits(number: usize) -> String {
    match number {
        0 => "Nothing waits".to_owned(),
        1 => "1 action waits".to_owned(),
        // The oldest are shown.
        _ if number >= LIST_LIMIT as usize => {
            format!("At least {} wait", counted(number, "action"))
        }
        _ => format!("{} wait", counted(number, "action")),
    }
}

fn orders(order: Order) -> Markup {
    html! {
        nav.orders aria-label="Order" {
            @for (known, name, text) in Order::ALL {
                a href=(format!("/queue?order={name}")) aria-current=[(known == order).then_some("true")] { (text) }
            }
        }
    }
}

fn keys() -> Markup {
    let keys: [(&[&str], &str); 6] = [
        (&["j", "k"], "the next action, the one before"),
        (&["a", "Enter"], "approve; between the two, type a comment"),
        (&["r", "Enter"], "reject; likewise"),
        (&["Esc"], "neither"),
        (&["e"], "show all of its arguments"),
        (&["o"], "open its page"),
    ];
    html! {
        dialog #keys aria-labelledby="keys-title" {
            h2 #keys-title { "Keys" }
            dl {
                @for (keys, what) in keys {
                    div { dt { @for key in keys { kbd { (key) } " " } } dd { (what) } }
                }
            }
            p { "One key alone never decides. Shift and Enter begin a new line in a comment." }
            form method="dialog" { button type="submit" { "Close" } }
        }
    }
}

/// What each agent did before, read once for all of its actions.
async fn earlier(face: &Face, records: &[Record]) -> Result<HashMap<String, Earlier>, Refused> {
    let mut newest: HashMap<&str, &Record> = HashMap::new();
    for record in records {
        let known = newest.entry(&record.server_id).or_insert(record);
        if record.id > known.id {
            *known = record;
        }
    }
    let mut earlier = HashMap::new();
    for (agent, record) in newest {
        earlier.insert(agent.to_owned(), Earlier::of(&face.center, record).await?);
    }
    Ok(earlier)
}

/// One card by itself, for the script.
pub(super) async fn card(
    State(face): State<Face>,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let id = number(&id)?;
    let record = face.center.action(id).await?;
    let record = record.ok_or_else(|| Problem::not_found(format!("there is no action {id}")))?;
    let html = if record.state == ActionState::Pending {
        let earlier = Earlier::of(&face.center, &record).await?;
        card_of(&record, &Around { visit: &visit, earlier: &earlier, now: Timestamp::now() })
    } else {
        gone(&record)
    };
    Ok(fragment(html))
}

/// Part of a page.
pub(super) fn fragment(html: Markup) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Html(html.into_string())).into_response()
}
