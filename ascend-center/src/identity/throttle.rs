//! Slows down whoever fails: pure, the clock is the caller's.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// How failures are answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// So many are free.
    free: u32,
    /// The wait after the next; each further one doubles it.
    first: Duration,
    longest: Duration,
}

/// Of one account, from wherever: short, since others can cause it.
pub(crate) const ACCOUNT: Pace =
    Pace { free: 5, first: Duration::from_secs(1), longest: Duration::from_secs(120) };
/// From one address, for whichever account.
pub(crate) const ADDRESS: Pace =
    Pace { free: 20, first: Duration::from_secs(1), longest: Duration::from_secs(900) };
/// Unknown tokens from one address.
pub(crate) const TOKENS: Pace =
    Pace { free: 30, first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// After this long without a failure all is forgotten.
const MEMORY: Duration = Duration::from_secs(3600);
/// The most that is remembered at once.
const CAPACITY: usize = 8192;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    blocked_until: Instant,
}

/// Failures by account or address.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    pace: Pace,
    capacity: usize,
    known: HashMap<K, Failures>,
}

impl<K: Eq + Hash + Clone> Throttle<K> {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, capacity: CAPACITY, known: HashMap::new() }
    }

    /// How long this one must wait; `None` when it may try.
    pub(crate) fn wait(&self, key: &K, now: Instant) -> Option<Duration> {
        let until = self.known.get(key)?.blocked_until;
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Counts a failure. Also called before an attempt whose result takes time,
    /// so that many at once are no way around; [`forgive`](Self::forgive) then
    /// takes it back.
    pub(crate) fn fail(&mut self, key: &K, now: Instant) {
        if !self.known.contains_key(key) && self.known.len() >= self.capacity {
            self.make_room(now);
        }
        let failures = self.known.entry(key.clone()).or_insert(Failures {
            count: 0,
            last: now,
            blocked_until: now,
        });
        if now.saturating_duration_since(failures.last) >= MEMORY {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if let Some(further) = failures.count.checked_sub(self.pace.free + 1) {
            let factor = 2_u32.saturating_pow(further);
            failures.blocked_until =
                now + self.pace.first.saturating_mul(factor).min(self.pace.longest);
        }
    }

    /// Takes one failure back.
    pub(crate) fn forgive(&mut self, key: &K) {
        if let Some(failures) = self.known.get_mut(key) {
            failures.count = failures.count.saturating_sub(1);
            // Else a success of one's own would be a way around the wait.
            if failures.count <= self.pace.free {
                failures.blocked_until = failures.last;
            }
        }
    }

    /// Forgets all failures of this one.
    pub(crate) fn forget(&mut self, key: &K) {
        self.known.remove(key);
    }

    /// What is over goes first; then whoever failed least, and longest ago: a
    /// flood of others does not wash away the one that is being held off.
    fn make_room(&mut self, now: Instant) {
        self.known.retain(|_, failures| now.saturating_duration_since(failures.last) < MEMORY);
        if self.known.len() >= self.capacity {
            let least =
                self.known.iter().min_by_key(|(_, failures)| (failures.count, failures.last));
            if let Some(key) = least.map(|(key, _)| key.clone()) {
                self.known.remove(&key);
            }
        }
    }
}

/// What counts as one address: of IPv6, the network that one customer has.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace =
        Pace { free: 2, first: Duration::from_secs(1), longest: Duration::from_secs(10) };

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let mut throttle = Throttle::new(PACE);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            throttle.fail(&'a', now);
            let wait = throttle.wait(&'a', now).unwrap_or_default();
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(throttle.wait(&'a', now), None, "once it has waited");
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 10, 10]);
        assert_eq!(throttle.wait(&'b', now), None, "others are not held");
        now += MEMORY;
        throttle.fail(&'a', now);
        assert_eq!(throttle.wait(&'a', now), None, "long ago is forgotten");
    }

    #[test]
    fn success_takes_back_what_was_counted_before_it() {
        let mut throttle = Throttle::new(PACE);
        let now = Instant::now();
        for _ in 0..100 {
            throttle.fail(&'a', now);
            throttle.forgive(&'a');
        }
        assert_eq!(throttle.wait(&'a', now), None);
        for _ in 0..4 {
            throttle.fail(&'a', now);
        }
        throttle.forgive(&'a');
        assert!(throttle.wait(&'a', now).is_some(), "the failures before it still count");
        throttle.forget(&'a');
        assert_eq!(throttle.wait(&'a', now), None);
    }

    #[test]
    fn memory_is_bounded_and_a_flood_does_not_free_the_one_held_off() {
        let mut throttle = Throttle { capacity: 16, ..Throttle::new(PACE) };
        let now = Instant::now();
        for _ in 0..6 {
            throttle.fail(&0, now);
        }
        for key in 1..10_000 {
            throttle.fail(&key, now + Duration::from_millis(1));
            assert!(throttle.known.len() <= 16);
        }
        assert!(throttle.wait(&0, now).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(network(parse("2001:db8:1:2:3::4")), network(parse("2001:db8:1:2:ffff::")));
        assert_ne!(network(parse("2001:db8:1:2::1")), network(parse("2001:db8:1:3::1")));
        assert_eq!(network(parse("::ffff:10.0.0.1")), parse("10.0.0.1"));
    }
}
