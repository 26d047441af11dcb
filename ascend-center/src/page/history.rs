//! What was asked, to be searched.

use axum::{
    extract::{Query, State},
    response::Response,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Refused,
    shell::{Tab, Visit},
    text::visible,
    timeline::timeline,
    words::{risk, state, time},
};
use crate::{
    ActionState,
    http::Face,
    store::{Past, Search},
};

/// How many actions stand on a page.
const PAGE: u32 = 50;
/// How many actions the picture shows at most.
const PICTURE: u32 = 2000;

/// The filters, as they stand in the form.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct HistoryQuery {
    q: String,
    state: String,
    agent: String,
    tool: String,
    risk: String,
    since: String,
    until: String,
    before: Option<i64>,
}

impl HistoryQuery {
    fn search(&self) -> Search {
        let filled = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Search {
            text: filled(&self.q),
            state: self.state.parse().ok(),
            server_id: filled(&self.agent),
            tool: filled(&self.tool),
            least_risk: self.risk.parse().ok(),
            since: day(&self.since),
            until: day(&self.until).map(|day| {
                day.saturating_add(jiff::SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX)
            }),
            before: self.before,
        }
    }

    fn is_filtered(&self) -> bool {
        [&self.q, &self.state, &self.agent, &self.tool, &self.risk, &self.since, &self.until]
            .iter()
            .any(|text| !text.trim().is_empty())
    }

    /// The address of the page that begins before an action.
    fn page(&self, before: Option<i64>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("q", &self.q),
            ("state", &self.state),
            ("agent", &self.agent),
            ("tool", &self.tool),
            ("risk", &self.risk),
            ("since", &self.since),
            ("until", &self.until),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        if let Some(before) = before {
            query.append_pair("before", &before.to_string());
        }
        format!("/history?{}", query.finish())
    }
}

/// The start of a day, as a browser's date field sends it; UTC.
fn day(text: &str) -> Option<Timestamp> {
    let day: Date = text.trim().parse().ok()?;
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

pub(super) async fn show(
    State(face): State<Face>,
    visit: Visit,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, Refused> {
    let search = query.search();
    let store = face.center.store();
    let mut found = store.search(&search, PAGE + 1).await?;
    let is_more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let pictured = store.search(&Search { before: None, ..search }, PICTURE).await?;
    let content = html! {
        h1 { "History" }
        (filters(&query))
        (timeline(&pictured, pictured.len() >= PICTURE as usize))
        (table(&found))
        nav.pages aria-label="Pages" {
            @if query.before.is_some() { a href=(query.page(None)) { "Newest" } }
            @if let Some(last) = found.last().filter(|_| is_more) {
                a rel="next" href=(query.page(Some(last.id))) { "Older" }
            }
        }
    };
    Ok(visit.page("History", Tab::History, content))
}

fn filters(query: &HistoryQuery) -> Markup {
    let risks = [("", "any"), ("31", "medium or more"), ("61", "high or more"), ("86", "critical")];
    html! {
        form.filters role="search" method="get" action="/history" {
            div.wide { label for="q" { "Search" } input #q type="search" name="q" value=(query.q) maxlength="200" placeholder="in what, on what, arguments, who"; }
            div {
                label for="state" { "State" }
                select #state name="state" {
                    option value="" { "any" }
                    @for known in ActionState::ALL {
                        option value=(known) selected[query.state == known.as_str()] { (known) }
                    }
                }
            }
            div {
                label for="risk" { "Risk" }
                select #risk name="risk" {
                    @for (value, text) in risks { option value=(value) selected[query.risk == value] { (text) } }
                }
            }
            div { label for="agent" { "Agent" } input #agent name="agent" value=(query.agent) maxlength="200"; }
            div { label for="tool" { "Tool" } input #tool name="tool" value=(query.tool) maxlength="200"; }
            div { label for="since" { "From" } input #since type="date" name="since" value=(query.since); }
            div { label for="until" { "To" } input #until type="date" name="until" value=(query.until); }
            div.buttons {
                button type="submit" { "Search" }
                @if query.is_filtered() { a href="/history" { "Clear" } }
            }
        }
    }
}

fn table(found: &[Past]) -> Markup {
    html! {
        @if found.is_empty() {
            p.empty { "Nothing matches." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Actions" {
                table.history {
                    caption.sr { "Actions, the newest first" }
                    thead { tr {
                        th scope="col" { "Action" } th scope="col" { "What" } th scope="col" { "Risk" }
                        th scope="col" { "State" } th scope="col" { "Agent" } th scope="col" { "When" }
                    } }
                    tbody {
                        @for past in found {
                            tr {
                                td { a href=(format!("/actions/{}", past.id)) { "#" (past.id) } }
                                td.what { (what(past)) }
                                td { (risk(past.risk_score, past.risk_level)) }
                                td {
                                    (state(past.state))
                                    @if let Some(by) = &past.reviewed_by { span.quiet { " by " bdi { (visible(by)) } } }
                                }
                                td.name { bdi { (visible(&past.server_id)) } }
                                td { (time(past.created_at)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn what(past: &Past) -> Markup {
    html! {
        @if let Some(summary) = &past.summary { bdi { (visible(summary)) } br; }
        span.quiet {
            @if !past.tool.is_empty() { bdi { (visible(&past.tool)) } " " }
            (visible(&past.namespace)) "." (visible(&past.verb)) " → " bdi { (visible(&past.resource)) }
        }
    }
}

/// One earlier action in one line.
pub(super) fn line(past: &Past) -> Markup {
    html! {
        a href=(format!("/actions/{}", past.id)) { "#" (past.id) } " "
        (state(past.state)) " " (risk(past.risk_score, past.risk_level)) " "
        bdi { (visible(past.summary.as_deref().unwrap_or(&past.resource))) } " "
        span.quiet { (time(past.created_at)) }
    }
}
