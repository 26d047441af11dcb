//! The center over HTTP: ASCEND's API, and what ours adds to it.
//!
//! Every route is a handler that describes itself; together they are served as
//! an OpenAPI document at `/openapi.json`, but for those that are pages for
//! browsers. Who may call a handler stands in `access`, whether the call counts against a limit is [`Limited`] around it,
//! and what its body may hold is the function that reads it ([`Fields`]).

mod access;
mod actions;
mod activity;
mod answer;
mod auth;
mod call;
mod commands;
mod confirm;
mod connections;
mod correlation;
mod evaluate;
mod evaluations;
mod events;
mod fields;
mod grants;
mod keys;
mod limits;
mod mcp_servers;
mod metrics;
#[cfg(feature = "oidc")]
mod oidc;
mod openapi;
mod origin;
mod outcomes;
#[cfg(feature = "page")]
#[path = "../page/mod.rs"]
mod page;
mod policies;
mod problem;
mod registry;
mod retention;
mod serve;
mod session;
mod statuses;
mod submit;
mod switch;
mod tls;
mod users;
mod webhooks;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    middleware,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Center, Permission, Record, identity::Identity, webhook::Courier};
use auth::{AgentCaller, AnyCaller, ApproverCaller, MaybeCaller, PersonCaller, Scope};
use correlation::Correlation;
pub(crate) use correlation::told;
use fields::Fields;
use limits::{Limited, Limits};
use origin::Door;
pub use origin::{InvalidProxyNetwork, ProxyNetwork};
use problem::Problem;
pub use serve::ServeConfig;

/// The most actions in one list.
const LIST_LIMIT: u32 = 1000;

/// A request's body; why it could not be read is answered in our shape.
type Body = Result<Bytes, BytesRejection>;

#[derive(Debug, Clone)]
struct Face {
    center: Center,
    door: Door,
    limits: Arc<Limits>,
    courier: Courier,
    #[cfg(feature = "page")]
    page: Arc<page::Page>,
    #[cfg(feature = "oidc")]
    oidc: Option<Arc<crate::identity::Provider>>,
    closing: CancellationToken,
}

fn router(face: Face, body_limit: u32) -> Router {
    let body_limit = usize::try_from(body_limit).unwrap_or(usize::MAX);
    let (router, document) = openapi::described(routes());
    for_browsers(openapi::serve(router, document))
        .fallback(async || Problem::not_found("there is no such endpoint"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(middleware::from_fn(fields::check_address))
        .layer(middleware::from_fn(limits::tell))
        .layer(middleware::from_fn_with_state(face.clone(), auth::admit))
        .layer(middleware::from_fn_with_state(face.clone(), origin::check_host))
        .layer(middleware::from_fn_with_state(face.clone(), metrics::observe))
        .layer(middleware::from_fn(correlation::correlate))
        .with_state(face)
}

/// Adds the routes that are no part of the API.
fn for_browsers(router: Router<Face>) -> Router<Face> {
    #[cfg(feature = "oidc")]
    let router = oidc::routes(router);
    #[cfg(feature = "page")]
    let router = page::routes(router);
    router
}

/// Every route of the API, each from a handler that describes itself.
fn routes() -> OpenApiRouter<Face> {
    OpenApiRouter::new()
        .routes(routes!(evaluate::evaluate))
        .routes(routes!(evaluations::evaluations))
        .routes(routes!(submit::submit))
        .routes(routes!(submit::submit_mcp))
        .routes(routes!(submit::try_policies))
        .routes(routes!(actions::status))
        .routes(routes!(statuses::statuses))
        .routes(routes!(activity::approval_status))
        .routes(routes!(actions::claim))
        .routes(routes!(actions::withdraw))
        .routes(routes!(actions::promise))
        .routes(routes!(confirm::confirm))
        .routes(routes!(actions::complete))
        .routes(routes!(actions::fail))
        .routes(routes!(outcomes::outcomes))
        .routes(routes!(actions::approve, actions::take_back))
        .routes(routes!(actions::reject))
        .routes(routes!(grants::list, grants::give))
        .routes(routes!(grants::revoke))
        .routes(routes!(activity::list))
        .routes(routes!(activity::details))
        .routes(routes!(activity::agent_activity))
        .routes(routes!(activity::audit_logs))
        .routes(routes!(events::events))
        .routes(routes!(commands::kill_switch))
        .routes(routes!(switch::raise, switch::release))
        .routes(routes!(commands::list))
        .routes(routes!(commands::acknowledge))
        .routes(routes!(registry::register))
        .routes(routes!(registry::deregister))
        .routes(routes!(registry::heartbeat))
        .routes(routes!(registry::agent_health))
        .routes(routes!(mcp_servers::register, mcp_servers::list))
        .routes(routes!(mcp_servers::show, mcp_servers::delete))
        .routes(routes!(mcp_servers::activate))
        .routes(routes!(mcp_servers::deactivate))
        .routes(routes!(webhooks::configure))
        .routes(routes!(webhooks::list))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::test))
        .routes(routes!(session::login))
        .routes(routes!(session::logout))
        .routes(routes!(session::session))
        .routes(routes!(session::password))
        .routes(routes!(session::tokens, session::create_token))
        .routes(routes!(session::revoke_token))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::set_role))
        .routes(routes!(users::set_password))
        .routes(routes!(users::disable))
        .routes(routes!(users::enable))
        .routes(routes!(users::join, users::leave))
        .routes(routes!(users::tokens, users::create_token))
        .routes(routes!(users::revoke_token))
        .routes(routes!(health))
        .routes(routes!(metrics::metrics))
        .routes(routes!(deployment_info))
}

/// Whose actions a caller may see: an agent its own, a person all.
fn scope(caller: &impl Scope) -> Option<&str> {
    caller.agent()
}

/// What was asked for is done.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Done {
    success: bool,
    message: &'static str,
}

impl Done {
    const fn new(message: &'static str) -> Self {
        Self { success: true, message }
    }
}

fn number(id: &str) -> Result<i64, Problem> {
    numbered("action", id)
}

/// The number in a path of something that goes by it.
fn numbered(what: &str, id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::not_found(format!("there is no {what} {id:?}")))
}

/// The action, where this caller may know of it: agents know only their own.
fn visible(record: Option<Record>, id: i64, caller: &impl Scope) -> Result<Record, Problem> {
    record
        .filter(|record| may_see(&record.requested_by, caller))
        .ok_or_else(|| Problem::not_found(format!("there is no action {id}")))
}

fn may_see(requested_by: &str, caller: &impl Scope) -> bool {
    scope(caller).is_none_or(|agent| requested_by == agent)
}

/// That it works.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Health {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    policies: policies::PoliciesHealth,
}

/// Tells whether the center works, and the policies in use; a credential that is sent must be valid.
#[utoipa::path(
    get, path = "/health", tag = "center",
    responses((status = 200, body = Health), (status = 503, description = "It is stopping"))
)]
async fn health(
    State(face): State<Face>,
    MaybeCaller(caller): MaybeCaller,
) -> Result<Json<Health>, Problem> {
    if face.closing.is_cancelled() {
        return Err(Problem::draining());
    }
    face.center.ping().await?;
    let detailed = matches!(
        caller,
        Some(Identity::Person(person)) if person.allow(Permission::Decide).is_ok()
    );
    Ok(Json(Health {
        status: "healthy",
        service: "ascend-center",
        version: env!("CARGO_PKG_VERSION"),
        policies: policies::health(&face.center, detailed),
    }))
}

/// What runs here.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Deployment {
    service: &'static str,
    version: &'static str,
    environment: &'static str,
}

/// Tells what runs here.
#[utoipa::path(
    get, path = "/api/deployment-info", tag = "center",
    responses((status = 200, body = Deployment))
)]
async fn deployment_info() -> Json<Deployment> {
    Json(Deployment {
        service: "ascend-center",
        version: env!("CARGO_PKG_VERSION"),
        environment: "self-hosted",
    })
}
