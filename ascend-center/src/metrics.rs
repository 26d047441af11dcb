//! What this process counts, for Prometheus. Labels have few values each: no
//! resource, no argument, no person; agents only where that is asked for.

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

#[cfg(feature = "http")]
use crate::store::Levels;
use crate::{AuditEvent, AuditKind};

/// The most namespaces, or agents, that are told apart; the rest are `other`.
const NAMES: usize = 200;
/// The longest of them, in bytes.
const LONGEST: usize = 64;
const OTHER: &str = "other";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    outcome: &'static str,
    risk_level: &'static str,
    namespace: String,
    agent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// From a quarter of a millisecond to eight seconds.
fn seconds() -> Histogram {
    Histogram::new((0..16).map(|power| 0.000_25 * f64::from(1_u32 << power)))
}

/// From ten microseconds to a third of a second.
fn moments() -> Histogram {
    Histogram::new((0..16).map(|power| 0.000_01 * f64::from(1_u32 << power)))
}

/// From a second to a day.
fn waits() -> Histogram {
    Histogram::new([1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4.0 * 3600.0, 24.0 * 3600.0])
}

/// One process's counts.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_time: Histograms<RouteLabels>,
    limited: Family<LimitLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
    refusals: Family<ReasonLabels, Counter>,
    events: Family<EventLabels, Counter>,
    evaluation: Histogram,
    approval_wait: Histogram,
    commit: Histogram,
    batch: Histogram,
    deliveries: Family<ResultLabels, Counter>,
    reloads: Family<ResultLabels, Counter>,
    pending: Gauge,
    unsigned: Gauge,
    dead: Gauge,
    killed: Gauge,
    queued: Gauge,
    waiting: Gauge,
    policies: Gauge,
    namespaces: Mutex<HashSet<String>>,
    agents: Mutex<HashSet<String>>,
    /// Whether agents are named: 0 or 1.
    name_agents: AtomicU64,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("ascend_center"),
            requests: Family::default(),
            request_time: Family::new_with_constructor(seconds),
            limited: Family::default(),
            decisions: Family::default(),
            refusals: Family::default(),
            events: Family::default(),
            evaluation: moments(),
            approval_wait: waits(),
            commit: seconds(),
            batch: Histogram::new((0..9).map(|power| f64::from(1_u32 << power))),
            deliveries: Family::default(),
            reloads: Family::default(),
            pending: Gauge::default(),
            unsigned: Gauge::default(),
            dead: Gauge::default(),
            killed: Gauge::default(),
            queued: Gauge::default(),
            waiting: Gauge::default(),
            policies: Gauge::default(),
            namespaces: Mutex::default(),
            agents: Mutex::default(),
            name_agents: AtomicU64::new(0),
        };
        metrics.register();
        metrics.begin();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "http_requests",
            "Requests that were answered, by route and status",
            self.requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "How long answers took; questions that wait for a decision are held on purpose",
            self.request_time.clone(),
        );
        registry.register(
            "rate_limited",
            "Requests that were refused with 429, by the limit",
            self.limited.clone(),
        );
        registry.register(
            "decisions",
            "What policy decided, by outcome, risk level and namespace",
            self.decisions.clone(),
        );
        registry.register(
            "refusals",
            "Calls and claims that were refused, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "events",
            "Entries that this process wrote to the audit log, by kind",
            self.events.clone(),
        );
        registry.register(
            "evaluation_duration_seconds",
            "How long the policies took for one call",
            self.evaluation.clone(),
        );
        registry.register(
            "approval_wait_seconds",
            "How long actions waited that people decided",
            self.approval_wait.clone(),
        );
        registry.register(
            "commit_duration_seconds",
            "How long transactions took, the disk included",
            self.commit.clone(),
        );
        registry.register(
            "commit_batch_size",
            "How many pieces of work shared a transaction",
            self.batch.clone(),
        );
        registry.register(
            "webhook_deliveries",
            "Attempts to deliver messages to webhooks, by what came of them",
            self.deliveries.clone(),
        );
        registry.register(
            "policy_reloads",
            "How often changed policies were read, and used or refused",
            self.reloads.clone(),
        );
        let gauges = [
            ("pending_actions", "Actions that wait for a person", &self.pending),
            (
                "audit_unsigned_entries",
                "Entries of the audit log that are not signed yet",
                &self.unsigned,
            ),
            ("webhook_dead_deliveries", "Messages to webhooks that were given up", &self.dead),
            ("kill_switch_raised", "1 while the kill switch is raised", &self.killed),
            ("writer_queue", "Pieces of work that wait to be written", &self.queued),
            ("waiters", "Who waits in this process for something to happen", &self.waiting),
            ("policies", "Policies in use", &self.policies),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
    }

    /// Counts at 0 what is rare: who looks for an increase does not see the first
    /// of a series that begins with it.
    fn begin(&self) {
        for kind in AuditKind::ALL {
            drop(self.events.get_or_create(&EventLabels { kind: kind.as_str().to_owned() }));
        }
        for result in [ResultLabels::OK, ResultLabels::FAILED] {
            drop(self.reloads.get_or_create(&result));
        }
        for result in ["delivered", "failed", "dead"] {
            drop(self.deliveries.get_or_create(&ResultLabels { result }));
        }
    }

    /// From now on, whether decisions are counted for each agent.
    pub(crate) fn name_agents(&self, name: bool) {
        self.name_agents.store(u64::from(name), std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let route = route.to_owned();
        self.request_time
            .get_or_create(&RouteLabels { method, route: route.clone() })
            .observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    }

    pub(crate) fn limited(&self, limit: &'static str) {
        self.limited.get_or_create(&LimitLabels { limit }).inc();
    }

    pub(crate) fn evaluated(&self, took: Duration) {
        self.evaluation.observe(took.as_secs_f64());
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.approval_wait.observe(time.as_secs_f64());
    }

    pub(crate) fn delivered(&self, result: &'static str) {
        self.deliveries.get_or_create(&ResultLabels { result }).inc();
    }

    /// Counts of policies that are read again.
    pub(crate) fn reloads(&self) -> Family<ResultLabels, Counter> {
        self.reloads.clone()
    }

    /// What a transaction wrote, and how long it took.
    pub(crate) fn committed(&self, events: &[AuditEvent], batch: usize, took: Duration) {
        self.commit.observe(took.as_secs_f64());
        if let Ok(batch) = u32::try_from(batch) {
            self.batch.observe(f64::from(batch));
        }
        for event in events {
            let kind = event.kind.as_str().to_owned();
            self.events.get_or_create(&EventLabels { kind }).inc();
            if let Some(reason) = &event.refusal {
                self.refusals.get_or_create(&ReasonLabels { reason: reason.clone() }).inc();
            }
            if event.kind == AuditKind::Evaluated {
                self.decided(event);
            }
        }
    }

    fn decided(&self, event: &AuditEvent) {
        let named = self.name_agents.load(std::sync::atomic::Ordering::Relaxed) == 1;
        let labels = DecisionLabels {
            outcome: event.state.map_or(OTHER, |state| state.as_str()),
            risk_level: event.risk_level.map_or(OTHER, |level| level.as_str()),
            namespace: bounded(&self.namespaces, event.namespace.as_deref().unwrap_or_default()),
            agent: named.then(|| bounded(&self.agents, &event.actor.name)),
        };
        self.decisions.get_or_create(&labels).inc();
    }

    /// All counts as OpenMetrics text, with what there is at this moment.
    #[cfg(feature = "http")]
    pub(crate) fn written(&self, levels: &Levels, policies: usize) -> Result<String, fmt::Error> {
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.pending.set(levels.pending);
        self.unsigned.set(levels.unsigned);
        self.dead.set(levels.dead_deliveries);
        self.killed.set(levels.killed.into());
        self.queued.set(whole(levels.queued));
        self.waiting.set(whole(levels.waiting));
        self.policies.set(whole(policies));
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl ResultLabels {
    pub(crate) const OK: Self = Self { result: "ok" };
    pub(crate) const FAILED: Self = Self { result: "failed" };
}

/// The name, as long as there are few of them: agents choose them.
fn bounded(known: &Mutex<HashSet<String>>, name: &str) -> String {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.contains(name) {
        return name.to_owned();
    }
    if known.len() < NAMES && name.len() <= LONGEST {
        known.insert(name.to_owned());
        return name.to_owned();
    }
    OTHER.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_agents_choose_are_bounded() {
        let known = Mutex::default();
        assert_eq!(bounded(&known, &"x".repeat(65)), OTHER);
        for number in 0..NAMES {
            assert_eq!(bounded(&known, &number.to_string()), number.to_string());
        }
        assert_eq!(bounded(&known, "one more"), OTHER);
        assert_eq!(bounded(&known, "7"), "7", "the known ones stay");
    }
}
