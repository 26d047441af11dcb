//! The life of one action: pure, no clock and no database.
//!
//! ```text
//!            ┌─ approve ─► approved ─┐
//! pending ───┼─ reject ──► rejected  ├─ claim ─► executing ─► completed | failed
//!            ├─ withdraw ► withdrawn │
//!            └─ expire ──► expired   │
//! allowed ───────────────────────────┘            denied: nothing follows
//! ```
//!
//! The client's user can approve or reject like an approver, where policy takes
//! their word for the action, and the kill switch is not raised.
//!
//! A pending action can be promised to its agent: it is not withdrawn any more,
//! unless the agent itself abandons it, and an identical call joins it, until its
//! decision is claimed or its end was told once.

use std::{fmt, str::FromStr};

use ascend_sdk::{ClientAnswer, Digest, RefusalKind};
use serde::{Deserialize, Serialize};

/// Where an action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionState {
    /// A person must decide.
    Pending,
    /// Policy let it pass; it has not run yet.
    Allowed,
    /// A person approved; it has not run yet.
    Approved,
    /// A person rejected it.
    Rejected,
    /// Its time ran out before it was decided or run.
    Expired,
    /// Its caller gave it up, or came back with other arguments.
    Withdrawn,
    /// Its decision was claimed for the one run.
    Executing,
    /// It ran.
    Completed,
    /// It ran, and failed.
    Failed,
    /// Policy, or the kill switch, forbade it.
    Denied,
}

impl ActionState {
    pub(crate) const ALL: [Self; 10] = [
        Self::Pending,
        Self::Allowed,
        Self::Approved,
        Self::Rejected,
        Self::Expired,
        Self::Withdrawn,
        Self::Executing,
        Self::Completed,
        Self::Failed,
        Self::Denied,
    ];

    /// The state as a word, as the database and the CLI know it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Allowed => "allowed",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Executing => "executing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Denied => "denied",
        }
    }

    /// The refusal of a claim in this state; `None` where a claim can be granted.
    #[must_use]
    pub const fn refusal(self) -> Option<RefusalKind> {
        match self {
            Self::Allowed | Self::Approved => None,
            Self::Pending => Some(RefusalKind::ApprovalMissing),
            Self::Rejected => Some(RefusalKind::Rejected),
            Self::Expired => Some(RefusalKind::Expired),
            Self::Withdrawn => Some(RefusalKind::Cancelled),
            Self::Executing | Self::Completed | Self::Failed => Some(RefusalKind::AlreadyExecuted),
            Self::Denied => Some(RefusalKind::Denied),
        }
    }

    /// Whether time can end it.
    const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Allowed | Self::Approved)
    }
}

impl fmt::Display for ActionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no [`ActionState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown state")]
pub struct UnknownState;

impl FromStr for ActionState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownState)
    }
}

/// What an action's future depends on. Times are milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) state: ActionState,
    pub(crate) digest: Digest,
    pub(crate) expires_at: i64,
    pub(crate) promised: bool,
    /// Whether the word of the client's user counts.
    pub(crate) in_client: bool,
}

/// What can happen to an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Approve,
    Reject,
    /// The client says that its user approves, or rejects.
    Confirm(ClientAnswer),
    Withdraw,
    /// Its agent does not want it any more, promised or not.
    Abandon,
    /// Its agent was told that it waits on.
    Promise,
    Claim(Digest),
    Complete,
    Fail,
}

/// Why something could not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The action stands where this cannot happen any more.
    State(ActionState),
    DigestMismatch,
    KillSwitch,
    /// The approvers alone decide on it.
    Reserved,
}

/// However late a person approves, the caller has this long to run the action.
pub(crate) const TIME_TO_CLAIM: i64 = 60_000;
/// The same where nobody waits and an agent must be told to come back.
pub(crate) const TIME_TO_JOIN: i64 = 15 * 60_000;
/// How long after its time an end is still news to the agent.
const TIME_TO_TELL: i64 = 24 * 3_600_000;

impl Life {
    /// What becomes of the action when `event` happens at `now`. Also where the
    /// event is refused the action may have changed: it expired, or a claim for
    /// other arguments ended it.
    pub(crate) fn after(self, event: Event, now: i64, killed: bool) -> (Self, Result<(), Refused>) {
        let life = self.at(now);
        let become_ = |state| (Self { state, ..life }, Ok(()));
        let refused = || (life, Err(Refused::State(life.state)));
        match (event, life.state) {
            (Event::Confirm(_), ActionState::Pending) if killed => (life, Err(Refused::KillSwitch)),
            (Event::Confirm(_), ActionState::Pending) if !life.in_client => {
                (life, Err(Refused::Reserved))
            }
            (Event::Approve | Event::Confirm(ClientAnswer::Approved), ActionState::Pending) => {
                let expires_at = life.time_to_run(now);
                (Self { state: ActionState::Approved, expires_at, ..life }, Ok(()))
            }
            (Event::Reject | Event::Confirm(ClientAnswer::Rejected), ActionState::Pending) => {
                become_(ActionState::Rejected)
            }
            (Event::Approve | Event::Reject | Event::Confirm(_), _) => refused(),

            (Event::Claim(_), ActionState::Allowed | ActionState::Approved) if killed => {
                (life, Err(Refused::KillSwitch))
            }
            (Event::Claim(digest), ActionState::Allowed | ActionState::Approved) => {
                if digest == life.digest {
                    (Self { state: ActionState::Executing, promised: false, ..life }, Ok(()))
                } else {
                    // Whoever stretches a decision to other arguments loses it.
                    let life = Self { state: ActionState::Withdrawn, promised: false, ..life };
                    (life, Err(Refused::DigestMismatch))
                }
            }
            (Event::Claim(_), _) => refused(),

            // An approval that came at the same moment must not be lost, and an
            // end is still to be told.
            (
                Event::Promise,
                ActionState::Pending
                | ActionState::Approved
                | ActionState::Rejected
                | ActionState::Expired,
            ) => {
                let promised = Self { promised: true, ..life };
                let expires_at = match life.state {
                    ActionState::Approved => promised.time_to_run(now),
                    _ => life.expires_at,
                };
                (Self { expires_at, ..promised }, Ok(()))
            }
            (Event::Promise, _) => refused(),

            (Event::Withdraw, ActionState::Pending | ActionState::Approved) if life.promised => {
                (life, Ok(()))
            }
            // What another call of the same agent runs is not given up.
            (Event::Abandon, ActionState::Executing) => refused(),
            // Executing too: a caller can go away between its claim and its run.
            (
                Event::Withdraw | Event::Abandon,
                ActionState::Pending
                | ActionState::Allowed
                | ActionState::Approved
                | ActionState::Executing,
            ) => (Self { state: ActionState::Withdrawn, promised: false, ..life }, Ok(())),
            (
                Event::Withdraw | Event::Abandon,
                ActionState::Withdrawn
                | ActionState::Rejected
                | ActionState::Expired
                | ActionState::Denied,
            ) => (life, Ok(())),
            (Event::Withdraw | Event::Abandon, ActionState::Completed | ActionState::Failed) => {
                refused()
            }

            // Allowed and approved too: plain ASCEND clients never claim.
            (
                Event::Complete,
                ActionState::Executing
                | ActionState::Allowed
                | ActionState::Approved
                | ActionState::Completed,
            ) => become_(ActionState::Completed),
            (
                Event::Fail,
                ActionState::Executing
                | ActionState::Allowed
                | ActionState::Approved
                | ActionState::Failed,
            ) => become_(ActionState::Failed),
            // What ran past its expiry without a claim is still worth recording.
            (Event::Complete, ActionState::Expired) if self.state.is_granted() => {
                become_(ActionState::Completed)
            }
            (Event::Fail, ActionState::Expired) if self.state.is_granted() => {
                become_(ActionState::Failed)
            }
            (Event::Complete | Event::Fail, _) => refused(),
        }
    }

    /// Whether the request that claimed the action may be told so once more: its answer
    /// may have got lost, and nobody else knows its key.
    pub(crate) fn can_tell_claim(self, now: i64, killed: bool) -> bool {
        self.state == ActionState::Executing && now < self.expires_at && !killed
    }

    /// What becomes of the action when an identical call comes; `None` when that
    /// opens another one.
    pub(crate) fn joined(self, now: i64) -> Option<Self> {
        let life = self.at(now);
        match life.state {
            _ if !life.promised => None,
            ActionState::Pending | ActionState::Approved => Some(life),
            ActionState::Rejected | ActionState::Expired
                if now < life.expires_at.saturating_add(TIME_TO_TELL) =>
            {
                Some(Self { promised: false, ..life })
            }
            _ => None,
        }
    }

    /// Until when an action that is approved at `now` can run.
    fn time_to_run(self, now: i64) -> i64 {
        let time = if self.promised { TIME_TO_JOIN } else { TIME_TO_CLAIM };
        self.expires_at.max(now.saturating_add(time))
    }

    /// The action at `now`, when nothing but time has passed.
    pub(crate) fn at(self, now: i64) -> Self {
        let state = if self.state.is_open() && now >= self.expires_at {
            ActionState::Expired
        } else {
            self.state
        };
        Self { state, ..self }
    }
}

impl ActionState {
    const fn is_granted(self) -> bool {
        matches!(self, Self::Allowed | Self::Approved)
    }
}

#[cfg(test)]
mod exploration;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(byte: u8) -> Digest {
        hex::encode([byte; 32]).parse().expect("a digest")
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => Just(Event::Approve),
            1 => Just(Event::Reject),
            2 => Just(Event::Confirm(ClientAnswer::Approved)),
            1 => Just(Event::Confirm(ClientAnswer::Rejected)),
            1 => Just(Event::Withdraw),
            1 => Just(Event::Abandon),
            2 => Just(Event::Promise),
            4 => Just(Event::Claim(digest(1))),
            1 => Just(Event::Claim(digest(2))),
            1 => Just(Event::Complete),
            1 => Just(Event::Fail),
        ]
    }

    fn start() -> impl Strategy<Value = ActionState> {
        prop_oneof![
            6 => Just(ActionState::Pending),
            3 => Just(ActionState::Allowed),
            1 => Just(ActionState::Denied),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_claim_is_granted_at_most_once_and_only_under_a_decision(
            state in start(),
            in_client in any::<bool>(),
            claims_at_once in any::<bool>(),
            steps in prop::collection::vec((event(), 0_i64..400, prop::bool::weighted(0.2)), 0..24),
        ) {
            const EXPIRES: i64 = 1_000;
            let mut life =
                Life { state, digest: digest(1), expires_at: EXPIRES, promised: false, in_client };
            let mut now = 0;
            let mut claims = 0;
            if claims_at_once && let (next, Ok(())) = life.after(Event::Claim(digest(1)), now, false) {
                prop_assert_eq!(state, ActionState::Allowed, "only what policy let pass");
                life = next;
                claims = 1;
            }
            let mut approved_at = None;
            let mut promised_at: Option<i64> = None;
            let mut ended = state == ActionState::Denied;
            for (event, later, killed) in steps {
                now += later;
                let before = life;
                let (next, answer) = life.after(event, now, killed);
                if matches!(event, Event::Confirm(_)) {
                    prop_assert!(in_client && !killed || answer.is_err(), "a reserved approval");
                    prop_assert!(answer.is_ok() || next == before.at(now));
                }
                let approve = [Event::Approve, Event::Confirm(ClientAnswer::Approved)];
                if approve.contains(&event) && answer.is_ok() {
                    prop_assert!(now < EXPIRES, "an approval after the expiry is refused");
                    prop_assert_eq!(before.state, ActionState::Pending);
                    prop_assert!(approved_at.replace(now).is_none(), "approved twice");
                }
                if let Event::Claim(claimed) = event && answer.is_ok() {
                    claims += 1;
                    prop_assert_eq!(claimed, digest(1), "other arguments");
                    prop_assert!(!killed, "under the kill switch");
                    prop_assert!(!ended, "after an end");
                    prop_assert!(state == ActionState::Allowed || approved_at.is_some());
                    prop_assert!(now < before.expires_at, "after the expiry");
                    let longest = if promised_at.is_some() { TIME_TO_JOIN } else { TIME_TO_CLAIM };
                    let last = approved_at.max(promised_at).unwrap_or(0) + longest;
                    prop_assert!(before.expires_at <= EXPIRES.max(last));
                }
                if event == Event::Promise && answer.is_ok() {
                    prop_assert!(claims == 0, "promised after it ran");
                    promised_at = Some(now);
                }
                let open = matches!(next.state, ActionState::Pending | ActionState::Approved);
                if event == Event::Withdraw && before.at(now).promised && before.at(now).state.is_open() {
                    prop_assert!(open, "a promised action was withdrawn");
                }
                if event == Event::Abandon {
                    prop_assert!(!open, "an abandoned action can still run");
                    prop_assert!(before.state != ActionState::Executing || next == before);
                }
                if let Some(joined) = next.joined(now) {
                    prop_assert!(next.promised, "joined without a promise");
                    prop_assert!(claims == 0, "joined after it ran");
                    prop_assert!(joined.promised == open, "an end is told once");
                    prop_assert!(!joined.promised || joined == next, "joining changes nothing");
                    prop_assert!(joined.promised || joined.joined(now).is_none());
                }
                prop_assert!(claims <= 1, "claimed twice");
                if next.can_tell_claim(now, killed) {
                    prop_assert!(claims == 1 && !killed && now < next.expires_at);
                    prop_assert!(!ended, "what has ended does not run again");
                }
                let finished = matches!(event, Event::Complete | Event::Fail) && answer.is_ok();
                ended |= finished
                    || answer == Err(Refused::DigestMismatch)
                    || matches!(event, Event::Reject | Event::Confirm(ClientAnswer::Rejected))
                        && answer.is_ok()
                    || matches!(event, Event::Withdraw | Event::Abandon) && answer.is_ok() && !open
                    || matches!(next.state, ActionState::Expired);
                life = next;
            }
        }

        #[test]
        fn what_is_refused_says_where_the_action_stands(
            state in prop::sample::select(ActionState::ALL.to_vec()),
            event in event(),
            now in 0_i64..2_000,
        ) {
            let life = Life {
                state, digest: digest(1), expires_at: 1_000, promised: false, in_client: true,
            };
            let (next, answer) = life.after(event, now, false);
            if let Err(Refused::State(told)) = answer {
                prop_assert_eq!(told, next.state);
            }
            if let (Event::Claim(_), Err(Refused::State(told))) = (event, answer) {
                prop_assert!(told.refusal().is_some());
            }
        }
    }

    #[test]
    fn a_claim_for_other_arguments_ends_the_decision() {
        let life = Life {
            state: ActionState::Approved,
            digest: digest(1),
            expires_at: 1_000,
            promised: false,
            in_client: false,
        };
        let (life, answer) = life.after(Event::Claim(digest(2)), 0, false);
        assert_eq!(answer, Err(Refused::DigestMismatch));
        let (_, answer) = life.after(Event::Claim(digest(1)), 0, false);
        assert_eq!(answer, Err(Refused::State(ActionState::Withdrawn)));
    }

    #[test]
    fn the_kill_switch_holds_a_claim_back_and_its_release_lets_it_pass() {
        let life = Life {
            state: ActionState::Approved,
            digest: digest(1),
            expires_at: 1_000,
            promised: false,
            in_client: false,
        };
        let (life, answer) = life.after(Event::Claim(digest(1)), 0, true);
        assert_eq!(answer, Err(Refused::KillSwitch));
        let (life, answer) = life.after(Event::Claim(digest(1)), 1, false);
        assert_eq!((life.state, answer), (ActionState::Executing, Ok(())));
    }

    #[test]
    fn states_are_read_back() {
        for state in ActionState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("done".parse::<ActionState>(), Err(UnknownState));
    }
}
