//! One action: all of it, what happened to it, and deciding on it.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use subtle::ConstantTimeEq;

use super::{
    Refused, arguments,
    card::{Earlier, decide as decide_form, history_of, takes, title, what, who, why},
    form::Form,
    queue::fragment,
    shell::{Tab, Visit, notice},
    text::{block, visible},
    words::{ago, outcome, risk, state, time, until},
};
use crate::{
    ActionState, DecideError, NewGrant, Record,
    http::{ApproverCaller, Face, Problem, grants::CONDITION_LIMIT, number},
    store::Entry,
};

/// How many earlier actions of the same agent are listed.
const EARLIER: usize = 8;

async fn find(face: &Face, id: &str) -> Result<Record, Refused> {
    let id = number(id)?;
    let record = face.center.action(id).await?;
    record.ok_or_else(|| Refused(Problem::not_found(format!("there is no action {id}"))))
}

pub(super) async fn show(
    State(face): State<Face>,
    visit: Visit,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let record = find(&face, &id).await?;
    let history = face.center.store().history(record.id).await?;
    let earlier = Earlier::of(&face.center, &record).await?;
    Ok(visit.page(
        &format!("Action {}", record.id),
        if record.state == ActionState::Pending { Tab::Queue } else { Tab::History },
        whole(&record, &history, &earlier, &visit),
    ))
}

fn whole(record: &Record, history: &[Entry], earlier: &Earlier, visit: &Visit) -> Markup {
    let now = Timestamp::now();
    html! {
        article.action id=(format!("action-{}", record.id)) data-id=(record.id) {
            header {
                h1 { "#" (record.id) " " bdi { (title(record)) } }
                p { (risk(record.risk_score, record.risk_level)) " " (state(record.state)) " It " (outcome(record)) "." }
            }
            section aria-labelledby="about" {
                h2 #about { "What, who and why" }
                dl.facts {
                    (what(record))
                    (why(record))
                    (takes(record))
                    div { dt { "Asked by" } dd { (who(record)) } }
                    div { dt { "Since" } dd { (ago(record.created_at, now)) } }
                    div {
                        dt { "Until" }
                        dd { @if record.state == ActionState::Pending { (until(record.expires_at, now)) } @else { (time(record.expires_at)) } }
                    }
                    div { dt { "Answered" } dd { (record.decision.as_str().to_lowercase().replace('_', " ")) } }
                    @if let Some(by) = &record.reviewed_by {
                        div {
                            dt { "Decided" }
                            dd {
                                "by " bdi { b { (visible(by)) } }
                                @if let Some(at) = record.reviewed_at { ", " (time(at)) }
                                @if let Some(comment) = &record.comments { p.said { (block(comment)) } }
                            }
                        }
                    }
                    @if let Some(outcome) = &record.outcome {
                        div { dt { "Its caller told" } dd { pre.value { (block(outcome)) } } }
                    }
                    div { dt { "Digest" } dd { code.digest { (record.digest) } } }
                }
            }
            section #arguments aria-labelledby="arguments-title" {
                h2 #arguments-title { "Arguments " span.type { (arguments::extent(&record.parameters)) } }
                @if let Some(at) = record.erased_at {
                    p.notice { "Retention erased them at " (time(at)) "; the digest stays." }
                } @else if record.parameters.is_empty() {
                    p.quiet { "None" }
                } @else {
                    (arguments::all(&record.parameters))
                }
            }
            @if record.state == ActionState::Pending { (decide_form(record, visit)) }
            section aria-labelledby="happened" {
                h2 #happened { "What happened" }
                ol.events {
                    @for entry in history {
                        li {
                            (time(entry.at)) " " span.kind { (entry.kind.replace('_', " ")) }
                            " by " bdi { (visible(&entry.by)) }
                            @if let Some(detail) = &entry.detail { ": " bdi { (visible(detail)) } }
                        }
                    }
                }
            }
            section aria-labelledby="before" {
                h2 #before { "What this agent did before" }
                p { a href=(history_of(&record.server_id)) { bdi { (visible(&record.server_id)) } } ": " (earlier.line(record.id)) }
                ul.earlier {
                    @for past in earlier.before(record.id).take(EARLIER) {
                        li { (super::history::line(past)) }
                    }
                }
            }
        }
    }
}

/// All of an action's arguments, for the script.
pub(super) async fn arguments(
    State(face): State<Face>,
    _: Visit,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let record = find(&face, &id).await?;
    Ok(fragment(arguments::all(&record.parameters)))
}

/// Decides on what the person saw: by its digest, which never changes.
pub(super) async fn decide(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Refused> {
    let record = find(&face, &id).await?;
    let id = record.id;
    let seen = form.needed("digest")?;
    if !bool::from(seen.as_bytes().ct_eq(record.digest.to_string().as_bytes())) {
        let text = format!("action {id} is not the one that you saw; nothing was decided");
        return Err(Refused(Problem::new(StatusCode::CONFLICT, text)));
    }
    let comment = form.filled("comment").map(str::to_owned);
    let decided = match form.needed("decision")? {
        "approve" => match also(&form)? {
            Some(grant) => face
                .center
                .approve_and_grant(id, &approver, comment, grant)
                .await
                .map(|(record, _)| record),
            None => face.center.approve(id, &approver, comment).await,
        },
        "reject" => face.center.reject(id, &approver, comment).await,
        _ => {
            let expected = "`approve` or `reject`";
            return Err(Refused(Problem::invalid("body", "decision", expected, "value_error")));
        }
    };
    let scripted = headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/x-fragment");
    match decided {
        Ok(record) if scripted => {
            let waits = record.state == ActionState::Pending;
            Ok(fragment(notice(
                true,
                &html! {
                    "Action " (id) " " (outcome(&record)) "."
                    @if waits { " Your approval counts: " (visible(&record.approvals())) "." span data-waits {} }
                },
            )))
        }
        Ok(_) => Ok(Redirect::to(&format!("/queue?done={id}")).into_response()),
        // A second press of the same button.
        Err(DecideError::NotPending(record))
            if !scripted && is_theirs(&record, approver.name(), &form) =>
        {
            Ok(Redirect::to(&format!("/queue?done={id}")).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// The grant that is given with an approval.
fn also(form: &Form) -> Result<Option<NewGrant>, Refused> {
    let number = |name: &str| match form.filled(name).map(str::parse::<u32>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(Refused(Problem::invalid("body", name, "a whole number", "int_type"))),
    };
    let (minutes, calls) = (number("also_minutes")?, number("also_calls")?);
    let condition = form.filled("also_when");
    if condition.is_some_and(|condition| condition.len() > CONDITION_LIMIT) {
        let expected = format!("at most {CONDITION_LIMIT} bytes");
        return Err(Refused(Problem::invalid("body", "also_when", &expected, "string_too_long")));
    }
    let mut grant = NewGrant::of_the_same();
    if let Some(condition) = condition {
        grant = grant.when(condition);
    }
    if let Some(minutes) = minutes {
        grant = grant.lasting(Duration::from_secs(u64::from(minutes) * 60));
    }
    if let Some(calls) = calls {
        grant = grant.calls(calls);
    }
    // A condition alone is refused, as a grant without an end.
    let is_wanted = minutes.is_some() || calls.is_some() || condition.is_some();
    Ok(is_wanted.then_some(grant))
}

/// Takes the approver's own approval back.
pub(super) async fn take_back(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let record = face.center.take_back(number(&id)?, &approver).await?;
    Ok(Redirect::to(&format!("/actions/{}", record.id)).into_response())
}

fn is_theirs(record: &Record, name: &str, form: &Form) -> bool {
    let state = match form.text("decision") {
        Some("approve") => ActionState::Approved,
        _ => ActionState::Rejected,
    };
    record.reviewed_by.as_deref() == Some(name) && record.state == state
}
