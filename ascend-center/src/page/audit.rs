//! The audit log, and its proof.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Refused,
    shell::{Tab, Visit, notice},
    text::visible,
    words::{count, counted, time},
};
use crate::{
    AuditEntry, AuditError, AuditKind, AuditQuery, AuditReport, EntryHash, SignedHead, VerifyAudit,
    http::{Face, Problem},
};

/// How many entries stand on a page.
const PAGE: u32 = 100;

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct LogQuery {
    kind: String,
    actor: String,
    action: String,
    before: Option<i64>,
}

impl LogQuery {
    fn query(&self) -> AuditQuery {
        let mut query = AuditQuery::new().newest_first().limit(PAGE + 1);
        if !self.kind.is_empty() {
            query = query.kind(AuditKind::from(self.kind.as_str()));
        }
        if !self.actor.trim().is_empty() {
            query = query.actor(self.actor.trim());
        }
        if let Ok(action) = self.action.trim().parse() {
            query = query.action(action);
        }
        if let Some(before) = self.before {
            query = query.before(before);
        }
        query
    }

    fn page(&self, before: Option<i64>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in
            [("kind", &self.kind), ("actor", &self.actor), ("action", &self.action)]
        {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        if let Some(before) = before {
            query.append_pair("before", &before.to_string());
        }
        format!("/audit?{}", query.finish())
    }
}

pub(super) async fn show(
    State(face): State<Face>,
    visit: Visit,
    Query(query): Query<LogQuery>,
) -> Result<Response, Refused> {
    let log = log(&face, &query).await?;
    Ok(page(&face, &visit, &html! {}, &log))
}

fn page(face: &Face, visit: &Visit, proof: &Markup, log: &Markup) -> Response {
    let content = html! {
        h1 { "Audit log" }
        p { "Every entry is chained to the one before by its hash, and the chain is signed." }
        form.verify method="post" action="/audit/verify" {
            (visit.csrf())
            button type="submit" { "Verify the whole log" }
            span.quiet { "Key " code.digest { (face.center.audit_key()) } }
        }
        (proof)
        (log)
    };
    visit.page("Audit", Tab::Audit, content)
}

async fn log(face: &Face, query: &LogQuery) -> Result<Markup, Refused> {
    let mut entries = face.center.audit_entries(&query.query()).await?;
    let is_more = entries.len() > PAGE as usize;
    entries.truncate(PAGE as usize);
    Ok(html! {
        form.filters role="search" method="get" action="/audit" {
            div {
                label for="kind" { "What" }
                select #kind name="kind" {
                    option value="" { "any" }
                    @for kind in AuditKind::ALL {
                        option value=(kind) selected[query.kind == kind.as_str()] { (kind.as_str().replace('_', " ")) }
                    }
                }
            }
            div { label for="actor" { "By" } input #actor name="actor" value=(query.actor) maxlength="200"; }
            div { label for="action" { "Action" } input #action name="action" value=(query.action) inputmode="numeric" maxlength="20"; }
            div.buttons { button type="submit" { "Search" } a href="/audit" { "Clear" } }
        }
        @if entries.is_empty() { p.empty { "Nothing matches." } } @else { (table(&entries)) }
        nav.pages aria-label="Pages" {
            @if query.before.is_some() { a href=(query.page(None)) { "Newest" } }
            @if let Some((last, _)) = entries.last().filter(|_| is_more) {
                a rel="next" href=(query.page(Some(last.seq))) { "Older" }
            }
        }
    })
}

fn table(entries: &[(AuditEntry, EntryHash)]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Entries" {
            table.log {
                caption.sr { "Entries of the audit log, the newest first" }
                thead { tr {
                    th scope="col" { "Entry" } th scope="col" { "When" } th scope="col" { "What" }
                    th scope="col" { "By" } th scope="col" { "About" } th scope="col" { "Hash" }
                } }
                tbody { @for (entry, hash) in entries { (row(entry, *hash)) } }
            }
        }
    }
}

fn row(entry: &AuditEntry, hash: EntryHash) -> Markup {
    let event = &entry.event;
    let said = [&event.comment, &event.reason, &event.detail, &event.subject];
    let hash = hash.to_string();
    html! {
        tr {
            td.number { (entry.seq) }
            td { (time(entry.at)) }
            td { (event.kind.as_str().replace('_', " ")) @if let Some(state) = event.state.filter(|state| state.as_str() != event.kind.as_str()) { " " (super::words::state(state)) } }
            td.name { bdi { (visible(&event.actor.name)) } " " span.role { (visible(&event.actor.role)) } }
            td.what {
                @if let Some(action) = event.action { a href=(format!("/actions/{action}")) { "#" (action) } " " }
                @for text in said.into_iter().flatten() { bdi { (visible(text)) } " " }
                @if !event.policies.is_empty() { span.quiet { "policies " (visible(&event.policies.join(", "))) } }
            }
            td { code.digest title=(hash) { (hash.get(..12).unwrap_or_default()) "…" } }
        }
    }
}

/// Verifies the whole log; one at a time, since it reads all of it.
pub(super) async fn verify(State(face): State<Face>, visit: Visit) -> Result<Response, Refused> {
    let Ok(_turn) = face.page.verifying.try_acquire() else {
        let wait = std::time::Duration::from_secs(5);
        return Err(Refused(Problem::too_many("the log is being verified; wait for it", wait)));
    };
    let verified = face.center.verify_audit(&VerifyAudit::new()).await;
    let proof = match verified {
        Ok(report) => proved(&report, &face.center.audit_head().await?),
        Err(AuditError::Broken(broken)) => html! {
            (notice(false, &html! { strong { "The log does not stand as it was written." } " " (visible(&broken.to_string())) }))
        },
        Err(error) => return Err(Refused(Problem::internal(error))),
    };
    let log = log(&face, &LogQuery::default()).await?;
    Ok(page(&face, &visit, &proof, &log))
}

fn proved(report: &AuditReport, head: &SignedHead) -> Markup {
    let head = head.head();
    html! {
        section.proof aria-labelledby="proof" {
            (notice(true, &html! { strong #proof { "The log stands as it was written." } }))
            dl.facts {
                div { dt { "Entries" } dd { (report.from) " to " (report.to) @if report.pruned > 0 { "; up to " (report.pruned) " they were pruned, and a signed checkpoint stands for them" } } }
                div { dt { "Actions" } dd { (counted(report.actions, "action")) " as recorded" } }
                div { dt { "Signed" } dd { "up to entry " (report.signed) " by " @for key in &report.keys { code.digest { (key) } " " } } }
                div { dt { "Head" } dd { "entry " (count(usize::try_from(head.seq).unwrap_or_default())) ", " code.digest { (head.hash) } } }
            }
            p.quiet { "Whoever has the center's directory could write a new log. A head that was kept elsewhere shows that: " code { "ascend-center audit head" } "." }
        }
    }
}
