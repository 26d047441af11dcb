#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;

use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;

const FIRST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(5);
const WAIT: u64 = 25;
const ROUND_TRIP: Duration = Duration::from_millis(20);

fn id(number: u64) -> ActionId {
    ActionId::new(number.to_string()).unwrap()
}

/// What a server can do.
#[derive(Debug, Clone, Copy)]
struct Server {
    batches: bool,
    holds: bool,
}

const CENTER: Server = Server { batches: true, holds: true };
const ASCEND: Server = Server { batches: false, holds: false };
const SERVERS: [Server; 4] = [
    CENTER,
    ASCEND,
    Server { batches: true, holds: false },
    Server { batches: false, holds: true },
];

struct Flight {
    order: Order,
    sent: Instant,
    end: Instant,
}

/// A board and its server, in a time of their own.
struct World {
    server: Server,
    board: Board,
    now: Instant,
    flights: Vec<Flight>,
    decided: HashSet<ActionId>,
    /// How many of the next answers are lost.
    failing: usize,
    /// How many questions were sent, and the most that were open at once.
    sent: usize,
    most: usize,
    waiting: Vec<(ActionId, u64, oneshot::Receiver<Ending>)>,
}

impl World {
    fn new(server: Server) -> Self {
        Self {
            server,
            board: Board::new((FIRST, MOST), WAIT),
            now: Instant::now(),
            flights: Vec::new(),
            decided: HashSet::new(),
            failing: 0,
            sent: 0,
            most: 0,
            waiting: Vec::new(),
        }
    }

    fn join(&mut self, number: u64) {
        let (place, ending) = self.board.join(&id(number), self.now);
        self.waiting.push((id(number), place, ending));
    }

    fn leave(&mut self, index: usize) {
        if !self.waiting.is_empty() {
            let (id, number, _) = self.waiting.swap_remove(index % self.waiting.len());
            self.board.leave(&id, number);
        }
    }

    fn decide(&mut self, number: u64) {
        let id = id(number);
        for flight in &mut self.flights {
            if flight.order.wait.is_some() && self.server.holds && flight.order.ids.contains(&id) {
                flight.end = flight.end.min(self.now + ROUND_TRIP);
            }
        }
        self.decided.insert(id);
    }

    /// Everything that happens within `time`, in its order.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..100_000 {
            self.check();
            self.drop_cancelled();
            let (orders, again) = self.board.orders(self.now);
            for order in orders {
                self.send(order);
            }
            self.check();
            let next = self.flights.iter().map(|flight| flight.end).chain(again).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            self.answer();
        }
        panic!("it asks without end");
    }

    fn drop_cancelled(&mut self) {
        for flight in self.flights.extract_if(.., |flight| flight.order.cancelled.is_cancelled()) {
            self.board.dropped(flight.order.leg);
        }
    }

    fn send(&mut self, order: Order) {
        assert!(!order.ids.is_empty() && (order.is_batch || order.ids.len() == 1));
        let is_decided = order.ids.iter().any(|id| self.decided.contains(id));
        let takes = !order.is_batch || self.server.batches;
        let held = order.wait.filter(|_| self.server.holds && takes && !is_decided);
        let time = held.map_or(ROUND_TRIP, Duration::from_secs);
        self.flights.push(Flight { order, sent: self.now, end: self.now + time });
        self.sent += 1;
        self.most = self.most.max(self.flights.len());
    }

    fn answer(&mut self) {
        let now = self.now;
        let ended: Vec<_> = self.flights.extract_if(.., |flight| flight.end <= now).collect();
        for Flight { order, sent, .. } in ended {
            let report = self.report(&order, sent);
            self.board.settle(now, report);
        }
    }

    fn report(&mut self, order: &Order, sent: Instant) -> Report {
        let mut report = Report {
            leg: order.leg,
            told: Vec::new(),
            holds: None,
            held: false,
            batches: None,
            quiet: None,
        };
        if self.failing > 0 {
            self.failing -= 1;
            let lost = |id: &ActionId| (id.clone(), Told::Passing(Duration::ZERO));
            report.told = order.ids.iter().map(lost).collect();
            return report;
        }
        report.batches = order.is_batch.then_some(self.server.batches);
        if report.batches == Some(false) {
            report.told = order.ids.iter().map(|id| (id.clone(), Told::Unasked)).collect();
            return report;
        }
        report.holds = order.wait.map(|_| self.server.holds);
        report.held = report.holds == Some(true) && self.now - sent > Duration::from_secs(12);
        for id in &order.ids {
            let told = if self.decided.contains(id) {
                report.held |= report.holds == Some(true);
                Told::Decided(Review::AutoApproved)
            } else {
                Told::Pending
            };
            report.told.push((id.clone(), told));
        }
        report
    }

    /// What holds at any time.
    fn check(&self) {
        let board = &self.board;
        let due = board.due.len() + board.due_alone.len();
        let mut asked = 0;
        for (id, entry) in &board.entries {
            assert!(!entry.waiters.is_empty(), "{id} is awaited by nobody");
            match entry.at {
                At::Due(at) => {
                    let set = if entry.alone { &board.due_alone } else { &board.due };
                    assert!(set.contains(&(at, id.clone())), "{id} is lost");
                }
                At::Asked(leg) => {
                    asked += 1;
                    let leg = board.legs.get(&leg).unwrap_or_else(|| panic!("{id} is lost"));
                    assert!(leg.ids.contains(id) && !leg.cancelled.is_cancelled());
                }
            }
        }
        assert_eq!(board.entries.len(), due + asked, "each is in one place");
        let singles = |held| {
            let count = |leg: &&Leg| !leg.is_batch && leg.is_held == held;
            board.legs.values().filter(count).filter(|leg| leg.live > 0).count()
        };
        assert!(singles(true) <= HELD && singles(false) <= SHORT);
    }

    /// How many of those who wait have heard an end; none of them another one
    /// than was decided.
    fn ended(&mut self) -> usize {
        let mut ended = 0;
        for (id, _, ending) in &mut self.waiting {
            match ending.try_recv() {
                Ok(ending) => {
                    assert_eq!(ending, Ok(Review::AutoApproved));
                    assert!(self.decided.contains(id), "{id} was not decided");
                    ended += 1;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => panic!("{id} was forgotten"),
            }
        }
        ended
    }
}

#[test]
fn one_waiter_is_asked_for_at_once_and_then_ever_more_rarely() {
    let mut world = World::new(ASCEND);
    world.join(1);
    world.pass(Duration::ZERO);
    assert_eq!(world.sent, 1, "the first question is asked at once");
    world.pass(Duration::from_secs(60));
    // 250 ms, growing by half to 5 s: 8 in the first 15 s, then one every 2.5 to 5 s.
    assert!((15..=35).contains(&world.sent), "{}", world.sent);
    let before = world.sent;
    world.decide(1);
    world.pass(MOST + ROUND_TRIP);
    assert_eq!(world.ended(), 1);
    assert!(world.sent - before <= 2);
    assert!(world.board.is_empty());
}

#[test]
fn a_center_holds_one_question_for_a_thousand_waiters_who_hear_at_once() {
    let mut world = World::new(CENTER);
    for number in 0..1_000 {
        world.join(number);
    }
    // 500 in one question.
    world.pass(Duration::from_secs(60));
    assert_eq!(world.board.legs.len(), 2);
    assert!(world.most <= 4, "{}", world.most);
    // One to learn what it takes, and two every 25 s.
    assert!(world.sent <= 9, "{}", world.sent);
    world.decide(7);
    world.pass(ROUND_TRIP);
    assert_eq!(world.ended(), 1, "within one round trip");
}

#[test]
fn what_was_decided_can_be_claimed_before_the_others_are_asked_for_again() {
    let mut world = World::new(CENTER);
    for number in 0..200 {
        world.join(number);
    }
    world.pass(Duration::from_secs(1));
    let sent = world.sent;
    world.decide(7);
    world.pass(ROUND_TRIP);
    assert_eq!(world.sent, sent);
    world.pass(GATHER_LEAST * 2);
    assert_eq!(world.sent, sent + 1);
    world.decide(8);
    world.pass(ROUND_TRIP);
    assert_eq!(world.ended(), 2, "nobody is forgotten for it");
}

#[test]
fn those_who_come_one_after_another_share_few_questions() {
    let mut world = World::new(CENTER);
    for number in 0..1_000 {
        world.join(number);
        world.pass(Duration::from_millis(7));
        assert!(world.board.legs.len() <= 12, "{}", world.board.legs.len());
    }
    assert!(world.sent <= 1_020, "{}", world.sent);
    world.pass(Duration::from_secs(1));
    for number in 0..1_000 {
        world.decide(number);
    }
    world.pass(Duration::from_millis(200));
    assert_eq!(world.ended(), 1_000);
}

#[test]
fn a_server_that_takes_one_action_at_a_time_gets_few_at_once_and_all_in_turn() {
    let mut world = World::new(ASCEND);
    for number in 0..1_000 {
        world.join(number);
    }
    world.pass(Duration::from_secs(10));
    assert!(world.most <= SHORT + HELD, "{}", world.most);
    // Each answer takes 20 ms, so 8 at once are 400 a second: nobody is left out.
    let least = world.board.entries.values().map(|entry| entry.pause).min().unwrap();
    assert!(least > FIRST, "one was not asked for");
    for number in 0..1_000 {
        world.decide(number);
    }
    world.pass(Duration::from_secs(12));
    assert_eq!(world.ended(), 1_000);
}

#[test]
fn a_server_that_cannot_hold_is_asked_about_many_at_once() {
    let mut world = World::new(Server { batches: true, holds: false });
    for number in 0..200 {
        world.join(number);
        world.pass(Duration::from_millis(10));
    }
    world.pass(Duration::from_secs(30));
    let before = world.sent;
    world.pass(Duration::from_secs(60));
    // 200 waiters by themselves would be some 3,200 questions.
    assert!(world.sent - before <= 60, "{}", world.sent - before);
}

#[test]
fn news_of_an_action_is_followed_up_once() {
    let mut world = World::new(ASCEND);
    world.join(1);
    world.pass(Duration::from_secs(60));
    let before = world.sent;
    assert!(world.board.wake(&id(1), world.now));
    assert!(world.board.wake(&id(1), world.now), "twice is as good as once");
    assert!(!world.board.wake(&id(2), world.now), "nobody waits for it");
    world.pass(ROUND_TRIP);
    assert_eq!(world.sent - before, 1);

    // News that comes while the question is out is not lost.
    world.board.wake(&id(1), world.now);
    let (orders, _) = world.board.orders(world.now);
    for order in orders {
        world.send(order);
    }
    world.board.wake(&id(1), world.now);
    world.pass(ROUND_TRIP * 2);
    assert_eq!(world.sent - before, 3);
}

#[test]
fn a_server_that_limits_requests_is_left_alone_by_all() {
    let mut world = World::new(ASCEND);
    for number in 0..100 {
        world.join(number);
    }
    world.pass(Duration::from_secs(30));
    while world.flights.is_empty() {
        world.pass(Duration::from_millis(10));
    }
    let limited = &world.flights[0].order;
    let quiet = Duration::from_secs(7);
    world.board.settle(
        world.now,
        Report {
            leg: limited.leg,
            told: vec![(limited.ids[0].clone(), Told::Passing(quiet))],
            holds: None,
            held: false,
            batches: None,
            quiet: Some(quiet),
        },
    );
    let until = world.now + quiet;
    let (orders, again) = world.board.orders(world.now + Duration::from_secs(6));
    assert!(orders.is_empty());
    assert_eq!(again, Some(until));
    assert!(!world.board.orders(until).0.is_empty());
}

#[test]
fn what_is_unclear_beside_others_is_asked_for_by_itself() {
    let mut world = World::new(CENTER);
    world.join(1);
    world.join(2);
    let (orders, _) = world.board.orders(world.now);
    let report = Report {
        leg: orders[0].leg,
        told: vec![(id(1), Told::Unclear), (id(2), Told::Pending)],
        holds: None,
        held: false,
        batches: Some(true),
        quiet: None,
    };
    world.board.settle(world.now, report);
    let (orders, _) = world.board.orders(world.now);
    let sent: Vec<_> = orders.iter().map(|order| (order.is_batch, order.ids.clone())).collect();
    assert_eq!(sent, [(true, vec![id(2)]), (false, vec![id(1)])]);
    // Three times nothing of use end the wait for it alone.
    let mut leg = orders[1].leg;
    for strike in 1..=STRIKES {
        let error = AuthorityError::InvalidRequest("HTTP 404".to_owned());
        let report = Report {
            leg,
            told: vec![(id(1), Told::Strike(error.clone()))],
            holds: None,
            held: false,
            batches: None,
            quiet: None,
        };
        world.board.settle(world.now, report);
        if strike == STRIKES {
            assert_eq!(world.waiting[0].2.try_recv().unwrap(), Err(error));
        } else {
            world.now += MOST;
            leg = world.board.orders(world.now).0[0].leg;
        }
    }
    assert_eq!(world.board.entries.len(), 1);
}

#[test]
fn the_last_to_leave_takes_the_question_along() {
    let mut world = World::new(CENTER);
    world.join(1);
    world.join(1);
    world.pass(Duration::from_millis(100));
    let (leg, place) = (world.flights[0].order.cancelled.clone(), world.waiting[0].1);
    assert!(!world.board.leave(&id(1), place) && !leg.is_cancelled());
    assert!(!world.board.leave(&id(1), place), "twice is as good as once");
    assert!(world.board.leave(&id(1), world.waiting[1].1), "the task is to know");
    assert!(leg.is_cancelled() && world.board.is_empty());
}

#[derive(Debug, Clone)]
enum Event {
    Join(u64),
    Leave(usize),
    Wake(u64),
    Decide(u64),
    Fail(usize),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0_u64..40).prop_map(Event::Join),
        3 => (0_usize..40).prop_map(Event::Leave),
        2 => (0_u64..40).prop_map(Event::Wake),
        3 => (0_u64..40).prop_map(Event::Decide),
        1 => (1_usize..4).prop_map(Event::Fail),
        6 => (0_u64..4_000).prop_map(Event::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However calls come and go, and whatever gets lost: who stays hears of
    /// the decision, and nobody hears of one that was not made.
    #[test]
    fn whoever_waits_long_enough_hears(
        server in prop::sample::select(SERVERS.to_vec()),
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new(server);
        for event in events {
            match event {
                Event::Join(number) => world.join(number),
                Event::Leave(index) => world.leave(index),
                Event::Wake(number) => {
                    world.board.wake(&id(number), world.now);
                }
                Event::Decide(number) => world.decide(number),
                Event::Fail(count) => world.failing += count,
                Event::Pass(milliseconds) => world.pass(Duration::from_millis(milliseconds)),
            }
            // An ending that was heard is over.
            for index in (0..world.waiting.len()).rev() {
                if let Ok(ending) = world.waiting[index].2.try_recv() {
                    prop_assert_eq!(ending, Ok(Review::AutoApproved));
                    let (id, number, _) = world.waiting.swap_remove(index);
                    prop_assert!(world.decided.contains(&id));
                    world.board.leave(&id, number);
                }
            }
        }
        world.failing = 0;
        for number in 0..40 {
            world.decide(number);
        }
        // The longest pause, and the queue.
        world.pass(MOST * 2);
        prop_assert_eq!(world.ended(), world.waiting.len());
        prop_assert!(world.board.is_empty());
    }
}
