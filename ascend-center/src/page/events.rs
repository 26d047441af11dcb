//! The queue, live. Each event says what waits now; whoever missed some is told
//! the same by the next one.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    extract::{Query, State},
    response::{Response, sse::Event},
};
use futures_util::stream;
use serde_json::json;
use tokio::time::sleep;

use super::{
    card::votes_mark,
    queue::{QueueQuery, waits},
    shell::Visit,
    streams::Stream as Place,
    words::outcome,
};
use crate::{
    Changes, StoreError,
    http::{Face, LIST_LIMIT, events::answer},
    store::Waiting,
};

/// How often it is looked whether the session goes on, when nothing happens.
const LOOK: Duration = Duration::from_secs(15);
/// The least time between two events: what happens in between is told together.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn events(
    State(face): State<Face>,
    visit: Visit,
    Query(query): Query<QueueQuery>,
) -> Response {
    let watch = Watch {
        changes: face.center.changes(),
        place: face.page.streams.enter(&visit.person.name),
        face,
        visit,
        query,
        known: BTreeSet::new(),
        sent: None,
        number: 0,
    };
    let watching = stream::unfold(Some(watch), async |watch| {
        let mut watch = watch?;
        match watch.next().await {
            Ok(Told::Event(event)) => Some((event, Some(watch))),
            Ok(Told::Last(event)) => Some((event, None)),
            Ok(Told::End) => None,
            Err(error) => {
                tracing::warn!(%error, "a stream of events ended");
                None
            }
        }
    });
    answer(watching)
}

enum Told {
    Event(Event),
    /// Nothing follows, and the browser is not to ask again by itself.
    Last(Event),
    /// The browser asks again.
    End,
}

struct Watch {
    face: Face,
    visit: Visit,
    query: QueueQuery,
    changes: Changes,
    place: Place,
    /// What waited when it was looked last.
    known: BTreeSet<i64>,
    sent: Option<String>,
    number: u64,
}

impl Watch {
    async fn next(&mut self) -> Result<Told, StoreError> {
        loop {
            let changed = self.changes.next();
            if !self.face.center.stands(&self.visit.token).await? {
                return Ok(Told::Last(Event::default().event("over").data("the session is over")));
            }
            let waiting = self.waiting().await?;
            if let Some(event) = self.told(&waiting).await? {
                return Ok(Told::Event(event));
            }
            tokio::select! {
                () = changed => sleep(PAUSE).await,
                () = sleep(LOOK) => {}
                () = self.place.replaced() => {
                    let text = "another window of yours is told instead";
                    return Ok(Told::Last(Event::default().event("replaced").data(text)));
                }
                () = self.face.closing.cancelled() => return Ok(Told::End),
            }
        }
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let mut waiting = self.face.center.store().waiting(LIST_LIMIT).await?;
        self.query.order.sort(&mut waiting);
        Ok(waiting)
    }

    /// What is to be told; `None` when it was told.
    async fn told(&mut self, waiting: &[Waiting]) -> Result<Option<Event>, StoreError> {
        let ids: Vec<i64> = waiting.iter().map(|waiting| waiting.id).collect();
        let killed = self.face.center.kill_switch().await?.is_some();
        let now: BTreeSet<i64> = ids.iter().copied().collect();
        let mut gone = serde_json::Map::new();
        for id in self.known.difference(&now) {
            if let Some(record) = self.face.center.action(*id).await? {
                gone.insert(id.to_string(), outcome(&record).into());
            }
        }
        self.known = now;
        let mut marks = serde_json::Map::new();
        for waiting in waiting {
            let votes = waiting.votes()?;
            let votes = votes.iter().map(|vote| (vote.person.as_str(), vote.at.as_millisecond()));
            let mark = votes_mark(votes);
            if !mark.is_empty() {
                marks.insert(waiting.id.to_string(), mark.into());
            }
        }
        let count = waits(ids.len());
        let state = json!({ "ids": ids, "marks": marks, "killed": killed, "count": count });
        let text = state.to_string();
        if self.sent.as_ref() == Some(&text) {
            return Ok(None);
        }
        self.sent = Some(text);
        self.number += 1;
        let mut data = state;
        data["gone"] = gone.into();
        Ok(Some(Event::default().event("queue").id(self.number.to_string()).data(data.to_string())))
    }
}
