//! Who waits for which action, and what is asked next: a state machine without
//! I/O and without a clock of its own.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{ActionId, AuthorityError, Review};

/// How many refused or unreadable answers in a row end a wait.
const STRIKES: u32 = 3;
/// How many questions about single actions are under way at once: ones that are
/// answered at once, and ones that the server may hold.
const SHORT: usize = 8;
const HELD: usize = 4;
/// The most actions in one question, and the most bytes of their ids: proxies
/// take request lines of 8 KiB.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 4_000;
/// How long after a held question, and after its answer that something was decided, the
/// next one follows, for each action that is waited for: a question about many costs the
/// server as much as it has actions in it. So those who come in a burst share one, and
/// what was decided is claimed before the others are asked for.
const GATHER_EACH: Duration = Duration::from_micros(5);
const GATHER_LEAST: Duration = Duration::from_millis(1);
const GATHER_MOST: Duration = Duration::from_millis(25);
/// When a server that took no question about many is asked again whether it does.
const RECONSIDER: Duration = Duration::from_secs(60);

/// How the wait for an action ended.
pub(super) type Ending = Result<Review, AuthorityError>;

/// What one answer says of one action.
#[derive(Debug)]
pub(super) enum Told {
    Decided(Review),
    Pending,
    /// Nothing of use; enough of these in a row end the wait.
    Strike(AuthorityError),
    /// The wait is over.
    Lost(AuthorityError),
    /// Nothing, and it may be better after this pause.
    Passing(Duration),
    /// Nothing plain, beside others: it is to be asked for by itself.
    Unclear,
    /// Nothing, for it was not the right question.
    Unasked,
}

/// What became of one question.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) leg: u64,
    pub(super) told: Vec<(ActionId, Told)>,
    /// Whether the server holds questions; `None`: this answer does not show it.
    pub(super) holds: Option<bool>,
    /// Whether it held this one, so that the next may follow at once.
    pub(super) held: bool,
    /// Whether the server takes questions about many; `None`: not learned.
    pub(super) batches: Option<bool>,
    /// It asks to be left alone for so long.
    pub(super) quiet: Option<Duration>,
}

/// One question to be sent now.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) leg: u64,
    pub(super) ids: Vec<ActionId>,
    /// Whether it goes where many are asked for.
    pub(super) is_batch: bool,
    /// How long the server is asked to hold it.
    pub(super) wait: Option<u64>,
    /// Cancelled when nobody needs the answer any more.
    pub(super) cancelled: CancellationToken,
}

#[derive(Debug)]
struct Entry {
    waiters: Vec<(u64, oneshot::Sender<Ending>)>,
    at: At,
    pause: Duration,
    strikes: u32,
    /// Whether it is asked for by itself.
    alone: bool,
    /// Whether there was news of it while it was asked for.
    woken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Asked for again at this time.
    Due(Instant),
    /// Asked for, by this leg.
    Asked(u64),
}

#[derive(Debug)]
struct Leg {
    ids: Vec<ActionId>,
    /// How many of them are still waited for.
    live: usize,
    is_batch: bool,
    is_held: bool,
    cancelled: CancellationToken,
}

/// Whether the server takes questions about many actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batches {
    Unknown,
    /// It is being asked.
    Probing,
    Yes,
    /// Not until this time, when it is asked again: it may be another by then.
    No(Instant),
}

#[derive(Debug)]
pub(super) struct Board {
    polling: (Duration, Duration),
    /// How long a question is to be held, in seconds; 0: never.
    wait: u64,
    entries: HashMap<ActionId, Entry>,
    due: BTreeSet<(Instant, ActionId)>,
    due_alone: BTreeSet<(Instant, ActionId)>,
    legs: HashMap<u64, Leg>,
    counter: u64,
    /// Whether a task asks.
    pub(super) is_attended: bool,
    batches: Batches,
    holds: Option<bool>,
    quiet_until: Option<Instant>,
    gather_until: Option<Instant>,
}

impl Board {
    pub(super) fn new(polling: (Duration, Duration), wait: u64) -> Self {
        Self {
            polling,
            wait,
            entries: HashMap::new(),
            due: BTreeSet::new(),
            due_alone: BTreeSet::new(),
            legs: HashMap::new(),
            counter: 0,
            is_attended: false,
            batches: Batches::Unknown,
            holds: None,
            quiet_until: None,
            gather_until: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Nobody asks any more. What was learned of the server is forgotten with
    /// it, and whoever still waits hears that the line broke.
    pub(super) fn abandon(&mut self) {
        *self = Self { counter: self.counter, ..Self::new(self.polling, self.wait) };
    }

    /// Begins a wait; the number ends it.
    pub(super) fn join(&mut self, id: &ActionId, now: Instant) -> (u64, oneshot::Receiver<Ending>) {
        let (sender, receiver) = oneshot::channel();
        let number = self.number();
        if let Some(entry) = self.entries.get_mut(id) {
            entry.waiters.push((number, sender));
            return (number, receiver);
        }
        let entry = Entry {
            waiters: vec![(number, sender)],
            at: At::Due(now),
            pause: self.polling.0,
            strikes: 0,
            alone: false,
            woken: false,
        };
        self.entries.insert(id.clone(), entry);
        self.due.insert((now, id.clone()));
        (number, receiver)
    }

    /// Ends a wait. Whether the task has to know.
    pub(super) fn leave(&mut self, id: &ActionId, number: u64) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        entry.waiters.retain(|(other, _)| *other != number);
        if !entry.waiters.is_empty() {
            return false;
        }
        let cancelled = self.remove(id).is_some_and(|(_, cancelled)| cancelled);
        cancelled || self.is_empty()
    }

    /// Takes the action off the board. Whether its leg was for it alone, and is
    /// cancelled.
    fn remove(&mut self, id: &ActionId) -> Option<(Entry, bool)> {
        let entry = self.entries.remove(id)?;
        let mut cancelled = false;
        match entry.at {
            At::Due(at) => {
                self.due_of(entry.alone).remove(&(at, id.clone()));
            }
            At::Asked(leg) => {
                if let Some(found) = self.legs.get_mut(&leg) {
                    found.live -= 1;
                    if found.live == 0 {
                        found.cancelled.cancel();
                        cancelled = true;
                    }
                }
            }
        }
        Some((entry, cancelled))
    }

    fn due_of(&mut self, alone: bool) -> &mut BTreeSet<(Instant, ActionId)> {
        if alone { &mut self.due_alone } else { &mut self.due }
    }

    /// There is news of the action: it is asked for now. Whether anybody waits
    /// for it.
    pub(super) fn wake(&mut self, id: &ActionId, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        match entry.at {
            At::Asked(_) => entry.woken = true,
            At::Due(at) if at > now => {
                entry.at = At::Due(now);
                let alone = entry.alone;
                let due = self.due_of(alone);
                due.remove(&(at, id.clone()));
                due.insert((now, id.clone()));
            }
            At::Due(_) => {}
        }
        true
    }

    /// What is to be asked now, and when to look again, should nothing else
    /// happen before.
    pub(super) fn orders(&mut self, now: Instant) -> (Vec<Order>, Option<Instant>) {
        let mut orders = Vec::new();
        if let Some(until) = self.quiet_until.filter(|until| now < *until) {
            return (orders, Some(until));
        }
        if matches!(self.batches, Batches::No(until) if until <= now) {
            self.batches = Batches::Unknown;
        }
        let batching = match self.batches {
            Batches::Yes | Batches::Probing => true,
            Batches::Unknown => self.entries.len() > 1,
            Batches::No(_) => false,
        };
        let mut again = None;
        if batching {
            again = self.order_batches(now, &mut orders);
        }
        let single = self.order_singles(now, batching, &mut orders);
        (orders, again.into_iter().chain(single).min())
    }

    fn order_batches(&mut self, now: Instant, orders: &mut Vec<Order>) -> Option<Instant> {
        if self.batches == Batches::Probing {
            return None;
        }
        let first = self.due.first()?.0;
        let start = first.max(self.gather_until.unwrap_or(first));
        if start > now {
            return Some(start);
        }
        if self.batches == Batches::Unknown {
            // Not to be held: others wait to hear what it teaches.
            let ids = self.take_due(now, false);
            self.batches = Batches::Probing;
            orders.push(self.order(ids, true, None));
            return None;
        }
        let holds = self.may_hold();
        loop {
            let mut ids = self.take_due(now, !holds);
            if ids.is_empty() {
                break;
            }
            if holds {
                self.absorb(&mut ids);
                self.gather_until = Some(now + self.gather());
            }
            orders.push(self.order(ids, true, holds.then_some(self.wait)));
        }
        self.due.first().map(|(at, _)| *at)
    }

    fn gather(&self) -> Duration {
        let waited_for = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        GATHER_EACH.saturating_mul(waited_for).clamp(GATHER_LEAST, GATHER_MOST)
    }

    fn may_hold(&self) -> bool {
        self.wait > 0 && self.holds != Some(false)
    }

    /// The actions that are due, as many as one question takes; with `early`
    /// also those that soon will be.
    fn take_due(&mut self, now: Instant, early: bool) -> Vec<ActionId> {
        let last = if early { now + self.polling.1 / 2 } else { now };
        let mut bytes = 0;
        let taken: Vec<_> = self
            .due
            .iter()
            .take_while(|(at, _)| *at <= last)
            .filter(|(at, id)| {
                let soon = self.entries.get(id).map_or(Duration::ZERO, |entry| entry.pause / 2);
                *at <= now || *at <= now + soon
            })
            .take_while(|(_, id)| {
                bytes += id.as_str().len() + 1;
                bytes <= BATCH_BYTES
            })
            .take(BATCH)
            .cloned()
            .collect();
        // None of them is due by itself yet.
        if taken.first().is_none_or(|(at, _)| *at > now) {
            return Vec::new();
        }
        taken
            .into_iter()
            .map(|due| {
                self.due.remove(&due);
                due.1
            })
            .collect()
    }

    /// Takes over what smaller legs ask for, which are cancelled: a server holds
    /// as many questions as there are bits in the number of waiters, and an
    /// action is asked for anew no more often than that.
    fn absorb(&mut self, ids: &mut Vec<ActionId>) {
        let mut smaller: Vec<_> = self
            .legs
            .iter()
            .filter(|(_, leg)| leg.is_held)
            .map(|(number, leg)| (leg.live, *number))
            .collect();
        smaller.sort_unstable();
        let mut bytes: usize = ids.iter().map(|id| id.as_str().len() + 1).sum();
        for (live, number) in smaller {
            if live > ids.len() || live + ids.len() > BATCH {
                return;
            }
            let asked = |id: &ActionId| {
                self.entries
                    .get(id)
                    .is_some_and(|entry| entry.at == At::Asked(number) && !entry.alone)
            };
            let Some(leg) = self.legs.get(&number) else { continue };
            let theirs: Vec<_> = leg.ids.iter().filter(|id| asked(id)).cloned().collect();
            bytes += theirs.iter().map(|id| id.as_str().len() + 1).sum::<usize>();
            if bytes > BATCH_BYTES {
                return;
            }
            if theirs.len() < live {
                // One of them is to be asked for by itself.
                continue;
            }
            if let Some(leg) = self.legs.remove(&number) {
                leg.cancelled.cancel();
            }
            ids.extend(theirs);
        }
    }

    fn order_singles(
        &mut self,
        now: Instant,
        batching: bool,
        orders: &mut Vec<Order>,
    ) -> Option<Instant> {
        let (mut held, mut short) = (0, 0);
        for leg in self.legs.values().filter(|leg| !leg.is_batch) {
            *(if leg.is_held { &mut held } else { &mut short }) += 1;
        }
        loop {
            let others = if batching { None } else { self.due.first() };
            let (at, id) = self.due_alone.first().into_iter().chain(others).min()?.clone();
            if at > now {
                return Some(at);
            }
            let wait = (self.may_hold() && held < HELD).then_some(self.wait);
            let counted = if wait.is_some() { &mut held } else { &mut short };
            if wait.is_none() && *counted == SHORT {
                // The end of one of them goes on.
                return None;
            }
            *counted += 1;
            self.due.remove(&(at, id.clone()));
            self.due_alone.remove(&(at, id.clone()));
            orders.push(self.order(vec![id], false, wait));
        }
    }

    fn order(&mut self, ids: Vec<ActionId>, is_batch: bool, wait: Option<u64>) -> Order {
        let leg = self.number();
        for id in &ids {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.at = At::Asked(leg);
                entry.woken = false;
            }
        }
        let cancelled = CancellationToken::new();
        let is_held = wait.is_some();
        let found = Leg {
            ids: ids.clone(),
            live: ids.len(),
            is_batch,
            is_held,
            cancelled: cancelled.clone(),
        };
        self.legs.insert(leg, found);
        Order { leg, ids, is_batch, wait, cancelled }
    }

    /// A question was dropped before its answer came.
    pub(super) fn dropped(&mut self, leg: u64) {
        if self.legs.remove(&leg).is_some_and(|leg| leg.is_batch)
            && self.batches == Batches::Probing
        {
            self.batches = Batches::Unknown;
        }
    }

    /// Takes in what became of a question, and tells those who waited for it.
    pub(super) fn settle(&mut self, now: Instant, report: Report) {
        let Some(leg) = self.legs.remove(&report.leg) else { return };
        let mut held = report.held;
        if leg.is_batch {
            // Now that it is known to take such questions, it can hold one.
            held |= self.batches == Batches::Probing && self.may_hold();
            self.batches = match (report.batches, self.batches) {
                (Some(true), _) => Batches::Yes,
                (Some(false), _) => Batches::No(now + RECONSIDER),
                (None, Batches::Probing) => Batches::Unknown,
                (None, known) => known,
            };
        }
        self.holds = report.holds.or(self.holds);
        // The actions of one question stay together.
        let jitter = rand::random_range(0.5..=1.0);
        if let Some(quiet) = report.quiet {
            self.quiet_until = Some(now + quiet.max(self.polling.0.mul_f64(jitter)));
        }
        let is_decided = |(_, told): &(ActionId, Told)| matches!(told, Told::Decided(_));
        if leg.is_held && report.told.iter().any(is_decided) {
            // What was decided is claimed first.
            self.gather_until = self.gather_until.max(Some(now + self.gather()));
        }
        for (id, told) in report.told {
            self.take_in(now, report.leg, &id, told, held, jitter);
        }
    }

    fn take_in(
        &mut self,
        now: Instant,
        leg: u64,
        id: &ActionId,
        told: Told,
        held: bool,
        jitter: f64,
    ) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.at != At::Asked(leg) {
            return;
        }
        let paused = now + entry.pause.mul_f64(jitter);
        let due = match told {
            Told::Decided(review) => return self.end(id, Ok(review)),
            Told::Lost(error) => return self.end(id, Err(error)),
            Told::Strike(error) if entry.strikes + 1 == STRIKES => {
                return self.end(id, Err(error));
            }
            Told::Strike(_) => {
                entry.strikes += 1;
                paused
            }
            Told::Passing(least) => paused.max(now + least),
            Told::Pending => {
                entry.strikes = 0;
                if held || entry.woken { now } else { paused }
            }
            Told::Unasked => now,
            Told::Unclear => {
                entry.alone = true;
                now
            }
        };
        if due > now {
            entry.pause = entry.pause.mul_f64(1.5).min(self.polling.1);
        }
        entry.at = At::Due(due);
        let alone = entry.alone;
        self.due_of(alone).insert((due, id.clone()));
    }

    fn end(&mut self, id: &ActionId, ending: Ending) {
        if let Some((entry, _)) = self.remove(id) {
            for (_, waiter) in entry.waiters {
                // Whoever went away meanwhile has no use for it.
                let _ = waiter.send(ending.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
