//! What is remembered of each action between its evaluation and its run.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{ActionId, Digest, RefusalKind, TraceContext, TraceParent};

/// Actions by id, the oldest forgotten first. An action that is not known here
/// cannot be claimed, and one that was claimed cannot be claimed again.
#[derive(Default)]
pub(super) struct Memory(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_id: HashMap<ActionId, Entry>,
    order: VecDeque<ActionId>,
}

/// What is known of one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Of the call that was evaluated.
    pub(super) digest: Digest,
    /// Who keeps the claim.
    pub(super) claim: ClaimMode,
    /// Whether the evaluation let it pass without a person.
    pub(super) passed: bool,
    /// Where in which trace it is asked about.
    trace: Option<TraceParent>,
    /// Whether it was used up here.
    pub(super) claimed: bool,
}

/// Who keeps track of a decision being used only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimMode {
    /// Only this process: plain ASCEND has no claim.
    Local,
    /// The server as well: it answered the evaluation with `"claim": true`.
    Server,
}

const LIMIT: usize = 65_536;

impl Entry {
    pub(super) fn new(digest: Digest, claim: ClaimMode, passed: bool) -> Self {
        Self { digest, claim, passed, trace: None, claimed: false }
    }

    pub(super) fn in_trace(self, trace: Option<TraceParent>) -> Self {
        Self { trace, ..self }
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an action that may yet run.
    ///
    /// # Errors
    ///
    /// When the id stands for another call, or for one that was claimed.
    pub(super) fn open(&self, id: &ActionId, entry: Entry) -> Result<(), RefusalKind> {
        let mut entries = self.lock();
        if let Some(known) = entries.by_id.get_mut(id) {
            if known.claimed {
                return Err(RefusalKind::AlreadyExecuted);
            }
            if known.digest != entry.digest {
                return Err(RefusalKind::DigestMismatch);
            }
            known.passed |= entry.passed;
            if entry.claim == ClaimMode::Server {
                known.claim = ClaimMode::Server;
            }
            return Ok(());
        }
        entries.by_id.insert(id.clone(), entry);
        entries.order.push_back(id.clone());
        if entries.order.len() > LIMIT
            && let Some(oldest) = entries.order.pop_front()
        {
            entries.by_id.remove(&oldest);
        }
        Ok(())
    }

    pub(super) fn recall(&self, id: &ActionId) -> Option<Entry> {
        self.lock().by_id.get(id).copied()
    }

    /// The trace of the call that waits for the action, or is to run under it.
    pub(super) fn trace(&self, id: &ActionId) -> Option<TraceContext> {
        self.recall(id)?.trace.map(TraceContext::from)
    }

    /// It is asked about from there on.
    pub(super) fn trace_on(&self, id: &ActionId, trace: TraceParent) {
        if let Some(entry) = self.lock().by_id.get_mut(id) {
            entry.trace = Some(trace);
        }
    }

    /// Uses the action up.
    ///
    /// # Errors
    ///
    /// When it was used already, is for another call, or is not known.
    pub(super) fn claim(&self, id: &ActionId, digest: &Digest) -> Result<Entry, RefusalKind> {
        let mut entries = self.lock();
        let entry = entries.by_id.get_mut(id).ok_or(RefusalKind::Expired)?;
        if entry.digest != *digest {
            return Err(RefusalKind::DigestMismatch);
        }
        if std::mem::replace(&mut entry.claimed, true) {
            return Err(RefusalKind::AlreadyExecuted);
        }
        Ok(*entry)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn id(text: &str) -> ActionId {
        ActionId::new(text).unwrap()
    }

    fn digest(byte: &str) -> Digest {
        byte.repeat(32).parse().unwrap()
    }

    fn entry(byte: &str) -> Entry {
        Entry::new(digest(byte), ClaimMode::Local, false)
    }

    #[test]
    fn an_action_is_claimed_once_for_its_own_call() {
        let memory = Memory::default();
        assert_eq!(memory.claim(&id("1"), &digest("aa")), Err(RefusalKind::Expired));
        memory.open(&id("1"), entry("aa")).unwrap();
        assert_eq!(memory.claim(&id("1"), &digest("bb")), Err(RefusalKind::DigestMismatch));
        assert!(memory.claim(&id("1"), &digest("aa")).is_ok());
        assert_eq!(memory.claim(&id("1"), &digest("aa")), Err(RefusalKind::AlreadyExecuted));
        // A server that gives the id out once more does not make it fresh.
        assert_eq!(memory.open(&id("1"), entry("aa")), Err(RefusalKind::AlreadyExecuted));
        assert_eq!(memory.open(&id("1"), entry("bb")), Err(RefusalKind::AlreadyExecuted));
    }

    #[test]
    fn one_id_for_two_calls_stays_with_the_first() {
        let memory = Memory::default();
        memory.open(&id("1"), entry("aa")).unwrap();
        assert_eq!(memory.open(&id("1"), entry("bb")), Err(RefusalKind::DigestMismatch));
        assert!(memory.claim(&id("1"), &digest("aa")).is_ok());
    }

    #[test]
    fn the_memory_is_bounded_and_what_it_forgot_cannot_be_claimed() {
        let memory = Memory::default();
        for n in 0..=LIMIT {
            memory.open(&id(&n.to_string()), entry("aa")).unwrap();
        }
        assert_eq!(memory.lock().by_id.len(), LIMIT);
        assert_eq!(memory.claim(&id("0"), &digest("aa")), Err(RefusalKind::Expired));
        assert!(memory.claim(&id("1"), &digest("aa")).is_ok());
    }
}
