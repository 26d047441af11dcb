//! The center over HTTP: ASCEND's API, and what ours adds to it.
//!
//! Every route is a handler that describes itself; together they are served as
//! an OpenAPI document at `/openapi.json`. Who may call a handler is the type of
//! its caller, whether the call counts against a limit is [`Limited`] around it,
//! and what its body may hold is the function that reads it ([`Fields`]).

mod actions;
mod activity;
mod answer;
mod auth;
mod call;
mod commands;
mod correlation;
mod evaluate;
mod fields;
mod limits;
mod mcp_servers;
mod openapi;
mod problem;
mod registry;
mod submit;
mod webhooks;

use std::{io, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::HeaderMap,
    middleware,
};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Center, Record,
    credential::{Identity, Role},
    webhook::{self, Courier, Targets},
};
use auth::{AgentCaller, AnyCaller, ApproverCaller, Hosts};
use correlation::Correlation;
use fields::Fields;
use limits::{Limited, Limits};
use problem::Problem;

/// The largest request body, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;
/// The most actions in one list.
const LIST_LIMIT: u32 = 1000;

/// How a center is served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to `Center::serve`"]
pub struct ServeConfig {
    hosts: Vec<String>,
    agent_rate: u32,
    tenant_rate: u32,
    webhook_hosts: Vec<String>,
    webhook_attempts: u32,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl ServeConfig {
    /// To requests for this machine by its loopback names alone, with ASCEND's
    /// limits: an agent may ask 100 times a minute, all together 1000 times.
    pub const fn new() -> Self {
        Self {
            hosts: Vec::new(),
            agent_rate: 100,
            tenant_rate: 1000,
            webhook_hosts: Vec::new(),
            webhook_attempts: webhook::ATTEMPTS,
        }
    }

    /// Whether any further host is served.
    #[must_use]
    pub const fn allows_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// How often each agent may ask in a minute; 0 for as often as it likes.
    /// What follows up an action that was asked for does not count.
    pub const fn agent_rate(mut self, per_minute: u32) -> Self {
        self.agent_rate = per_minute;
        self
    }

    /// Lets webhooks lead to `host` whatever its address is. Others must not have
    /// a link-local, multicast or metadata address, nor this machine's unless
    /// they say so.
    pub fn allow_webhook_host(mut self, host: impl Into<String>) -> Self {
        self.webhook_hosts.push(host.into());
        self
    }

    /// How often a message to a webhook is tried, over growing pauses, before it
    /// is given up. Default: 13 times, which takes about an hour.
    pub const fn webhook_attempts(mut self, attempts: u32) -> Self {
        self.webhook_attempts = attempts;
        self
    }

    /// How often all agents together may ask in a minute; 0 for as often as
    /// they like.
    pub const fn tenant_rate(mut self, per_minute: u32) -> Self {
        self.tenant_rate = per_minute;
        self
    }

    /// Also to requests whose `Host` header names `host`, without a port. Any
    /// other is refused, since a page in a browser could be behind it.
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }
}

/// A request's body; why it could not be read is answered in our shape.
type Body = Result<Bytes, BytesRejection>;

#[derive(Debug, Clone)]
struct Face {
    center: Center,
    hosts: Hosts,
    limits: Arc<Limits>,
    courier: Courier,
    closing: CancellationToken,
}

impl Center {
    /// Serves the center over HTTP on `listener` until `shutdown` resolves;
    /// requests under way are answered first. There is no TLS: listen on
    /// loopback, or behind a proxy.
    ///
    /// ```no_run
    /// # async fn example(center: ascend_center::Center) -> std::io::Result<()> {
    /// use ascend_center::ServeConfig;
    ///
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:8787").await?;
    /// let shutdown = async { drop(tokio::signal::ctrl_c().await) };
    /// center.serve(listener, ServeConfig::new(), shutdown).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        config: ServeConfig,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let closing = CancellationToken::new();
        let targets = Targets::new(config.webhook_hosts);
        let courier = Courier::new(self.clone(), targets, config.webhook_attempts);
        let courier = courier.map_err(io::Error::other)?;
        let face = Face {
            center: self.clone(),
            hosts: Hosts::new(config.hosts),
            limits: Arc::new(Limits::new(config.agent_rate, config.tenant_rate)),
            courier: courier.clone(),
            closing: closing.clone(),
        };
        let shutdown = {
            let closing = closing.clone();
            async move {
                shutdown.await;
                closing.cancel();
            }
        };
        let serving = async {
            let served = axum::serve(listener, router(face)).with_graceful_shutdown(shutdown).await;
            closing.cancel();
            served
        };
        let (served, ()) = tokio::join!(serving, courier.run(&closing));
        served
    }
}

fn router(face: Face) -> Router {
    let (router, document) = openapi::described(routes());
    openapi::serve(router, document)
        .fallback(async || Problem::not_found("there is no such endpoint"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(limits::tell))
        .layer(middleware::from_fn_with_state(face.clone(), auth::check_host))
        .layer(middleware::from_fn(correlation::correlate))
        .with_state(face)
}

/// Every route, each from a handler that describes itself.
fn routes() -> OpenApiRouter<Face> {
    OpenApiRouter::new()
        .routes(routes!(evaluate::evaluate))
        .routes(routes!(submit::submit))
        .routes(routes!(submit::submit_mcp))
        .routes(routes!(submit::try_policies))
        .routes(routes!(actions::status))
        .routes(routes!(activity::approval_status))
        .routes(routes!(actions::claim))
        .routes(routes!(actions::withdraw))
        .routes(routes!(actions::promise))
        .routes(routes!(actions::complete))
        .routes(routes!(actions::fail))
        .routes(routes!(actions::approve))
        .routes(routes!(actions::reject))
        .routes(routes!(activity::list))
        .routes(routes!(activity::details))
        .routes(routes!(activity::agent_activity))
        .routes(routes!(activity::audit_logs))
        .routes(routes!(commands::kill_switch))
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
        .routes(routes!(health))
        .routes(routes!(deployment_info))
}

/// Whose actions a caller may see: an agent its own, a person all.
fn scope(caller: &Identity) -> Option<&str> {
    match caller.role {
        Role::Agent => Some(&caller.name),
        Role::Approver => None,
    }
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
    id.parse().map_err(|_| Problem::not_found(format!("there is no action {id:?}")))
}

/// The action, where this caller may know of it: agents know only their own.
fn visible(record: Option<Record>, id: i64, caller: &Identity) -> Result<Record, Problem> {
    record
        .filter(|record| scope(caller).is_none_or(|name| record.requested_by == name))
        .ok_or_else(|| Problem::not_found(format!("there is no action {id}")))
}

/// That it works.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Health {
    status: &'static str,
    service: &'static str,
    version: &'static str,
}

/// Tells whether the center works; a credential that is sent must be valid.
#[utoipa::path(get, path = "/health", tag = "center", responses((status = 200, body = Health)))]
async fn health(State(face): State<Face>, headers: HeaderMap) -> Result<Json<Health>, Problem> {
    face.center.ping().await?;
    if auth::has_credential(&headers) {
        auth::identify(&face, &headers).await?;
    }
    Ok(Json(Health {
        status: "healthy",
        service: "ascend-center",
        version: env!("CARGO_PKG_VERSION"),
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
