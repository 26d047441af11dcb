//! What people do for themselves: their password, and their tokens for the
//! command line.

use axum::{
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use secrecy::ExposeSecret;

use super::{
    Refused,
    form::Form,
    shell::{Tab, Visit, notice},
    text::visible,
    words::time,
};
use crate::{
    UserToken,
    http::{
        Face, Problem,
        auth::{COOKIE, SessionCaller, Visitor},
        session::{
            LONGEST_TOKEN_DAYS, TOKEN_DAYS, account, choose_password, clear, end_token,
            issue_token, token_lifetime, tokens_of,
        },
    },
    identity::Origin,
};

pub(super) async fn show(State(face): State<Face>, visit: Visit) -> Result<Response, Refused> {
    page(&face, &visit, &html! {}).await
}

async fn page(face: &Face, visit: &Visit, told: &Markup) -> Result<Response, Refused> {
    let content = match visit.person.origin {
        Origin::Directory => html! {
            h1 { "Account" }
            p { "You are logged in as the owner of the center's directory, who has no account and needs none." }
        },
        Origin::Account => {
            let tokens = tokens_of(face, &visit.person).await?;
            html! {
                h1 { "Account" }
                (told)
                (password_form(visit))
                (token_list(&tokens, visit))
            }
        }
    };
    Ok(visit.page("Account", Tab::Account, content))
}

fn password_form(visit: &Visit) -> Markup {
    html! {
        section aria-labelledby="password-title" {
            h2 #password-title { "Password" }
            form.login method="post" action="/account/password" {
                (visit.csrf())
                input type="hidden" name="username" value=(visit.person.name) autocomplete="username";
                label for="current" { "Current password" }
                input #current type="password" name="current" autocomplete="current-password" required;
                label for="new" { "New password" }
                input #new type="password" name="new" autocomplete="new-password" required;
                button type="submit" { "Change it" }
                p.quiet { "All your sessions end, this one too." }
            }
        }
    }
}

fn token_list(tokens: &[UserToken], visit: &Visit) -> Markup {
    let now = Timestamp::now();
    html! {
        section aria-labelledby="tokens-title" {
            h2 #tokens-title { "Tokens for the command line" }
            @if tokens.is_empty() { p.quiet { "None" } } @else {
                div.scroll tabindex="0" role="region" aria-label="Tokens" {
                    table {
                        thead { tr { th scope="col" { "Name" } th scope="col" { "Until" } th scope="col" { "Last used" } th scope="col" { "Standing" } th scope="col" { span.sr { "End it" } } } }
                        tbody {
                            @for token in tokens {
                                tr {
                                    td { bdi { (visible(&token.name)) } }
                                    td { (time(token.expires_at)) }
                                    td { @match token.last_used_at { Some(at) => (time(at)), None => "never" } }
                                    td { (token.standing(now).as_str()) }
                                    td {
                                        @if token.revoked_at.is_none() {
                                            form method="post" action=(format!("/account/tokens/{}/revoke", token.id)) {
                                                (visit.csrf())
                                                button type="submit" { "Revoke" span.sr { " " (visible(&token.name)) } }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            form.login method="post" action="/account/tokens" {
                (visit.csrf())
                label for="token-name" { "Name" }
                input #token-name name="name" required maxlength="100";
                label for="days" { "Days" }
                input #days type="number" name="days" min="1" max=(LONGEST_TOKEN_DAYS) value=(TOKEN_DAYS) required;
                button type="submit" { "Create a token" }
            }
        }
    }
}

pub(super) async fn password(
    State(face): State<Face>,
    visitor: Visitor,
    caller: SessionCaller,
    form: Form,
) -> Result<Response, Refused> {
    let person = account(caller)?;
    let (current, new) = (form.needed("current")?.to_owned(), form.needed("new")?.to_owned());
    choose_password(&face, &visitor, &person, current.into(), new.into()).await?;
    Ok(([(header::SET_COOKIE, clear(COOKIE))], Redirect::to("/login")).into_response())
}

/// The token is shown once, in the answer; no address leads to it.
pub(super) async fn create_token(
    State(face): State<Face>,
    visit: Visit,
    caller: SessionCaller,
    form: Form,
) -> Result<Response, Refused> {
    let person = account(caller)?;
    let days = form.needed("days")?.parse().unwrap_or_default();
    let lifetime = token_lifetime(days)
        .map_err(|expected| Refused(Problem::unfit("body", "days", &expected)))?;
    let issued = issue_token(&face, person, form.needed("name")?, lifetime).await?;
    let told = html! {
        (notice(true, &html! { "The new token; it is shown this once:" }))
        pre.value.secret tabindex="0" { (issued.token.expose_secret()) }
    };
    page(&face, &visit, &told).await
}

pub(super) async fn revoke_token(
    State(face): State<Face>,
    caller: SessionCaller,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    end_token(&face, caller, &id).await?;
    Ok(Redirect::to("/account").into_response())
}
