//! Logging in and out.

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::html;
use serde::Deserialize;

use super::{
    Refused,
    form::{Form, Next},
    shell::{bare, notice},
};
use crate::{
    http::{
        Face,
        auth::{COOKIE, SessionCaller, Visitor},
        session::{Proof, check_own_page, clear, set},
    },
    identity::LoginError,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoginQuery {
    next: String,
}

pub(super) async fn show(State(face): State<Face>, Query(query): Query<LoginQuery>) -> Response {
    form(&face, &Next::to(&query.next), None).into_response()
}

fn form(face: &Face, next: &Next, refused: Option<&str>) -> axum::response::Html<String> {
    let next = html! { input type="hidden" name="next" value=(next.as_str()); };
    let content = html! {
        h1 { "Log in" }
        @if let Some(refused) = refused { (notice(false, &html! { (refused) })) }
        @if has_provider(face) {
            p { a.button.primary href="/api/v1/oidc/login" { "Log in with your company's account" } }
        }
        form.login method="post" action="/login" {
            (next)
            label for="name" { "Name" }
            input #name name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus;
            label for="password" { "Password" }
            input #password type="password" name="password" autocomplete="current-password" required;
            button.primary type="submit" { "Log in" }
        }
        details {
            summary { "I own the center's directory" }
            form.login method="post" action="/login" {
                (next)
                p.quiet { "Its owner needs no account: the " code { "token" } " in " code { "approver.key" } " is enough." }
                label for="token" { "Token" }
                input #token type="password" name="token" autocomplete="off" required;
                button type="submit" { "Log in as the owner" }
            }
        }
    };
    bare("Log in", &content)
}

#[cfg(feature = "oidc")]
fn has_provider(face: &Face) -> bool {
    face.oidc.is_some()
}

#[cfg(not(feature = "oidc"))]
const fn has_provider(_: &Face) -> bool {
    false
}

pub(super) async fn login(
    State(face): State<Face>,
    visitor: Visitor,
    headers: HeaderMap,
    sent: Form,
) -> Result<Response, Refused> {
    check_own_page(&headers, &visitor)?;
    let next = Next::to(sent.text("next").unwrap_or_default());
    let proof = match sent.filled("token") {
        Some(token) => Proof::Token(token.to_owned().into()),
        None => Proof::Password {
            name: sent.needed("name")?.to_owned(),
            password: sent.text("password").unwrap_or_default().to_owned().into(),
        },
    };
    match proof.open(&face, &visitor).await {
        Ok(opened) => {
            Ok(([(header::SET_COOKIE, set(&opened))], Redirect::to(next.as_str())).into_response())
        }
        Err(LoginError::Refused) => {
            let text = "The name or the password is wrong.";
            Ok((StatusCode::UNAUTHORIZED, form(&face, &next, Some(text))).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn logout(
    State(face): State<Face>,
    caller: SessionCaller,
) -> Result<Response, Refused> {
    face.center.logout(&caller.token, &caller.session.person).await?;
    Ok(([(header::SET_COOKIE, clear(COOKIE))], Redirect::to("/login")).into_response())
}
