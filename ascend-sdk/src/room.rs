//! The actions of this process that wait for a person, and the calls that wait
//! for them: identical ones wait for the same action.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{ActionId, Digest, Evaluation, TraceContext, digest::CallKey};

/// An action that waits for a person, or was allowed and is about to run.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) id: ActionId,
    /// As the authority knows it: an identical call may have another salt.
    pub(crate) digest: Digest,
    pub(crate) evaluation: Evaluation,
    pub(crate) what: String,
    /// Of the call that opened it.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) until: Instant,
    /// `None` for one that no other call joins.
    pub(crate) place: Option<Place>,
    /// Cancelled when nobody can join it any more.
    pub(crate) over: CancellationToken,
}

/// Who may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) server_id: String,
    pub(crate) session_id: String,
    pub(crate) call: CallKey,
}

#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<Seats>);

#[derive(Debug)]
struct Seat {
    open: Arc<Open>,
    /// How many calls wait for it now.
    calls: usize,
    /// Whether an agent was told that it waits on, and may come back from
    /// another session.
    promised: bool,
    _over: DropGuard,
}

impl Seat {
    fn is_for(&self, place: &Place) -> bool {
        self.open.place.as_ref().is_some_and(|own| {
            own.call == place.call
                && own.server_id == place.server_id
                && (self.promised || own.session_id == place.session_id)
        })
    }
}

impl Room {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The action that an identical call waits for, or is to come back for.
    pub(crate) fn join(&self, place: &Place) -> Option<Arc<Open>> {
        let mut seats = self.seats();
        let seat = seats.get_mut(&place.call)?.iter_mut().find(|seat| seat.is_for(place))?;
        seat.calls += 1;
        Some(seat.open.clone())
    }

    /// Takes a seat for `open`, or joins the one that an identical call took
    /// meanwhile, whose action is returned then.
    pub(crate) fn enter(&self, open: Open) -> Arc<Open> {
        let mut seats = self.seats();
        let Some(place) = &open.place else { return Arc::new(open) };
        let row = seats.entry(place.call).or_default();
        if let Some(seat) = row.iter_mut().find(|seat| seat.is_for(place)) {
            seat.calls += 1;
            return seat.open.clone();
        }
        let open = Arc::new(open);
        let _over = open.over.clone().drop_guard();
        row.push(Seat { open: open.clone(), calls: 1, promised: false, _over });
        open
    }

    /// A call waits no more. Whether it was the last, and nothing is promised or
    /// the process ends: the action is to be withdrawn then.
    pub(crate) fn leave(&self, open: &Arc<Open>, closing: bool) -> bool {
        if open.place.is_none() {
            return true;
        }
        let mut seats = self.seats();
        let Some((row, at)) = find(&mut seats, open) else { return false };
        row[at].calls -= 1;
        let given_up = row[at].calls == 0 && (closing || !row[at].promised);
        if given_up {
            row.swap_remove(at);
            tidy(&mut seats, open);
        }
        given_up
    }

    /// A call waits no more, and its agent does not want the action either.
    /// Whether no other call waits for it: it is to be given up then.
    pub(crate) fn abandon(&self, open: &Arc<Open>) -> bool {
        self.leave(open, true)
    }

    /// The action is decided or over: nobody joins it any more. Whether this
    /// call is the one that says so.
    pub(crate) fn clear(&self, open: &Arc<Open>) -> bool {
        if open.place.is_none() {
            return true;
        }
        let mut seats = self.seats();
        let Some((row, at)) = find(&mut seats, open) else { return false };
        row.swap_remove(at);
        tidy(&mut seats, open);
        true
    }

    /// Keeps the action for a call that comes later. `None` when it is decided
    /// or over; else whether this is the first promise of it.
    pub(crate) fn promise(&self, open: &Arc<Open>) -> Option<bool> {
        let mut seats = self.seats();
        let (row, at) = find(&mut seats, open)?;
        Some(!std::mem::replace(&mut row[at].promised, true))
    }

    /// Clears the action if no call waits for it now. `None` when it was
    /// cleared before.
    pub(crate) fn clear_deserted(&self, open: &Arc<Open>) -> Option<bool> {
        let mut seats = self.seats();
        let (row, at) = find(&mut seats, open)?;
        let deserted = row[at].calls == 0;
        if deserted {
            row.swap_remove(at);
            tidy(&mut seats, open);
        }
        Some(deserted)
    }
}

type Seats = HashMap<CallKey, Vec<Seat>>;

fn find<'a>(seats: &'a mut Seats, open: &Arc<Open>) -> Option<(&'a mut Vec<Seat>, usize)> {
    let row = seats.get_mut(&open.place.as_ref()?.call)?;
    let at = row.iter().position(|seat| Arc::ptr_eq(&seat.open, open))?;
    Some((row, at))
}

fn tidy(seats: &mut Seats, open: &Open) {
    if let Some(place) = &open.place
        && seats.get(&place.call).is_some_and(Vec::is_empty)
    {
        seats.remove(&place.call);
    }
}
