//! How often agents may ask. What brings an asked action to its end (status,
//! claim, report) and the kill switch are not limited: a limit must neither
//! lose an approval nor hide an emergency.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts},
    middleware::Next,
    response::Response,
};
use serde_json::json;

use super::{AgentCaller, AnyCaller, Face, Problem, scope};

/// The most agents that are told apart; the idle are forgotten first.
const AGENTS: usize = 10_000;
const MINUTE: f64 = 60.0;

/// A bucket that holds a minute's requests and fills evenly.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    limit: f64,
    left: f64,
    seen: Instant,
}

impl Bucket {
    fn new(limit: u32, now: Instant) -> Self {
        let limit = f64::from(limit);
        Self { limit, left: limit, seen: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.left = (self.left + passed * self.limit / MINUTE).min(self.limit);
        self.seen = now;
    }

    /// Until there is `wanted`.
    fn until(&self, wanted: f64) -> Duration {
        let missing = (wanted - self.left).max(0.0);
        Duration::from_secs_f64(missing * MINUTE / self.limit)
    }

    /// Whole requests.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a u32")]
    fn whole(number: f64) -> u32 {
        number.max(0.0).floor() as u32
    }
}

/// The limits, and who has used how much of them.
#[derive(Debug)]
pub(super) struct Limits {
    per_agent: Option<u32>,
    used: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    tenant: Option<Bucket>,
    agents: HashMap<String, Bucket>,
}

/// What is left after a request; either is `None` where nothing limits it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Left {
    agent: Option<(u32, u32)>,
    tenant: Option<(u32, u32)>,
    /// Until all of it is there again.
    reset: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Exceeded {
    limit_type: &'static str,
    retry_after: Duration,
    left: Left,
}

impl Limits {
    /// Requests a minute; zero stands for no limit.
    pub(super) fn new(per_agent: u32, per_tenant: u32) -> Self {
        let tenant = (per_tenant > 0).then(|| Bucket::new(per_tenant, Instant::now()));
        let used = Used { tenant, agents: HashMap::new() };
        Self { per_agent: Some(per_agent).filter(|limit| *limit > 0), used: Mutex::new(used) }
    }

    fn take(&self, agent: &str, now: Instant) -> Result<Left, Exceeded> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let Used { tenant, agents } = &mut *used;
        if agents.len() >= AGENTS && !agents.contains_key(agent) {
            agents.retain(|_, bucket| {
                bucket.fill(now);
                bucket.left < bucket.limit
            });
        }
        let mut agent = self
            .per_agent
            .map(|limit| agents.entry(agent.to_owned()).or_insert_with(|| Bucket::new(limit, now)));
        let mut buckets: Vec<(&'static str, &mut Bucket)> = Vec::new();
        buckets.extend(agent.as_deref_mut().map(|bucket| ("agent", bucket)));
        buckets.extend(tenant.as_mut().map(|bucket| ("tenant", bucket)));
        for (_, bucket) in &mut buckets {
            bucket.fill(now);
        }
        let empty = buckets.iter().filter(|(_, bucket)| bucket.left < 1.0);
        let empty = empty
            .map(|(limit_type, bucket)| (*limit_type, bucket.until(1.0)))
            .max_by_key(|(_, wait)| *wait);
        if empty.is_none() {
            for (_, bucket) in &mut buckets {
                bucket.left -= 1.0;
            }
        }
        let reset = buckets.iter().map(|(_, bucket)| bucket.until(bucket.limit)).max();
        let numbers = |bucket: &Bucket| (Bucket::whole(bucket.limit), Bucket::whole(bucket.left));
        let left = Left {
            agent: agent.map(|bucket| numbers(bucket)),
            tenant: tenant.as_ref().map(numbers),
            reset: reset.unwrap_or_default(),
        };
        match empty {
            None => Ok(left),
            Some((limit_type, retry_after)) => Err(Exceeded { limit_type, retry_after, left }),
        }
    }
}

/// Where a request's extractor leaves what the response's headers tell.
#[derive(Debug, Clone, Default)]
struct Slot(Arc<Mutex<Option<Left>>>);

/// A caller whose request counts.
pub(super) struct Limited<T>(pub(super) T);

/// Whose requests count.
pub(super) trait Caller: FromRequestParts<Face, Rejection = Problem> {
    /// `None` for people.
    fn agent(&self) -> Option<&str>;
}

impl Caller for AgentCaller {
    fn agent(&self) -> Option<&str> {
        scope(&self.0)
    }
}

impl Caller for AnyCaller {
    fn agent(&self) -> Option<&str> {
        scope(&self.0)
    }
}

impl<T: Caller + Send> FromRequestParts<Face> for Limited<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Problem> {
        let caller = T::from_request_parts(parts, face).await?;
        if let Some(agent) = caller.agent() {
            let taken = face.take(agent);
            let left = taken.unwrap_or_else(|exceeded| exceeded.left);
            if let Some(Slot(slot)) = parts.extensions.get() {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
            }
            taken?;
        }
        Ok(Self(caller))
    }
}

impl Face {
    fn take(&self, agent: &str) -> Result<Left, Exceeded> {
        let taken = self.limits.take(agent, Instant::now());
        if let Err(exceeded) = &taken {
            self.center.metrics().limited(exceeded.limit_type);
        }
        taken
    }

    /// Counts one more of what this agent's request asks for.
    pub(super) fn admit(&self, agent: &str) -> Result<(), Problem> {
        self.take(agent)?;
        Ok(())
    }
}

impl From<Exceeded> for Problem {
    fn from(exceeded: Exceeded) -> Self {
        let seconds = exceeded.retry_after.as_secs_f64().ceil().max(1.0);
        let detail = json!({
            "error": "rate limit exceeded",
            "message": format!("too many requests of this {}", exceeded.limit_type),
            "retry_after": seconds,
            "limit_type": exceeded.limit_type,
        });
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, detail);
        problem.retry_after = Some(Duration::from_secs_f64(seconds));
        problem
    }
}

/// Tells in the response what is left.
pub(super) async fn tell(mut request: Request, next: Next) -> Response {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let mut response = next.run(request).await;
    if let Some(left) = *slot.0.lock().unwrap_or_else(PoisonError::into_inner) {
        left.write(response.headers_mut());
    }
    response
}

impl Left {
    fn write(self, headers: &mut HeaderMap) {
        let mut set = |name, value: u64| {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        };
        if let Some((limit, left)) = self.agent {
            set("x-ratelimit-limit-agent", limit.into());
            set("x-ratelimit-remaining-agent", left.into());
        }
        if let Some((limit, left)) = self.tenant {
            set("x-ratelimit-limit-tenant", limit.into());
            set("x-ratelimit-remaining-tenant", left.into());
        }
        if self.agent.or(self.tenant).is_some() {
            let reset = SystemTime::now() + self.reset;
            let reset = reset.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            set("x-ratelimit-reset", reset.as_secs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agent_has_its_own_share_of_the_tenants() {
        let limits = Limits::new(2, 3);
        let start = Instant::now();
        let left = limits.take("a", start).expect("the first");
        assert_eq!((left.agent, left.tenant), (Some((2, 1)), Some((3, 2))));
        limits.take("a", start).expect("the second");
        let third = limits.take("a", start).expect_err("the third");
        assert_eq!((third.limit_type, third.retry_after), ("agent", Duration::from_secs(30)));
        assert_eq!(third.left.tenant, Some((3, 1)), "what was refused costs nothing");
        limits.take("b", start).expect("another agent");
        let fourth = limits.take("c", start).expect_err("the tenant's fourth");
        assert_eq!((fourth.limit_type, fourth.retry_after), ("tenant", Duration::from_secs(20)));

        let later = start + Duration::from_secs(30);
        limits.take("a", later).expect("half a minute is one of two");
        limits.take("a", later).expect_err("and no more");
    }

    #[test]
    fn nothing_limits_where_no_limit_is_set() {
        let limits = Limits::new(0, 0);
        let now = Instant::now();
        for _ in 0..10_000 {
            let left = limits.take("a", now).expect("no limit");
            assert_eq!((left.agent, left.tenant), (None, None));
        }
    }
}
