//! The kill switch.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use maud::html;

use super::{
    Refused,
    form::Form,
    shell::{Tab, Visit},
    text::{block, visible},
    words::ago,
};
use crate::{
    Permission,
    http::{ApproverCaller, Face},
};

pub(super) async fn show(visit: Visit) -> Response {
    let content = html! {
        h1 { "Kill switch" }
        p { "While it is raised, every question is denied and no approved action starts. What runs already is not stopped." }
        @match &visit.killed {
            Some(switch) => {
                dl.facts {
                    div { dt { "Raised" } dd { (ago(switch.raised_at, jiff::Timestamp::now())) } }
                    div { dt { "By" } dd { bdi { (visible(&switch.raised_by)) } } }
                    div { dt { "Why" } dd { p.said { (block(&switch.reason)) } } }
                }
                form.switch method="post" action="/switch/release" {
                    (visit.csrf())
                    button type="submit" disabled[!visit.may(Permission::Release)] { "Release the kill switch" }
                    @if !visit.may(Permission::Release) { p.quiet { "You are " (visit.person.role) "; an admin releases it." } }
                }
            }
            None => {
                p.notice.good { "It is not raised." }
                form.switch method="post" action="/switch/raise" {
                    (visit.csrf())
                    label for="reason" { "Why" }
                    textarea #reason name="reason" rows="2" maxlength="1000" required disabled[!visit.may(Permission::Stop)] {}
                    button.danger type="submit" disabled[!visit.may(Permission::Stop)] { "Raise the kill switch" }
                    @if !visit.may(Permission::Stop) { p.quiet { "You are " (visit.person.role) "; approvers raise it." } }
                }
            }
        }
    };
    visit.page("Kill switch", Tab::Switch, content)
}

pub(super) async fn raise(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    form: Form,
) -> Result<Response, Refused> {
    face.center.kill(form.needed("reason")?, &approver).await?;
    Ok(Redirect::to("/switch").into_response())
}

pub(super) async fn release(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
) -> Result<Response, Refused> {
    face.center.release(&approver).await?;
    Ok(Redirect::to("/switch").into_response())
}
