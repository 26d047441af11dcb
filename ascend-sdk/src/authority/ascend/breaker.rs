//! The circuit breaker: an authority that keeps failing is left alone for a while.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How many good answers close a half-open circuit: ASCEND's SDK's number.
const CLOSING_SUCCESSES: u32 = 3;

/// Counts failures in a row. Open, it admits nobody; half-open, one at a time.
pub(super) struct Breaker {
    failures: u32,
    pause: Duration,
    state: Mutex<State>,
}

enum State {
    Closed { failures: u32, reached: bool },
    Open { until: Instant, reached: bool },
    HalfOpen { successes: u32, probing: bool, reached: bool },
}

/// Why nobody is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// How long the circuit stays open.
    pub(super) left: Duration,
    /// Whether a failure that opened it came from the server itself. A caller
    /// that makes it fail must not be able to make it count as unreachable.
    pub(super) reached: bool,
}

/// How a request went, for the breaker: whether the server does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    /// A 5xx, or an answer that broke off.
    Failing,
    /// A timeout, or no connection.
    Silent,
}

impl State {
    const CLOSED: Self = Self::Closed { failures: 0, reached: false };
}

impl Breaker {
    /// Opens after `failures` in a row, for `pause`.
    pub(super) fn new(failures: u32, pause: Duration) -> Self {
        Self { failures: failures.max(1), pause, state: Mutex::new(State::CLOSED) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it admits all: what the server would hold is not to be a probe, which
    /// keeps every other request out until it is answered.
    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.lock(), State::Closed { .. })
    }

    /// Admits one request, or says for how long none is.
    pub(super) fn admit(&self) -> Result<Pass<'_>, Refused> {
        let mut state = self.lock();
        if let State::Open { until, reached } = *state {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Err(Refused { left, reached });
            }
            *state = State::HalfOpen { successes: 0, probing: false, reached };
        }
        let probe = match &mut *state {
            State::HalfOpen { probing: true, reached, .. } => {
                return Err(Refused { left: Duration::ZERO, reached: *reached });
            }
            State::HalfOpen { probing, .. } => {
                *probing = true;
                true
            }
            State::Closed { .. } | State::Open { .. } => false,
        };
        Ok(Pass { breaker: self, probe })
    }
}

/// One admitted request. Dropped without a record (cancelled, or told to come
/// back later), it says nothing about the server.
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Pass<'_> {
    pub(super) fn record(self, health: Health) {
        let breaker = self.breaker;
        let mut state = breaker.lock();
        let opened = |reached| State::Open { until: Instant::now() + breaker.pause, reached };
        let failing = health == Health::Failing;
        match (&mut *state, health) {
            (State::Closed { .. }, Health::Good) => *state = State::CLOSED,
            (State::Closed { failures, reached }, Health::Failing | Health::Silent) => {
                *failures += 1;
                *reached |= failing;
                if *failures >= breaker.failures {
                    *state = opened(*reached);
                    tracing::warn!(pause = ?breaker.pause, "the authority keeps failing; circuit open");
                }
            }
            (State::HalfOpen { successes, .. }, Health::Good) if self.probe => {
                *successes += 1;
                if *successes >= CLOSING_SUCCESSES {
                    *state = State::CLOSED;
                }
            }
            (State::HalfOpen { .. }, Health::Failing | Health::Silent) if self.probe => {
                *state = opened(failing);
            }
            // Started before the circuit opened: it tells nothing new.
            (State::HalfOpen { .. } | State::Open { .. }, _) => {}
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe
            && let State::HalfOpen { probing, .. } = &mut *self.breaker.lock()
        {
            *probing = false;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    fn fail(breaker: &Breaker, times: usize) {
        for _ in 0..times {
            breaker.admit().map_err(drop).unwrap().record(Health::Silent);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_and_closes_after_three_successes() {
        let breaker = Breaker::new(5, PAUSE);
        fail(&breaker, 4);
        breaker.admit().map_err(drop).unwrap().record(Health::Good);
        fail(&breaker, 4);
        assert!(breaker.admit().is_ok(), "a success in between starts the count anew");
        fail(&breaker, 1);
        assert_eq!(breaker.admit().err().map(|refused| refused.left), Some(PAUSE));

        tokio::time::advance(PAUSE).await;
        for _ in 0..2 {
            breaker.admit().map_err(drop).unwrap().record(Health::Good);
        }
        let probe = breaker.admit().map_err(drop).unwrap();
        assert!(breaker.admit().is_err(), "half-open, one at a time");
        probe.record(Health::Good);
        let both = (breaker.admit(), breaker.admit());
        assert!(both.0.is_ok() && both.1.is_ok(), "closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_again_and_a_cancelled_one_does_not_block() {
        let breaker = Breaker::new(1, PAUSE);
        let early = breaker.admit().map_err(drop).unwrap();
        fail(&breaker, 1);
        early.record(Health::Good);
        assert!(breaker.admit().is_err(), "an answer from before the opening does not close it");
        tokio::time::advance(PAUSE).await;
        drop(breaker.admit().map_err(drop).unwrap());
        fail(&breaker, 1);
        assert_eq!(breaker.admit().err().map(|refused| refused.left), Some(PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn one_failure_of_the_server_itself_is_remembered_while_it_is_left_alone() {
        let breaker = Breaker::new(2, PAUSE);
        let record = |health| breaker.admit().map_err(drop).unwrap().record(health);
        let reached = || breaker.admit().err().map(|refused| refused.reached);
        record(Health::Failing);
        record(Health::Silent);
        assert_eq!(reached(), Some(true));
        tokio::time::advance(PAUSE).await;
        record(Health::Silent);
        assert_eq!(reached(), Some(false), "now it is really gone");
    }
}
