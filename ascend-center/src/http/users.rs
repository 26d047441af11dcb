//! People, their groups and their tokens, for admins.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApproverCaller, Body, Done, Face, Fields, Problem,
    call::WORD_LIMIT,
    fields::body,
    grants::RevokeAnswer,
    keys::IssuedAnswer,
    numbered,
    session::{TOKEN_DAYS, TokenList, days},
};
use crate::{
    Role, User,
    identity::{group_name, label, user_name},
};

body!(
    /// The account to be; without a password they can use tokens alone.
    UserBody = read_user
);
body!(
    /// What they may do.
    RoleBody = read_role
);
body!(
    /// What they log in with.
    PasswordBody = read_password
);
body!(
    /// Whose token it is to be, and for how long; by default 90 days.
    UserTokenBody = read_token
);

/// All accounts, by name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserList {
    total: usize,
    users: Vec<User>,
}

/// What became of a membership.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberAnswer {
    success: bool,
    /// Whether it was otherwise before.
    changed: bool,
}

fn read_role(fields: &mut Fields) -> Option<Role> {
    fields.require("role");
    fields.parsed("role", "`viewer`, `approver` or `admin`")
}

fn read_user(fields: &mut Fields) -> (String, Option<Role>, Option<SecretString>) {
    let name = fields.required_name("name", user_name);
    (name, read_role(fields), fields.text("password").map(Into::into))
}

fn read_password(fields: &mut Fields) -> SecretString {
    fields.require("password");
    fields.text("password").unwrap_or_default().into()
}

fn read_token(fields: &mut Fields) -> (String, String, Duration) {
    let user = fields.required_text("user", WORD_LIMIT);
    let name = fields.required_name("name", label);
    (user, name, fields.seconds("lifetime_seconds").unwrap_or(days(TOKEN_DAYS)))
}

/// Lists the accounts of people.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "people", responses((status = 200, body = UserList))
)]
pub(super) async fn list(
    State(face): State<Face>,
    ApproverCaller(_): ApproverCaller,
) -> Result<Json<UserList>, Problem> {
    let users = face.center.users().await?;
    Ok(Json(UserList { total: users.len(), users }))
}

/// Makes an account.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "people", request_body = UserBody,
    responses((status = 201, body = Done), (status = 409, description = "There is such an account"))
)]
pub(super) async fn create(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    body: Body,
) -> Result<(StatusCode, Json<Done>), Problem> {
    let mut fields = Fields::parse(&body?)?;
    let (name, role, password) = read_user(&mut fields);
    fields.finish()?;
    let role = role.ok_or_else(|| Problem::internal("no role"))?;
    face.center.create_user(&approver, &name, role, password).await?;
    Ok((StatusCode::CREATED, Json(Done::new("the account is made"))))
}

/// Gives a person another role, from their next request on.
#[utoipa::path(
    put, path = "/api/v1/users/{name}/role", tag = "people",
    params(("name" = String, Path)), request_body = RoleBody,
    responses((status = 200, body = Done))
)]
pub(super) async fn set_role(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let role = read_role(&mut fields);
    fields.finish()?;
    let role = role.ok_or_else(|| Problem::internal("no role"))?;
    face.center.set_role(&approver, &name, role).await?;
    Ok(Json(Done::new("the role is changed")))
}

/// Gives a person another password; their sessions end.
#[utoipa::path(
    put, path = "/api/v1/users/{name}/password", tag = "people",
    params(("name" = String, Path)), request_body = PasswordBody,
    responses((status = 200, body = Done))
)]
pub(super) async fn set_password(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(name): Path<String>,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let password = read_password(&mut fields);
    fields.finish()?;
    face.center.set_password(&approver, &name, password).await?;
    Ok(Json(Done::new("the password is changed")))
}

/// Disables an account: its sessions and tokens end, the keys of its agents do not.
#[utoipa::path(
    post, path = "/api/v1/users/{name}/disable", tag = "people",
    params(("name" = String, Path)), responses((status = 200, body = Done))
)]
pub(super) async fn disable(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(name): Path<String>,
) -> Result<Json<Done>, Problem> {
    face.center.set_disabled(&approver, &name, true).await?;
    Ok(Json(Done::new("the account is disabled")))
}

/// Enables an account again; its tokens stay ended.
#[utoipa::path(
    post, path = "/api/v1/users/{name}/enable", tag = "people",
    params(("name" = String, Path)), responses((status = 200, body = Done))
)]
pub(super) async fn enable(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(name): Path<String>,
) -> Result<Json<Done>, Problem> {
    face.center.set_disabled(&approver, &name, false).await?;
    Ok(Json(Done::new("the account is enabled")))
}

/// Puts a person into a group, which policies ask for approvals.
#[utoipa::path(
    put, path = "/api/v1/users/{name}/groups/{group}", tag = "people",
    params(("name" = String, Path), ("group" = String, Path)),
    responses((status = 200, body = MemberAnswer))
)]
pub(super) async fn join(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path((name, group)): Path<(String, String)>,
) -> Result<Json<MemberAnswer>, Problem> {
    if let Err(unfit) = group_name(&group) {
        return Err(Problem::unfit("path", "group", &unfit.to_string()));
    }
    let changed = face.center.add_to_group(&approver, &name, &group).await?;
    Ok(Json(MemberAnswer { success: true, changed }))
}

/// Takes a person out of a group; approvals that they gave as a member for what
/// is pending count no more.
#[utoipa::path(
    delete, path = "/api/v1/users/{name}/groups/{group}", tag = "people",
    params(("name" = String, Path), ("group" = String, Path)),
    responses((status = 200, body = MemberAnswer))
)]
pub(super) async fn leave(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path((name, group)): Path<(String, String)>,
) -> Result<Json<MemberAnswer>, Problem> {
    let changed = face.center.remove_from_group(&approver, &name, &group).await?;
    Ok(Json(MemberAnswer { success: true, changed }))
}

/// Lists everybody's personal tokens.
#[utoipa::path(
    get, path = "/api/v1/user-tokens", tag = "people", responses((status = 200, body = TokenList))
)]
pub(super) async fn tokens(
    State(face): State<Face>,
    ApproverCaller(_): ApproverCaller,
) -> Result<Json<TokenList>, Problem> {
    Ok(Json(TokenList::of(face.center.tokens().await?, Timestamp::now())))
}

/// Makes a personal token for somebody; it is shown this one time.
#[utoipa::path(
    post, path = "/api/v1/user-tokens", tag = "people", request_body = UserTokenBody,
    responses((status = 201, body = IssuedAnswer))
)]
pub(super) async fn create_token(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    body: Body,
) -> Result<Response, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let (user, name, lifetime) = read_token(&mut fields);
    fields.finish()?;
    let issued = face.center.create_token(&approver, &user, &name, lifetime).await?;
    Ok(IssuedAnswer::once(&issued))
}

/// Ends a personal token of anybody at once.
#[utoipa::path(
    delete, path = "/api/v1/user-tokens/{id}", tag = "people", params(("id" = i64, Path)),
    responses((status = 200, body = RevokeAnswer))
)]
pub(super) async fn revoke_token(
    State(face): State<Face>,
    ApproverCaller(approver): ApproverCaller,
    Path(id): Path<String>,
) -> Result<Json<RevokeAnswer>, Problem> {
    let revoked = face.center.revoke_token(&approver, numbered("token", &id)?).await?;
    Ok(Json(RevokeAnswer::new(revoked)))
}
