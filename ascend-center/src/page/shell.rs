//! What surrounds every page.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    response::{Html, IntoResponse, Response},
};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use secrecy::SecretString;

use super::{
    Refused,
    assets::{ICON, SCRIPT, STYLE},
    text::visible,
    words::time,
};
use crate::{
    KillSwitch, Permission,
    http::{
        Face,
        auth::{SessionCaller, csrf_token},
    },
    identity::Person,
};

/// The parts of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Queue,
    History,
    Policies,
    Grants,
    Audit,
    Switch,
    Account,
}

impl Tab {
    const IN_MENU: [(Self, &'static str, &'static str); 6] = [
        (Self::Queue, "/queue", "Queue"),
        (Self::History, "/history", "History"),
        (Self::Policies, "/policies", "Policies"),
        (Self::Grants, "/grants", "Grants"),
        (Self::Audit, "/audit", "Audit"),
        (Self::Switch, "/switch", "Kill switch"),
    ];
}

/// A person who looks at a page.
pub(super) struct Visit {
    pub(super) person: Person,
    pub(super) token: SecretString,
    pub(super) killed: Option<KillSwitch>,
}

impl FromRequestParts<Face> for Visit {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Refused> {
        let SessionCaller { token, session } =
            SessionCaller::from_request_parts(parts, face).await?;
        let killed = face.center.kill_switch().await?;
        Ok(Self { person: session.person, token, killed })
    }
}

impl Visit {
    pub(super) fn may(&self, permission: Permission) -> bool {
        self.person.role.may(permission)
    }

    /// The field that each form of theirs has.
    pub(super) fn csrf(&self) -> Markup {
        html! { input type="hidden" name="csrf_token" value=(csrf_token(&self.token)); }
    }

    pub(super) fn page(&self, title: &str, tab: Tab, content: Markup) -> Response {
        let content = html! {
            header.top {
                a.brand href="/queue" { img src=(ICON.path) alt="" width="20" height="20"; "ASCEND center" }
                nav aria-label="Main" {
                    ul {
                        @for (known, path, name) in Tab::IN_MENU {
                            li { a href=(path) aria-current=[(known == tab).then_some("page")] { (name) } }
                        }
                    }
                }
                div.who {
                    a href="/account" aria-current=[(tab == Tab::Account).then_some("page")] {
                        bdi { (visible(&self.person.name)) }
                    }
                    " " span.role { (self.person.role) }
                    form method="post" action="/logout" {
                        (self.csrf())
                        button.link type="submit" { "Log out" }
                    }
                }
            }
            @if let Some(switch) = &self.killed {
                section.alarm aria-label="Kill switch" {
                    strong { "The kill switch is raised" }
                    " since " (time(switch.raised_at)) ", by " bdi { (visible(&switch.raised_by)) } ": "
                    bdi { (visible(&switch.reason)) } ". "
                    span { "Nothing is allowed, and nothing runs. " a href="/switch" { "Look at it" } }
                }
            }
            main #main tabindex="-1" { (content) }
        };
        Html(document(title, &content).into_string()).into_response()
    }
}

fn document(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-now=(Timestamp::now()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · ASCEND center" }
                link rel="icon" href=(ICON.path) type="image/svg+xml";
                link rel="stylesheet" href=(STYLE.path);
                script src=(SCRIPT.path) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (content)
            }
        }
    }
}

/// A page for somebody who is not known, or may not see more.
pub(super) fn bare(title: &str, content: &Markup) -> Html<String> {
    let content = html! {
        header.top.plain {
            a.brand href="/queue" { img src=(ICON.path) alt="" width="20" height="20"; "ASCEND center" }
        }
        main #main.narrow tabindex="-1" { (content) }
    };
    Html(document(title, &content).into_string())
}

/// Why there is nothing else to see.
pub(super) fn alone(status: StatusCode, text: &str) -> Html<String> {
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::CONFLICT => "Not any more",
        StatusCode::TOO_MANY_REQUESTS => "Too much at once",
        StatusCode::UNPROCESSABLE_ENTITY => "Something is missing",
        _ if status.is_server_error() => "It failed",
        _ => "That did not work",
    };
    let content = html! {
        h1 { (title) }
        p.notice.bad role="alert" { (visible(text)) }
        p { a href="/queue" { "To the queue" } }
    };
    bare(title, &content)
}

/// A message about what was just done.
pub(super) fn notice(good: bool, text: &Markup) -> Markup {
    html! { p.notice.good[good].bad[!good] role=(if good { "status" } else { "alert" }) { (text) } }
}
