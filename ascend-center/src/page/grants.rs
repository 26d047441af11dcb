//! Grants: what approvers need not be asked about again for a while.

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Refused,
    shell::{Tab, Visit},
    text::visible,
    words::{count, time},
};
use crate::{
    Grant, GrantStanding, Permission,
    http::{ApproverCaller, Face, Problem},
};

/// How many of the newest are listed.
const LISTED: u32 = 200;

pub(super) async fn show(State(face): State<Face>, visit: Visit) -> Result<Response, Refused> {
    let grants = face.center.grants(LISTED).await?;
    let content = html! {
        h1 { "Grants" }
        p { "A grant is the approval of whoever gave it, for calls like one another, until it ends. It is given with an approval." }
        @if grants.is_empty() {
            p.empty { "There are no grants." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Grants" {
                table {
                    caption.sr { "Grants, the newest first" }
                    thead { tr {
                        th scope="col" { "Grant" } th scope="col" { "For" } th scope="col" { "Agent" }
                        th scope="col" { "By" } th scope="col" { "Until" } th scope="col" { "Used" }
                        th scope="col" { "Standing" } th scope="col" { span.sr { "End it" } }
                    } }
                    tbody { @for grant in &grants { (row(grant, &visit)) } }
                }
            }
        }
    };
    Ok(visit.page("Grants", Tab::Grants, content))
}

fn row(grant: &Grant, visit: &Visit) -> Markup {
    let standing = grant.standing(Timestamp::now());
    html! {
        tr {
            td.number { (grant.id) }
            td.what {
                @if let Some(tool) = &grant.tool { bdi { b { (visible(tool)) } } " " }
                @if let Some(action) = &grant.action { code { (visible(action)) } " " }
                "on " bdi { code { (visible(&grant.resource)) } }
                @if let Some(condition) = &grant.condition { br; "when " code { (visible(condition)) } }
                @if let Some(comment) = &grant.comment { br; span.quiet { bdi { (visible(comment)) } } }
            }
            td { @match &grant.agent { Some(agent) => bdi { (visible(agent)) }, None => "any" } }
            td { bdi { (visible(&grant.granter)) } }
            td { (time(grant.expires_at)) }
            td { (count(grant.used as usize)) " of " (count(grant.calls as usize)) }
            td {
                (standing.as_str())
                @if let Some(by) = &grant.revoked_by { span.quiet { " by " bdi { (visible(by)) } } }
            }
            td {
                @if standing == GrantStanding::Live {
                    form method="post" action=(format!("/grants/{}/revoke", grant.id)) {
                        (visit.csrf())
                        button.danger type="submit" disabled[!visit.may(Permission::Stop)] { "Revoke" span.sr { " grant " (grant.id) } }
                    }
                }
            }
        }
    }
}

pub(super) async fn revoke(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let number = id.parse();
    let id =
        number.map_err(|_| Refused(Problem::not_found(format!("there is no grant {id:?}"))))?;
    face.center.revoke_grant(&approver, id).await?;
    Ok(Redirect::to("/grants").into_response())
}
