//! Webhooks: who hears of what, and what did not arrive.

use std::time::Instant;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{
    AnyCaller, Body, Done, Face, Fields, LIST_LIMIT, Limited, Problem, call::RESOURCE_LIMIT,
    fields::body, scope,
};
use crate::{
    identity::{self, Identity},
    store::{Delivery, NewWebhook, Webhook, WebhookChange, WebhookError},
    webhook::EVENTS,
};

/// The fewest bytes of a secret that somebody else chose.
const SECRET: usize = 8;

body!(
    /// Who is to hear of what.
    WebhookBody = |fields| {
        for name in ["url", "events"] {
            fields.require(name);
        }
        fields.text("agent_id");
        read_change(fields, None)
    }
);
body!(
    /// What to change.
    WebhookChangeBody = |fields| read_change(fields, None)
);

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookAnswer {
    webhook_id: String,
    url: String,
    events: Vec<String>,
    agent_id: Option<String>,
    active: bool,
    /// Shown once, where the center made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Webhook> for WebhookAnswer {
    fn from(webhook: Webhook) -> Self {
        Self {
            webhook_id: webhook.id.to_string(),
            url: webhook.url,
            events: webhook.events,
            agent_id: webhook.agent_id,
            active: true,
            secret: None,
            created_at: webhook.created_at,
        }
    }
}

/// Webhooks.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookList {
    total: usize,
    webhooks: Vec<WebhookAnswer>,
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::NotAllowed(error) => error.into(),
            error @ WebhookError::TooMany => Self::new(StatusCode::CONFLICT, error.to_string()),
            WebhookError::Store(error) => error.into(),
        }
    }
}

/// Reads what can be set and changed; with a `face` and who asks, checks it too.
fn read_change(fields: &mut Fields, asked: Option<(&Face, &Identity)>) -> WebhookChange {
    let url = fields.bounded_text("url", RESOURCE_LIMIT);
    if let (Some(url), Some((face, caller))) = (&url, asked)
        && let Err(unfit) = face.courier.targets().check_of(scope(caller), url)
    {
        fields.error("url", &unfit.to_string(), "value_error");
    }
    let events = fields.texts("events");
    let unknown = |events: &Vec<String>| events.iter().any(|event| !EVENTS.contains(&&**event));
    if events.as_ref().is_some_and(|events| events.is_empty() || unknown(events)) {
        let expected = format!("expected at least one of {}", EVENTS.join(", "));
        fields.error("events", &expected, "value_error");
    }
    let secret = fields.bounded_text("secret", RESOURCE_LIMIT);
    if secret.as_ref().is_some_and(|secret| secret.len() < SECRET) {
        fields.error("secret", "expected at least 8 bytes", "string_too_short");
    }
    WebhookChange { url, events, secret: secret.map(SecretString::from) }
}

async fn find(face: &Face, id: &str, caller: &Identity) -> Result<Webhook, Problem> {
    let unknown = || Problem::not_found(format!("there is no webhook {id:?}"));
    let number = id.parse().map_err(|_| unknown())?;
    let mut found = face.center.store().webhooks(scope(caller), Some(number)).await?;
    found.pop().ok_or_else(unknown)
}

/// Adds a webhook. An agent's hears of its own actions, an approver's of all.
#[utoipa::path(
    post, path = "/api/webhooks/configure", tag = "webhooks",
    request_body = WebhookBody, responses((status = 201, body = WebhookAnswer))
)]
pub(super) async fn configure(
    State(face): State<Face>,
    Limited(AnyCaller(caller)): Limited<AnyCaller>,
    body: Body,
) -> Result<(StatusCode, Json<WebhookAnswer>), Problem> {
    let mut fields = Fields::parse(&body?)?;
    for name in ["url", "events"] {
        fields.require(name);
    }
    let agent_id = fields.text("agent_id");
    let change = read_change(&mut fields, Some((&face, &caller)));
    fields.finish()?;
    let (Some(url), Some(events)) = (change.url, change.events) else {
        return Err(Problem::internal("no url or events"));
    };
    let made = match &change.secret {
        Some(_) => None,
        None => {
            let secret = identity::random::<32>().map_err(Problem::internal)?;
            Some(format!("whsec_{}", hex::encode(secret)))
        }
    };
    let secret = change.secret.or_else(|| made.clone().map(Into::into));
    let new = NewWebhook {
        url,
        events,
        agent_id,
        secret: secret.unwrap_or_default(),
        of_agent: scope(&caller).map(str::to_owned),
        created_by: caller.clone(),
    };
    let id = face.center.store().add_webhook(new).await?;
    face.courier.wake();
    let webhook = find(&face, &id.to_string(), &caller).await?;
    Ok((StatusCode::CREATED, Json(WebhookAnswer { secret: made, ..webhook.into() })))
}

/// Lists webhooks: an agent's own, or for an approver all.
#[utoipa::path(
    get, path = "/api/webhooks", tag = "webhooks",
    responses((status = 200, body = WebhookList))
)]
pub(super) async fn list(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
) -> Result<Json<WebhookList>, Problem> {
    let webhooks = face.center.store().webhooks(scope(&caller), None).await?;
    let webhooks: Vec<WebhookAnswer> = webhooks.into_iter().map(Into::into).collect();
    Ok(Json(WebhookList { total: webhooks.len(), webhooks }))
}

/// Changes a webhook.
#[utoipa::path(
    put, path = "/api/webhooks/{webhook_id}", tag = "webhooks",
    params(("webhook_id" = String, Path)), request_body = WebhookChangeBody,
    responses((status = 200, body = WebhookAnswer))
)]
pub(super) async fn change(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<WebhookAnswer>, Problem> {
    let mut fields = Fields::parse(&body?)?;
    let change = read_change(&mut fields, Some((&face, &caller)));
    fields.finish()?;
    let webhook = find(&face, &id, &caller).await?;
    face.center.store().change_webhook(webhook.id, change, caller.clone()).await?;
    Ok(Json(find(&face, &id, &caller).await?.into()))
}

/// Removes a webhook, with what was still to be delivered to it.
#[utoipa::path(
    delete, path = "/api/webhooks/{webhook_id}", tag = "webhooks",
    params(("webhook_id" = String, Path)), responses((status = 200, body = Done))
)]
pub(super) async fn delete(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Path(id): Path<String>,
) -> Result<Json<Done>, Problem> {
    let webhook = find(&face, &id, &caller).await?;
    face.center.store().delete_webhook(webhook.id, caller).await?;
    Ok(Json(Done::new("the webhook is gone")))
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestAnswer {
    success: bool,
    /// With which the receiver answered.
    status_code: Option<u16>,
    response_time_ms: u64,
    error: Option<String>,
}

/// Sends a message of the type `webhook.test` at once, and once.
#[utoipa::path(
    post, path = "/api/webhooks/{webhook_id}/test", tag = "webhooks",
    params(("webhook_id" = String, Path)), responses((status = 200, body = TestAnswer))
)]
pub(super) async fn test(
    State(face): State<Face>,
    Limited(AnyCaller(caller)): Limited<AnyCaller>,
    Path(id): Path<String>,
) -> Result<Json<TestAnswer>, Problem> {
    const KIND: &str = "webhook.test";
    let webhook = find(&face, &id, &caller).await?;
    let name = identity::random::<8>().map_err(Problem::internal)?;
    let name = format!("evt_test_{}", hex::encode(name));
    let body = json!({
        "id": name,
        "type": KIND,
        "event": KIND,
        "timestamp": Timestamp::now(),
        "data": {},
        "metadata": { "idempotency_key": name },
    });
    let started = Instant::now();
    let sent = face.courier.send(&webhook, KIND, &body.to_string()).await;
    let status_code = match &sent {
        Ok(status) => Some(*status),
        Err(error) => error.status(),
    };
    Ok(Json(TestAnswer {
        success: sent.is_ok(),
        status_code,
        response_time_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        error: sent.err().map(|error| error.to_string()),
    }))
}

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryQuery {
    /// `queued`, `delivered`, or `dead` after too many attempts; by default all.
    state: Option<String>,
}

/// A message to a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryAnswer {
    delivery_id: String,
    webhook_id: String,
    event: String,
    state: String,
    attempts: u32,
    /// Why the last attempt failed.
    problem: Option<String>,
    /// When it is tried again, while it is queued.
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Delivery> for DeliveryAnswer {
    fn from(delivery: Delivery) -> Self {
        Self {
            delivery_id: delivery.id.to_string(),
            webhook_id: delivery.webhook_id.to_string(),
            event: delivery.kind,
            due_at: Some(delivery.due_at).filter(|_| delivery.state == "queued"),
            state: delivery.state,
            attempts: delivery.attempts,
            problem: delivery.problem,
            created_at: delivery.created_at,
        }
    }
}

/// Messages to webhooks.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryList {
    total: usize,
    deliveries: Vec<DeliveryAnswer>,
}

/// Lists the newest messages, also those that were given up.
#[utoipa::path(
    get, path = "/api/webhooks/deliveries", tag = "webhooks",
    params(DeliveryQuery), responses((status = 200, body = DeliveryList))
)]
pub(super) async fn deliveries(
    State(face): State<Face>,
    AnyCaller(caller): AnyCaller,
    Query(query): Query<DeliveryQuery>,
) -> Result<Json<DeliveryList>, Problem> {
    let state = query.state.as_deref();
    if state.is_some_and(|state| !["queued", "delivered", "dead"].contains(&state)) {
        let expected = "`queued`, `delivered` or `dead`";
        return Err(Problem::invalid("query", "state", expected, "value_error"));
    }
    let deliveries = face.center.store().deliveries(scope(&caller), state, LIST_LIMIT).await?;
    let deliveries: Vec<DeliveryAnswer> = deliveries.into_iter().map(Into::into).collect();
    Ok(Json(DeliveryList { total: deliveries.len(), deliveries }))
}
