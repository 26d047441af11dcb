//! Every state that two actions and two callers can come to, breadth first.
//!
//! A caller does what a governor does: evaluate, wait, hold the answer against its
//! floor, claim, run; and what can happen to one: it is cancelled, is promised its
//! action, gives it up, loses an answer, dies. Beside them act approvers, clients'
//! users, the kill switch, time, and a network that delivers twice. An action is
//! what [`Life`] says, and knows besides what really happened to it.
//!
//! Time is in minutes from now. Of a long time (15 minutes, which only a promise
//! gives) a step leaves as much, or two; of one that is over it only counts whether
//! its end is still news. So there are five.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::LazyLock,
};

use super::*;

const MINUTE: i64 = 60_000;
const NO_NEWS: i16 = (-TIME_TO_TELL / MINUTE) as i16;
const SHORT: i16 = 2;
const LONG: i16 = (TIME_TO_JOIN / MINUTE) as i16;
const NOW: i64 = 0;

/// What a call is to policy and to its tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    state: ActionState,
    in_client: bool,
    /// A person must have approved, whatever the authority says.
    floor: bool,
}

const KINDS: [Kind; 6] = {
    const fn kind(state: ActionState, in_client: bool, floor: bool) -> Kind {
        Kind { state, in_client, floor }
    }
    [
        kind(ActionState::Pending, false, false),
        kind(ActionState::Pending, true, false),
        kind(ActionState::Pending, false, true),
        kind(ActionState::Allowed, false, false),
        kind(ActionState::Allowed, false, true),
        kind(ActionState::Denied, false, false),
    ]
};

/// Which of them are two calls beside each other: each way to wait once, with each
/// way not to. (All 21 pairs have 5,328,178 states; calls that wait touch each other
/// where they are identical, which every pair has in it.)
const PAIRS: [[usize; 2]; 4] = [[0, 5], [1, 3], [2, 4], [3, 4]];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Deed {
    /// Which of the two calls it is.
    call: usize,
    state: ActionState,
    left: i16,
    promised: bool,
    /// Who was promised it and did not give it up, a bit for each caller.
    holders: u8,
    /// What really happened.
    approved: bool,
    claimed: bool,
    ran: bool,
    withdrawn: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Caller {
    Idle,
    /// A person must decide.
    Waiting(usize),
    /// The authority let it pass, with an approval or without.
    Passed(usize, bool),
    Claimed(usize),
    Running(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    killed: bool,
    deeds: [Option<Deed>; 2],
    callers: [Caller; 2],
}

const START: World = World { killed: false, deeds: [None; 2], callers: [Caller::Idle; 2] };

/// What the calls are; equal ones are identical calls.
#[derive(Debug, Clone, Copy)]
struct Calls([Kind; 2]);

/// Those of the two calls, and of another.
static DIGESTS: LazyLock<[Digest; 3]> =
    LazyLock::new(|| [1_u8, 2, 3].map(|byte| hex::encode([byte; 32]).parse().expect("a digest")));

impl World {
    /// The one of several worlds of which all the same can be told: where callers
    /// have changed places, or time means nothing any more.
    fn told_once(mut self) -> Self {
        for deed in self.deeds.iter_mut().flatten() {
            let is_open = matches!(
                deed.state,
                ActionState::Pending | ActionState::Allowed | ActionState::Approved
            );
            let is_news = matches!(deed.state, ActionState::Rejected | ActionState::Expired);
            if !is_open && !is_news {
                deed.left = NO_NEWS;
            }
        }
        if self.callers[0] > self.callers[1] {
            self.callers.swap(0, 1);
            for deed in self.deeds.iter_mut().flatten() {
                deed.holders = (deed.holders & 1) << 1 | deed.holders >> 1;
            }
        }
        self
    }

    fn deed(&self, at: usize) -> Deed {
        self.deeds[at].expect("it was opened")
    }

    fn with_deed(mut self, at: usize, deed: Deed) -> Self {
        self.deeds[at] = Some(deed);
        self
    }

    fn with_caller(mut self, who: usize, caller: Caller) -> Self {
        self.callers[who] = caller;
        self
    }
}

impl Calls {
    fn life(&self, deed: Deed) -> Life {
        Life {
            state: deed.state,
            digest: DIGESTS[deed.call],
            expires_at: i64::from(deed.left) * MINUTE,
            promised: deed.promised,
            in_client: self.0[deed.call].in_client,
        }
    }

    /// The deed as the authority keeps it after `event`, and its answer.
    fn after(&self, world: World, at: usize, event: Event) -> (World, Result<(), Refused>) {
        let before = world.deed(at);
        let (life, answer) = self.life(before).after(event, NOW, world.killed);
        let mut deed = Deed {
            state: life.state,
            left: i16::try_from(life.expires_at / MINUTE).expect("one of five times"),
            promised: life.promised,
            ..before
        };
        match event {
            Event::Approve | Event::Confirm(ClientAnswer::Approved) if answer.is_ok() => {
                assert!(!before.approved && before.left > 0, "{before:?}");
                let may = !matches!(event, Event::Confirm(_))
                    || self.0[before.call].in_client && !world.killed;
                assert!(may, "the client's word counted: {before:?}");
                deed.approved = true;
            }
            Event::Claim(claimed) if answer.is_ok() => {
                let kind = self.0[before.call];
                let asks = kind.state == ActionState::Pending;
                assert_eq!(claimed, DIGESTS[before.call], "other arguments");
                assert!(before.approved || !asks, "without an approval: {before:?}");
                assert!(kind.state != ActionState::Denied, "denied: {before:?}");
                assert!(before.left > 0, "expired: {before:?}");
                assert!(!world.killed, "under the kill switch: {before:?}");
                assert!(!before.claimed, "consumed before: {before:?}");
                assert!(!before.withdrawn, "withdrawn: {before:?}");
                deed.claimed = true;
            }
            Event::Withdraw | Event::Abandon if life.state == ActionState::Withdrawn => {
                let kept = before.promised && before.holders != 0 && before.left > 0;
                let is_open = matches!(before.state, ActionState::Pending | ActionState::Approved);
                assert!(!(kept && is_open), "a promise was broken: {before:?}");
                deed.withdrawn = true;
            }
            _ => {}
        }
        if let Err(Refused::State(told)) = answer {
            assert_eq!(told, deed.state);
        }
        (world.with_deed(at, deed), answer)
    }

    /// All worlds that can come next.
    fn next(&self, world: World) -> Vec<World> {
        let mut next = vec![World { killed: !world.killed, ..world }];
        self.let_time_pass(world, &mut next);
        for at in (0..2).filter(|at| world.deeds[*at].is_some()) {
            let deed = world.deed(at);
            for event in [
                Event::Approve,
                Event::Reject,
                Event::Confirm(ClientAnswer::Approved),
                Event::Confirm(ClientAnswer::Rejected),
            ] {
                next.push(self.after(world, at, event).0);
            }
            // What was delivered before is delivered again.
            if deed.claimed {
                let (again, answer) = self.after(world, at, Event::Claim(DIGESTS[deed.call]));
                assert!(answer.is_err(), "claimed twice: {deed:?}");
                next.push(again);
            }
            if deed.withdrawn {
                next.push(self.after(world, at, Event::Withdraw).0);
            }
            if matches!(deed.state, ActionState::Completed | ActionState::Failed) {
                for event in [Event::Complete, Event::Fail] {
                    next.push(self.after(world, at, event).0);
                }
            }
        }
        for who in 0..2 {
            self.let_call(world, who, &mut next);
        }
        next
    }

    fn let_time_pass(&self, world: World, next: &mut Vec<World>) {
        let pass = |left: i16, jump: bool| match left {
            LONG if !jump => LONG,
            LONG => SHORT,
            left if left > 0 => left - 1,
            left => left,
        };
        for jumps in [[false, false], [false, true], [true, false], [true, true]] {
            let mut later = world;
            for (deed, jump) in later.deeds.iter_mut().zip(jumps) {
                if let Some(deed) = deed {
                    deed.left = pass(deed.left, jump);
                }
            }
            next.push(later);
        }
        // A day later nothing is news.
        let mut later = world;
        for deed in later.deeds.iter_mut().flatten() {
            deed.left = NO_NEWS;
        }
        next.push(later);
    }

    fn let_call(&self, world: World, who: usize, next: &mut Vec<World>) {
        let idle = world.with_caller(who, Caller::Idle);
        let withdraw = |at| self.after(idle, at, Event::Withdraw).0;
        let bit = 1 << who;
        match world.callers[who] {
            Caller::Idle => {
                for call in 0..2 {
                    next.extend(self.evaluated(world, who, call));
                }
            }
            Caller::Waiting(at) => {
                // It is cancelled, or dies.
                next.extend([withdraw(at), idle]);
                let (promised, answer) = self.after(world, at, Event::Promise);
                if answer.is_ok() {
                    let mut deed = promised.deed(at);
                    deed.holders |= bit;
                    let promised = promised.with_deed(at, deed);
                    // It waits on as a task, or was answered as pending.
                    next.extend([promised, promised.with_caller(who, Caller::Idle)]);
                }
                // Its task is cancelled: once, or delivered twice.
                let mut deed = world.deed(at);
                if deed.holders & bit != 0 {
                    deed.holders &= !bit;
                    let given_up = idle.with_deed(at, deed);
                    next.push(match deed.holders {
                        0 => self.after(given_up, at, Event::Abandon).0,
                        _ => given_up,
                    });
                }
                let life = self.life(world.deed(at)).at(NOW);
                match life.state {
                    ActionState::Pending => {}
                    ActionState::Approved => {
                        next.push(world.with_caller(who, Caller::Passed(at, true)));
                    }
                    _ => next.push(idle),
                }
            }
            Caller::Passed(at, approved) => {
                next.extend([withdraw(at), idle]);
                let deed = world.deed(at);
                if self.0[deed.call].floor && !approved {
                    return;
                }
                let (claimed, answer) = self.after(world, at, Event::Claim(DIGESTS[deed.call]));
                // The answer arrives, or is lost.
                next.push(claimed.with_caller(who, Caller::Idle));
                if answer.is_ok() {
                    next.push(claimed.with_caller(who, Caller::Claimed(at)));
                }
                let (stretched, answer) = self.after(world, at, Event::Claim(DIGESTS[2]));
                assert!(answer.is_err(), "stretched to other arguments: {deed:?}");
                next.push(stretched.with_caller(who, Caller::Idle));
            }
            Caller::Claimed(at) => {
                // It goes away between the two, or dies.
                next.extend([withdraw(at), idle]);
                let mut deed = world.deed(at);
                let kind = self.0[deed.call];
                assert!(!deed.ran, "ran twice: {deed:?}");
                assert!(deed.claimed, "without a claim: {deed:?}");
                let needs = kind.floor || kind.state == ActionState::Pending;
                assert!(deed.approved || !needs, "below the stricter of the two: {deed:?}");
                deed.ran = true;
                next.push(world.with_deed(at, deed).with_caller(who, Caller::Running(at)));
            }
            Caller::Running(at) => {
                next.push(idle);
                next.extend([Event::Complete, Event::Fail].map(|it| self.after(idle, at, it).0));
            }
        }
    }

    /// The call is evaluated: it joins what an identical one was promised, or opens
    /// an action of its own, where there is still one to open.
    fn evaluated(&self, world: World, who: usize, call: usize) -> Option<World> {
        let kind = self.0[call];
        if world.killed || kind.state == ActionState::Denied {
            return None;
        }
        let is_identical = |deed: &Deed| deed.call == call && deed.promised;
        let latest = (0..2).rev().find(|at| world.deeds[*at].as_ref().is_some_and(is_identical));
        if let Some(at) = latest
            && let Some(life) = self.life(world.deed(at)).joined(NOW)
        {
            let deed = Deed { state: life.state, promised: life.promised, ..world.deed(at) };
            let world = world.with_deed(at, deed);
            return Some(match life.state {
                ActionState::Pending => world.with_caller(who, Caller::Waiting(at)),
                ActionState::Approved => world.with_caller(who, Caller::Passed(at, true)),
                _ => world,
            });
        }
        let at = world.deeds.iter().position(Option::is_none)?;
        let deed = Deed {
            call,
            state: kind.state,
            left: SHORT,
            promised: false,
            holders: 0,
            approved: false,
            claimed: false,
            ran: false,
            withdrawn: false,
        };
        let waits = kind.state == ActionState::Pending;
        let caller = if waits { Caller::Waiting(at) } else { Caller::Passed(at, false) };
        Some(world.with_deed(at, deed).with_caller(who, caller))
    }

    /// What holds in every world, whatever led there.
    fn check(&self, world: World) {
        for deed in world.deeds.into_iter().flatten() {
            let kind = self.0[deed.call];
            match deed.state {
                ActionState::Approved => assert!(deed.approved, "{deed:?}"),
                ActionState::Allowed => assert_eq!(kind.state, ActionState::Allowed),
                ActionState::Executing => assert!(deed.claimed, "{deed:?}"),
                _ => {}
            }
            assert!(!deed.ran || deed.claimed, "ran without a claim: {deed:?}");
            let needs = kind.floor || kind.state == ActionState::Pending;
            assert!(!deed.ran || deed.approved || !needs, "ran without an approval: {deed:?}");
            assert!(!deed.claimed || !deed.promised, "claimed, and can be joined: {deed:?}");
        }
    }

    fn explore(&self) -> HashSet<World> {
        let mut seen = HashSet::from([START]);
        let mut ahead = VecDeque::from([START]);
        while let Some(world) = ahead.pop_front() {
            self.check(world);
            let next = self.next(world).into_iter().map(World::told_once);
            ahead.extend(next.filter(|next| seen.insert(*next)));
        }
        seen
    }
}

#[test]
fn no_state_of_two_actions_and_two_callers_breaks_a_promise() {
    let mut states = 0;
    let mut reached: HashMap<&str, usize> = HashMap::new();
    for [first, second] in PAIRS {
        let worlds = Calls([KINDS[first], KINDS[second]]).explore();
        states += worlds.len();
        for deed in worlds.iter().flat_map(|world| world.deeds).flatten() {
            *reached.entry(deed.state.as_str()).or_default() += 1;
            *reached.entry("ran").or_default() += usize::from(deed.ran);
            let shared = deed.holders.count_ones() == 2;
            *reached.entry("promised to both").or_default() += usize::from(shared);
        }
    }
    println!("{states} states, with actions in {reached:?}");
    assert!(states > 400_000, "{states} states");
    for state in ActionState::ALL.into_iter().filter(|state| *state != ActionState::Denied) {
        assert!(reached.contains_key(state.as_str()), "no action became {state}: {reached:?}");
    }
    assert!(reached["ran"] > 0 && reached["promised to both"] > 0, "{reached:?}");
}
