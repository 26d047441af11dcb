//! What is remembered of each action between its evaluation and its run.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{ActionId, Digest, RefusalKind, TraceContext, TraceParent};

/// Actions by id. Of those that may yet run, and of those that were used up or told
/// of, the oldest are forgotten first: however many calls come and go, an action that
/// waits for a person is not forgotten for them. An action that is not known here
/// cannot be claimed, and one that was claimed cannot be claimed again.
#[derive(Default)]
pub(super) struct Memory {
    entries: Mutex<Entries>,
    /// Tells that a claim has ended.
    ended: Notify,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<ActionId, Entry>,
    /// Those that may yet run, by when they were opened.
    open: BTreeMap<u64, ActionId>,
    /// The others, and some that were opened again.
    over: VecDeque<ActionId>,
    opened: u64,
}

impl Entries {
    /// Puts an action that is not there among those that may yet run.
    fn put(&mut self, id: &ActionId, entry: Entry) {
        self.opened += 1;
        let at = Some(self.opened);
        self.by_id.insert(id.clone(), Entry { at, ..entry });
        self.open.insert(self.opened, id.clone());
        if self.open.len() > LIMIT
            && let Some((_, oldest)) = self.open.pop_first()
        {
            self.by_id.remove(&oldest);
        }
    }

    /// Puts an action among those that are over.
    fn over(&mut self, id: &ActionId) {
        let at = self.by_id.get_mut(id).and_then(|entry| entry.at.take());
        if let Some(id) = at.and_then(|at| self.open.remove(&at)) {
            self.keep_over(id);
        }
    }

    fn keep_over(&mut self, id: ActionId) {
        self.over.push_back(id);
        if self.over.len() > LIMIT
            && let Some(oldest) = self.over.pop_front()
            && self.by_id.get(&oldest).is_some_and(|entry| entry.at.is_none())
        {
            self.by_id.remove(&oldest);
        }
    }
}

/// What is known of one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Of the call that was evaluated.
    pub(super) digest: Digest,
    /// Who keeps the claim.
    pub(super) claim: ClaimMode,
    /// Whether the evaluation let it pass without a person.
    pub(super) passed: bool,
    /// Under which it is claimed, however often that is asked.
    pub(super) key: Arc<str>,
    /// Where in which trace it is asked about.
    trace: Option<TraceParent>,
    /// Whether it was used up here.
    used: Used,
    /// Its place among those that may yet run.
    at: Option<u64>,
}

/// Whether an action was used up here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Used {
    No,
    /// The server is being asked.
    Claiming,
    /// The server was asked, and perhaps granted it: its answer was not heard.
    Unsure,
    Yes,
}

/// The right to claim an action, which nobody else has meanwhile. Dropped without
/// [`granted`](Self::granted) or [`refused`](Self::refused), it is not known how the
/// claim went, and somebody else may try.
#[must_use]
pub(super) struct Claiming<'a> {
    memory: &'a Memory,
    id: &'a ActionId,
    pub(super) entry: Entry,
}

impl Claiming<'_> {
    /// It is used up.
    pub(super) fn granted(self) {
        self.memory.end(self.id, Used::Yes);
    }

    /// It is not, and somebody else may try.
    pub(super) fn refused(self) {
        self.memory.end(self.id, Used::No);
    }
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        self.memory.end(self.id, Used::Unsure);
    }
}

/// Who keeps track of a decision being used only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimMode {
    /// Only this process: plain ASCEND has no claim.
    Local,
    /// The server as well: it answered the evaluation with `"claim": true`.
    Server,
}

/// Of each kind.
const LIMIT: usize = 65_536;

impl Entry {
    pub(super) fn new(digest: Digest, claim: ClaimMode, passed: bool, key: Arc<str>) -> Self {
        Self { digest, claim, passed, key, trace: None, used: Used::No, at: None }
    }

    /// Whether it may have been used up here unheard: who claims it again, under the
    /// same key, may be granted it.
    pub(super) fn is_unsure(&self) -> bool {
        matches!(self.used, Used::Claiming | Used::Unsure) && self.claim == ClaimMode::Server
    }

    /// Whether it was used up here.
    pub(super) fn is_used(&self) -> bool {
        self.used == Used::Yes
    }

    pub(super) fn in_trace(self, trace: Option<TraceParent>) -> Self {
        Self { trace, ..self }
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an action that may yet run.
    ///
    /// # Errors
    ///
    /// When the id stands for another call, or for one that was claimed.
    pub(super) fn open(&self, id: &ActionId, entry: Entry) -> Result<(), RefusalKind> {
        let mut entries = self.lock();
        let Some(known) = entries.by_id.get_mut(id) else {
            entries.put(id, entry);
            return Ok(());
        };
        if known.is_used() {
            return Err(RefusalKind::AlreadyExecuted);
        }
        if known.digest != entry.digest {
            return Err(RefusalKind::DigestMismatch);
        }
        known.passed |= entry.passed;
        if entry.claim == ClaimMode::Server {
            known.claim = ClaimMode::Server;
        }
        if known.at.is_none() {
            let known = known.clone();
            entries.put(id, known);
        }
        Ok(())
    }

    /// Remembers an action that is used up at this moment, claimed with its evaluation.
    /// False where one of this id is known: whether that may run is not for this to say.
    pub(super) fn use_up(&self, id: &ActionId, entry: &Entry) -> bool {
        let mut entries = self.lock();
        let is_new = !entries.by_id.contains_key(id);
        if is_new {
            let entry = Entry { used: Used::Yes, ..entry.clone() };
            entries.by_id.insert(id.clone(), entry);
            entries.keep_over(id.clone());
        }
        is_new
    }

    /// How it ended is told: what is known of it. It can be opened once more, where it
    /// was promised.
    pub(super) fn over(&self, id: &ActionId) -> Option<Entry> {
        let mut entries = self.lock();
        let known = entries.by_id.get(id).cloned();
        entries.over(id);
        known
    }

    pub(super) fn recall(&self, id: &ActionId) -> Option<Entry> {
        self.lock().by_id.get(id).cloned()
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

    /// Claims the action, once no other claim of it is under way.
    ///
    /// # Errors
    ///
    /// When it was used already, is for another call, or is not known.
    pub(super) async fn claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &Digest,
    ) -> Result<Claiming<'a>, RefusalKind> {
        loop {
            // From before the look, so that no end is missed.
            let ended = self.ended.notified();
            if let Some(claiming) = self.try_claim(id, digest)? {
                return Ok(claiming);
            }
            ended.await;
        }
    }

    /// The same; `None` while another claim is under way.
    pub(super) fn try_claim<'a>(
        &'a self,
        id: &'a ActionId,
        digest: &Digest,
    ) -> Result<Option<Claiming<'a>>, RefusalKind> {
        let mut entries = self.lock();
        let entry = entries.by_id.get_mut(id).ok_or(RefusalKind::Expired)?;
        if entry.digest != *digest {
            return Err(RefusalKind::DigestMismatch);
        }
        match entry.used {
            Used::Yes => Err(RefusalKind::AlreadyExecuted),
            Used::Claiming => Ok(None),
            Used::No | Used::Unsure => {
                entry.used = Used::Claiming;
                Ok(Some(Claiming { memory: self, id, entry: entry.clone() }))
            }
        }
    }

    /// Ends a claim; one that was granted stays so.
    fn end(&self, id: &ActionId, used: Used) {
        let mut entries = self.lock();
        if let Some(entry) = entries.by_id.get_mut(id)
            && entry.used == Used::Claiming
        {
            entry.used = used;
            if used == Used::Yes {
                entries.over(id);
            }
        }
        drop(entries);
        self.ended.notify_waiters();
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
        Entry::new(digest(byte), ClaimMode::Local, false, "key".into())
    }

    /// Claims, and uses up.
    fn claim(memory: &Memory, of: &str, byte: &str) -> Result<(), RefusalKind> {
        let of = id(of);
        memory.try_claim(&of, &digest(byte))?.unwrap().granted();
        Ok(())
    }

    #[test]
    fn an_action_is_claimed_once_for_its_own_call() {
        let memory = Memory::default();
        assert_eq!(claim(&memory, "1", "aa"), Err(RefusalKind::Expired));
        memory.open(&id("1"), entry("aa")).unwrap();
        assert_eq!(claim(&memory, "1", "bb"), Err(RefusalKind::DigestMismatch));
        assert_eq!(claim(&memory, "1", "aa"), Ok(()));
        assert_eq!(claim(&memory, "1", "aa"), Err(RefusalKind::AlreadyExecuted));
        // A server that gives the id out once more does not make it fresh.
        assert_eq!(memory.open(&id("1"), entry("aa")), Err(RefusalKind::AlreadyExecuted));
        assert_eq!(memory.open(&id("1"), entry("bb")), Err(RefusalKind::AlreadyExecuted));
    }

    #[test]
    fn what_was_claimed_with_its_evaluation_is_not_claimed_again() {
        let memory = Memory::default();
        assert!(memory.use_up(&id("1"), &entry("aa")));
        assert_eq!(claim(&memory, "1", "aa"), Err(RefusalKind::AlreadyExecuted));
        assert_eq!(memory.open(&id("1"), entry("aa")), Err(RefusalKind::AlreadyExecuted));
        assert!(!memory.use_up(&id("1"), &entry("aa")), "once");
        memory.open(&id("2"), entry("aa")).unwrap();
        assert!(!memory.use_up(&id("2"), &entry("bb")), "it is of another call, perhaps");
        assert_eq!(claim(&memory, "2", "aa"), Ok(()));
        for n in 3..LIMIT + 3 {
            assert!(memory.use_up(&id(&n.to_string()), &entry("aa")));
        }
        assert_eq!(memory.lock().by_id.len(), LIMIT);
    }

    #[test]
    fn one_id_for_two_calls_stays_with_the_first() {
        let memory = Memory::default();
        memory.open(&id("1"), entry("aa")).unwrap();
        assert_eq!(memory.open(&id("1"), entry("bb")), Err(RefusalKind::DigestMismatch));
        assert_eq!(claim(&memory, "1", "aa"), Ok(()));
    }

    #[tokio::test]
    async fn a_claim_that_is_given_up_leaves_the_action_to_the_next() {
        let memory = Memory::default();
        let (one, of) = (id("1"), digest("aa"));
        memory.open(&one, entry("aa")).unwrap();
        let first = memory.claim(&one, &of).await.unwrap();
        let mut second = std::pin::pin!(memory.claim(&one, &of));
        assert!(futures_util::poll!(&mut second).is_pending(), "one at a time");
        drop(first);
        second.await.unwrap().granted();
        assert_eq!(memory.claim(&one, &of).await.err(), Some(RefusalKind::AlreadyExecuted));
    }

    #[test]
    fn the_memory_is_bounded_and_what_it_forgot_cannot_be_claimed() {
        let memory = Memory::default();
        for n in 0..=LIMIT {
            memory.open(&id(&n.to_string()), entry("aa")).unwrap();
        }
        assert_eq!(memory.lock().by_id.len(), LIMIT);
        assert_eq!(claim(&memory, "0", "aa"), Err(RefusalKind::Expired));
        assert_eq!(claim(&memory, "1", "aa"), Ok(()));
    }

    #[test]
    fn what_waits_is_not_forgotten_for_what_comes_and_goes() {
        let memory = Memory::default();
        for waiting in ["waiting", "promised"] {
            memory.open(&id(waiting), entry("aa")).unwrap();
        }
        // A withdrawal of what was promised changes nothing at the server.
        memory.over(&id("promised"));
        memory.open(&id("promised"), entry("aa")).unwrap();
        for n in 0..3 * LIMIT {
            let n = n.to_string();
            memory.open(&id(&n), entry("aa")).unwrap();
            match n.len() % 2 {
                0 => claim(&memory, &n, "aa").unwrap(),
                _ => drop(memory.over(&id(&n))),
            }
        }
        let entries = memory.lock();
        assert_eq!((entries.open.len(), entries.over.len()), (2, LIMIT));
        assert_eq!(entries.by_id.len(), LIMIT + 2);
        drop(entries);
        assert_eq!(claim(&memory, "0", "aa"), Err(RefusalKind::Expired));
        for waiting in ["waiting", "promised"] {
            assert_eq!(claim(&memory, waiting, "aa"), Ok(()));
        }
    }
}
