//! Tells others of what happened: signed, at least once, tried again until it
//! arrives or was tried too often.

mod message;
mod target;

use std::{sync::Arc, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::{Client, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Center, identity,
    store::{Attempt, Due, StoreError, Webhook},
};
use message::message;
pub(crate) use target::{Targets, Unfit};

/// What webhooks can hear of. ASCEND's last one is never sent: this center
/// gives no trust levels.
pub(crate) const EVENTS: [&str; 12] = [
    "action.approved",
    "action.denied",
    "action.pending",
    "action.voted",
    "action.escalated",
    "action.rejected",
    "action.expired",
    "grant.created",
    "grant.used_up",
    "grant.revoked",
    "policy.violation",
    "agent.trust_changed",
];

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a message belongs to who took it; longer than an attempt.
const LEASE: Duration = Duration::from_secs(60);
/// The most messages under way, and the most events looked at, at once.
const BATCH: u32 = 32;
/// How often it is looked whether another process added the first webhook.
const LOOK: Duration = Duration::from_secs(15);

/// How long to wait after the first attempt; it doubles from one to the next.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);
/// How often a message is tried, over about an hour, unless told otherwise.
pub(crate) const ATTEMPTS: u32 = 13;

/// How long to wait after this many attempts, half of it left to chance.
fn pause(attempts: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let [chance] = identity::random::<1>().unwrap_or([255]);
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + f64::from(chance) / 510.0)
}

/// Delivers what webhooks are to hear.
#[derive(Debug, Clone)]
pub(crate) struct Courier {
    center: Center,
    http: Client,
    targets: Targets,
    attempts: u32,
    added: Arc<Notify>,
}

impl Courier {
    pub(crate) fn new(
        center: Center,
        targets: Targets,
        attempts: u32,
    ) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            // A proxy would look up names itself, past what targets may be.
            .no_proxy()
            .dns_resolver(targets.clone())
            .user_agent(concat!("ascend-center/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { center, http, targets, attempts, added: Arc::default() })
    }

    pub(crate) fn targets(&self) -> &Targets {
        &self.targets
    }

    /// That there is a webhook to look after.
    pub(crate) fn wake(&self) {
        self.added.notify_one();
    }

    /// Delivers until `closing`; what is under way then is finished.
    pub(crate) async fn run(&self, closing: &CancellationToken) {
        let store = self.center.store();
        let mut waiter = None;
        while !closing.is_cancelled() {
            let changed = waiter.as_ref().map(crate::store::Waiter::changed);
            let next = match self.round().await {
                Ok(Round::Busy) => continue,
                Ok(Round::Idle(next)) => next,
                Ok(Round::NoWebhooks) => {
                    waiter = None;
                    tokio::select! {
                        () = closing.cancelled() => return,
                        () = self.added.notified() => {}
                        () = tokio::time::sleep(LOOK) => {}
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "webhooks cannot be looked after; trying again");
                    Some(LOOK)
                }
            };
            let Some(changed) = changed else {
                waiter = Some(store.waiter_for_anything());
                continue;
            };
            tokio::select! {
                () = closing.cancelled() => return,
                () = changed => {}
                () = tokio::time::sleep(next.unwrap_or(LOOK).min(LOOK)) => {}
            }
        }
    }

    async fn round(&self) -> Result<Round, StoreError> {
        let store = self.center.store();
        let queued = store.queue_deliveries(BATCH, message).await?;
        let due = store.take_deliveries(BATCH, LEASE).await?;
        if !queued && due.is_empty() {
            if store.webhooks(None, None).await?.is_empty() {
                return Ok(Round::NoWebhooks);
            }
            return Ok(Round::Idle(store.next_delivery().await?.map(|next| {
                Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default()
            })));
        }
        let mut attempts = JoinSet::new();
        for due in due {
            let courier = self.clone();
            attempts.spawn(async move { courier.deliver(due).await });
        }
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(attempt) => attempt?,
                Err(error) => tracing::error!(%error, "a delivery ended badly"),
            }
        }
        Ok(Round::Busy)
    }

    async fn deliver(&self, due: Due) -> Result<(), StoreError> {
        let store = self.center.store();
        // It may have been deleted meanwhile.
        let Some(webhook) = store.webhooks(None, Some(due.webhook_id)).await?.pop() else {
            return Ok(());
        };
        let attempt = match self.send(&webhook, &due.kind, &due.body).await {
            Ok(_) => Attempt::Delivered,
            Err(problem) if due.attempts + 1 < self.attempts => {
                Attempt::Again(pause(due.attempts + 1), problem.to_string())
            }
            Err(problem) => {
                tracing::warn!(webhook = webhook.id, %problem, "a webhook's message is given up");
                Attempt::Dead(problem.to_string())
            }
        };
        self.center.metrics().delivered(match &attempt {
            Attempt::Delivered => "delivered",
            Attempt::Again(..) => "failed",
            Attempt::Dead(_) => "dead",
        });
        store.attempted(due.id, attempt).await
    }

    /// Sends one message; the status with which it was taken.
    pub(crate) async fn send(
        &self,
        webhook: &Webhook,
        kind: &str,
        body: &str,
    ) -> Result<u16, SendError> {
        let url = self.targets.check_of(webhook.of_agent.as_deref(), &webhook.url)?;
        let at = Timestamp::now().as_second();
        let signature = format!("sha256={}", sign(&webhook.secret, at, body));
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("x-ascend-event", kind)
            .header("x-ascend-timestamp", at)
            .header("x-ascend-signature", &signature)
            // What older receivers look for.
            .header("x-owkai-timestamp", at)
            .header("x-owkai-signature", &signature)
            .body(body.to_owned());
        // The URL may hold the receiver's own secrets.
        let answer =
            request.send().await.map_err(|error| SendError::Failed(error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            Ok(status.as_u16())
        } else if status.is_redirection() {
            Err(SendError::Redirected(status.as_u16()))
        } else {
            Err(SendError::Refused(status.as_u16()))
        }
    }
}

enum Round {
    Busy,
    /// With the time until something is due.
    Idle(Option<Duration>),
    NoWebhooks,
}

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the webhook's URL is not used: {0}")]
    Unfit(#[from] Unfit),
    #[error("it could not be sent: {}", chain(.0))]
    Failed(reqwest::Error),
    #[error("it was answered {0}: redirects are not followed")]
    Redirected(u16),
    #[error("it was answered {0}")]
    Refused(u16),
}

impl SendError {
    pub(crate) const fn status(&self) -> Option<u16> {
        match self {
            Self::Redirected(status) | Self::Refused(status) => Some(*status),
            Self::Unfit(_) | Self::Failed(_) => None,
        }
    }
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Lower-case hex of HMAC-SHA256 over `at.body`.
fn sign(secret: &SecretString, at: i64, body: &str) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .expect("a key of any length");
    mac.update(format!("{at}.{body}").as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
