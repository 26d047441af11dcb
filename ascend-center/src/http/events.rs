//! What happens, as server-sent events: each with the number of its entry in
//! the audit log, from which a client that was cut off goes on.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::{Face, PersonCaller, Problem};
use crate::{AuditEntry, AuditKind};

/// How long one stream lasts. Who follows is asked anew then.
const LONGEST: Duration = Duration::from_secs(60);
/// How soon a client comes back after the end of a stream.
const RETRY: Duration = Duration::from_millis(500);
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The number of the last entry that is known; by default only what is new
    /// is told. The header `Last-Event-ID` counts before it.
    #[param(value_type = Option<i64>)]
    after: Option<String>,
}

impl EventsQuery {
    /// After which entry to begin.
    pub(super) fn after(&self, headers: &HeaderMap) -> Result<Option<i64>, Problem> {
        let header = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or_default());
        let number = |place: &str, name: &str, text: &str| {
            text.parse().map_err(|_| Problem::invalid(place, name, "a whole number", "int_type"))
        };
        match (header, self.after.as_deref()) {
            (Some(text), _) => number("header", LAST_EVENT_ID, text).map(Some),
            (None, Some(text)) => number("query", "after", text).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Tells of what happens, as it happens: each event is an entry of the audit
/// log as JSON, its name is the entry's kind, its id the entry's number. The
/// stream ends now and then; go on with the last id.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "actions", params(EventsQuery),
    responses((status = 200, body = String, content_type = "text/event-stream"))
)]
pub(super) async fn events(
    State(face): State<Face>,
    PersonCaller(_): PersonCaller,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Problem> {
    let entries = following(&face, query.after(&headers)?).await?;
    Ok(answer(entries.filter_map(async |entry| {
        let event = event(&entry).event(entry.event.kind.as_str());
        event.json_data(&entry).ok()
    })))
}

/// The entries after `after`, or from now on. Ends when the center closes, after
/// a while, after an error, and when anybody's rights changed: whoever comes
/// back has to be let in again.
pub(super) async fn following(
    face: &Face,
    after: Option<i64>,
) -> Result<impl Stream<Item = AuditEntry> + Send + 'static, Problem> {
    let follow = face.center.follow(after).await?;
    let (closing, until) = (face.closing.clone(), Instant::now() + LONGEST);
    Ok(stream::unfold(Some(follow), move |follow| {
        let closing = closing.clone();
        async move {
            let mut follow = follow?;
            let entry = tokio::select! {
                () = closing.cancelled() => return None,
                () = tokio::time::sleep_until(until) => return None,
                next = follow.next() => match next {
                    Ok(entry) => entry,
                    Err(error) => {
                        tracing::warn!(%error, "a stream of events ends early");
                        return None;
                    }
                },
            };
            let over = Instant::now() >= until || changes_rights(&entry.event.kind);
            Some((entry, (!over).then_some(follow)))
        }
    }))
}

fn changes_rights(kind: &AuditKind) -> bool {
    matches!(
        kind,
        AuditKind::LoggedOut
            | AuditKind::CredentialRevoked
            | AuditKind::CredentialRotated
            | AuditKind::UserChanged
            | AuditKind::UserRemoved
    )
}

/// An event with the entry's number as its id.
pub(super) fn event(entry: &AuditEntry) -> sse::Event {
    sse::Event::default().id(entry.seq.to_string())
}

/// A stream of events as an answer that nothing on the way keeps back.
pub(super) fn answer(events: impl Stream<Item = sse::Event> + Send + 'static) -> Response {
    // Told at once, so that the client knows it is connected.
    let hello = sse::Event::default().retry(RETRY).comment("following");
    let events = stream::iter([hello]).chain(events).map(Ok::<_, Infallible>);
    let mut answer = Sse::new(events).keep_alive(KeepAlive::default()).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}
